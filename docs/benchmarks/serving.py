"""Measure how long readers of `wvc serve` wait while others push.

    python docs/benchmarks/serving.py WORKDIR [--readers 100] [--pushers 8] [--seconds 60] [--pause 0.2]
        [--model-mb 1] [--nice 0] [--output FILE]

Readers ask for a record of the log, over connections that stay open, and wait for --pause seconds after each
answer (0: never). Pushers are processes that commit a fine-tune and push it to a branch of their own, again and again.
All of it runs on this machine, beside the server; --nice 10 lets pushers stand back, as if their work were done
elsewhere. Prints how many answers there were of which kind, and how long they took; exits with 1 if anything was
answered that the design does not state.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from safetensors.numpy import load_file, save_file

from wvc.repo.repository import Repository
from wvc.verbs.clone import clone
from wvc.verbs.commit import commit_weights
from wvc.verbs.push import Options, push

STATED = (200, 206, 404, 409, 423, 503)  # to those who read: 404 for a record that is not there yet


@dataclass
class Seen:
    """Answers by status, and the seconds that they took."""

    statuses: collections.Counter[str] = field(default_factory=collections.Counter)
    seconds: list[float] = field(default_factory=list)


def wvc(*arguments: str, **env: str) -> str:
    command = [sys.executable, "-m", "wvc", *arguments]
    return subprocess.run(command, env={**os.environ, **env}, check=True, capture_output=True, text=True).stdout


def serve(hub: Path, log: Path) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "wvc", "-C", str(hub), "--json", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log.open("w"), text=True)
    assert process.stdout is not None
    text = ""
    while not text.rstrip().endswith("}"):
        line = process.stdout.readline()
        assert line, "the server did not start"
        text += line
    return process, json.loads(text)["url"]


async def read(address: tuple[str, int], token: str, until: float, pause: float, seen: Seen, newest: list[int]) -> None:
    """One reader: asks for one of the last hundred records, and looks for newer ones now and then."""
    reader, writer = await asyncio.open_connection(*address)
    while time.perf_counter() < until:
        looks = random.random() < 0.1
        number = random.randint(max(1, newest[0] - 100), newest[0])
        path = f"/log?after={max(0, newest[0] - 1):012d}.json" if looks else f"/log/{number:012d}.json"
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        begin = time.perf_counter()
        writer.write(head.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        lines = answer.decode("latin-1").lower().split("\r\n")
        length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
        body = await reader.readexactly(length)
        seen.seconds.append(time.perf_counter() - begin)
        seen.statuses[lines[0].split()[1]] += 1
        if looks and (names := json.loads(body)["names"]):
            newest[0] = max(newest[0], int(names[-1][:12]))
        if any(line == "connection: close" for line in lines):
            writer.close()
            reader, writer = await asyncio.open_connection(*address)
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))
    writer.close()


def push_on(
    url: str, folder: Path, number: int, token: str, until: float, nice: int, told: multiprocessing.Queue[object]
) -> None:
    """One pusher."""
    os.nice(nice)
    os.environ["WVC_TOKEN"], os.environ["WVC_AUTHOR"] = token, f"pusher-{number}"
    clone(url, folder / f"pusher-{number}")
    repository = Repository(folder / f"pusher-{number}")
    file, noise = folder / f"pusher-{number}.safetensors", np.random.default_rng(number)
    tensors, seconds, problem = load_file(folder / "base.safetensors"), [], None
    try:
        while time.perf_counter() < until:
            moved = {name: t + 1e-4 * noise.standard_normal(t.shape, np.float32) for name, t in tensors.items()}
            save_file(moved, file)
            commit_weights(repository, file, "more")
            begin = time.perf_counter()
            push(repository, "origin", Options((f"main:pusher/{number}",)))
            seconds.append(time.perf_counter() - begin)
    except BaseException as error:
        problem = f"{type(error).__name__}: {error}"
    told.put((seconds, problem))


async def load(url: str, token: str, until: float, options: argparse.Namespace) -> Seen:
    parts, seen, newest = urlsplit(url), Seen(), [2]
    assert parts.hostname is not None and parts.port is not None
    address = (parts.hostname, parts.port)
    await asyncio.gather(*(read(address, token, until, options.pause, seen, newest) for _ in range(options.readers)))
    return seen


def main() -> None:
    options = arguments()
    folder = options.workdir.resolve() / f"serving-{os.getpid()}"
    folder.mkdir(parents=True)
    size = int(options.model_mb * 1e6 / 4 / 16)
    random = np.random.default_rng(0)
    tensors = {f"layer.{i}": random.standard_normal(size, np.float32) * np.float32(0.02) for i in range(16)}
    save_file(tensors, folder / "base.safetensors")
    hub = folder / "hub"
    wvc("init", str(hub), "--weights", str(folder / "base.safetensors"))
    token = json.loads(wvc("-C", str(hub), "--json", "token", "create", "all", "--scope", "push", "--actor", "*"))
    process, url = serve(hub, folder / "server.log")
    told: multiprocessing.Queue[object] = multiprocessing.Queue()
    until = time.perf_counter() + options.seconds
    argued = (url, folder)
    pushers = [
        multiprocessing.Process(target=push_on, args=(*argued, i, token["token"], until, options.nice, told))
        for i in range(options.pushers)
    ]
    for pusher in pushers:
        pusher.start()
    try:
        seen = asyncio.run(load(url, token["token"], until, options))
        results = [told.get(timeout=120) for _ in pushers]
    finally:
        process.terminate()
        process.wait()
    for pusher in pushers:
        pusher.join()
    wvc("-C", str(hub), "fsck")
    text = report(seen, results, options)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")
    odd = {status for status in seen.statuses if int(status) not in STATED}
    sys.exit(1 if odd or any(problem for _, problem in results) else 0)


def report(seen: Seen, results: list[tuple[list[float], str | None]], options: argparse.Namespace) -> str:
    pushes = [second for seconds, _ in results for second in seconds]
    problems = [problem for _, problem in results if problem]
    who = f"{options.readers} readers and {options.pushers} pushers"
    lines = [f"{who} for {options.seconds:g} s, load {os.getloadavg()[0]:.1f} at the end"]
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(seen.statuses.items()))
    lines.append(f"reading: {len(seen.seconds)} answers ({statuses}), {_spread(seen.seconds, 1000, 'ms')}")
    lines.append(f"pushing: {len(pushes)} pushes, {_spread(pushes, 1, 's')}; problems: {problems or 'none'}")
    return "\n".join([*lines, "fsck of the hub: nothing wrong"])


def _spread(seconds: list[float], scale: float, unit: str) -> str:
    if len(seconds) < 2:
        return "too few"
    cuts = statistics.quantiles(seconds, n=100)
    named = {"median": cuts[49], "p90": cuts[89], "p99": cuts[98], "most": max(seconds)}
    return ", ".join(f"{name} {scale * value:.3g} {unit}" for name, value in named.items())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--readers", type=int, default=100)
    parser.add_argument("--pushers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pause", type=float, default=0.2, help="seconds that a reader rests after an answer")
    parser.add_argument("--model-mb", type=float, default=1)
    parser.add_argument("--nice", type=int, default=0, help="of the pushers")
    parser.add_argument("--output", type=Path, help="file for what is printed")
    return parser.parse_args()


if __name__ == "__main__":
    main()
