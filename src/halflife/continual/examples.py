"""Sets of examples as numbers of rows: nothing is copied until a batch is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from halflife.errors import InvalidInput

Transform: TypeAlias = Callable[[Tensor], Tensor]
"""A fixed change of a batch of inputs, [B, ...] -> [B, ...]: a permutation of pixels, a rotation."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Some rows of a data set, each through one of a few fixed transforms.

    Parameters
    ----------
    x: all inputs of the data set, [N, ...]; bytes are divided by 255 when a batch is made.
    y: their labels, int64 [N].
    index: the rows that belong to this set, int64 [n].
    transforms: what the rows go through. view: which of them, int64 [n]; None: the first, for all.

    >>> x, y = torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 0])
    >>> some = Examples(x, y, torch.tensor([2, 1]))
    >>> len(some), some.classes, some.batch(torch.tensor([0]))[0].tolist()
    (2, (0, 1), [[4.0, 5.0]])
    """

    x: Tensor
    y: Tensor
    index: Tensor
    transforms: tuple[Transform, ...] = ()
    view: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def labels(self) -> Tensor:
        """The labels of these rows, int64 [n]."""
        return self.y[self.index]

    @cached_property
    def classes(self) -> tuple[int, ...]:
        """The classes that occur, in order."""
        return tuple(self.labels.unique().tolist())

    def batch(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (float32, [B, ...]) and labels (int64, [B]) at positions within this set."""
        rows = self.index[positions]
        x = self.x[rows]
        if not x.is_floating_point():
            x = x.to(torch.float32).div_(255.0)
        if self.view is None:
            if self.transforms:
                x = self.transforms[0](x)
        else:
            views = self.view[positions]
            for one in views.unique().tolist():
                x[views == one] = self.transforms[one](x[views == one])
        return x, self.y[rows]

    def all(self) -> tuple[Tensor, Tensor]:
        """Every input and label."""
        return self.batch(torch.arange(len(self), device=self.index.device))

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All of it in order, `size` examples at a time."""
        for positions in torch.arange(len(self), device=self.index.device).split(size):
            yield self.batch(positions)

    def only(self, positions: Tensor) -> Examples:
        """A part of this set."""
        return replace(self, index=self.index[positions], view=None if self.view is None else self.view[positions])

    def shuffled(self, rng: torch.Generator, count: int | None = None) -> Examples:
        """At most so many of them in a random order."""
        return self.only(torch.randperm(len(self), generator=rng)[:count].to(self.index.device))

    def of(self, classes: Sequence[int]) -> Examples:
        """The examples of some classes."""
        return self.only(
            torch.isin(self.labels, torch.tensor(list(classes), device=self.labels.device)).nonzero()[:, 0]
        )

    def to(self, device: torch.device | str) -> Examples:
        """The same set with its data on a device."""
        return replace(
            self,
            x=self.x.to(device), y=self.y.to(device), index=self.index.to(device),
            view=None if self.view is None else self.view.to(device),
        )  # fmt: skip


def joined(sets: Sequence[Examples]) -> Examples:
    """Several sets over the same data as one; each row keeps its transform.

    Raises
    ------
    InvalidInput: there are none, or they are over different data.
    """
    if not sets:
        raise InvalidInput("There are no examples to join.")
    first = sets[0]
    if any(one.x is not first.x or one.y is not first.y for one in sets):
        raise InvalidInput("Only examples over the same data can be joined.")
    index = torch.cat([one.index for one in sets])
    if not any(one.transforms for one in sets):
        return replace(first, index=index)
    transforms: list[Transform] = []
    views = []
    for one in sets:
        mine = one.transforms or (_same,)
        view = torch.zeros_like(one.index) if one.view is None else one.view
        views.append(view + len(transforms))
        transforms.extend(mine)
    return replace(first, index=index, transforms=tuple(transforms), view=torch.cat(views))


def _same(x: Tensor) -> Tensor:
    return x
