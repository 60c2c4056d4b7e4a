"""Hostile pickles: nothing that they name is imported or called, and what they cost is bounded."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wvc.errors import BadFile, WvcError
from wvc.repo import inert, torchfile_child, unpickle
from wvc.repo.inert import Opaque, Reader, Refused
from wvc.repo.torchfile import TorchFile

ROOT = str(unpickle.ROOT)
LEGACY = b"".join(pickle.dumps(head, 2) for head in (0x1950A86A20F9469CFC6C, 1001, {}))
TENSOR = (  # at {"w": ...}: six floats of storage "0"
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ"
    b"K\0K\x06\x85K\x01\x85\x89}tR"
)


def zipped(text: bytes, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", text)
        archive.writestr("a/data/0", bytes(24))
    return path


def legacy(text: bytes, path: Path) -> Path:
    path.write_bytes(LEGACY + text + pickle.dumps(["0"], 2) + (6).to_bytes(8, "little") + bytes(24))
    return path


def beside(text: bytes) -> bytes:
    """A state dict in which the value that `text` makes stands beside a tensor."""
    return b"\x80\x02}(X\x01\0\0\0w" + TENSOR + b"X\x01\0\0\0x" + text + b"u."


FORMATS = pytest.mark.parametrize("write", [zipped, legacy])


@FORMATS
def test_the_tensor_beside_is_a_good_one(tmp_path, write):
    with TorchFile(write(beside(b"N"), tmp_path / "a.pt")) as file:
        assert {name: (b.dtype, b.shape) for name, b in file.tensors.items()} == {"w": ("F32", (6,))}
        assert file.left_out == ()


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


# Ways to call `touch FILE`, and to reach what could.


def attacks(file: Path) -> dict[str, bytes]:
    shell = text(f"touch {file}")
    python = text(f"open({str(file)!r}, 'w')")
    return {
        "reduce": b"cos\nsystem\n" + shell + b"\x85R",
        "reduce posix": b"cposix\nsystem\n" + shell + b"\x85R",
        "python 2's name": b"c__builtin__\neval\n" + python + b"\x85R",
        "eval": b"cbuiltins\neval\n" + python + b"\x85R",
        "exec": b"cbuiltins\nexec\n" + python + b"\x85R",
        "open": b"cbuiltins\nopen\n" + text(str(file)) + text("w") + b"\x86R",
        "instance": b"(" + shell + b"ios\nsystem\n",
        "object": b"(cos\nsystem\n" + shell + b"o",
        "stack global": text("os") + text("system") + b"\x93" + shell + b"\x85R",
        "new object": b"csubprocess\nPopen\n" + b"(" + text("touch") + text(str(file)) + b"l\x85\x81",
        "new object with keywords": b"csubprocess\nPopen\n)}" + text("args") + b"(" + shell + b"ls\x92",
        "import": b"cbuiltins\n__import__\n" + text("antigravity") + b"\x85R",
        "getattr": b"cbuiltins\ngetattr\ncbuiltins\n__import__\n" + text("os") + b"\x85R" + text("system") + b"\x86R"
        + shell + b"\x85R",
        "attribute of a name": text("os") + text("path.os.system") + b"\x93" + shell + b"\x85R",
        "run": b"crunpy\n_run_code\n" + python + b"}\x86R",
        "torch's own load": b"ctorch.storage\n_load_from_bytes\n" + b"C\x04abcd\x85R",
        "torch hub": b"ctorch.hub\nload\n" + text("x/y") + text("z") + b"\x86R",
        "numpy": b"cnumpy.testing._private.utils\nrunstring\n" + python + b"}\x86R",
        "a state that calls": b"cos\n_wrap_close\n)\x81}" + text("__setstate__") + b"cos\nsystem\nsb" + shell + b"b",
        "a list that calls": b"cos\nsystem\n)R(" + shell + b"e" + shell + b"a",
        "a mapping that calls": b"cos\nsystem\n)R(" + shell + shell + b"u" + shell + shell + b"s",
        "a set that calls": b"cos\nsystem\n)R(" + shell + b"\x90",
        "a module in torch": b"ctorch._utils\nos.system\n" + shell + b"\x85R",
        "a storage class that calls": b"cos\nsystemStorage\n" + shell + b"\x85R",
        "a rebuilder that calls": b"ctorch._utils\n_rebuild_from_type_v2\n(cos\nsystem\nN" + shell + b"\x85NtR",
        "a parameter that calls": b"ctorch._utils\n_rebuild_parameter\n(cos\nsystem\n" + shell + b"\x85R\x89}tR",
        "an ordered dictionary of calls": b"ccollections\nOrderedDict\n((" + text("a") + b"cos\nsystem\n" + shell
        + b"\x85Rtl\x85R",
        "a dictionary with a factory": b"ccollections\ndefaultdict\ncos\nsystem\n\x85R" + shell + b"Ns",
    }  # fmt: skip


@pytest.mark.parametrize("case", attacks(Path("x")))
@FORMATS
def test_nothing_that_a_pickle_names_is_called(tmp_path, case, write):
    touched = tmp_path / "touched"
    path = write(beside(attacks(touched)[case]), tmp_path / "a.pt")

    try:
        with TorchFile(path) as file:
            assert list(file.tensors) == ["w"]
    except BadFile as error:
        assert "tried" not in error.message  # it was stopped by what it met, not by the last line of defence

    assert not touched.exists()


def test_the_attacks_are_real(tmp_path):
    """Otherwise the test above could not fail."""
    touched = tmp_path / "touched"
    for case in ("reduce", "eval", "stack global", "getattr", "attribute of a name", "instance"):
        subprocess.run(
            [sys.executable, "-c", "import pickle, sys; pickle.loads(sys.stdin.buffer.read())"],
            input=b"\x80\x04" + attacks(touched)[case] + b".", check=True, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        assert touched.exists(), case
        touched.unlink()


@pytest.mark.parametrize("case", attacks(Path("x")))
def test_nothing_is_imported_here_either(case):
    before = set(sys.modules)

    try:
        Reader(io.BytesIO(b"\x80\x04" + attacks(Path("/nowhere/x"))[case] + b".")).load()
    except (Refused, TypeError, pickle.UnpicklingError) as error:
        assert "nowhere" not in str(error)

    assert set(sys.modules) == before


def test_an_opaque_thing_keeps_nothing():
    thing = Reader(io.BytesIO(b"\x80\x04cfoo\nBar\n)\x81}" + text("a") + b"K\x01sb.")).load()

    assert isinstance(thing, Opaque)
    assert not hasattr(thing, "a")
    assert thing.origin == "foo.Bar"
    assert isinstance(thing("x", y=1), Opaque)


def test_names_without_number_are_not_remembered():
    many = b"".join(b"cm\nc%d\n" % i for i in range(inert.MOST_CLASSES + 9))

    found = Reader(io.BytesIO(b"\x80\x04](" + many + b"e.")).load()

    assert len(set(found)) == inert.MOST_CLASSES + 1
    assert found[-1] is Opaque


@pytest.mark.parametrize("what", [inert.Names, Opaque], ids=str)
def test_classes_that_stand_for_others_cannot_be_changed(what):
    before = dict(vars(what))
    name = b"ccollections\nOrderedDict\n" if what is inert.Names else b"cfoo\nBar\n"

    for state in (b"}" + text("x") + b"K\x01s", b"N}" + text("x") + b"K\x01s\x86"):
        with pytest.raises((TypeError, Refused)):
            Reader(io.BytesIO(b"\x80\x04" + name + state + b"b.")).load()

    assert dict(vars(what)) == before


# What it may cost.


def deep(opening: bytes, closing: bytes, n: int = 200_000) -> bytes:
    return opening * n + b"N" + closing * n


def memoized(n: int) -> bytes:
    """A tuple of two that are the same, n times over: 2^n leaves."""
    return b")" + b"2\x86" * n


BOMBS: dict[str, bytes] = {
    "bytes of 2^40": b"\x8e" + struct.pack("<Q", 2**40) + b"x",
    "text of 2^62": b"\x8d" + struct.pack("<Q", 2**62) + b"x",
    "bytes of 2^64": b"\x8e" + struct.pack("<Q", 2**64 - 1) + b"x",
    "writable bytes of 2^35": b"\x96" + struct.pack("<Q", 2**35),
    "a frame of 2^60": b"\x95" + struct.pack("<Q", 2**60) + b"N",
    "a memo of 2^32": b"Nr\xff\xff\xff\xff",
    "a memo of 10^18": b"Np1000000000000000000\n",
    "a number of 2 GB": b"\x8b" + struct.pack("<i", 2**31 - 1),
    "a number of fewer than no bytes": b"\x8b" + struct.pack("<i", -1),
    "a number of 10,000 digits": b"L" + b"9" * 10_000 + b"L\n",
    "a fraction of 10,000 digits": b"F" + b"9" * 10_000 + b"x\n",
    "lists in lists": deep(b"](", b"e"),
    "tuples in tuples": b"N" + b"\x85" * 200_000,
    "mappings in mappings": deep(b"}N", b"s"),
    "parameters of parameters": b"ctorch._utils\n_rebuild_from_type_v2\nq\x01"
        + b"(h\x01N" * 200_000 + b")Nt" + b"Nt" * 199_999 + b"R",
    "tuples in tuples as a name": b"}N" + b"\x85" * 200_000 + b"Ns",
    "marks": b"(" * 5_000_000,
    "things that are taken from nothing": b"0" * 99,
    "a list of a million classes": b"](" + b"".join(b"cm\nc%d\n" % i for i in range(1_000_000)) + b"e",
    "an extension": b"\x82\x01",
    "a buffer from elsewhere": b"\x97",
    "a persistent text": b"P../../etc/passwd\n",
    "a persistent number": b"K\x05Q",
    "a persistent class": text("module") + b"\x85Q",
    "an end that is none": b"",
    "a mapping that holds itself": b"}q\x05" + text("a") + b"h\x05s",
    "a list that holds itself": b"]q\x05h\x05a",
    "2^60 leaves": memoized(60),
}  # fmt: skip


@pytest.mark.parametrize("case", BOMBS)
@FORMATS
def test_a_bomb_is_one_clear_error_or_nothing(tmp_path, case, write):
    start = time.monotonic()

    try:
        with TorchFile(write(beside(BOMBS[case]), tmp_path / "a.pt")) as file:
            assert list(file.tensors) == ["w"]
    except BadFile as error:
        assert "\n" not in error.message
        assert "tried" not in error.message
        assert len(error.message) < 500

    assert time.monotonic() - start < 60


@pytest.mark.parametrize("case", ["bytes of 2^40", "a memo of 2^32", "text of 2^62", "writable bytes of 2^35"])
def test_huge_allocations_are_refused_for_their_size(tmp_path, case):
    with pytest.raises(BadFile, match="more memory than a checkpoint should"):
        TorchFile(zipped(beside(BOMBS[case]), tmp_path / "a.pt"))


def test_memory_is_limited(tmp_path):
    """96 MB that are there are more than one reader may have, and less than the other may."""
    some = 12 << 20
    data = b"](" + b"".join(b"\x8e" + struct.pack("<Q", some) + bytes(some) for _ in range(8)) + b"e"
    path = zipped(beside(data), tmp_path / "a.pt")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpickle, "MEMORY", 80 << 20)
        with pytest.raises(BadFile, match="more memory than a checkpoint should"):
            TorchFile(path)
    with TorchFile(path) as file:
        assert list(file.tensors) == ["w"]


ENDLESS = b"}" + memoized(60) + b"Ns"  # to hash that as a name takes centuries


@pytest.mark.parametrize("limit", ["PROCESSOR", "PATIENCE"])
def test_time_is_limited(tmp_path, limit, monkeypatch):
    monkeypatch.setattr(unpickle, limit, 1)
    start = time.monotonic()

    with pytest.raises(BadFile, match="takes longer to read"):
        TorchFile(zipped(beside(ENDLESS), tmp_path / "a.pt"))

    assert time.monotonic() - start < 30


def test_an_answer_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(unpickle, "ANSWER", 5000)
    many = b"".join(text(f"name {i}") + TENSOR for i in range(500))

    with pytest.raises(BadFile, match="more tensors than fit"):
        TorchFile(zipped(b"\x80\x02}(" + many + b"u.", tmp_path / "a.pt"))


def test_a_pickle_that_goes_on_in_another_member(tmp_path):
    name = "a/data/0"
    start = beside(b"B" + (30 + len(name)).to_bytes(4, "little"))[:-2]  # bytes that are the other member's header
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", start)
        archive.writestr(name, b"u." + bytes(22))

    with pytest.raises(BadFile, match="does not end where it should"):
        TorchFile(tmp_path / "a.pt")


# The process.


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run `code` as the reader would run."""
    program = f"import sys; sys.path.append({ROOT!r}); from wvc.repo import torchfile_child as child; {code}"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, *arguments], capture_output=True, env={}, check=False
    )


def test_it_starts_with_the_standard_library_alone():
    result = run("print(*sorted({name.split('.')[0] for name in sys.modules if not name.startswith('__')}))")

    modules = set(result.stdout.decode().split())
    assert modules - set(sys.stdlib_module_names) == {"wvc"}


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.system('touch {0}')",
        "open('{0}', 'w')",
        "open('/etc/passwd')",
        "import socket; socket.socket()",
        "import antigravity",
        "eval('1')",
        "exec('1')",
        "import os; os.listdir('/')",
        "import subprocess; subprocess.run(['touch', '{0}'])",
        "import os; os.fork()",
    ],
)
def test_what_a_reader_never_does_ends_it(tmp_path, code):
    """The last line of defence, should a pickle ever get so far."""
    touched = tmp_path / "touched"

    result = run("child.limit(2 << 30, 60); " + code.format(touched))

    assert result.returncode == torchfile_child.FORBIDDEN
    assert not touched.exists()


def test_files_and_processes_are_limited_by_the_kernel_too():
    names = ("AS", "CPU", "FSIZE", "NOFILE", "NPROC", "CORE")
    limits = f"[r.getrlimit(getattr(r, 'RLIMIT_' + name)) for name in {names}]"

    found = run(f"import resource as r; child.limit(1 << 30, 7); print({limits})").stdout.decode().strip()

    assert found == str([(1 << 30, 1 << 30), (7, 7), (0, 0), (0, 0), (0, 0), (0, 0)])


def test_neither_folder_nor_environment_have_a_say(tmp_path, monkeypatch):
    touched = tmp_path / "touched"
    for name in ("json.py", "pickle.py", "resource.py", "sitecustomize.py", "usercustomize.py"):
        (tmp_path / name).write_text(f"open({str(touched)!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "json.py"))

    with TorchFile(zipped(beside(b"N"), Path("a.pt"))) as file:
        assert list(file.tensors) == ["w"]

    assert not touched.exists()


def test_secrets_in_the_environment_stay_here(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "s3cret")
    seen = []
    start = subprocess.Popen

    def watched(command: list[str], *, env: dict[str, str], **options: object) -> object:
        seen.append(env)
        assert command[1:3] == ["-I", "-S"]  # no paths of the user's, and nothing that runs at every start
        return start(command, env=env, **options)

    monkeypatch.setattr(subprocess, "Popen", watched)
    TorchFile(zipped(beside(b"N"), tmp_path / "a.pt")).close()

    assert len(seen) == 1 and set(seen[0]) <= {"LD_LIBRARY_PATH"}


@pytest.mark.parametrize("python", ["/nowhere/python", "", "/bin/false"])
def test_a_python_that_does_not_start(tmp_path, monkeypatch, python):
    monkeypatch.setattr(sys, "executable", python)
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(WvcError, match="cannot start") as caught:
        TorchFile(zipped(beside(b"N"), tmp_path / "a.pt"))

    assert not isinstance(caught.value, BadFile)


# Its answer.

ANSWERS = {
    "a storage": ["storage", "0", "FloatStorage", 6, 0, 6],
    "a tensor": ["tensor", "w", "", [6], [1], 0, 0],
    "an end": ["end", 9],
}


def answering(*lines: object) -> Callable[[int, str], tuple[bytes, int]]:
    raw = b"".join(line if isinstance(line, bytes) else pickle_json(line) for line in lines)
    return lambda fd, asked: (b"ready\n" + raw, 0)


def pickle_json(line: object) -> bytes:
    import json

    return json.dumps(line).encode() + b"\n"


LYING: dict[str, list[object]] = {
    "nothing": [],
    "no end": [ANSWERS["a storage"], ANSWERS["a tensor"]],
    "no storage": [ANSWERS["a tensor"], ANSWERS["an end"]],
    "another storage": [ANSWERS["a storage"], [*ANSWERS["a tensor"][:-1], 1], ANSWERS["an end"]],
    "a storage before the first": [ANSWERS["a storage"], [*ANSWERS["a tensor"][:-1], -1], ANSWERS["an end"]],
    "a tensor twice": [ANSWERS["a storage"], ANSWERS["a tensor"], ANSWERS["a tensor"], ANSWERS["an end"]],
    "a shape of text": [ANSWERS["a storage"], ["tensor", "w", "", ["6"], [1], 0, 0], ANSWERS["an end"]],
    "a shape in a shape": [ANSWERS["a storage"], ["tensor", "w", "", [[6]], [1], 0, 0], ANSWERS["an end"]],
    "a fraction": [ANSWERS["a storage"], ["tensor", "w", "", [6.0], [1], 0, 0], ANSWERS["an end"]],
    "no list": [{"end": 9}],
    "a number": [9],
    "no JSON": [b"hello\n"],
    "no text": [b"\xff\xfe\n"],
    "a deep list": [b"[" * 100_000 + b"\n"],
    "a long number": [b'["end", ' + b"9" * 10_000 + b"]\n"],
    "half a line": [ANSWERS["a storage"], b'["tensor", "w"'],
    "a dtype of no kind": [ANSWERS["a storage"], ["tensor", "w", "float31", [6], [1], 0, 0], ANSWERS["an end"]],
    "a storage of no kind": [["storage", "0", "Storage", 6, 0, 6], ANSWERS["a tensor"], ANSWERS["an end"]],
    "a refusal with a line break": [["refused", "bad\n\x1b[31m\u202e", None]],
    "a long refusal": [["refused", "x" * 100_000, "y" * 100_000]],
}


@pytest.mark.parametrize("case", LYING)
def test_an_answer_that_makes_no_sense_is_refused(tmp_path, case, monkeypatch):
    monkeypatch.setattr(unpickle, "_run", answering(*LYING[case]))

    with pytest.raises(BadFile) as caught:
        TorchFile(zipped(beside(b"N"), tmp_path / "a.pt"))

    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 1000 and len(caught.value.hint or "") < 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda x: st.lists(x, max_size=4),
    max_leaves=8,
)
LINES = st.tuples(
    st.sampled_from(["storage", "tensor", "problem", "refused", "left", "order", "end"]), st.lists(JSON, max_size=6)
)


@given(st.lists(LINES.map(lambda line: [line[0], *line[1]]) | st.sampled_from(list(ANSWERS.values())), max_size=5))
def test_any_answer_is_taken_apart_or_refused(lines):
    answer, _ = answering(*lines)(0, "")

    try:
        contents = unpickle._parsed(Path("a.pt"), answer.splitlines()[1:])
    except (BadFile, ValueError, TypeError, IndexError):
        return
    assert all(type(n) is int for view in contents.views for n in (*view.shape, *view.stride, view.offset))
