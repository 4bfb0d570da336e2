"""Weighted replay: experience replay as De Lange et al. ran it (2023, arXiv 2205.13452, `src/methods/replay.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from halflife.continual.buffer import Policy
from halflife.continual.method import Batch, fork
from halflife.continual.methods.er import Replay
from halflife.continual.scenario import Experience
from halflife.errors import InvalidInput


@dataclass(eq=False, kw_only=True)
class WeightedER(Replay):
    """`w * CE(new) + (1 - w) * CE(old)`, with a memory that is the same all through a task: it is filled at its end.

    New and old examples go through the network together. In the first task the loss is `w * CE(new)`, as in the
    authors' code. One optimiser is kept for all tasks, so momentum is carried over a switch.

    Parameters
    ----------
    weight: w, in (0, 1]: the share of the new examples in the loss.
    capacity, minibatch: see `Replay`; the draw is of all classes alike as far as the memory is balanced.

    >>> from halflife.continual import class_incremental, load, run
    >>> method = WeightedER(capacity=100, weight=0.3, lr=0.1, momentum=0.9)
    >>> run(class_incremental(load("digits")), method, epochs=4, batch_size=32)["accuracy"][0] > 0.6
    True
    """

    capacity: int = 1000
    policy: Policy = "class_balanced"
    weight: float = 0.5

    needs_boundaries: ClassVar[bool] = True

    def start(self) -> None:
        """Make the buffer."""
        if not 0 < self.weight <= 1:
            raise InvalidInput(f"The weight of new examples is {self.weight}.", "Use a number above 0, at most 1.")
        super().start()
        self.draws = fork(self, "memory")

    def losses(self, batch: Batch) -> tuple[Tensor | None, Tensor]:
        """The parts of the loss, weighted: what keeps the old (None in the first task), and what learns the new."""
        if not len(self.buffer):
            return None, self.weight * F.cross_entropy(self.model(batch.x), batch.y)
        old = self.buffer.sample(self.minibatch or len(batch))
        logits = self.model(torch.cat([batch.x, self.augment(old.x)]))
        new, kept = logits.split([len(batch), len(old)])
        return (1 - self.weight) * F.cross_entropy(kept, old.y), self.weight * F.cross_entropy(new, batch.y)

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        stability, plasticity = self.losses(batch)
        return self.step(plasticity if stability is None else stability + plasticity)

    def after_task(self, task: Experience) -> None:
        """Offer the examples of the task to the memory, in a random order."""
        for x, y in task.train.shuffled(self.draws).batches(1024):
            self.buffer.add(x=x, y=y)
