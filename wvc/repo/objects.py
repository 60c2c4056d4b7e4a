"""Commit, Manifest, Attachment and TaskDescription: what a repository remembers, each named by its own hash."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, ClassVar, Self

from wvc.errors import Damage
from wvc.repo.names import check_files
from wvc.store.canonical import Json, digest, dumps, loads
from wvc.store.header import size_of
from wvc.store.packs import ID

SHARE = re.compile(r"-?[0-9]{1,300}(/[0-9]{1,300})?")


@dataclass(frozen=True)
class Tensor:
    """One tensor of a model: where it stands is the manifest's business, what it holds its id's.

    name: as in the state dict, for example "features.0.0.weight".
    dtype: safetensors' name, for example "F32" or "BF16".
    shape: sizes of the dimensions; () is a scalar.
    id: SHA-256 of the raw little-endian bytes, 64 hexadecimal digits.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    id: str


@dataclass(frozen=True)
class ModelSpec:
    """What it takes to build the model that the tensors belong to.

    architecture: "family/name", for example "torchvision/mobilenet_v2".
    outputs: width of the head, the number of classes.
    classes: their names in order, or None where nobody said (ImageNet weights from a file).
    head: dotted name of the last linear layer, for example "classifier.1".
    channels: of an input image, 3, 2 or 1.
    image_size: side of the square input in pixels, or None for the architecture's own.
    mean, std: per-channel normalisation of pixels in [0, 1].
    """

    architecture: str
    outputs: int
    classes: tuple[str, ...] | None
    head: str
    channels: int = 3
    image_size: int | None = None
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def json(self) -> Json:
        return {
            "architecture": self.architecture,
            "outputs": self.outputs,
            "classes": None if self.classes is None else list(self.classes),
            "head": self.head,
            "channels": self.channels,
            "image_size": self.image_size,
            "mean": [repr(float(x)) for x in self.mean],
            "std": [repr(float(x)) for x in self.std],
        }

    @classmethod
    def read(cls, value: Mapping[str, Json]) -> Self:
        classes = value["classes"]
        return cls(
            architecture=value["architecture"],
            outputs=value["outputs"],
            classes=None if classes is None else tuple(classes),
            head=value["head"],
            channels=value["channels"],
            image_size=value["image_size"],
            mean=tuple(float(x) for x in value["mean"]),
            std=tuple(float(x) for x in value["std"]),
        )

    def is_head(self, name: str) -> bool:
        """True if the tensor `name` belongs to the head."""
        return name.startswith(self.head + ".")

    def with_classes(self, classes: tuple[str, ...], image_size: int | None) -> ModelSpec:
        """The same featurizer under a head for `classes`, fed with images of `image_size`."""
        return replace(self, classes=classes, outputs=len(classes), image_size=image_size)


class _Object:
    """Something with canonical JSON, whose hash is its id."""

    TYPE: ClassVar[str]

    def json(self) -> Json:
        raise NotImplementedError

    @cached_property
    def data(self) -> bytes:
        """The canonical JSON, as stored."""
        return dumps({"_type": self.TYPE, **self.json()})

    @cached_property
    def id(self) -> str:
        return digest(self.data)


@dataclass(frozen=True)
class Manifest(_Object):
    """What git calls a tree: the tensors of one model, its side files, and how to build it.

    tensors: sorted by name, names unique.
    files: (name, id) of side files, sorted by name.
    spec: the model, or None for plain tensors.
    """

    TYPE: ClassVar[str] = "wvc.manifest/1"

    tensors: tuple[Tensor, ...]
    files: tuple[tuple[str, str], ...] = ()
    spec: ModelSpec | None = None

    def json(self) -> Json:
        return {
            "tensors": [[t.name, t.dtype, list(t.shape), t.id] for t in self.tensors],
            "files": [list(entry) for entry in self.files],
            "spec": None if self.spec is None else self.spec.json(),
        }

    @classmethod
    def read(cls, value: Mapping[str, Json]) -> Self:
        return cls(
            tensors=tuple(Tensor(name, dtype, tuple(shape), id) for name, dtype, shape, id in value["tensors"]),
            files=tuple((name, id) for name, id in value["files"]),
            spec=None if value["spec"] is None else ModelSpec.read(value["spec"]),
        )

    @cached_property
    def weights(self) -> str:
        """The identity of the weights, whatever the file layout: SHA-256 over the sorted (name, dtype, shape, id)."""
        return digest(dumps([[t.name, t.dtype, list(t.shape), t.id] for t in self.tensors]))

    @cached_property
    def by_name(self) -> Mapping[str, Tensor]:
        return {tensor.name: tensor for tensor in self.tensors}

    def ids(self) -> set[str]:
        """Ids of everything that the manifest names."""
        return {tensor.id for tensor in self.tensors} | {id for _, id in self.files}


@dataclass(frozen=True)
class Parent:
    """A commit that another was made from, and its share in the weights: 0 for history without weights."""

    commit: str
    coefficient: Fraction = Fraction(1)


@dataclass(frozen=True)
class Commit(_Object):
    """One state of the weights and how it came to be.

    manifest: id of the manifest.
    weights: Manifest.weights, repeated so that history can be read without manifests.
    created: seconds since 1970, informational.
    generation: 1 + the largest generation of the parents; 1 for a root.
    how: "kind" is create, import, train, merge or apply; the rest suffices to run it again.
    """

    TYPE: ClassVar[str] = "wvc.commit/1"

    manifest: str
    weights: str
    parents: tuple[Parent, ...]
    author: str
    created: int
    generation: int
    message: str
    how: Mapping[str, Any] = field(hash=False)

    def json(self) -> Json:
        return {
            "manifest": self.manifest,
            "weights": self.weights,
            "parents": [{"commit": p.commit, "coefficient": str(p.coefficient)} for p in self.parents],
            "author": self.author,
            "created": self.created,
            "generation": self.generation,
            "message": self.message,
            "how": self.how,
        }

    @classmethod
    def read(cls, value: Mapping[str, Json]) -> Self:
        if not all(ID.fullmatch(p["commit"]) for p in value["parents"]):  # before anything is made of so many
            raise ValueError("an id that is none")
        parents = tuple(Parent(p["commit"], _share(p["coefficient"])) for p in value["parents"])
        rest = {key: value[key] for key in ("manifest", "weights", "author", "created", "generation", "message", "how")}
        return cls(parents=parents, **rest)

    @property
    def kind(self) -> str:
        return str(self.how["kind"])

    @property
    def subject(self) -> str:
        """First line of the message."""
        return self.message.split("\n")[0]


@dataclass(frozen=True)
class Attachment(_Object):
    """A statement about a commit, made with it or later.

    kind: "score", "note" ...
    subject: id of the commit it is about.
    """

    TYPE: ClassVar[str] = "wvc.attachment/1"

    kind: str
    subject: str
    body: Mapping[str, Any] = field(hash=False)

    def json(self) -> Json:
        return {"kind": self.kind, "subject": self.subject, "body": self.body}

    @classmethod
    def read(cls, value: Mapping[str, Json]) -> Self:
        return cls(value["kind"], value["subject"], value["body"])


@dataclass(frozen=True)
class TaskDescription(_Object):
    """What others may know of a task: names and counts, never images, file names or places.

    kind: the file behind the door `tasks`.
    domains: (name, number of images), in index order.
    fingerprint: SHA-256 over the sorted (domain, class, file name, SHA-256 of the file).
    parameters: what the kind was given (rotations ...), as text or lists.
    """

    TYPE: ClassVar[str] = "wvc.task/1"

    name: str
    kind: str
    domains: tuple[tuple[str, int], ...]
    classes: tuple[str, ...]
    fingerprint: str
    metric: str = "accuracy"
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def json(self) -> Json:
        return {
            "name": self.name,
            "kind": self.kind,
            "domains": [list(domain) for domain in self.domains],
            "classes": list(self.classes),
            "fingerprint": self.fingerprint,
            "metric": self.metric,
            "parameters": dict(self.parameters),
        }

    @classmethod
    def read(cls, value: Mapping[str, Json]) -> Self:
        rest = {key: value[key] for key in ("name", "kind", "fingerprint", "metric", "parameters")}
        return cls(domains=tuple((d, n) for d, n in value["domains"]), classes=tuple(value["classes"]), **rest)


KINDS: Mapping[str, type[Commit] | type[Manifest] | type[Attachment] | type[TaskDescription]] = {
    kind.TYPE: kind for kind in (Commit, Manifest, Attachment, TaskDescription)
}


def parse(data: bytes) -> Commit | Manifest | Attachment | TaskDescription:
    """The object in `data`. Raises Damage where it is none: hashes hold, so somebody wrote it so.

    What is read must be all that is there: an object that said more would have another id when it is written again.
    """
    try:
        value = loads(data)
        item = KINDS[value["_type"]].read(value)
        if item.data != data:
            raise ValueError("it has fields that wvc does not know, or spells them otherwise")
        if not all(ID.fullmatch(id) for id in _ids(item)):
            raise ValueError("an id that is none")
        if isinstance(item, Manifest):
            _check_order(item)
        _check_types(item)
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError, OverflowError) as error:
        raise Damage(f"not an object of wvc: {error}") from None
    return item


def _ids(item: Commit | Manifest | Attachment | TaskDescription) -> list[str]:
    """Everything in an object that must be an id, and that was not looked at yet."""
    if isinstance(item, Manifest):
        return list(item.ids())
    if isinstance(item, Commit):
        return [item.manifest, item.weights]
    return [item.subject if isinstance(item, Attachment) else item.fingerprint]


def _check_order(manifest: Manifest) -> None:
    """Raises ValueError. A list has one order, and names of files, which become paths one day, keep to the grammar."""
    if not _is_sorted([tensor.name for tensor in manifest.tensors]):
        raise ValueError("the tensors of a manifest are not sorted, or one is there twice")
    if not _is_sorted([name for name, _ in manifest.files]):
        raise ValueError("the files of a manifest are not sorted, or one is there twice")
    check_files(name for name, _ in manifest.files)


def _check_types(item: Commit | Manifest | Attachment | TaskDescription) -> None:
    """Raises TypeError, or ValueError for a dtype and shape that no tensor has."""
    if isinstance(item, Manifest):
        texts: list[Json] = [*(name for name, _ in item.files), *(tensor.name for tensor in item.tensors)]
        sizes: list[Json] = [n for tensor in item.tensors for n in tensor.shape]
        for tensor in item.tensors:
            size_of(tensor.dtype, tensor.shape)
        if item.spec is not None:
            texts += [item.spec.architecture, item.spec.head, *(item.spec.classes or ())]
            sizes += [item.spec.outputs, item.spec.channels, item.spec.image_size or 0]
    elif isinstance(item, Commit):
        texts, sizes = [item.author, item.message, item.how["kind"]], [item.created, item.generation]
    elif isinstance(item, Attachment):
        texts, sizes = [item.kind, *item.body.keys()], []
    else:
        texts = [item.name, item.kind, item.metric, *item.classes, *(name for name, _ in item.domains)]
        sizes = [n for _, n in item.domains]
    if not all(isinstance(text, str) for text in texts) or not all(type(n) is int and n >= 0 for n in sizes):
        raise TypeError("a field of the wrong type")


def _share(text: Json) -> Fraction:
    """A coefficient. An exponent could make a number that fills the memory, so none is allowed."""
    if not SHARE.fullmatch(text):
        raise ValueError("a coefficient that is none")
    return Fraction(text)


def _is_sorted(names: list[str]) -> bool:
    return all(a < b for a, b in itertools.pairwise(names))
