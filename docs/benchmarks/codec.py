"""How small tensors become and how fast they are encoded and decoded, without files.

    python docs/benchmarks/codec.py [BASE TUNED]

Synthetic: normal weights of deviation 0.02, and the same after changes of deviation 1e-4. With two safetensors files of
fp32 tensors: what the second takes beside the first. bf16 is the fp32 numbers, rounded. Seconds are of processor time;
"read" is what a reader does: decode the base, decode the difference, hash, in all threads.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from wvc.store.batch import Batch
from wvc.store.blobs import held
from wvc.store.choice import choose
from wvc.store.codecs import CHUNK, STEPS, Plan, decode, encode, plan
from wvc.store.packs import Pack
from wvc.store.reader import Reader
from wvc.store.threads import spread, workers

Pair = tuple[bytes, bytes]


def synthetic(count: int = 24, numbers: int = 1 << 22) -> list[Pair]:
    random = np.random.default_rng(0)
    pairs = []
    for _ in range(count):
        old = random.standard_normal(numbers, dtype=np.float32) * np.float32(0.02)
        new = old + random.standard_normal(numbers, dtype=np.float32) * np.float32(1e-4)
        pairs.append((old.tobytes(), new.tobytes()))
    return pairs


def real(base: str, tuned: str) -> list[Pair]:
    old, new = load_file(base), load_file(tuned)
    both = [name for name in new if name in old and old[name].shape == new[name].shape]
    return [
        (old[name].astype(np.float32).tobytes(), new[name].tobytes())
        for name in both
        if new[name].dtype == np.float32 and not np.array_equal(old[name], new[name])
    ]


def rounded(data: bytes) -> bytes:
    """fp32 numbers as bf16, to nearest, ties to even."""
    words = np.frombuffer(data, np.uint32)
    return bytes(((words + 0x7FFF + ((words >> 16) & 1)) >> 16).astype(np.uint16).data)


def chunks(data: bytes) -> Iterator[bytes]:
    return (data[start : start + CHUNK] for start in range(0, len(data), CHUNK))


def measure(name: str, dtype: str, pairs: list[Pair]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        packs = Path(folder) / "packs"
        packs.mkdir()
        index: dict[str, list[str]] = {}
        reader = Reader(packs, lambda id: index.get(id, []))
        width = {"F32": 4, "BF16": 2}[dtype]
        old = [held(dtype, (len(a) // width,), a) for a, _ in pairs]
        new = [replace(held(dtype, (len(b) // width,), b), bases=(hashlib.sha256(a).hexdigest(),)) for a, b in pairs]
        for blobs in (old, new):
            with Batch(packs, packs.parent / "tmp", reader, [(9, 9)] * len(blobs)) as batch:
                ids = batch.store(blobs)
                names = batch.publish()
            for pack in (Pack(packs, name) for name in names):
                for id in pack.ids():
                    index.setdefault(id, []).append(pack.name)
            sizes = sum((Path(packs) / f"{name}.safetensors").stat().st_size for name in names)
            share = sizes / sum(blob.size for blob in blobs)
            print(f"{name} {dtype} {'alone' if blobs is old else 'as a difference'}: {share:.3f} of raw", end=", ")
            speeds(dtype, [(None if blobs is old else a, b if blobs is new else a) for a, b in pairs], blobs, reader)
            began = time.perf_counter()
            for _ in spread(reader.whole, ids):
                pass
            seconds = time.perf_counter() - began
            print(f"read {sum(b.size for b in blobs) / seconds / 1e9:.2f} GB/s in {workers()} threads", flush=True)
    others(dtype, pairs)


def speeds(dtype: str, pairs: list[tuple[bytes | None, bytes]], blobs: list, reader: Reader) -> None:  # type: ignore[type-arg]
    encoding = decoding = 0.0
    size = 0
    for (base, data), blob in zip(pairs, blobs, strict=True):
        choice = choose(blob, reader)
        if choice is None:
            continue
        chosen = choice.plan if base else Plan(dtype, delta=False)
        under = base if choice.base else None
        for number, chunk in enumerate(chunks(data)):
            part = None if under is None else under[number * CHUNK : number * CHUNK + len(chunk)]
            began = time.thread_time()
            coded = encode(chunk, part, chosen)
            between = time.thread_time()
            decode(coded, part, chosen, memoryview(bytearray(len(chunk))))
            encoding, decoding = encoding + between - began, decoding + time.thread_time() - between
            size += len(chunk)
    print(f"encode {size / encoding / 1e9:.2f}, decode {size / decoding / 1e9:.2f} GB/s in one thread", end=", ")


def others(dtype: str, pairs: list[Pair]) -> None:
    """What the first chunks would take in other ways."""
    raw = sum(len(b[:CHUNK]) for _, b in pairs)
    unsigned = {"F32": "U32", "BF16": "U16"}[dtype]
    ways = {f"{len(steps) + 1} groups": 0 for steps in STEPS} | {"XOR": 0}
    for a, b in pairs:
        base, data = a[:CHUNK], b[:CHUNK]
        for steps in STEPS:
            ways[f"{len(steps) + 1} groups"] += len(encode(data, base, plan(dtype, base, steps)))
        both = np.frombuffer(base, np.uint8) ^ np.frombuffer(data, np.uint8)
        ways["XOR"] += len(encode(both.tobytes(), None, Plan(unsigned, delta=False)))
    print("  always in " + ", ".join(f"{way}: {size / raw:.3f}" for way, size in ways.items()))


def main(arguments: list[str]) -> None:
    pairs = real(*arguments) if arguments else synthetic()
    name = Path(arguments[1]).stem if arguments else "synthetic"
    measure(name, "F32", pairs)
    measure(name, "BF16", [(rounded(a), rounded(b)) for a, b in pairs])


if __name__ == "__main__":
    main(sys.argv[1:])
