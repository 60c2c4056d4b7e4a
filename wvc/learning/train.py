"""Fine-tune a network on several domains at once: the DomainBed loop, which stops and resumes at any step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch

from wvc.learning.interrupt import deferred
from wvc.learning.memory import advice
from wvc.learning.network import Network
from wvc.learning.pixels import Pixels
from wvc.learning.run import Run, Stopped
from wvc.learning.settings import Result, Settings
from wvc.learning.state import Entry, State
from wvc.learning.validation import Others
from wvc.progress import SILENT, Progress

__all__ = ["Result", "Settings", "State", "train"]

SAVE_EVERY = 60.0  # seconds
NOTE_EVERY = 1.0  # seconds between two notes behind the bar

Save = Callable[[State], None]
Metrics = Callable[[dict[str, Any]], None]
Clock = Callable[[], float]


def train(
    network: Network,
    training: Sequence[Pixels],
    validation: Mapping[str, Pixels],
    settings: Settings,
    *,
    device: torch.device,
    state: State | None = None,
    save: Save = lambda state: None,
    progress: Progress = SILENT,
    metrics: Metrics | None = None,
    others: Others = MappingProxyType({}),
    clock: Clock = time.monotonic,
) -> Result:
    """Train `network` in place, which ends with the weights of the last step, and return the chosen checkpoint.

    training: by index of the domain; each gives a batch to every step. validation: by name, in the same order; chooses
    the checkpoint.
    state: where to go on, under the same settings and data.
    save: gets the state after each evaluation, every minute, and when Ctrl-C ends the training, which then raises
    KeyboardInterrupt. A second Ctrl-C raises it at once and saves nothing.
    metrics: gets each entry of the history as it is made, with "seconds" per step beside it.
    others: all other images, by domain and split, for settings.evaluate_all.
    Raises TrainingProblem if the loss is no number, memory runs out or there are no images.

    Gulrajani & Lopez-Paz, In search of lost domain generalization, 2021; design, Trainings.
    """
    run = Run(network, training, validation, settings, device, others)
    observers = _Observers(save, progress, metrics or (lambda entry: None), clock)
    size = settings.batch_size
    hint = f"try --batch-size {size // 2}" if size > 1 else "try a smaller --image-size"
    progress.start("training", settings.steps, "steps")
    try:
        with (
            deferred() as stopped,
            _reproducible(device, deterministic=settings.deterministic),
            advice(f"with batches of {size} images per domain", hint),
        ):
            run.begin(state)
            progress.advance(run.step)
            return _loop(run, stopped, observers)
    finally:
        progress.stop()


class _Observers:
    """Those who hear of a training, and its clock."""

    def __init__(self, save: Save, progress: Progress, metrics: Metrics, clock: Clock) -> None:
        self.save, self.progress, self.metrics, self.clock = save, progress, metrics, clock
        self._validation = ""
        self._noted = clock()
        self._images = 0

    def evaluated(self, entry: Entry, seconds: float) -> None:
        self._validation = f"validation {float(entry['score']):.3f}"
        self.progress.advance(0, f"loss {float(entry['loss']):.3f}, {self._validation}")
        self.metrics({**entry, "seconds": seconds})
        self._noted, self._images = self.clock(), 0

    def updated(self, run: Run) -> None:
        """A step is done; once a second, what the loss is and how fast it goes."""
        self._images += run.settings.batch_size * len(run.training)
        seconds = self.clock() - self._noted
        if seconds < NOTE_EVERY or run.losses.latest is None:
            self.progress.advance()
            return
        parts = (f"loss {run.losses.latest:.3f}", self._validation, f"{self._images / seconds:.0f} images/s")
        self.progress.advance(1, ", ".join(filter(None, parts)))
        self._noted, self._images = self.clock(), 0


def _loop(run: Run, stopped: Stopped, observers: _Observers) -> Result:
    """Evaluate where it is due, save, update; to the last step or to Ctrl-C."""
    clock = observers.clock
    saved = began = clock()
    start = run.step
    while True:
        if run.evaluation_is_due():
            seconds = (clock() - began) / max(1, run.step - start)
            entry = run.evaluate(stopped)
            if entry is not None:
                observers.save(run.state())
                observers.evaluated(entry, seconds)
            saved = began = clock()
            start = run.step
        if stopped():
            observers.save(run.state())
            raise KeyboardInterrupt
        if run.is_over():
            result = run.conclude(stopped)
            if result is not None:
                return result
            continue
        if clock() - saved >= SAVE_EVERY:
            observers.save(run.state())
            saved = clock()
        run.update()
        observers.updated(run)


@contextmanager
def _reproducible(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Leave torch's generators and cuDNN's switches as they were found."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    devices = [torch.cuda.current_device() if device.index is None else device.index] if device.type == "cuda" else []
    cudnn.benchmark, cudnn.deterministic = False, deterministic
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before
