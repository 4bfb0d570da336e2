"""Classes as points among the features: means, and the classifier that takes the nearest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class ClassMeans:
    """The mean feature of every class, kept up as examples come.

    >>> means = ClassMeans(n_classes=3)
    >>> means.add(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([2, 2]))
    >>> means.mean(2).tolist(), means.classes
    ([2.0, 0.0], [2])
    """

    def __init__(self, n_classes: int) -> None:
        self.counts = torch.zeros(n_classes, dtype=torch.long)
        self.sums: Tensor | None = None

    @property
    def classes(self) -> list[int]:
        """Those that have examples."""
        return self.counts.nonzero()[:, 0].tolist()

    def add(self, features: Tensor, y: Tensor) -> None:
        """Take examples in: features [B, d], labels [B]."""
        if self.sums is None:
            self.sums = torch.zeros(len(self.counts), features.shape[1], device=features.device)
        self.sums.index_add_(0, y, features.detach())
        self.counts += torch.bincount(y.cpu(), minlength=len(self.counts))

    def mean(self, c: int) -> Tensor:
        """The mean of a class, [d]."""
        assert self.sums is not None
        return self.sums[c] / self.counts[c]

    def matrix(self) -> Tensor:
        """All means, [C, d]; NaN where a class has no example."""
        assert self.sums is not None
        return self.sums / self.counts[:, None].to(self.sums)

    def state_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {"counts": self.counts.clone(), "sums": None if self.sums is None else self.sums.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.counts = state["counts"].clone()
        self.sums = None if state["sums"] is None else state["sums"].clone()


def nearest_mean_logits(features: Tensor, means: Tensor, normalise: bool = True) -> Tensor:
    """Minus the squared distance to each mean, [B, C]; minus infinity for a class without one (a row of NaN)."""
    if normalise:
        features, means = F.normalize(features, dim=1), F.normalize(means, dim=1)
    found = -torch.cdist(features, means.nan_to_num()).square()
    return found.masked_fill(means.isnan().any(1), -torch.inf)


@torch.no_grad()
def class_means(
    model: torch.nn.Module, batches: Iterable[tuple[Tensor, Tensor]], n_classes: int, normalise: bool = False
) -> Tensor:  # fmt: skip
    """The mean feature of every class over batches, [C, d]; NaN where there is none. `model` has `features`."""
    mode = model.training
    model.eval()
    means = ClassMeans(n_classes)
    for x, y in batches:
        z = model.features(x)  # type: ignore[operator]
        means.add(F.normalize(z, dim=1) if normalise else z, y)
    model.train(mode)
    return means.matrix()
