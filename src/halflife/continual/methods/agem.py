"""A-GEM: efficient lifelong learning with A-GEM (Chaudhry et al. 2019, arXiv 1812.00420)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from halflife.continual.importance import trainable
from halflife.continual.method import Batch
from halflife.continual.methods.er import Replay


@dataclass(eq=False, kw_only=True)
class AGEM(Replay):
    """The gradient is turned so that it does not raise the loss on a draw from the buffer.

    If `<g, r> < 0`, with r the gradient on the buffer: `g <- g - (<g, r> / <r, r>) r`.
    """

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        parameters = list(trainable(self.model).values())
        loss = F.cross_entropy(self.model(batch.x), batch.y)
        g = torch.autograd.grad(loss, parameters)
        if len(self.buffer):
            old = self.buffer.sample(self.minibatch or len(batch))
            r = torch.autograd.grad(F.cross_entropy(self.model(self.augment(old.x)), old.y), parameters)
            g = project(g, r)
        for p, one in zip(parameters, g, strict=True):
            p.grad = one
        logged = self.checked(loss)
        self.update()
        self.buffer.add(x=batch.raw, y=batch.y)
        return logged


def project(g: tuple[Tensor, ...], r: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A gradient without what goes against another; it is returned as it is if nothing does.

    >>> project((torch.tensor([1.0, -1.0]),), (torch.tensor([0.0, 2.0]),))[0].tolist()
    [1.0, 0.0]
    """
    dot = sum((a * b).sum() for a, b in zip(g, r, strict=True))
    if dot >= 0:
        return g
    scale = dot / sum(b.square().sum() for b in r)
    return tuple(a - scale * b for a, b in zip(g, r, strict=True))
