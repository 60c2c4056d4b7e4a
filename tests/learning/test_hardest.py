"""Which images come first: those that most models got wrong."""

from __future__ import annotations

import numpy as np

from wvc.learning.hardest import Difficulty
from wvc.learning.pixels import Pixels


def domain(n: int) -> Pixels:
    return Pixels(np.zeros((n, 1, 1, 1), dtype=np.uint8), np.zeros(n, dtype=np.int64))


def results(text: str) -> np.ndarray:
    """ "1" right, "0" wrong, "-" not seen."""
    return np.array([-1 if c == "-" else int(c) for c in text], dtype=np.int8)


def plain(batches) -> list[tuple[str, list[int]]]:
    return [(name, positions.tolist()) for name, positions in batches]


def test_what_most_got_wrong_comes_first_and_equals_in_their_order() -> None:
    difficulty = Difficulty()
    for text in ("11010", "01010", "11100"):
        difficulty.add({"art": results(text)})

    order = difficulty.order({"art": domain(5)}, 2)

    # wrong: 1, 0, 2, 1, 3 times
    assert plain(order) == [("art", [4, 2]), ("art", [0, 3]), ("art", [1])]


def test_the_batch_with_the_most_errors_is_the_first() -> None:
    difficulty = Difficulty()
    difficulty.add({"art": results("1101"), "photo": results("100")})

    order = difficulty.order({"art": domain(4), "photo": domain(3)}, 2)

    assert plain(order) == [("photo", [1, 2]), ("art", [2, 0]), ("art", [1, 3]), ("photo", [0])]


def test_macro_weighs_an_error_by_the_size_of_its_domain() -> None:
    large, small = results("000" + "1" * 17), results("10")
    domains = {"large": domain(20), "small": domain(2)}
    micro, macro = Difficulty("micro"), Difficulty("macro")
    micro.add({"large": large, "small": small})
    macro.add({"large": large, "small": small})

    assert plain(micro.order(domains, 4))[0] == ("large", [0, 1, 2, 3])
    assert plain(macro.order(domains, 4))[0] == ("small", [1, 0])


def test_images_that_few_passes_saw_are_neither_first_nor_last() -> None:
    difficulty = Difficulty()
    difficulty.add({"art": results("01--")})
    difficulty.add({"art": results("01-1")})

    order = difficulty.order({"art": domain(4)}, 4)

    # 2 of 5 looks were wrong: (2.4, 0.4) / 3, 0.4 / 1, 0.4 / 2
    assert plain(order) == [("art", [0, 2, 3, 1])]


def test_where_nothing_is_known_the_order_is_that_of_an_evaluation() -> None:
    order = Difficulty("macro").order({"art": domain(5), "none": domain(0), "photo": domain(3)}, 2)

    assert plain(order) == [("art", [0, 1]), ("art", [2, 3]), ("art", [4]), ("photo", [0, 1]), ("photo", [2])]


def test_cached_answers_count_as_passes() -> None:
    by_logits, by_record = Difficulty(), Difficulty()
    logits = np.array([[1, 2, 0], [3, 1, 1], [0, 0, 5], [2, 1, 0]], dtype=np.float32)
    sign = np.array([[0.5], [-2], [0]], dtype=np.float32)

    by_logits.add_logits("art", logits, np.array([1, 2, 2, 1]))
    by_logits.add_logits("photo", sign, np.array([1, 1, 0]))
    by_record.add({"art": results("1010"), "photo": results("101")})

    assert plain(by_logits.order({"art": domain(4), "photo": domain(3)}, 1)) == plain(
        by_record.order({"art": domain(4), "photo": domain(3)}, 1)
    )


def test_the_order_of_the_passes_does_not_matter() -> None:
    random = np.random.default_rng(0)
    passes = [{"art": random.integers(-1, 2, 40, dtype=np.int8)} for _ in range(6)]
    one, other = Difficulty(), Difficulty()

    for found in passes:
        one.add(found)
    for found in reversed(passes):
        other.add(found)

    assert plain(one.order({"art": domain(40)}, 7)) == plain(other.order({"art": domain(40)}, 7))
