"""Small inputs that would take much: each is refused in under a second, in under 256 MB more than wvc itself takes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

BEGIN = """
import hashlib, json, os, resource, sys, time
from pathlib import Path
import numpy, zstandard
from wvc.errors import WvcError
from wvc.repo import objects, sources
from wvc.store import canonical, codecs, header, packs, reader, records

def sha(data): return hashlib.sha256(data).hexdigest()

def safetensors(text):
    Path("bomb.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    return lambda: sources.open(Path("bomb.safetensors"))

def pack(metadata, entries, body):
    head, position = {"__metadata__": metadata}, 0
    for id, size in entries:
        head[id] = {"dtype": "U8", "shape": [size], "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(head).encode()
    raw = len(text).to_bytes(8, "little") + text
    name = sha(raw) + "." + "0" * 16
    Path(name + ".safetensors").write_bytes(raw + body)
    return name

def coded(frame, size):
    chunk = b"\\0\\2" + len(frame).to_bytes(4, "little") + frame
    stored = chunk + len(chunk).to_bytes(4, "little")
    id = "1" * 64
    coding = {id: ["plain", "U8", size, 0, None, sha(stored)]}
    name = pack({"wvc": "pack 1", "objects": "0", "codecs": json.dumps(coding)}, [(id, len(stored))], stored)
    return lambda: reader.Reader(Path("."), lambda _: [name]).read(id)

def commit(**fields):
    value = {"_type": "wvc.commit/1", "manifest": "0" * 64, "weights": "0" * 64, "parents": [], "author": "a",
             "created": 0, "generation": 1, "message": "m", "how": {"kind": "import"}, **fields}
    data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    return lambda: objects.parse(data)
"""

END = """
wvc_itself = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
# Memory is limited too, so that what would take all of it fails here and spares the machine.
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), used + (1 << 30)))
began = time.process_time()
try:
    work()
    outcome = "accepted"
except WvcError as error:
    outcome = "refused"
except (ValueError, TypeError, KeyError) as error:
    outcome = "refused" if plain else repr(error)
except BaseException as error:
    outcome = repr(error)[:300]
seconds = time.process_time() - began
taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - wvc_itself
print(json.dumps({"outcome": outcome, "seconds": seconds, "MB": taken / 1024}))
"""

# name -> (code that sets `work`, whether what it calls says ValueError, which its callers turn into a WvcError)
BOMBS = {
    "1 GiB of zeros in a zstd frame of 32 kB": (
        "work = coded(zstandard.ZstdCompressor(level=3).compress(bytes(1 << 30)), 1 << 20)", False),
    "a zstd frame that promises a terabyte": (
        "work = coded(b'\\x28\\xb5\\x2f\\xfd\\xe0' + (1 << 40).to_bytes(8, 'little') + b'\\1\\0\\0', 1 << 20)", False),
    "a tensor of a terabyte in 20 bytes": (
        "work = coded(zstandard.compress(b'0'), 1 << 40)", False),
    "a header of 100 MB": ("work = safetensors(b'{' + b' ' * 100_000_000 + b'}')", False),
    "a header that promises 2^63 bytes": (
        "Path('x.safetensors').write_bytes((1 << 63).to_bytes(8, 'little') + b'{}');"
        "work = lambda: sources.open(Path('x.safetensors'))", False),
    "a header of nested lists": ("work = safetensors(b'{\"a\":' + b'[' * 200_000 + b']' * 200_000 + b'}')", False),
    "a shape of a million dimensions": (
        "work = safetensors(json.dumps({'a': {'dtype': 'F32', 'shape': [1] * 1_000_000, 'data_offsets': [0, 4]}})"
        ".encode() + b'    ')", False),
    "a number of 10,000 digits": (
        "work = safetensors(b'{\"a\":{\"dtype\":\"F32\",\"shape\":[' + b'9' * 10_000 + b'],\"data_offsets\":[0,4]}}')",
        False),
    "a number as large as 1e400": (
        "work = safetensors(b'{\"a\":{\"dtype\":\"F32\",\"shape\":[1e400],\"data_offsets\":[0,4]}}')", False),
    "an object of 200,000 levels": ("work = lambda: objects.parse(b'[' * 200_000 + b']' * 200_000)", False),
    "an object with a number of 10,000 digits": (
        "work = lambda: objects.parse(b'{\"_type\":' + b'9' * 10_000 + b'}')", False),
    "a commit of 100,000 parents that are none": (
        "work = commit(parents=[{'commit': 'x', 'coefficient': '1'}] * 100_000)", False),
    "a coefficient with an exponent": (
        "work = commit(parents=[{'commit': '0' * 64, 'coefficient': '1e999999999'}])", False),
    "a coefficient of a million digits": (
        "work = commit(parents=[{'commit': '0' * 64, 'coefficient': '9' * 1_000_000}])", False),
    "a manifest of a tensor of 2^4000 numbers": (
        "value = {'_type': 'wvc.manifest/1', 'files': [], 'spec': None,"
        " 'tensors': [['a', 'F4', [2**52] * 77, '0' * 64]] * 3};"
        "data = json.dumps(value, sort_keys=True, separators=(',', ':')).encode();"
        "work = lambda: objects.parse(data)", False),
    "a million refs that are none": (
        "value = {'moves': [['refs/heads/../x', None, '0' * 64]] * 100_000};"
        "data = json.dumps(value).encode();"
        "work = lambda: records.parse(data)", True),
    "differences in a circle": (
        "one, two = '1' * 64, '2' * 64; stored = bytes(8); coding = lambda b, d: ['delta', 'U8', 4, d, b, sha(stored)];"
        "codecs = json.dumps({one: coding(two, 9), two: coding(one, 9)});"
        "name = pack({'wvc': 'pack 1', 'objects': '0', 'codecs': codecs},"
        " [(one, 8), (two, 8)], stored * 2);"
        "work = lambda: reader.Reader(Path('.'), lambda _: [name]).read(one)", False),
    "a chain of differences that branches": (
        "ids = [f'{i:064x}' for i in range(60)]; stored = bytes(8);"
        "make = lambda n: pack({'wvc': 'pack 1', 'objects': '0', 'codecs': json.dumps({id: ['delta', 'U8', 4, i + 1,"
        " ids[i - 1] if i else 'f' * 64, sha(stored)] for i, id in enumerate(ids)}), 'n': str(n)},"
        " [(id, 8) for id in ids], stored * 60);"
        "names = [make(n) for n in range(4)];"
        "work = lambda: reader.Reader(Path('.'), lambda _: names).read(ids[-1])", False),
}  # fmt: skip

Outcome = dict[str, float | str]


@pytest.fixture
def explode(tmp_path: Path) -> Callable[[str], Outcome]:
    """Function (bomb) that tries it in a process of its own: what became of it, in how many seconds and MB."""

    def run(bomb: str) -> Outcome:
        code, plain = BOMBS[bomb]
        program = f"{BEGIN}\n{code}\nplain = {plain}\n{END}"
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found: Outcome = json.loads(done.stdout)
        return found

    return run


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_at_once(explode, bomb):
    found = explode(bomb)

    assert found["outcome"] == "refused"
    assert float(found["seconds"]) < 1
    assert float(found["MB"]) < 256
