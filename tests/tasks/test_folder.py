from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wvc import tasks
from wvc.errors import TaskProblem
from wvc.progress import SILENT, Silent
from wvc.tasks import Task, _decode


class Counter(Silent):
    """Adds up what work announces: (first word of the title, units)."""

    def __init__(self) -> None:
        self.announced: list[tuple[str, int]] = []

    def start(self, title: str, total: int, unit: str = "") -> None:
        self.announced.append((title.split(maxsplit=1)[0], total))


def load(path: Path, cache: Path | None = None, progress: Silent = SILENT, **parameters: str) -> Task:
    return tasks.load("folder", "pets", path, parameters, cache, progress)


def test_domains_classes_and_labels_are_sorted(folder: Path):
    task = load(folder)

    assert task.domains == ("ink", "oil")
    assert task.classes == ("cat", "dog")
    assert [labels.tolist() for labels in task.labels] == [[0, 0, 0, 1, 1, 1]] * 2
    assert task.own_size == 6


def test_pixels_come_in_the_order_of_the_labels(folder: Path):
    images = load(folder).images(1, 6)

    for i, name in enumerate(["cat/0", "cat/1", "cat/2", "dog/0"]):
        expected = np.asarray(Image.open(folder / "oil" / f"{name}.png")).transpose(2, 0, 1)
        assert (images[i] == expected).all()


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_folder_and_its_tar_are_the_same_task(folder: Path, packed: Callable[..., Path], mode: str):
    tar = packed(folder, mode)

    one, other = load(folder), load(tar)

    assert one.fingerprint == other.fingerprint
    assert one.description() == other.description()
    assert (one.images(0, 4) == other.images(0, 4)).all()


def test_the_folder_above_is_the_same_task(folder: Path):
    assert load(folder.parent).fingerprint == load(folder).fingerprint


def test_one_level_of_folders_is_one_domain_called_all(folder: Path):
    task = load(folder / "ink")

    assert task.domains == ("all",)
    assert task.classes == ("cat", "dog")


def test_layout_overrides_the_depth(folder: Path):
    shutil.rmtree(folder / "oil")

    assert load(folder).domains == ("all",)
    assert load(folder, layout="domain/class").domains == ("ink",)
    with pytest.raises(TaskProblem, match="unknown layout 'class/domain'"):
        load(folder, layout="class/domain")


def test_other_files_and_hidden_ones_are_ignored(folder: Path):
    fingerprint = load(folder).fingerprint
    (folder / "ink" / "cat" / "notes.txt").write_text("three cats")
    (folder / "ink" / "cat" / "._0.png").write_bytes(b"what macOS leaves")
    (folder / ".git").mkdir()
    (folder / ".git" / "0.png").write_bytes(b"hidden")

    assert load(folder).fingerprint == fingerprint


@pytest.mark.parametrize("change", ["rename", "move", "edit", "remove"])
def test_any_change_changes_the_fingerprint(folder: Path, draw: Callable[..., None], tmp_path: Path, change: str):
    before = load(folder, tmp_path / "cache").fingerprint
    image = folder / "ink" / "cat" / "0.png"
    elsewhere = {"rename": image.with_name("9.png"), "move": folder / "ink" / "dog" / "9.png", "remove": tmp_path / "0"}
    if change == "edit":
        draw(image, 99)
    else:
        image.rename(elsewhere[change])

    assert load(folder, tmp_path / "cache").fingerprint != before


def test_names_are_compared_in_one_spelling(folder: Path, draw: Callable[..., None]):
    draw(folder / "ink" / "cat" / "caf\u00e9.png", 50)
    composed = load(folder).fingerprint
    (folder / "ink" / "cat" / "caf\u00e9.png").rename(folder / "ink" / "cat" / "cafe\u0301.png")

    assert load(folder).fingerprint == composed


def test_a_name_that_is_not_utf_8_is_taken(folder: Path, packed: Callable[..., Path], draw: Callable[..., None]):
    draw(folder / "ink" / "cat" / "x.png", 51)
    (folder / "ink" / "cat" / "x.png").rename(os.fsdecode(os.fsencode(folder) + b"/ink/cat/caf\xe9.png"))

    assert load(folder).fingerprint == load(packed(folder)).fingerprint


def test_class_lists_that_differ_are_refused(folder: Path, draw: Callable[..., None]):
    (folder / "oil" / "dog").rename(folder / "oil" / "fox")
    shutil.copytree(folder / "ink", folder / "pen")

    with pytest.raises(TaskProblem, match=r"domain 'oil' differs .* it lacks dog and has fox besides"):
        load(folder)


def test_mixed_depths_are_refused(folder: Path, draw: Callable[..., None]):
    draw(folder / "ink" / "stray.png", 1)

    with pytest.raises(TaskProblem, match=r"ink/stray.png does not lie in domain/class/file"):
        load(folder)


def test_too_deep_is_refused(folder: Path):
    folder.rename(folder.parent / "b")
    (folder.parent / "a" / "c").mkdir(parents=True)
    (folder.parent / "b").rename(folder.parent / "a" / "c" / "b")

    with pytest.raises(TaskProblem, match="folders above an image"):
        load(folder.parent)


def test_nothing_there_is_one_line_and_a_hint(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.tar").write_text("not a tar" * 100)
    for name, why in {"none": "No such file", "empty": "no images", "text.tar": "not a tar"}.items():
        with pytest.raises(TaskProblem, match=why) as caught:
            load(tmp_path / name)
        assert caught.value.hint
        assert "\n" not in caught.value.message


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("part", [0.5, 0.51, 0.52, 0.53])
def test_a_truncated_tar_is_refused(folder: Path, packed: Callable[..., Path], mode: str, part: float):
    tar = packed(folder, mode)
    data = tar.read_bytes()
    tar.write_bytes(data[: int(len(data) * part)])

    with pytest.raises(TaskProblem, match="not a tar that can be read"):
        load(tar)


@pytest.mark.parametrize("name", ["../ink/cat/0.png", "/ink/cat/0.png"])
def test_a_tar_with_names_that_lead_out_is_refused(folder: Path, tmp_path: Path, name: str):
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        member = tar.gettarinfo(folder / "ink" / "cat" / "0.png")
        member.name = name
        tar.addfile(member)

    with pytest.raises(TaskProblem, match="refused"):
        load(tmp_path / "bad.tar")


def test_what_is_no_image_is_named(folder: Path):
    (folder / "oil" / "dog" / "1.png").write_bytes(b"nothing")

    with pytest.raises(TaskProblem, match=r"oil/dog/1.png cannot be decoded: not an image"):
        load(folder)


def test_a_broken_body_under_a_good_header_is_named(folder: Path):
    (folder / "oil" / "dog" / "1.ppm").write_text("P3 2 2 255 1 2 three")
    task = load(folder)

    with pytest.raises(TaskProblem, match=r"oil/dog/1.ppm cannot be decoded"):
        task.images(1, 6)


def test_a_truncated_image_is_read_as_far_as_it_goes(folder: Path, draw: Callable[..., None]):
    image = folder / "oil" / "dog" / "1.jpg"
    draw(image, 7, (64, 64))
    image.write_bytes(image.read_bytes()[:-500])

    assert load(folder).images(1, 64)[4].std() > 0


def test_an_image_that_changes_under_our_hands_is_noticed(folder: Path, draw: Callable[..., None]):
    task = load(folder)
    draw(folder / "ink" / "dog" / "2.png", 99)

    with pytest.raises(TaskProblem, match="was changed meanwhile"):
        task.images(0, 6)


def test_sizes_that_differ_are_no_own_size(folder: Path, draw: Callable[..., None]):
    draw(folder / "ink" / "dog" / "2.png", 99, (6, 7))

    task = load(folder)

    assert task.own_size is None
    assert task.images(0, 5).shape == (6, 3, 5, 5)


def test_grey_palette_and_alpha_become_rgb(folder: Path):
    image = Image.open(folder / "ink" / "cat" / "0.png")
    image.convert("L").save(folder / "ink" / "cat" / "0.png")
    image.convert("RGBA").save(folder / "ink" / "cat" / "1.png")
    image.quantize(4).save(folder / "ink" / "cat" / "2.png", transparency=bytes(4))

    images = load(folder).images(0, 6)

    assert (images[0, 0] == images[0, 2]).all()
    assert (images[1] == np.asarray(image).transpose(2, 0, 1)).all()


@pytest.mark.parametrize("is_tar", [False, True])
def test_unchanged_files_are_not_read_again(
    folder: Path, packed: Callable[..., Path], draw: Callable[..., None], tmp_path: Path, is_tar: bool
):
    pack = packed if is_tar else Path
    first, second, third = Counter(), Counter(), Counter()
    one = load(pack(folder), tmp_path / "cache", first)
    two = load(tmp_path / "pets.tar" if is_tar else folder, tmp_path / "cache", second)
    draw(folder / "ink" / "cat" / "0.png", 99, (6, 9))
    three = load(pack(folder), tmp_path / "cache", third)

    assert [c.announced for c in (first, second, third)] == [
        [("reading", 12)],
        [("reading", 0)],
        [("reading", 12 if is_tar else 1)],
    ]
    assert one.fingerprint == two.fingerprint != three.fingerprint
    assert (one.own_size, two.own_size, three.own_size) == (6, 6, None)


def test_a_damaged_index_is_made_again(folder: Path, tmp_path: Path):
    fingerprint = load(folder, tmp_path / "cache").fingerprint
    (index,) = (tmp_path / "cache" / "index").iterdir()
    for damage in (b"", b"{}", index.read_bytes().replace(b"ink", b"oil"), index.read_bytes()[:100]):
        index.write_bytes(damage)
        assert load(folder, tmp_path / "cache").fingerprint == fingerprint


def test_pacs_is_what_it_should_be(real_data: Path):
    task = load(real_data / "pacs-64.tar")

    assert task.domains == ("art_painting", "cartoon", "photo", "sketch")
    assert tuple(len(labels) for labels in task.labels) == (2048, 2344, 1670, 3929)
    assert task.classes == ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
    assert task.own_size == 64
    assert task.limit(7).images(2, 64).shape == (7, 3, 64, 64)


def test_resizing_is_pillows_bilinear(folder: Path):
    path = folder / "ink" / "cat" / "0.png"

    expected = Image.open(path).resize((11, 11), Image.Resampling.BILINEAR)

    assert (_decode.pixels(path.read_bytes(), 11) == np.asarray(expected).transpose(2, 0, 1)).all()
