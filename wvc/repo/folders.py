"""Models that lie in several files: shards with an index, and Hugging Face's model folders."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from wvc.errors import BadFile, UsageError, WvcWarning
from wvc.repo.index import SUFFIX, load_index
from wvc.repo.names import DEPTH, check_file, check_files
from wvc.repo.safefile import HEADER, SAFE, Opened, SafeFile, side_file
from wvc.repo.torchfile import TorchFile
from wvc.store.blobs import Blob, held
from wvc.store.durable import disk

# Weights in further formats: where there are safetensors files, the same once more.
OTHERS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".tflite")
TORCH = ("pytorch_model.bin" + SUFFIX, "pytorch_model.bin")
SHOWN = 5  # names in a warning
LEAVE_OUT = "rename it, or put a dot in front of its name to leave it out"


class Shards(Opened):
    """The files that an index names, as one model.

    tensors: by name. files: the headers of safetensors files and the index, from which they can be written again.
    names: of the index and of the files that it names.
    """

    def __init__(self, path: Path, key: str | None = None) -> None:
        """path: of the index. key: as for a TorchFile. Raises BadFile unless every tensor is where the index says."""
        safe = path.name.endswith(SAFE + SUFFIX)
        self.format = "sharded" if safe else "pytorch"
        places, raw = load_index(path, SAFE if safe else Path(path.name.removesuffix(SUFFIX)).suffix)
        self.names = {path.name, *places.values()}
        tensors: dict[str, Blob] = {}
        files = {path.name: held("U8", (len(raw),), raw)} if safe else {}
        with ExitStack() as stack:
            for file in [path.with_name(name) for name in sorted(set(places.values()))]:
                shard = single(file, key)
                stack.enter_context(shard)
                _check_shard(file, shard.tensors, places)
                tensors.update(shard.tensors)
                files.update(shard.files)
            missing = min(places.keys() - tensors.keys(), default=None)
            if missing is not None:
                raise BadFile(path.with_name(places[missing]), f"lacks tensor {missing!r}, which {path.name} promises")
            self._opened = stack.pop_all()
        self.tensors: Mapping[str, Blob] = tensors
        self.files: Mapping[str, Blob] = files

    def close(self) -> None:
        self._opened.close()


class Folder(Opened):
    """A model folder: weights, configuration, tokenizer and whatever else lies in it.

    tensors: by name. files: what lies beside the weights, and what it takes to write these again. Hidden files are left
    out, and weights in further formats with a WvcWarning.
    """

    format = "hf"

    def __init__(self, path: Path, key: str | None = None) -> None:
        """key: as for a TorchFile. Raises BadFile where there are no weights, or a file that cannot be kept."""
        with disk(path):
            chosen = path / _choose(path, [entry.name for entry in _listed(path)])
            self._weights = Shards(chosen, key) if chosen.name.endswith(SUFFIX) else single(chosen, key)
            try:
                self.tensors: Mapping[str, Blob] = self._weights.tensors
                self.files: Mapping[str, Blob] = self._beside(path, chosen) | dict(self._weights.files)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        self._weights.close()

    def _beside(self, path: Path, chosen: Path) -> dict[str, Blob]:
        """The files that are no weights."""
        weights = self._weights.names if isinstance(self._weights, Shards) else {chosen.name}
        if chosen.name.removesuffix(SUFFIX) not in weights and (path / chosen.name.removesuffix(SUFFIX)).exists():
            both = f"holds both {chosen.name.removesuffix(SUFFIX)} and {chosen.name}, which does not name it"
            raise BadFile(path, both, "name the one that you mean")
        names = [name for name in _walk(path) if name not in weights]
        others = [name for name in names if name.removesuffix(SUFFIX).endswith(OTHERS)]
        names = sorted(set(names) - set(others))
        try:
            check_files({*names, *weights, *self._weights.files})
        except ValueError as error:
            raise BadFile(path, str(error), LEAVE_OUT) from None
        for name in names:
            if name.endswith(SAFE + HEADER) and "/" not in name:
                raise BadFile(path / name, "has a name that wvc gives to headers", LEAVE_OUT)
        if others:
            _warn("left out, as weights in other formats", others)
        return {name: side_file(path / name) for name in names}


def single(path: Path, key: str | None) -> SafeFile | TorchFile:
    """One file with weights, of the kind that its name says. Raises BadFile, UsageError."""
    return safe_file(path, path.name, key) if path.name.endswith(SAFE) else checkpoint(path, key)


def safe_file(path: Path, name: str, key: str | None) -> SafeFile:
    """A safetensors file, which will be called `name` when it is written again. Raises BadFile, UsageError."""
    if key is not None:
        raise UsageError(f"--key is for PyTorch's checkpoints, and {path.name} is none", "leave it away")
    return SafeFile(path, name)


def checkpoint(path: Path, key: str | None) -> TorchFile:
    """A checkpoint of PyTorch's; a WvcWarning names what is not taken of it. Raises BadFile."""
    source = TorchFile(path, key)
    if source.left_out:
        _warn(f"{path.name}: left out, beside the tensors", source.left_out)
    return source


def _warn(text: str, names: Sequence[str]) -> None:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    warnings.warn(f"{text}: {', '.join(names[:SHOWN])}{more}", WvcWarning, stacklevel=2)


def _check_shard(path: Path, tensors: Mapping[str, Blob], places: Mapping[str, str]) -> None:
    """Raises BadFile for a tensor that the index does not place in this file."""
    for name in tensors:
        if name not in places:
            raise BadFile(path, f"holds tensor {name!r}, which the index does not name")
        if places[name] != path.name:
            raise BadFile(path, f"holds tensor {name!r}, which the index places in {places[name]}")


def _choose(path: Path, names: Sequence[str]) -> str:
    """The file or index among `names` that holds the weights of the folder. Raises BadFile."""
    for suffix in (SAFE + SUFFIX, SAFE):
        found = [name for name in names if name.endswith(suffix)]
        if "model" + suffix in found or len(found) == 1:
            return "model" + suffix if "model" + suffix in found else found[0]
        if found:
            why = f"holds {len(found)} {suffix} files and no model{suffix}: {', '.join(found[:3])}"
            raise BadFile(path, why, "name the file or index that you mean")
    for name in TORCH:
        if name in names:
            return name
    raise BadFile(path, "is a folder that holds no weights", "name a file, or a folder with model.safetensors in it")


def _walk(root: Path, above: str = "") -> Iterator[str]:
    """Names of all files below `root` that are not hidden, sorted. Raises BadFile for what cannot be kept."""
    for entry in _listed(root / above):
        name = above + entry.name
        try:
            check_file(name)
        except ValueError as error:
            raise BadFile(root, str(error), LEAVE_OUT) from None
        if not (root / name).is_dir():
            if entry.is_symlink() and not _is_within(root, root / name):
                raise BadFile(root / name, "is a link out of the folder", "copy the file there, or hide it with a dot")
            yield name
        elif entry.is_symlink():
            raise BadFile(root / name, "is a link to a folder", "copy the folder there, or hide the link with a dot")
        elif name.count("/") + 1 == DEPTH:
            raise BadFile(root / name, f"is a folder {DEPTH} levels down, which is too deep", LEAVE_OUT)
        else:
            yield from _walk(root, name + "/")


def _is_within(root: Path, link: Path) -> bool:
    """Whether a link leads to a file of the same model: who made the folder must not choose what else is taken.

    In Hugging Face's cache, snapshots/<revision>/config.json is a link to blobs/<hash>.
    """
    root, target = root.resolve(), Path(os.path.realpath(link))  # which takes a link to itself for what it is
    return target.is_relative_to(root) or target.parent == root.parent.parent / "blobs"


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
