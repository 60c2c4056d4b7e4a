from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from wvc import tasks
from wvc.errors import BadFile, TaskProblem, WvcWarning
from wvc.tasks import Benchmark, Task

# What the papers used, by domain in sorted order; None where they do not say.
COUNTS = {
    "PACS": (2048, 2344, 1670, 3929),
    "VLCS": (1415, 2656, 3282, 3376),
    "OfficeHome": (2427, 4365, 4439, 4357),
    "TerraIncognita": (4741, None, None, None),
    "DomainNet": (48129, 51605, 72266, 172500, 172947, 69128),
}


def load(dataset: str, path: Path, **parameters: str) -> Task:
    return tasks.load("domainbed", "mine", path, {"dataset": dataset, **parameters})


def quietly(dataset: str, path: Path, **parameters: str) -> Task:
    """Without the word that there are too few images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WvcWarning)
        return load(dataset, path, **parameters)


@pytest.mark.parametrize("dataset", COUNTS)
def test_other_numbers_of_images_are_told_in_one_line(tiny: Callable[[str], Path], dataset: str):
    path = tiny(dataset)

    with pytest.warns(WvcWarning) as caught:
        task = load(dataset, path)

    (message,) = (str(warning.message) for warning in caught)
    expected = {d: n for d, n in zip(task.domains, COUNTS[dataset], strict=True) if n is not None}
    told = re.findall(r"([\w ]+) has (\d+) images, ([\d,]+) expected", message.partition(":")[2])
    each = len(task.labels[0])
    assert message.startswith(f"{dataset}: ") and "\n" not in message
    assert {d.strip(): (int(found), int(n.replace(",", ""))) for d, found, n in told} == {
        domain: (each, n) for domain, n in expected.items()
    }
    assert ("40 images in all, 24,788 expected" in message) == (dataset == "TerraIncognita")
    assert ("--set duplicates=FILE" in message) == (dataset == "DomainNet")


@pytest.mark.parametrize("spelling", ["PACS", "pacs", "Pacs"])
def test_case_does_not_matter_and_the_description_has_domainbeds(tiny: Callable[[str], Path], spelling: str):
    task = quietly(spelling, tiny("PACS"))

    assert task.description().parameters == {"dataset": "PACS"}
    assert task.description().kind == "domainbed"


@pytest.mark.parametrize(
    ("dataset", "benchmark"),
    [
        ("PACS", Benchmark("PACS", 5001, 100, 0.3)),
        ("VLCS", Benchmark("VLCS", 5001, 50, 0.2)),
        ("OfficeHome", Benchmark("OfficeHome", 5001, 100, 0.3)),
        ("TerraIncognita", Benchmark("TerraIncognita", 5001, 100, 0.3)),
        ("DomainNet", Benchmark("DomainNet", 15001, 500, 0.3)),
    ],
)
def test_a_dataset_brings_its_protocol(tiny: Callable[[str], Path], dataset: str, benchmark: Benchmark):
    task = quietly(dataset, tiny(dataset))

    assert task.benchmark == benchmark
    assert task.limit(1).benchmark == benchmark


def test_the_images_are_those_of_kind_folder(tiny: Callable[[str], Path]):
    path = tiny("PACS")

    known, folder = quietly("PACS", path), tasks.load("folder", "mine", path, {})

    assert known.fingerprint == folder.fingerprint
    assert (known.domains, known.classes) == (folder.domains, folder.classes)
    assert all((a == b).all() for a, b in zip(known.labels, folder.labels, strict=True))
    assert (known.images(2, 6) == folder.images(2, 6)).all()
    assert folder.benchmark is None


def test_other_domains_are_another_dataset(tiny: Callable[[str], Path]):
    path = tiny("PACS")

    with pytest.raises(TaskProblem) as caught:
        load("VLCS", path)

    assert "is not VLCS: domains Caltech101, LabelMe, SUN09, VOC2007 expected" in caught.value.message
    assert caught.value.message.endswith("found art_painting, cartoon, photo, sketch")
    assert "--kind folder" in str(caught.value.hint)


def test_a_domain_of_another_name_or_missing_or_besides_is_told(tiny: Callable[[str], Path]):
    path = tiny("OfficeHome")
    (path / "Real World").rename(path / "Photo")
    with pytest.raises(TaskProblem, match=r"Real World expected, found Art, Clipart, Photo, Product"):
        load("OfficeHome", path)

    shutil.copytree(path / "Photo", path / "Real World")
    with pytest.raises(TaskProblem, match=r"found Art, Clipart, Photo, Product and 1 more"):
        load("OfficeHome", path)


def test_another_number_of_classes_is_another_dataset(tiny: Callable[[str], Path]):
    path = tiny("PACS")
    for domain in path.iterdir():
        shutil.rmtree(domain / "class006")

    with pytest.raises(TaskProblem, match="is not PACS: 7 classes expected, found 6"):
        load("PACS", path)


@pytest.mark.parametrize("parameters", [{}, {"dataset": "CIFAR"}, {"dataset": ["PACS"]}])
def test_without_a_known_dataset_the_names_are_listed(tmp_path: Path, parameters: dict[str, object]):
    with pytest.raises(TaskProblem) as caught:
        tasks.load("domainbed", "mine", tmp_path, parameters)

    for name in (*COUNTS, "RotatedMNIST", "ColoredMNIST"):
        assert name in str(caught.value.hint)


def test_listed_duplicates_are_left_out(tiny: Callable[[str], Path], draw: Callable[..., None], tmp_path: Path):
    path = tiny("DomainNet")
    without = tasks.load("folder", "mine", path, {}).fingerprint
    draw(path / "clipart" / "class001" / "café 1.png", 50)
    draw(path / "real" / "class002" / "1.png", 51)
    listed = tmp_path / "duplicates.txt"
    listed.write_text(
        "clipart/class001/cafe\u0301 1.png\r\n\nreal/class002/1.png\nreal/class002/missing.png\n", "utf-8"
    )

    whole, some = quietly("DomainNet", path), quietly("DomainNet", path, duplicates=str(listed))

    assert [len(a) - len(b) for a, b in zip(whole.labels, some.labels, strict=True)] == [1, 0, 0, 0, 1, 0]
    assert some.fingerprint == without != whole.fingerprint
    assert some.images(0, 6).shape[0] == 345


@pytest.mark.parametrize("is_tar", [False, True])
def test_the_cache_does_not_mix_with_and_without_duplicates(
    tiny: Callable[[str], Path], packed: Callable[..., Path], tmp_path: Path, is_tar: bool
):
    path = tiny("DomainNet")
    shutil.copy(path / "clipart" / "class001" / "0.png", path / "clipart" / "class001" / "1.png")
    listed = tmp_path / "duplicates.txt"
    listed.write_text("clipart/class001/1.png\n")
    cache, data = tmp_path / "cache", packed(path) if is_tar else path

    counts = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WvcWarning)
        for more in ({"duplicates": str(listed)}, {}, {"duplicates": str(listed)}):
            task = tasks.load("domainbed", "mine", data, {"dataset": "DomainNet", **more}, cache)
            counts.append(task.images(0, 6).shape[0])

    assert counts == [345, 346, 345]


def test_the_place_of_the_list_is_not_described(tiny: Callable[[str], Path], tmp_path: Path):
    (tmp_path / "list.txt").write_text("real/class000/1.png\n")

    task = quietly("DomainNet", tiny("DomainNet"), duplicates=str(tmp_path / "list.txt"))

    assert task.local == {"duplicates": str(tmp_path / "list.txt")}
    assert str(tmp_path).encode() not in task.description().data
    assert tasks.local_parameters("domainbed") == {"duplicates"}


def test_a_list_that_takes_a_class_away_is_refused(tiny: Callable[[str], Path], tmp_path: Path):
    path = tiny("DomainNet")
    listed = tmp_path / "list.txt"
    listed.write_text("real/class000/0.png\n")
    with pytest.raises(TaskProblem, match=r"domain 'real' differs .* lacks class000"):
        load("DomainNet", path, duplicates=str(listed))

    listed.write_text("".join(f"{p.relative_to(path)}\n" for p in path.rglob("*.png")))
    with pytest.raises(TaskProblem, match="every image is on the list"):
        load("DomainNet", path, duplicates=str(listed))


def test_a_list_that_is_none_is_one_line(tiny: Callable[[str], Path], tmp_path: Path):
    path = tiny("DomainNet")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "long").write_bytes(b"x" * (1 << 24) + b"\n")
    for name, why in {"none": "no such file", "binary": "not a text file", "long": "too long", ".": "a folder"}.items():
        with pytest.raises(BadFile, match=why) as caught:
            load("DomainNet", path, duplicates=str(tmp_path / name))
        assert "one domain/class/image a line" in str(caught.value.hint)


def test_only_domainnet_has_duplicates(tiny: Callable[[str], Path]):
    with pytest.raises(TaskProblem, match="PACS has no option 'duplicates'"):
        load("PACS", tiny("PACS"), duplicates="list.txt")


def test_the_real_pacs_is_complete(real_data: Path):
    task = load("PACS", real_data / "pacs-64.tar")

    assert tuple(len(labels) for labels in task.labels) == COUNTS["PACS"]
    assert task.benchmark == Benchmark("PACS")
