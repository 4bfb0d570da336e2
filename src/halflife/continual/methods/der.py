"""DER and DER++: dark experience for general continual learning (Buzzega et al. 2020, arXiv 2004.07211)."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F

from halflife.continual.method import Batch
from halflife.continual.methods.er import Replay


@dataclass(eq=False, kw_only=True)
class DER(Replay):
    """`CE + alpha * MSE(f(x'), z')`: old examples keep the logits z' that the network gave when they were stored.

    Parameters
    ----------
    alpha: the weight of the stored logits. The MSE is a mean over batch and classes.
    """

    alpha: float = 0.5

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        if not len(self.buffer):
            logits = self.model(batch.x)
            loss = F.cross_entropy(logits, batch.y)
        else:
            old = self.buffer.sample(self.minibatch or len(batch))
            logits, again = self.each(batch.x, self.augment(old.x))
            loss = F.cross_entropy(logits, batch.y) + self.alpha * F.mse_loss(again, old.logits)
        logged = self.step(loss)
        self.buffer.add(x=batch.raw, y=batch.y, logits=logits)
        return logged


@dataclass(eq=False, kw_only=True)
class DERpp(Replay):
    """`CE + alpha * MSE(f(x'), z') + beta * CE(f(x''), y'')`: a second draw from the buffer keeps its labels.

    Parameters
    ----------
    alpha: the weight of the stored logits. beta: the weight of the stored labels.

    >>> from halflife.continual import class_incremental, load, run
    >>> method = DERpp(capacity=100, alpha=0.2, beta=1.0, lr=0.1)
    >>> run(class_incremental(load("digits")), method, epochs=4, batch_size=16)["accuracy"][0] > 0.5
    True
    """

    alpha: float = 0.1
    beta: float = 0.5

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        if not len(self.buffer):
            logits = self.model(batch.x)
            loss = F.cross_entropy(logits, batch.y)
        else:
            count = self.minibatch or len(batch)
            old, other = self.buffer.sample(count), self.buffer.sample(count)
            logits, again, also = self.each(batch.x, self.augment(old.x), self.augment(other.x))
            loss = F.cross_entropy(logits, batch.y) + self.alpha * F.mse_loss(again, old.logits)
            loss = loss + self.beta * F.cross_entropy(also, other.y)
        logged = self.step(loss)
        self.buffer.add(x=batch.raw, y=batch.y, logits=logits)
        return logged
