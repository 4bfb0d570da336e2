"""Unlearning by changing weights without a step of training: Fisher forgetting, and the controls of SSD."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from halflife.continual.importance import ByName, importance, trainable
from halflife.continual.seeds import generator
from halflife.continual.unlearning.request import Outcome, Request, whole_classes
from halflife.continual.unlearning.ssd import SSD, ssd_dampen
from halflife.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class FisherForgetting:
    """Add Gaussian noise to the weights, the more the less they matter for what stays.

    Golatkar et al. 2019, arXiv 1911.04933, with the rules of the SSD code: variance `alpha / (F + 1e-8)`, at most
    `1e3 * alpha` (`1e2 * alpha` in the head), averaged over the inputs of a unit, ten times as large for vectors (and
    for the head, when whole classes go); the rows of the head of a class that goes are then drawn around zero.

    Parameters
    ----------
    alpha: the size of the noise. samples: examples of what stays for the Fisher matrix, whose diagonal takes one pass
        for each class over them; None takes all, which is slow.
    """

    alpha: float = 1e-6
    samples: int | None = None
    batch_size: int = 64

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise InvalidInput(f"alpha is {self.alpha}.", "Use alpha > 0.")

    def __call__(self, request: Request) -> Outcome:
        """See `Unlearner`."""
        fisher, passes = self.fisher(request)
        gone = list(whole_classes(request))
        head = list(fisher)[-1].rpartition(".")[0]
        rng = request.rng("fisher")
        with torch.no_grad():
            for name, p in trainable(request.model).items():
                of_head = name.rpartition(".")[0] == head
                variance = self.alpha * (1 / (fisher[name] + 1e-8)).clamp(max=1e2 if of_head else 1e3)
                if p.dim() > 1:
                    variance = variance.mean(1, keepdim=True).expand_as(p).clone()
                if of_head and gone:
                    p[gone] = 0
                    variance[gone] = 1e-4
                if p.dim() == 1 or (of_head and gone):
                    variance = 10 * variance
                p.add_(variance.sqrt() * torch.randn(p.shape, generator=rng).to(p))
        return Outcome(request.model, passes)

    def fisher(self, request: Request) -> tuple[ByName, int]:
        """The diagonal of the Fisher matrix on what stays, labels as the model expects them; and the passes."""
        some = request.retain.shuffled(request.rng("fisher samples"), self.samples)
        with torch.no_grad():
            n_classes = request.model.eval()(some.batch(torch.tensor([0], device=some.index.device))[0]).shape[1]
        total: ByName = {}
        for label in range(n_classes):

            def batches(label: int = label) -> Iterator[tuple[Tensor, Tensor]]:
                return ((x, torch.full_like(y, label)) for x, y in some.batches(self.batch_size))

            for name, value in importance(request.model, batches(), _expected, per_sample=True).items():
                total[name] = total[name] + value if name in total else value
        return total, n_classes * len(some)


def _expected(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of one example times the root of the label's probability: its squared gradient is weighed by it."""
    weight = logits.detach().softmax(1).gather(1, y[:, None]).sqrt()[:, 0]
    return (weight * F.cross_entropy(logits, y, reduction="none")).mean()


@dataclass(frozen=True, kw_only=True)
class Control:
    """Dampen as many weights as SSD would, chosen without its ratio: what SSD has to beat.

    Parameters
    ----------
    by: `forget`, the weights of the largest importance for what is to go; `random`, any.
    like: the SSD whose number of weights is taken. scale: what they are multiplied with.

    >>> from halflife.continual import MLP, load
    >>> from halflife.continual.unlearning import unlearn
    >>> data = load("digits")
    >>> model = MLP((16,)).build(data.shape, data.n_classes)
    >>> done = unlearn(Control(like=SSD(alpha=2.0)), model, data.train.of([8]), data.train.of(range(8)))
    >>> done.details["selected"] > 0
    True
    """

    by: Literal["forget", "random"] = "forget"
    like: SSD = field(default_factory=SSD)
    scale: float = 0.1

    def __call__(self, request: Request) -> Outcome:
        """See `Unlearner`."""
        if self.by not in ("forget", "random"):
            raise InvalidInput(f"There is no choice by {self.by!r}.", "Use forget or random.")
        every, gone, passes = self.like.importances(request)
        count = ssd_dampen(request.model, every, gone, self.like.alpha, self.like.lam, self.like.names)[1].selected
        parameters = trainable(request.model)
        total = sum(p.numel() for p in parameters.values())
        if self.by == "forget":
            scores = torch.cat([gone.values[name].flatten() for name in parameters])
        else:
            scores = torch.rand(total, generator=generator(request.seed, "control"))
        chosen = torch.zeros(total, dtype=torch.bool, device=scores.device)
        chosen[scores.topk(count).indices] = True
        parts = chosen.split([p.numel() for p in parameters.values()])
        with torch.no_grad():
            for p, part in zip(parameters.values(), parts, strict=True):
                p[part.view_as(p).to(p.device)] *= self.scale
        return Outcome(request.model, passes, {"selected": count})
