"""Say what a PyTorch checkpoint holds: the process that `unpickle` starts.

It has nothing but the standard library, takes one argument, a JSON object, limits itself, and prints `ready`, then one
JSON list a line. Nothing that it prints may be trusted: it only repeats what the file says.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
from collections.abc import Iterator
from typing import BinaryIO

from wvc.repo.inert import Opaque, Reader, Refused, Tensor

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
# Where the weights lie in a checkpoint that holds other things too.
KNOWN = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "params", "weights")
SAVE = "save the model's state_dict in its place: torch.save(model.state_dict(), FILE)"
MOST_LEFT_OUT, MOST_MAPPINGS, DEEPEST = 100, 100_000, 16
FORBIDDEN = 66  # exit status
HARMLESS = ("builtins.id", "sys.excepthook", "sys.unraisablehook")  # Python itself complains, of memory for instance


def holds(value: object) -> int:
    """How many tensors a mapping holds itself."""
    return sum(isinstance(item, Tensor) for item in value.values()) if isinstance(value, dict) else 0


def mappings(top: object) -> Iterator[tuple[str, dict[object, object]]]:
    """Every mapping within mappings and its path, the outermost first and itself under "."."""
    found: list[tuple[str, object]] = [(".", top)]
    seen, depth = {id(top)}, 0
    while found and depth < DEEPEST and len(seen) < MOST_MAPPINGS:
        inner: list[tuple[str, object]] = []
        for path, value in found:
            if isinstance(value, dict):
                yield path, value
                for key, item in value.items():
                    if isinstance(item, dict) and id(item) not in seen and len(path) < 500:
                        seen.add(id(item))
                        inner.append((_joined(path, key), item))
        found, depth = inner, depth + 1


def _joined(path: str, key: object) -> str:
    text = key if isinstance(key, str) and key != "." else type(key).__name__
    return text if path == "." else f"{path}.{text}"


def named(value: object, key: str) -> object:
    """What `key` names in nested mappings; its parts are joined by dots, and may hold some themselves."""
    if isinstance(value, dict):
        if key in value:
            return value[key]
        for i in [i for i, c in enumerate(key) if c == "."]:
            found = named(value.get(key[:i]), key[i + 1 :])
            if found is not None:
                return found
    return None


def chosen(top: object, key: str | None) -> dict[object, object]:
    """The mapping of names to tensors: the one that `key` names, else the only one that can be meant."""
    found = {path: value for path, value in mappings(top) if holds(value)}
    most = sorted(found, key=lambda path: -holds(found[path]))
    places = ", ".join(f"{path[:80]!a} ({holds(found[path])})" for path in most[:5]) + ", ..." * (len(most) > 5)
    if key is not None:
        value = top if key == "." else named(top, key)
        if isinstance(value, dict) and holds(value):
            return value
        raise Refused(f"holds no tensors under {key[:80]!a}", f"there are some under {places}" if found else None)
    if not found:
        raise Refused(_nothing(top), SAVE)
    if set(found) == {"."}:
        return found["."]
    known = [name for name in KNOWN if name in found]
    # A best score is often a tensor of one number, beside the weights.
    loose = found.get(".", {}).values()
    plain = not any(item.shape or item.maker for item in loose if isinstance(item, Tensor))
    if plain and len(known) == 1 and not any(path.startswith(known[0] + ".") for path in found):
        return found[known[0]]
    raise Refused(f"it is not plain which are its weights: {places}", "say which of them with `--key NAME`")


def _nothing(top: object) -> str:
    """What a file holds in which there are no tensors."""
    for item in [top, *(top.values() if isinstance(top, dict) else ())]:
        if isinstance(item, Opaque) and item.is_module:
            return f"holds a whole model, pickled as {item.origin[:80]!a}"
    if isinstance(top, dict):
        return "holds no tensors"
    kind = top.origin[:80] if isinstance(top, Opaque) else type(top).__name__.lower()
    return f"holds no mapping of names to tensors, but {kind!a}"


def told(names: dict[object, object]) -> Iterator[list[object]]:
    """What to print of a mapping of names to tensors."""
    places: dict[object, int] = {}
    left: list[object] = []
    for name, item in names.items():
        if not isinstance(item, Tensor):
            if not isinstance(item, str | int | float | None) and isinstance(name, str):
                left.append(name[:512])
        elif not isinstance(name, str):
            raise Refused(f"a tensor in it is named by a {type(name).__name__!a}, not by text")
        elif item.maker:
            yield ["problem", name, item.maker]
        else:
            place = item.storage.place
            if place not in places:
                places[place] = len(places)
                yield ["storage", *place]
            yield ["tensor", name, item.dtype, item.shape, item.stride, item.offset, places[place]]
    yield from (["left", name] for name in left[:MOST_LEFT_OUT])


def lines(file: BinaryIO, stop: int, *, legacy: bool, key: str | None) -> Iterator[list[object]]:
    """Read the pickle that ends before byte `stop`, or the pickles that a legacy file begins with."""
    if legacy:
        head(file)
    reader = Reader(file)
    names = chosen(reader.load(), key)
    order = Reader(file).load() if legacy else []
    if file.tell() > stop or not isinstance(order, list):
        raise Refused("its pickle does not end where it should")
    yield from told(names)
    for name in map(str, order):
        yield ["order", name, reader.kinds[name]]
    yield ["end", file.tell()]


def head(file: BinaryIO) -> None:
    """What stands in front of a legacy file's pickle: magic number, version, and what machine wrote it.

    Its storages are little-endian, whatever the machine.
    """
    if Reader(file).load() != MAGIC:
        raise Refused("a pickle, but no PyTorch checkpoint", SAVE)
    if Reader(file).load() != PROTOCOL:
        raise Refused("a PyTorch checkpoint of an unknown version", SAVE)
    Reader(file).load()


def limit(memory: int, seconds: int) -> None:
    """Give up what this process does not need: memory in bytes, processor time, files, and all that Python audits."""
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),  # those that are open stay open
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)  # noqa: PLW2901
        resource.setrlimit(kind, (most, most))
    gc.disable()

    def forbid(event: str, _: object) -> None:
        if event not in HARMLESS:
            os._exit(FORBIDDEN)

    sys.addaudithook(forbid)


def main() -> None:
    """Read what the argument says."""
    asked = json.loads(sys.argv[1])
    out = sys.stdout.buffer
    out.write(b"ready\n")
    out.flush()
    file = open(asked["fd"], "rb", closefd=False)  # noqa: SIM115
    file.seek(asked["start"])
    limit(asked["memory"], asked["seconds"])
    try:
        for line in lines(file, asked["stop"], legacy=asked["legacy"], key=asked["key"]):
            out.write(json.dumps(line).encode("ascii") + b"\n")
    except Refused as error:
        out.write(json.dumps(["refused", error.why, error.hint]).encode("ascii") + b"\n")
    except MemoryError:
        out.write(b'["refused", "its pickle needs more memory than a checkpoint should", null]\n')
    except Exception as error:
        why = f"its pickle is damaged: {error}"
        out.write(json.dumps(["refused", why[:150], None]).encode("ascii") + b"\n")
    out.flush()
    os._exit(0)  # quicker than to take apart what was read


if __name__ == "__main__":
    main()
