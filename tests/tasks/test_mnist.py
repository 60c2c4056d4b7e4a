from __future__ import annotations

import gzip
import hashlib
import math
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from wvc import tasks
from wvc.errors import TaskProblem, WvcError, WvcWarning
from wvc.tasks import Benchmark, Task

PARTS = ("train", "t10k")
TRAINED, TESTED = 240, 60

PACKED = gzip.compress(bytes(5000), mtime=0)


def load(dataset: str, path: Path) -> Task:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WvcWarning)
        return tasks.load("domainbed", "mine", path, {"dataset": dataset})


def truth(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images and digits in the order that the environments are dealt in, by offsets alone."""
    images = b"".join((folder / f"{part}-images-idx3-ubyte").read_bytes()[16:] for part in PARTS)
    digits = b"".join((folder / f"{part}-labels-idx1-ubyte").read_bytes()[8:] for part in PARTS)
    order = np.random.RandomState(0).permutation(TRAINED + TESTED)
    shape = (TRAINED + TESTED, 28, 28)
    return np.frombuffer(images, np.uint8).reshape(shape)[order], np.frombuffer(digits, np.uint8)[order].astype(int)


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    """Counter-clockwise about the centre, bilinear, black outside, in float64."""
    made = np.zeros((28, 28))
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    for y in range(28):
        for x in range(28):
            right, down = x - 13.5, y - 13.5
            u, v = cos * right - sin * down + 13.5, sin * right + cos * down + 13.5
            if -0.5 <= u < 27.5 and -0.5 <= v < 27.5:
                made[y, x] = bilinear(image, u, v)
    return made


def bilinear(image: np.ndarray, u: float, v: float) -> float:
    """Between the four pixels around column u, row v; those beyond the edge are as the edge."""
    column, row = math.floor(u), math.floor(v)
    return sum(
        float(image[min(max(row + j, 0), 27), min(max(column + i, 0), 27)])
        * (u - column if i else 1 - (u - column))
        * (v - row if j else 1 - (v - row))
        for i in (0, 1)
        for j in (0, 1)
    )


def test_images_are_dealt_in_turn_after_one_shuffle(mnist: Path):
    images, digits = truth(mnist)

    task = load("RotatedMNIST", mnist)

    assert task.domains == ("0", "15", "30", "45", "60", "75")
    assert task.classes == tuple("0123456789")
    assert [labels.tolist() for labels in task.labels] == [digits[k::6].tolist() for k in range(6)]
    assert (task.images(0, 28)[:, 0] == images[0::6]).all()
    assert (task.own_size, task.channels, task.augmentation) == (28, 1, "none")
    assert task.benchmark == Benchmark("RotatedMNIST", 5001, 300, 0.3)


@pytest.mark.parametrize(("domain", "degrees"), [(1, 15), (3, 45), (5, 75)])
def test_a_domain_is_a_counter_clockwise_rotation(mnist: Path, domain: int, degrees: int):
    images, _ = truth(mnist)

    made = load("RotatedMNIST", mnist).images(domain, 28)

    for i in range(3):
        difference = np.abs(made[i, 0].astype(float) - turned(images[domain::6][i], degrees))
        assert difference.max() <= 1.0  # Pillow rounds, and reckons in float32


def test_colours_and_labels_follow_their_laws(mnist: Path):
    images, digits = truth(mnist)

    task = load("ColoredMNIST", mnist)

    assert task.domains == ("+90%", "+80%", "-90%")
    for k, (domain, e) in enumerate(zip(task.domains, (0.1, 0.2, 0.9), strict=True)):
        seed = int.from_bytes(hashlib.sha256(f"ColoredMNIST {domain}".encode()).digest()[:4], "big")
        draws = np.random.RandomState(seed).random_sample(200)
        own, grey = digits[k::3], images[k::3]
        labels = [int(d < 5) ^ int(draw < 0.25) for d, draw in zip(own, draws[:100], strict=True)]
        colours = [label ^ int(draw < e) for label, draw in zip(labels, draws[100:], strict=True)]
        pixels = task.images(k, 28)
        assert task.labels[k].tolist() == labels
        for i, colour in enumerate(colours):
            assert (pixels[i, colour] == grey[i]).all()
            assert (pixels[i, 1 - colour] == 0).all()


def test_a_task_in_colours_has_two_channels_and_two_classes(mnist: Path):
    task = load("ColoredMNIST", mnist)

    assert (task.classes, task.channels, task.augmentation) == (("0", "1"), 2, "none")
    assert task.benchmark == Benchmark("ColoredMNIST", 5001, 300, 0.3)
    assert task.images(2, 14).shape == (100, 2, 14, 14)


def test_noise_and_colours_are_as_frequent_as_they_should_be():
    from wvc.tasks import _mnist

    digits = np.arange(20000) % 10
    for domain, e in {"+90%": 0.1, "+80%": 0.2, "-90%": 0.9}.items():
        labels, colours = _mnist._drawn(domain, digits)
        assert abs(np.mean(labels != (digits < 5)) - 0.25) < 0.015  # five standard deviations
        assert abs(np.mean(colours != labels) - e) < 0.015


def test_packed_or_in_torchvisions_folder_it_is_the_same_task(mnist: Path, tmp_path: Path):
    plain = {dataset: load(dataset, mnist).fingerprint for dataset in ("RotatedMNIST", "ColoredMNIST")}
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in mnist.iterdir():
        (raw / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))

    packed = {dataset: load(dataset, tmp_path / "data").fingerprint for dataset in plain}

    assert packed == plain
    assert len(set(plain.values())) == 2


@pytest.mark.parametrize("dataset", ["RotatedMNIST", "ColoredMNIST"])
def test_the_fingerprint_knows_every_pixel_and_digit(mnist: Path, dataset: str):
    prints = {load(dataset, mnist).fingerprint}
    for name in ("t10k-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        data = bytearray((mnist / name).read_bytes())
        data[-1] = (data[-1] + 5) % 10 if "labels" in name else data[-1] ^ 1
        (mnist / name).write_bytes(data)
        prints.add(load(dataset, mnist).fingerprint)

    assert len(prints) == 3


def test_an_incomplete_mnist_is_told(mnist: Path):
    with pytest.warns(WvcWarning, match=r"^RotatedMNIST: MNIST has 300 images, 70,000 expected$"):
        tasks.load("domainbed", "mine", mnist, {"dataset": "rotatedmnist"})


def idx(shape: tuple[int, ...], body: bytes, magic: int | None = None) -> bytes:
    first = 0x0800 + len(shape) if magic is None else magic
    return struct.pack(f">{1 + len(shape)}I", first, *shape) + body


HOSTILE = {
    "empty": ("train-images-idx3-ubyte", b"", "no IDX file"),
    "magic of labels": ("train-images-idx3-ubyte", idx((240,), bytes(240)), "no IDX file of bytes in 3 dimensions"),
    "floats": ("train-images-idx3-ubyte", idx((1, 28, 28), bytes(784), 0x0D03), "no IDX file"),
    "too many": (
        "train-images-idx3-ubyte",
        idx((2**32 - 1, 28, 28), bytes(784)),
        "4294967295 x 28 x 28, at most 60000",
    ),
    "too large": ("train-images-idx3-ubyte", idx((1, 2**31, 2**31), bytes(784)), "1 x 2147483648 x 2147483648"),
    "cut off": (
        "train-images-idx3-ubyte",
        idx((240, 28, 28), bytes(240 * 784 - 1)),
        "is shorter than the 240 x 28 x 28",
    ),
    "more behind": ("train-labels-idx1-ubyte", idx((240,), bytes(241)), "is longer than the 240"),
    "other number": ("train-labels-idx1-ubyte", idx((239,), bytes(239)), "239 labels for 240 images"),
    "eleventh digit": ("train-labels-idx1-ubyte", idx((240,), bytes(239) + b"\n"), "has the label 10"),
    "a class missing": ("train-labels-idx1-ubyte", idx((240,), bytes(240)), "has no image of class"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_not_mnist_is_refused_in_one_line(mnist: Path, case: str, packed: bool):
    name, data, why = HOSTILE[case]
    (mnist / name).unlink()
    (mnist / (name + ".gz" if packed else name)).write_bytes(gzip.compress(data) if packed else data)

    with pytest.raises(TaskProblem) as caught:
        load("RotatedMNIST", mnist)

    assert why in caught.value.message
    assert "\n" not in caught.value.message and caught.value.hint


@pytest.mark.parametrize("data", [b"no gzip", PACKED[:-9], PACKED[:12]], ids=["no gzip", "no end", "hardly begun"])
def test_a_damaged_gzip_is_refused(mnist: Path, data: bytes):
    (mnist / "t10k-images-idx3-ubyte").unlink()
    (mnist / "t10k-images-idx3-ubyte.gz").write_bytes(data)

    with pytest.raises(TaskProblem, match="not a gzip file that can be read"):
        load("RotatedMNIST", mnist)


def test_a_gzip_that_swells_is_read_no_further_than_needed(mnist: Path):
    from wvc.tasks import _idx

    (mnist / "swollen.gz").write_bytes(gzip.compress(bytes(100_000_000), 1))

    assert len(_idx._bytes(mnist / "swollen.gz", 1000)) == 1000


@pytest.mark.parametrize("missing", ["a file", "everything", "the folder"])
def test_a_place_without_mnist_is_refused(mnist: Path, missing: str):
    path = mnist / "none" if missing == "the folder" else mnist
    for file in mnist.glob("t10k-labels*" if missing == "a file" else "*"):
        file.unlink()

    with pytest.raises(WvcError, match="has no file t") as caught:
        load("ColoredMNIST", path)
    assert "train-images-idx3-ubyte" in str(caught.value.hint)
