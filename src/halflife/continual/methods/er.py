"""ER: experience replay (Chaudhry et al. 2019, arXiv 1902.10486; Riemer et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from halflife.continual.buffer import Buffer, Policy
from halflife.continual.method import Batch, Method


@dataclass(eq=False, kw_only=True)
class Replay(Method):
    """What methods with a buffer share.

    Parameters
    ----------
    capacity: examples that are kept. minibatch: drawn from them in each step; None: as many as the batch has.
    policy: which are kept, see `Buffer`.
    """

    capacity: int = 200
    minibatch: int | None = None
    policy: Policy = "reservoir"

    def start(self) -> None:
        """Make the buffer."""
        self.buffer = Buffer(self.capacity, self.policy, self.rng)


@dataclass(eq=False, kw_only=True)
class ER(Replay):
    """Cross-entropy on the batch and as many old examples, as one mean.

    >>> from halflife.continual import class_incremental, load, run
    >>> results = run(class_incremental(load("digits")), ER(capacity=100, lr=0.1), epochs=4, batch_size=16)
    >>> results["accuracy"][0] > 0.6
    True
    """

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        x, y = batch.x, batch.y
        if len(self.buffer):
            old = self.buffer.sample(self.minibatch or len(batch))
            x, y = torch.cat([x, self.augment(old.x)]), torch.cat([y, old.y])
        logged = self.step(F.cross_entropy(self.model(x), y))
        self.buffer.add(x=batch.raw, y=batch.y)
        return logged
