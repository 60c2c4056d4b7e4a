"""A training in memory: one update, one evaluation, the state in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wvc.errors import TrainingProblem
from wvc.learning.augment import DRAWS, augment
from wvc.learning.averages import Average, EmaAverage, MaAverage, SwaAverage, Tensors, floating, wearing
from wvc.learning.counts import cross_entropy, macro
from wvc.learning.losses import Losses
from wvc.learning.network import Network, computing, place
from wvc.learning.optimizer import Moments, Optimizer
from wvc.learning.pixels import Pixels, hold
from wvc.learning.schedule import learning_rate
from wvc.learning.seeds import generator, positions, torch_seed
from wvc.learning.settings import Result, Settings
from wvc.learning.state import Best, Entry, State, copies, entry
from wvc.learning.swad import CodeSwad, PaperSwad
from wvc.learning.trajectory import Ema, Ma, Swa, Swad
from wvc.learning.validation import Others, Validation

LOOK_EVERY = 20  # steps between two looks at the loss on a GPU: each waits for the GPU

Stopped = Callable[[], bool]


class Run:
    """A training in memory: what changes from step to step."""

    def __init__(
        self,
        network: Network,
        training: Sequence[Pixels],
        validation: Mapping[str, Pixels],
        settings: Settings,
        device: torch.device,
        others: Others,
    ) -> None:
        if not training or not all(map(len, training)):
            raise TrainingProblem("a training domain has no images", "leave it out, or look at the task's data")
        self.network, self.settings, self.device = network, settings, device
        self.training = training
        self.validation = Validation(network, validation, others, settings, device)
        self.step = 0
        self.best: Best | None = None
        self.history: tuple[Entry, ...] = ()
        self.losses = Losses()

    def begin(self, state: State | None) -> None:
        """Move everything into place and take up `state`."""
        network = self.network
        network.dropout.p = self.settings.dropout
        network.freeze_statistics = self.settings.freeze_statistics
        place(network, self.device)
        network.train()
        network.zero_grad(set_to_none=True)
        hold([*self.training, *self.validation.sets()], self.device)
        self.average = _average(self.settings, self._live())
        if state is None:
            self.optimizer = self._new_optimizer()
        else:
            self._restore(state)

    def update(self) -> None:
        """One update, on a batch from every domain. Ends the freeze after its last update."""
        settings = self.settings
        frozen = settings.frozen_at(self.step)
        _seed_torch(self.device, torch_seed(settings.seed, self.step))
        images, labels = self._batch()
        self.optimizer.clear()
        loss = self._gradients(images, labels, frozen=frozen)
        self.optimizer.step(learning_rate(settings, self.step))
        self.losses.add(self.step, loss)
        self.step += 1
        if self.average is not None:
            self.average.updated(self._live())
        if frozen and not settings.frozen_at(self.step):
            self.optimizer = self._new_optimizer()
        if self.device.type == "cpu" or self.step % LOOK_EVERY == 0:
            self.losses.look()

    def evaluation_is_due(self) -> bool:
        """True after an update that is followed by an evaluation, until that is in the history."""
        done = self.history[-1]["step"] if self.history else -1
        return self.step - 1 > done and self.settings.evaluated_at(self.step - 1)

    def evaluate(self, stopped: Stopped) -> Entry | None:
        """Score the present weights, or their average, and keep them if they are the best so far.

        None where Ctrl-C came first.
        """
        mean = self.losses.mean()
        with wearing(self.network.state_dict(), None if self.average is None else self.average.weights()):
            seen = self.validation.look(self.step - 1, stopped)
            if seen is None:
                return None
            self._keep(macro(seen.counts))
        latest = entry(self.step - 1, mean, seen.counts)
        if self.average is not None:
            self.average.evaluated(self._live(), cross_entropy(seen.counts))
        if isinstance(self.settings.trajectory, Swad):
            latest["validation_loss"] = repr(cross_entropy(seen.counts))
        if seen.every is not None:
            latest["every"] = seen.every
        self.history = (*self.history, latest)
        self.losses = Losses()
        return latest

    def is_over(self) -> bool:
        return self.step >= self.settings.steps or (self.average is not None and self.average.is_over)

    def conclude(self, stopped: Stopped) -> Result | None:
        """What the training came to. None where Ctrl-C came before an average that takes its place was scored."""
        final = None if self.average is None else self.average.final()
        if final is not None:
            with wearing(self.network.state_dict(), final.tensors):
                counts = self.validation.plain(stopped)
                tensors = copies(self.network.state_dict())
            return None if counts is None else Result(tensors, final.step, macro(counts), self.history)
        if self.best is None:
            raise TrainingProblem("a training of no steps has no result", "give at least one step")
        return Result(self.best.tensors, self.best.step, self.best.score, self.history)

    def state(self) -> State:
        """Copies of everything, so that the run may go on while they are written."""
        self.losses.look()
        moments = self.optimizer.moments()
        return State(
            step=self.step,
            network=copies(self.network.state_dict()),
            updates=moments.updates,
            first=moments.first,
            second=moments.second,
            best=self.best,
            history=self.history,
            loss_sum=self.losses.sum,
            loss_count=self.losses.count,
            average={} if self.average is None else copies(self.average.tensors()),
            average_facts={} if self.average is None else self.average.facts(),
        )

    def _restore(self, state: State) -> None:
        try:
            self.network.load_state_dict(state.network)
        except RuntimeError as error:
            why = str(error).splitlines()[0]
            raise TrainingProblem(f"the saved state does not fit: {why}", "start the training anew") from None
        self.step, self.best, self.history = state.step, state.best, state.history
        self.losses = Losses(state.loss_sum, state.loss_count)
        self.optimizer = self._new_optimizer()
        self.optimizer.restore(Moments(state.updates, state.first, state.second))
        if self.average is not None:
            self.average.restore(state.average, state.average_facts)

    def _keep(self, score: Fraction) -> None:
        """The weights that are in place are a checkpoint: the best one, or the last, whichever is wanted."""
        if self.best is None or score > self.best.score or self.settings.keep == "last":
            self.best = Best(copies(self.network.state_dict()), self.step - 1, score)

    def _live(self) -> Tensors:
        # Looked up each time: moving a network can give its parameters other memory.
        return floating(self.network.state_dict())

    def _new_optimizer(self) -> Optimizer:
        settings = self.settings
        frozen = settings.frozen_at(self.step)
        parameters = dict(self.network.named_parameters())
        learners = {name: p for name, p in parameters.items() if not frozen or name.startswith("head.")}
        return Optimizer(learners, settings)

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Varied images (D x batch_size, C, H, W) and labels, domain after domain."""
        seed, size = self.settings.seed, self.settings.batch_size
        parts = [
            pixels.batch(positions(seed, self.step, domain, len(pixels), size), self.device)
            for domain, pixels in enumerate(self.training)
        ]
        draws = [
            generator(seed, self.step, domain, "augmentation").random((size, DRAWS))
            for domain in range(len(self.training))
        ]
        images, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return augment(images, np.concatenate(draws), self.settings.augmentation), labels

    def _gradients(self, images: Tensor, labels: Tensor, *, frozen: bool) -> Tensor:
        """Add the gradient of the mean loss to what the parameters hold; the loss itself."""
        settings, total = self.settings, torch.zeros((), device=self.device)
        parts = images.chunk(settings.accumulate), labels.chunk(settings.accumulate)
        for some, their in zip(*parts, strict=True):
            with computing(self.device, settings.precision):
                scores = self._scores(some, frozen=frozen)
                loss = F.cross_entropy(scores, their, label_smoothing=settings.label_smoothing)
            share = loss * (len(their) / len(labels))
            torch.autograd.backward(share)
            total += share.detach()
        return total

    def _scores(self, images: Tensor, *, frozen: bool) -> Tensor:
        if not frozen:
            scores: Tensor = self.network(images)
            return scores
        # The gradient of the head needs no graph of the featurizer: the same numbers in a third of the time.
        with torch.no_grad():
            features = self.network.features(images)
        return self.network.classify(features)


def _average(settings: Settings, start: Tensors) -> Average | None:
    """The average that the settings name, with nothing in it but the weights to begin with."""
    match settings.trajectory:
        case Ema() as ema:
            return EmaAverage(ema, start)
        case Swa() as swa:
            return SwaAverage(swa, start, settings.steps)
        case Ma() as ma:
            return MaAverage(ma, start)
        case Swad() as swad:
            return PaperSwad(swad, start) if swad.form == "paper" else CodeSwad(swad, start)
    return None


def _seed_torch(device: torch.device, seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
