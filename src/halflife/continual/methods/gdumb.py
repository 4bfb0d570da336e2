"""GDumb: greedy sampler and dumb learner (Prabhu et al. 2020): how much of a result is the buffer itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halflife.continual.buffer import Buffer
from halflife.continual.method import Batch, Method, fork


@dataclass(eq=False, kw_only=True)
class GDumb(Method):
    """Nothing is learned from the stream: a balanced buffer is kept, and a fresh network is trained on it alone.

    The learning rate falls from `lr` to `lr_min` along a cosine, with warm restarts after 1, 2, 4, ... epochs. Part of
    the control of every replay method: what does it gain beyond its buffer?

    Parameters
    ----------
    capacity: examples that are kept. passes: epochs over them. fit_batch: examples of a step. lr_min: see above.
    """

    capacity: int = 200
    passes: int = 63  # restarts end here: 1 + 2 + 4 + 8 + 16 + 32
    fit_batch: int = 16
    lr: float = 0.05
    lr_min: float = 5e-4
    momentum: float = 0.9

    def start(self) -> None:
        """An empty buffer."""
        self.buffer = Buffer(self.capacity, "greedy", self.rng)
        self.fitted: nn.Module | None = None
        self.fits = 0

    def observe(self, batch: Batch) -> dict[str, float]:
        """Only keeps; see `before_evaluation`."""
        self.buffer.add(x=batch.raw, y=batch.y)
        return {"loss": 0.0}

    def before_evaluation(self) -> None:
        """Train a fresh network on the buffer."""
        self.fits += 1
        net = self.context.fresh(self.fits)
        kept = self.buffer.all()
        rng = fork(self, f"fit {self.fits}")
        optim = torch.optim.SGD(net.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optim, 1, 2, eta_min=self.lr_min)
        for _ in range(self.passes):
            for rows in torch.randperm(len(kept), generator=rng).split(self.fit_batch):
                if len(rows) == 1 and len(kept) > 1:
                    continue  # batch normalisation needs two
                optim.zero_grad()
                F.cross_entropy(net(self.augment(kept.x[rows])), kept.y[rows]).backward()
                optim.step()
            schedule.step()
        self.fitted = net.eval()

    def logits(self, x: Tensor) -> Tensor:
        """Of the network fitted last."""
        return self.model(x) if self.fitted is None else self.fitted(x)  # type: ignore[no-any-return]
