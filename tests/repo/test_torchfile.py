"""Checkpoints of PyTorch's: every tensor that torch would load, and not one that is not there."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import random
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as save_safetensors

from wvc.errors import BadFile
from wvc.repo import strided, torchfile
from wvc.repo.torchfile import TorchFile
from wvc.store.header import parse_header

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.complex64: "C64",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.bool: "BOOL",
    torch.uint64: "U64", torch.uint32: "U32", torch.uint16: "U16", torch.uint8: "U8",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.float8_e8m0fnu: "F8_E8M0",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ", torch.float8_e5m2fnuz: "F8_E5M2FNUZ", torch.float4_e2m1fn_x2: "F4",
}  # fmt: skip
BOTH = pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])


def save(value: object, path: Path, *, new: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=new)
    return path


def raw(tensor: torch.Tensor) -> bytes:
    """The bytes of a tensor in row-major order."""
    wide = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}[tensor.element_size()]
    return tensor.detach().view(wide).contiguous().numpy().tobytes() if tensor.numel() else b""


def read(path: Path, key: str | None = None) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    with TorchFile(path, key) as file:
        assert list(file.tensors) == sorted(file.tensors)
        assert file.files == {}
        return {name: (b.dtype, b.shape, bytes(b.read(0, b.size))) for name, b in file.tensors.items()}


def expected(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (DTYPES[t.dtype], tuple(t.shape), raw(t)) for name, t in tensors.items()}


def noise(dtype: torch.dtype, *shape: int, seed: int = 0) -> torch.Tensor:
    """Any bits at all: NaN with payloads, infinities, minus zero."""
    n = torch.empty(shape, dtype=dtype).nbytes
    data = np.random.default_rng(seed).integers(0, 2 if dtype == torch.bool else 256, n, dtype=np.uint8)
    return torch.from_numpy(data).view(dtype).reshape(shape)


# What torch would load.


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype != torch.float4_e2m1fn_x2], ids=str)
@BOTH
def test_every_dtype_comes_bit_for_bit(tmp_path, dtype, new):
    tensors = {"w": noise(dtype, 4, 3), "n": noise(dtype, seed=1), "none": torch.empty(0, 3, dtype=dtype)}

    found = read(save(tensors, tmp_path / "a.pt", new=new))

    assert found == expected(tensors)
    data = save_safetensors(tensors)
    entries = parse_header(data[: 8 + int.from_bytes(data[:8], "little")], len(data)).entries
    assert found == {e.name: (e.dtype, e.shape, data[e.start : e.stop]) for e in entries}


@BOTH
def test_two_numbers_in_a_byte_have_the_shape_that_safetensors_gives_them(tmp_path, new):
    tensor = noise(torch.uint8, 4, 3).view(torch.float4_e2m1fn_x2)
    data = save_safetensors({"w": tensor})

    found = read(save({"w": tensor}, tmp_path / "a.pt", new=new))

    (entry,) = parse_header(data[: 8 + int.from_bytes(data[:8], "little")], len(data)).entries
    assert (
        found == {"w": (entry.dtype, entry.shape, data[entry.start : entry.stop])} == {"w": ("F4", (4, 6), raw(tensor))}
    )


@BOTH
def test_views_of_every_kind_are_gathered(tmp_path, new):
    base = noise(torch.float32, 6, 5, 4)
    views = {
        "permuted": base.permute(2, 0, 1), "row": base[3], "column": base[:, 2, 1], "steps": base[1::2, :, ::3],
        "expanded": base[:, :1, :1].expand(6, 7, 4), "number": base[2, 2, 2], "none": base[3:3],
        "windows": base.flatten().unfold(0, 7, 3), "one": base[2:3, :, 1:2], "same": base, "again": base,
        "channels last": base.reshape(1, 6, 5, 4).contiguous(memory_format=torch.channels_last),
    }  # fmt: skip

    found = read(save(views, tmp_path / "a.pt", new=new))

    assert found == expected(torch.load(tmp_path / "a.pt", weights_only=True)) == expected(views)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), max_size=4),
    st.integers(0, 5),
    st.sampled_from([torch.uint8, torch.bfloat16, torch.float32, torch.complex64]),
    st.sampled_from([(8, 0), (8, 1 << 20), (40, 0), (40, 16), (200, 1 << 20), (1 << 20, 0)]),
    st.randoms(use_true_random=False),
)
def test_any_range_of_any_view_is_what_torch_has_there(tmp_path, sides, offset, dtype, limits, choice):
    shape, stride = [n for n, _ in sides], [step for _, step in sides]
    base = noise(dtype, offset + 1 + sum((n - 1) * step for n, step in sides))
    view = base.as_strided(shape, stride, offset)
    save({"w": view}, tmp_path / "a.pt")

    with pytest.MonkeyPatch.context() as patch, TorchFile(tmp_path / "a.pt") as file:
        patch.setattr(strided, "SPAN", limits[0])
        patch.setattr(strided, "SKIP", limits[1])
        blob = file.tensors["w"]
        for start, stop in [(0, blob.size), *(sorted(choice.choices(range(blob.size + 1), k=2)) for _ in range(9))]:
            assert blob.read(start, stop) == raw(view)[start:stop]


@BOTH
def test_parameters_tied_tensors_and_tensors_with_attributes(tmp_path, new):
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 4))
    module[2].weight = torch.nn.Parameter(module[0].weight[:, :1].expand(4, 4))
    tensors: dict[str, torch.Tensor] = {**module.state_dict(), "tied": module[0].weight}
    tensors["remembers"] = torch.ones(2)
    tensors["remembers"].origin = "somewhere"
    tensors["parameter that remembers"] = torch.nn.Parameter(torch.ones(2))
    tensors["parameter that remembers"].origin = {"a": [torch.zeros(1)]}

    found = read(save(OrderedDict(tensors), tmp_path / "a.pt", new=new))

    assert found == expected(tensors)
    assert found["tied"] == found["0.weight"]


@BOTH
def test_a_state_dict_as_torch_makes_it(tmp_path, new):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4))

    found = read(save(module.state_dict(), tmp_path / "a.pt", new=new))  # with versions, as an attribute

    assert found == expected(module.state_dict())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@BOTH
def test_every_protocol_of_pickle(tmp_path, protocol, new):
    tensors = OrderedDict({"w": noise(torch.float32, 2, 3), "é": noise(torch.int8, 3)})
    torch.save(tensors, tmp_path / "a.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=new)

    assert read(tmp_path / "a.pt") == expected(tensors)


class Old(pickle.Pickler):
    """Writes tensors as torch 0.3 did, with storages that are parts of others."""

    def persistent_id(self, value: object) -> object:
        if isinstance(value, Part):
            return ("storage", value.kind, "root", "cpu", value.count, value.view)
        return None


class Part:
    def __init__(self, view: tuple[str, int, int] | None, kind: object = torch.FloatStorage, count: int = 10) -> None:
        self.view, self.kind, self.count = view, kind, count


class Rebuilt:
    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple[object, ...]:
        return torch._utils._rebuild_tensor, self.arguments


def old_file(value: object) -> bytes:
    """A legacy file with a storage of ten floats, 0 to 9."""
    file = io.BytesIO()
    for head in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": False, "protocol_version": 1001}):
        pickle.dump(head, file, 2)
    Old(file, 2).dump(value)
    pickle.dump(["root"], file, 2)
    return file.getvalue() + (10).to_bytes(8, "little") + np.arange(10, dtype="<f4").tobytes()


@pytest.mark.parametrize("view", [None, ("part", 2, 6)])
def test_files_from_before_torch_1(tmp_path, view):
    (tmp_path / "a.pt").write_bytes(old_file({"w": Rebuilt(Part(view), 1, (2, 2), (2, 1))}))

    found = read(tmp_path / "a.pt")

    assert found == expected(torch.load(tmp_path / "a.pt", weights_only=True))
    assert np.frombuffer(found["w"][2], "<f4").tolist() == ([1, 2, 3, 4] if view is None else [3, 4, 5, 6])


@pytest.mark.parametrize("view", [("part", 2, 4), ("part", 8, 6), ("part", -1, 6), ("part", 0, 99), ("part", 1), 7])
def test_a_part_that_its_storage_does_not_have(tmp_path, view):
    (tmp_path / "a.pt").write_bytes(old_file({"w": Rebuilt(Part(view), 1, (2, 2), (2, 1))}))

    with pytest.raises(BadFile, match=r"a\.pt: "):
        TorchFile(tmp_path / "a.pt")


class Wrapped:
    """A parameter as torch 0.1 to 0.4 wrote it."""

    def __reduce__(self) -> tuple[object, ...]:
        tensor = Rebuilt(Part(None), 1, (2, 2), (2, 1))
        return torch.nn.Parameter, (tensor,), (True, False, OrderedDict())


def test_parameters_from_before_torch_1(tmp_path):
    (tmp_path / "a.pt").write_bytes(old_file(OrderedDict(w=Wrapped())))

    found = read(tmp_path / "a.pt")

    assert found == expected(torch.load(tmp_path / "a.pt", weights_only=True))
    assert np.frombuffer(found["w"][2], "<f4").tolist() == [1, 2, 3, 4]


def test_a_legacy_storage_of_two_classes_is_as_long_as_the_first_says(tmp_path):
    value = {"w": Rebuilt(Part(None), 0, (10,), (1,)), "b": Rebuilt(Part(None, torch.ByteStorage, 40), 4, (4,), (1,))}
    (tmp_path / "a.pt").write_bytes(old_file(value))

    # What the second class means for `b` is not the same in all versions of torch.
    assert read(tmp_path / "a.pt")["w"] == expected(torch.load(tmp_path / "a.pt", weights_only=True))["w"]


# Which of the tensors.

W, V = {"w": torch.ones(2)}, {"v": torch.zeros(3)}
MOMENTS = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
PLACES: dict[str, tuple[Any, str | None, list[str]]] = {
    "with numbers beside": ({**W, "epoch": 3, "lr": 0.1, "name": "x", "flag": True, "none": None}, None, ["w"]),
    "under state_dict": ({"state_dict": W, "optimizer": MOMENTS, "epoch": 3}, None, ["w"]),
    "under model": ({"model": OrderedDict(W), "ema": V}, None, ["w"]),
    "beside a best score": ({"state_dict": W, "best": torch.tensor(0.5)}, None, ["w"]),
    "one mapping under two names": ({"model": W, "state_dict": W}, None, ["w"]),
    "by key": ({"model": W, "net": V}, "net", ["v"]),
    "by a path": ({"a": {"b.c": {"d": V}}, "model": W}, "a.b.c.d", ["v"]),
    "by a key with a dot": ({"a": W, "a.b": V}, "a.b", ["v"]),
    "the outermost": ({**W, "ema": V}, ".", ["w"]),
    "with a prefix": ({"module.w": torch.ones(2)}, None, ["module.w"]),
}


@pytest.mark.parametrize("case", PLACES)
@BOTH
def test_the_weights_are_found(tmp_path, case, new):
    value, key, names = PLACES[case]

    assert list(read(save(value, tmp_path / "a.pt", new=new), key)) == names


UNPLAIN: dict[str, tuple[Any, str | None, str]] = {
    "two that are known": ({"model": W, "net": V}, None, "'model' .1., 'net' .1."),
    "tensors at two levels": ({**W, "ema": V}, None, "'.' .1., 'ema' .1."),
    "tensors beside the known": ({**W, "model": V}, None, "'.' .1., 'model' .1."),
    "tensors within the known": ({"model": {**W, "head": V}}, None, r"'model.head' .1."),
    "one that is not known": ({"weight_file": W}, None, "'weight_file' .1."),
    "a dot as a name": ({**W, ".": V}, None, "'.' .1., 'str' .1."),
    "too deep": ({"model": {"language_model": W}}, None, "'model.language_model' .1."),
    "no such key": ({"model": W}, "ema", "holds no tensors under 'ema'"),
    "a key that names a number": ({"model": W, "n": 3}, "n", "holds no tensors under 'n'"),
    "a key that names a tensor": ({"model": W}, "model.w", "holds no tensors under 'model.w'"),
    "a key with a zero byte": ({"model": W}, "\0", "holds no tensors under"),
    "none": ({"epoch": 3}, None, "holds no tensors"),
    "a list": ([torch.ones(1)], None, "no mapping .* but 'list'"),
    "a tensor": (torch.ones(1), None, "no mapping .* but 'tensor'"),
    "a number": (3, None, "no mapping .* but 'int'"),
    "a namespace": (argparse.Namespace(w=torch.ones(1)), None, "no mapping .* but 'argparse.Namespace'"),
    "numbers as names": ({0: torch.ones(1)}, None, "named by a 'int'"),
    "a hostile name": ({"w\n": torch.ones(1)}, None, "control characters"),
    "a name that is not normal": ({"e\u0301": torch.ones(1)}, None, "not NFC"),
    "an empty name": ({"": torch.ones(1)}, None, "1 to 512 bytes"),
    "half a character": ({"\ud800": torch.ones(1)}, None, "a.pt: "),
}


@pytest.mark.parametrize("case", UNPLAIN)
@BOTH
def test_where_it_is_not_plain_the_user_is_asked(tmp_path, case, new):
    value, key, message = UNPLAIN[case]
    save(value, tmp_path / "a.pt", new=new)

    with pytest.raises(BadFile, match=message) as caught:
        TorchFile(tmp_path / "a.pt", key)

    assert "\n" not in caught.value.message
    assert ("--key" in (caught.value.hint or "")) == ("not plain which" in caught.value.message)


def test_what_lies_beside_the_tensors_is_told(tmp_path):
    others = {
        "args": argparse.Namespace(lr=1),
        "history": [1.5, np.float64(2)],
        "array": np.ones(3),
        "epoch": np.int64(3),
    }
    save({**W, **others, "step": 3, "dtype": torch.float32, "device": torch.device("cpu")}, tmp_path / "a.pt")

    with TorchFile(tmp_path / "a.pt", ".") as file:
        assert list(file.tensors) == ["w"]
        assert file.left_out == ("args", "history", "array", "epoch", "dtype", "device")


REFUSED: dict[str, tuple[Callable[[], torch.Tensor], str]] = {
    "sparse": (lambda: torch.eye(3).to_sparse(), "is sparse"),
    "sparse rows": (lambda: torch.eye(3).to_sparse_csr(), "is sparse"),
    "quantized": (lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "is quantized"),
    "on no device": (lambda: torch.empty(3, device="meta"), "meta device"),
    "nested": (lambda: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]), "is a nested one"),
    "complex128": (lambda: torch.ones(2, dtype=torch.complex128), "is 'complex128'"),
    "complex32": (lambda: torch.zeros(4, dtype=torch.uint8).view(torch.complex32), "is 'complex32'"),
    "conjugate": (lambda: torch.ones(2, dtype=torch.complex64).conj(), "marked as conjugate"),
    "negative": (lambda: torch.ones(2, dtype=torch.complex64).conj().imag, "marked as conjugate or negative"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", REFUSED)
def test_tensors_without_plain_values_are_refused_by_name(tmp_path, case):
    make, message = REFUSED[case]
    save({"good": torch.ones(1), "bad.weight": make()}, tmp_path / "a.pt")

    with pytest.raises(BadFile, match=f"tensor 'bad.weight' .*{message}"):
        TorchFile(tmp_path / "a.pt")


class Net(torch.nn.Module):
    """A model of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(2, 2)


@pytest.mark.parametrize(
    "wrap", [lambda net: net, lambda net: {"model": net, "epoch": 3}], ids=["alone", "in a mapping"]
)
@BOTH
@pytest.mark.filterwarnings("ignore")
def test_a_whole_model_is_refused_and_its_state_dict_asked_for(tmp_path, wrap, new):
    save(wrap(Net()), tmp_path / "a.pt", new=new)

    with pytest.raises(BadFile, match=r"whole model, pickled as '.*Net'") as caught:
        TorchFile(tmp_path / "a.pt")

    assert "state_dict" in (caught.value.hint or "")


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_refused(tmp_path):
    torch.jit.script(Net()).save(tmp_path / "a.pt")

    with pytest.raises(BadFile, match="TorchScript"):
        TorchFile(tmp_path / "a.pt")


def plain_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/b.txt", "text")
    return file.getvalue()


OTHERS = {
    "empty": (b"", "not a PyTorch checkpoint"),
    "text": (b"weights", "not a PyTorch checkpoint"),
    "three bytes": (b"PK\3", "not a PyTorch checkpoint"),
    "safetensors": (save_safetensors(W), "not a PyTorch checkpoint"),
    "a tar": (b"x" * 257 + b"ustar" + bytes(600), "before torch 0.2"),
    "a zip": (plain_zip(), "no PyTorch checkpoint"),
    "an empty zip": (b"PK\5\6" + bytes(18), "not a PyTorch checkpoint"),
    "a pickle": (pickle.dumps({"a": 1}), "a pickle, but no PyTorch checkpoint"),
    "a pickle of a later version": (
        pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(1002) + pickle.dumps({}), "unknown version"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_other_files_are_no_checkpoints(tmp_path, case):
    data, message = OTHERS[case]
    (tmp_path / "a.bin").write_bytes(data)

    with pytest.raises(BadFile, match=message):
        TorchFile(tmp_path / "a.bin")


@pytest.mark.parametrize("what", ["missing", "folder", "pipe"])
def test_what_is_no_file_is_refused_at_once(tmp_path, what):
    path = tmp_path / "a.pt"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)

    with pytest.raises(BadFile, match=r"a\.pt"):
        TorchFile(path)


# Tensors that lie about where they are.


class Stored:
    """A storage that the file says it has."""

    def __init__(self, key: object = "0", count: object = 6, kind: object = torch.FloatStorage) -> None:
        self.id = ("storage", kind, key, "cpu", count)


class Made:
    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple[object, ...]:
        return torch._utils._rebuild_tensor_v2, (*self.arguments, False, OrderedDict())


class Forger(pickle.Pickler):
    def persistent_id(self, value: object) -> object:
        return value.id if isinstance(value, Stored) else None


def forge(value: object, path: Path, storages: Mapping[str, int] = {"0": 24}, **members: bytes) -> Path:
    """A checkpoint of `value`, with storages of so many bytes."""
    text = io.BytesIO()
    Forger(text, 2).dump(value)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", text.getvalue())
        for name, data in members.items():
            archive.writestr(f"a/{name}", data)
        for key, size in storages.items():
            archive.writestr(f"a/data/{key}", bytes(range(size)))
    return path


def test_a_forged_checkpoint_is_one_that_torch_reads(tmp_path):
    path = forge({"w": Made(Stored(), 1, (2, 2), (2, 1))}, tmp_path / "a.pt", byteorder=b"little", version=b"3\n")

    assert read(path) == expected(torch.load(path, weights_only=True))


LIES = {
    "offset beyond": Made(Stored(), 6, (1,), (1,)),
    "offset far beyond": Made(Stored(), 2**62, (1,), (1,)),
    "offset before": Made(Stored(), -1, (1,), (1,)),
    "stride before": Made(Stored(), 5, (2,), (-1,)),
    "shape beyond": Made(Stored(), 0, (7,), (1,)),
    "shape and offset beyond": Made(Stored(), 2, (5,), (1,)),
    "stride beyond": Made(Stored(), 0, (2, 2), (5, 1)),
    "shape that overflows 64 bits": Made(Stored(), 0, (2**33, 2**33), (1, 1)),
    "stride that overflows 64 bits": Made(Stored(), 0, (4,), (2**62,)),
    "a huge dimension": Made(Stored(), 0, (2**49,), (0,)),
    "a huge dimension beside none": Made(Stored(), 0, (2**49, 0), (0, 0)),
    "a negative dimension": Made(Stored(), 0, (-1,), (1,)),
    "two negative dimensions": Made(Stored(), 0, (-2, -3), (3, 1)),
    "65 dimensions": Made(Stored(), 0, (1,) * 65, (1,) * 65),
    "40 dimensions out of order": Made(Stored(), 0, (2,) * 40, (0,) * 40),
    "more strides than dimensions": Made(Stored(), 0, (2,), (1, 1)),
    "fewer strides than dimensions": Made(Stored(), 0, (2, 2), (1,)),
    "a number of 10,000 digits": Made(Stored(), 10**9999, (1,), (1,)),
    "a dimension of 10,000 digits": Made(Stored(), 0, (10**9999,), (1,)),
    "a dimension that is a fraction": Made(Stored(), 0, (1.5,), (1,)),
    "a dimension that is true": Made(Stored(), 0, (True,), (1,)),
    "a shape that is text": Made(Stored(), 0, "22", (2, 1)),
    "no storage": Made("0", 0, (1,), (1,)),
    "storage longer than the file says": Made(Stored(count=7), 0, (1,), (1,)),
    "storage of 2^70 elements": Made(Stored(count=2**70), 0, (1,), (1,)),
    "storage of less than none": Made(Stored(count=-1), 0, (1,), (1,)),
    "storage with other widths": Made(Stored(kind=torch.DoubleStorage), 0, (6,), (1,)),
    "storage that is not there": Made(Stored("1"), 0, (1,), (1,)),
    "storage outside": Made(Stored("../data.pkl"), 0, (1,), (1,)),
    "storage of a class of its own": Made(Stored(kind=torch.Generator), 0, (1,), (1,)),
    "storage under a list": Made(Stored(["0"]), 0, (1,), (1,)),
    "more than 2^40 bytes in two": [Made(Stored(), 0, (2**30 - 1,), (0,))] * 258,
    "4 GiB and one element from 24 bytes": Made(Stored(), 0, (2**30 + 1,), (0,)),
    "windows of 4 GiB over 24 bytes": Made(Stored(), 0, (3, 2**28, 2**28), (1, 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("case", LIES)
def test_a_tensor_that_lies_is_refused(tmp_path, case):
    lie = LIES[case]
    value = {str(i): item for i, item in enumerate(lie)} if isinstance(lie, list) else {"w": lie}

    with pytest.raises(BadFile, match=r"a\.pt: ") as caught:
        TorchFile(forge(value, tmp_path / "a.pt"))

    assert len(caught.value.message) < 500
    assert "crashed" not in caught.value.message


def test_an_expanded_tensor_is_read_piece_by_piece(tmp_path):
    path = forge({"w": Made(Stored(), 1, (2**18, 2**12), (0, 0))}, tmp_path / "a.pt")

    with TorchFile(path) as file:
        blob = file.tensors["w"]
        assert blob.size == 2**32
        assert blob.read(2**32 - 8, 2**32) == bytes([4, 5, 6, 7] * 2)


def test_the_other_byte_order_is_refused(tmp_path):
    path = forge({"w": Made(Stored(), 0, (6,), (1,))}, tmp_path / "a.pt", byteorder=b"big")

    with pytest.raises(BadFile, match="in another order"):
        TorchFile(path)


def test_compressed_members_are_refused_and_never_expanded(tmp_path):
    plain = zipfile.ZipFile(save({"w": torch.zeros(1 << 20)}, tmp_path / "plain.pt"))
    with plain, zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))

    with pytest.raises(BadFile, match="is compressed"):
        TorchFile(tmp_path / "a.pt")


class Changed:
    """A tensor whose values are replaced once it is made."""

    def __init__(self, state: object) -> None:
        self.state = state

    def __reduce__(self) -> tuple[object, ...]:
        return torch._utils._rebuild_tensor_v2, (Stored(), 0, (2,), (1,), False, OrderedDict()), self.state


@pytest.mark.parametrize("state", [(Stored(), 2, (2,), (1,)), {"data": 1}, (1, 2, 3, 4, 5), 3])
def test_a_tensor_that_is_changed_afterwards_is_refused(tmp_path, state):
    with pytest.raises(BadFile, match="changes what no checkpoint changes"):
        TorchFile(forge({"w": Changed(state)}, tmp_path / "a.pt"))


def test_too_many_tensors_are_refused(tmp_path, monkeypatch):
    from wvc.repo import unpickle

    monkeypatch.setattr(unpickle, "MAX_TENSORS", 5)
    with pytest.raises(BadFile, match="more than 5 tensors"):
        TorchFile(save({str(i): torch.ones(1) for i in range(6)}, tmp_path / "a.pt"))


# Files that are damaged, or change.


@BOTH
def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path, new):
    base = noise(torch.float32, 64, 64)
    path = save({"w": base, "t": base.T}, tmp_path / "a.pt", new=new)

    with TorchFile(path) as file:
        os.truncate(path, 2000)
        for name in ("w", "t"):
            with pytest.raises(BadFile, match="shorter"):
                file.tensors[name].read(0, 64 * 64 * 4)


@pytest.mark.parametrize("cut", [1, 23, 24, 25, 31, 32, 33])
@BOTH
def test_a_file_that_was_cut_is_noticed_when_it_is_opened(tmp_path, cut, new):
    path = save({"w": torch.ones(2), "v": torch.ones(2, 2)}, tmp_path / "a.pt", new=new)
    os.truncate(path, path.stat().st_size - cut)

    with pytest.raises(BadFile, match="cut short"):
        TorchFile(path)


def test_reading_in_threads_gives_the_same(tmp_path):
    base = noise(torch.float32, 300, 200)
    path = save({"w": base, "t": base.T}, tmp_path / "a.pt")
    ranges = [(name, start, start + 7001) for name in ("w", "t") for start in range(0, 200_000, 997)]

    with TorchFile(path) as file, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda item: file.tensors[item[0]].read(item[1], item[2]), ranges))

    whole = {"w": raw(base), "t": raw(base.T)}
    assert found == [whole[name][start:stop] for name, start, stop in ranges]


def test_what_was_closed_is_not_another_file(tmp_path):
    file = TorchFile(save(W, tmp_path / "a.pt"))
    file.close()
    file.close()

    with (tmp_path / "other").open("wb"), pytest.raises(OSError, match="descriptor"):
        file.tensors["w"].read(0, 8)


@BOTH
def test_a_file_that_was_cut_or_whose_bits_flipped_is_a_bad_file_at_most(tmp_path, new, request):
    base = noise(torch.float32, 5, 4)
    data = save({"w": base, "t": base.T, "n": {"lr": 1.5}}, tmp_path / "a.pt", new=new).read_bytes()
    choice = random.Random(0)
    path = tmp_path / "b.pt"
    times = 2000 if request.config.getoption("--long") else 60

    for i in range(times):
        if i % 2:
            path.write_bytes(data[: choice.randrange(len(data))])
        else:
            damaged = bytearray(data)
            for _ in range(choice.choice([1, 1, 5])):
                damaged[choice.randrange(len(data))] ^= 1 << choice.randrange(8)
            path.write_bytes(damaged)
        try:
            found = read(path)
        except BadFile as error:
            assert str(path) in error.message and "\n" not in error.message
        else:
            assert i % 2 == 0
            assert sum(len(raw) for *_, raw in found.values()) <= torchfile.MOST_REPEATED
