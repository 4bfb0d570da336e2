"""Changes of batches of pictures: fixed ones that make a task, and random ones that augment the training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Augment: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
"""A random change of a batch of pictures [B, C, H, W], each on its own."""


@dataclass(frozen=True, eq=False)
class Permute:
    """The pixels in another order, the same in every channel.

    >>> Permute(torch.tensor([1, 0]))(torch.tensor([[[[3.0, 4.0]]]])).flatten().tolist()
    [4.0, 3.0]
    """

    order: Tensor  # int64 [height * width]

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(2)[:, :, self.order.to(x.device)].reshape(x.shape)


@dataclass(frozen=True)
class Rotate:
    """Turned by an angle in degrees, counter-clockwise, with bilinear interpolation and black outside."""

    angle: float

    def __call__(self, x: Tensor) -> Tensor:
        turn = torch.full((len(x),), math.radians(self.angle), device=x.device)
        return _warp(x, turn, torch.ones_like(turn), torch.zeros(len(x), 2, device=x.device))


@dataclass(frozen=True)
class Shift:
    """Moved by up to so many whole pixels each way, with black at the border."""

    pixels: int = 2

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        if not self.pixels:
            return x
        count, _, height, width = x.shape
        moves = torch.randint(0, 2 * self.pixels + 1, (2, count, 1), generator=rng).to(x.device)
        rows = (moves[0] + torch.arange(height, device=x.device))[:, None, :, None]
        columns = (moves[1] + torch.arange(width, device=x.device))[:, None, None, :]
        padded = F.pad(x, (self.pixels,) * 4)
        picture = torch.arange(count, device=x.device)[:, None, None, None]
        channel = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
        return padded[picture, channel, rows, columns]


@dataclass(frozen=True)
class Flip:
    """Mirrored left to right, with a chance of one half."""

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        chosen = (torch.rand(len(x), generator=rng) < 0.5).to(x.device)
        return torch.where(chosen[:, None, None, None], x.flip(-1), x)


@dataclass(frozen=True)
class Affine:
    """Turned, scaled and moved at random.

    Parameters
    ----------
    degrees: up to so far either way. scale: between these. shift: up to so many pixels each way.
    """

    degrees: float = 15.0
    scale: tuple[float, float] = (0.9, 1.1)
    shift: float = 3.0

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        draw = torch.rand(len(x), 4, generator=rng).to(x.device)
        turn = (2 * draw[:, 0] - 1) * math.radians(self.degrees)
        size = self.scale[0] + draw[:, 1] * (self.scale[1] - self.scale[0])
        half = torch.tensor([x.shape[3] / 2, x.shape[2] / 2], device=x.device)
        return _warp(x, turn, size, (2 * draw[:, 2:] - 1) * self.shift / half)


@dataclass(frozen=True)
class Cutout:
    """A square of `side` pixels at a random place is blackened."""

    side: int = 8

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        height, width = x.shape[2:]
        centre = torch.rand(len(x), 2, generator=rng).to(x.device) * torch.tensor([height, width], device=x.device)
        rows = (torch.arange(height, device=x.device) - centre[:, :1]).abs() < self.side / 2
        columns = (torch.arange(width, device=x.device) - centre[:, 1:]).abs() < self.side / 2
        return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


@dataclass(frozen=True)
class Brightness:
    """Every picture times a random factor within `1 - amount .. 1 + amount`, kept in [0, 1]."""

    amount: float = 0.3

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        factor = 1 + (2 * torch.rand(len(x), generator=rng) - 1) * self.amount
        return (x * factor.to(x.device)[:, None, None, None]).clamp(0, 1)


@dataclass(frozen=True)
class Compose:
    """One random change after another.

    >>> Compose([Shift(1), Flip()])(torch.rand(2, 1, 4, 4), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 4, 4])
    """

    parts: Sequence[Augment]

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        for part in self.parts:
            x = part(x, rng)
        return x


def _warp(x: Tensor, turn: Tensor, size: Tensor, move: Tensor) -> Tensor:
    """Each picture turned (radians [B]), scaled ([B]) and moved (halves of its sides, [B, 2])."""
    cos, sin = turn.cos() / size, turn.sin() / size
    theta = torch.stack([torch.stack([cos, -sin, move[:, 0]], 1), torch.stack([sin, cos, move[:, 1]], 1)], 1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)
