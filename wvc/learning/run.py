"""A training in memory: one update, one evaluation, the state in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wvc.errors import TrainingProblem
from wvc.learning.augment import DRAWS, augment
from wvc.learning.counts import macro
from wvc.learning.evaluate import measure
from wvc.learning.losses import Losses
from wvc.learning.network import Network, computing, place
from wvc.learning.pixels import Pixels, hold
from wvc.learning.seeds import generator, positions, torch_seed
from wvc.learning.settings import Result, Settings
from wvc.learning.state import Best, Entry, State, copies, entry

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
    ) -> None:
        if not training or not all(map(len, training)):
            raise TrainingProblem("a training domain has no images", "leave it out, or look at the task's data")
        self.network, self.settings, self.device = network, settings, device
        self.training, self.validation = training, validation
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
        hold([*self.training, *self.validation.values()], self.device)
        if state is None:
            self.adam = self._new_adam()
        else:
            self._restore(state)

    def update(self) -> None:
        """One update, on a batch from every domain. Ends the freeze after its last update."""
        settings = self.settings
        frozen = settings.frozen_at(self.step)
        _seed_torch(self.device, torch_seed(settings.seed, self.step))
        images, labels = self._batch()
        with computing(self.device, settings.precision):
            loss = F.cross_entropy(self._scores(images, frozen=frozen), labels)
        self.adam.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.adam.step()
        self.losses.add(self.step, loss.detach())
        self.step += 1
        if frozen and not settings.frozen_at(self.step):
            self.adam = self._new_adam()
        if self.device.type == "cpu" or self.step % LOOK_EVERY == 0:
            self.losses.look()

    def evaluation_is_due(self) -> bool:
        """True after an update that is followed by an evaluation, until that is in the history."""
        done = self.history[-1]["step"] if self.history else -1
        return self.step - 1 > done and self.settings.evaluated_at(self.step - 1)

    def evaluate(self, stopped: Stopped) -> Entry | None:
        """Score the present weights and keep them if they are the best so far. None where Ctrl-C came first."""
        mean = self.losses.mean()
        counts = measure(
            self.network,
            self.validation,
            device=self.device,
            precision=self.settings.precision,
            keep_going=lambda counts: not stopped(),
        )
        if not counts.complete:
            return None
        score = macro(counts)
        latest = entry(self.step - 1, mean, counts)
        self.history = (*self.history, latest)
        self.losses = Losses()
        if self.best is None or score > self.best.score:
            self.best = Best(copies(self.network.state_dict()), self.step - 1, score)
        return latest

    def is_over(self) -> bool:
        return self.step >= self.settings.steps

    def result(self) -> Result:
        if self.best is None:
            raise TrainingProblem("a training of no steps has no result", "give at least one step")
        return Result(self.best.tensors, self.best.step, self.best.score, self.history)

    def state(self) -> State:
        """Copies of everything, so that the run may go on while they are written."""
        self.losses.look()
        adam = self.adam.state
        moments = {name: adam[p] for name, p in self.network.named_parameters() if p in adam}
        return State(
            step=self.step,
            network=copies(self.network.state_dict()),
            updates=next((int(moment["step"]) for moment in moments.values()), 0),
            first=copies({name: moment["exp_avg"] for name, moment in moments.items()}),
            second=copies({name: moment["exp_avg_sq"] for name, moment in moments.items()}),
            best=self.best,
            history=self.history,
            loss_sum=self.losses.sum,
            loss_count=self.losses.count,
        )

    def _restore(self, state: State) -> None:
        try:
            self.network.load_state_dict(state.network)
        except RuntimeError as error:
            why = str(error).splitlines()[0]
            raise TrainingProblem(f"the saved state does not fit: {why}", "start the training anew") from None
        self.step, self.best, self.history = state.step, state.best, state.history
        self.losses = Losses(state.loss_sum, state.loss_count)
        self.adam = self._new_adam()
        parameters = dict(self.network.named_parameters())
        for name, first in state.first.items():
            self._set_moments(parameters[name], state.updates, first, state.second[name])

    def _set_moments(self, parameter: nn.Parameter, updates: int, first: Tensor, second: Tensor) -> None:
        # In the parameter's own memory layout, as Adam makes them: another could round differently.
        self.adam.state[parameter] = {
            "step": torch.tensor(float(updates), device=self.device),
            "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format).copy_(first),
            "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format).copy_(second),
        }

    def _new_adam(self) -> torch.optim.Adam:
        settings = self.settings
        learners = self.network.head if settings.frozen_at(self.step) else self.network
        # Fused: four times faster on a CPU, no waiting on a GPU, and element by element, so a resumed run agrees.
        return torch.optim.Adam(
            learners.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )

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

    def _scores(self, images: Tensor, *, frozen: bool) -> Tensor:
        if not frozen:
            scores: Tensor = self.network(images)
            return scores
        # The gradient of the head needs no graph of the featurizer: the same numbers in a third of the time.
        with torch.no_grad():
            features = self.network.features(images)
        return self.network.classify(features)


def _seed_torch(device: torch.device, seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
