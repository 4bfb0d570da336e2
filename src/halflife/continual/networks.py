"""Small networks for continual learning: a body that makes features, and a head that makes logits.

Every network is a `Network(body, head)`, so that methods which look at features (`model.features(x)`) or at the rows
of the head work with any of them, and with your own: `Network(my_body, LinearHead(width, n_classes))`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halflife.errors import InvalidInput


class Network(nn.Module):
    """Features, then logits.

    Parameters
    ----------
    body: [B, *shape] -> features [B, d]. head: [B, d] -> logits [B, C]; `LinearHead` or `CosineHead`.
    """

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def features(self, x: Tensor) -> Tensor:
        """What the head sees, [B, d]."""
        found: Tensor = self.body(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, C]."""
        found: Tensor = self.head(self.features(x))
        return found


class LinearHead(nn.Linear):
    """A row of weights and a bias for each class."""

    def grow(self, n_classes: int) -> None:
        """Make room for more classes; the old rows stay as they are. An optimiser must be made anew."""
        _grow(self, n_classes)


class CosineHead(nn.Module):
    """A proxy for each class, compared by cosine: `logit_c = cos(z, w_c) / tau`.

    Parameters
    ----------
    width: of the features. n_classes: proxies. tau: temperature.

    >>> CosineHead(3, 2, tau=0.5)(torch.rand(4, 3)).shape
    torch.Size([4, 2])
    """

    def __init__(self, width: int, n_classes: int, tau: float = 0.09) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_classes, width))
        self.tau = tau
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, z: Tensor) -> Tensor:
        """Cosines over the temperature, [B, C]."""
        return F.normalize(z, dim=1, eps=1e-6) @ F.normalize(self.weight, dim=1, eps=1e-6).T / self.tau

    def grow(self, n_classes: int) -> None:
        """Make room for more classes; the old proxies stay as they are. An optimiser must be made anew."""
        _grow(self, n_classes)


def _grow(head: LinearHead | CosineHead, n_classes: int) -> None:
    old = head.weight
    count, width = old.shape
    if n_classes < count:
        raise InvalidInput(f"The head has {count} classes; it cannot have {n_classes}.", "A head only grows.")
    fresh = type(head)(width, n_classes).to(old.device)
    with torch.no_grad():
        fresh.weight[:count] = old
        if isinstance(head, LinearHead) and isinstance(fresh, LinearHead):
            fresh.bias[:count] = head.bias
            head.bias, head.out_features = fresh.bias, n_classes
    head.weight = fresh.weight


class Architecture(Protocol):
    """A description of a network that can be built for any shape of input and number of classes."""

    def build(self, shape: tuple[int, ...], n_classes: int) -> nn.Module:
        """A network with weights drawn from torch's global generator."""
        ...


Model: TypeAlias = str | Architecture | Callable[[tuple[int, ...], int], nn.Module]
"""How a model is named: `mlp`, an `Architecture`, or a function of the input's shape and the number of classes."""


def _head(kind: str, width: int, n_classes: int) -> nn.Module:
    if kind == "linear":
        return LinearHead(width, n_classes)
    if kind == "cosine":
        return CosineHead(width, n_classes)
    raise InvalidInput(f"There is no head {kind!r}.", "Use linear or cosine.")


@dataclass(frozen=True)
class MLP:
    """Layers of ReLU units on the flat input.

    Parameters
    ----------
    hidden: their widths; the last is that of the features. norm: batch normalisation after each. head: see `_head`.

    >>> MLP((100, 100)).build((1, 28, 28), 10)(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    hidden: tuple[int, ...] = (100, 100)
    norm: bool = False
    head: str = "linear"

    def build(self, shape: tuple[int, ...], n_classes: int) -> Network:
        """See `Architecture`."""
        layers: list[nn.Module] = [nn.Flatten()]
        width = int(torch.tensor(shape).prod())
        for size in self.hidden:
            layers.append(nn.Linear(width, size))
            if self.norm:
                layers.append(nn.BatchNorm1d(size))
            layers.append(nn.ReLU())
            width = size
        return Network(nn.Sequential(*layers), _head(self.head, width, n_classes))


@dataclass(frozen=True)
class CNN:
    """Blocks of a 3 x 3 convolution, ReLU and pooling by two, then one layer of units.

    Parameters
    ----------
    channels: of the blocks. hidden: units, the width of the features. norm: batch normalisation. head: see `_head`.

    >>> CNN().build((1, 28, 28), 10)(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    channels: tuple[int, ...] = (16, 32)
    hidden: int = 64
    norm: bool = False
    head: str = "linear"

    def build(self, shape: tuple[int, ...], n_classes: int) -> Network:
        """See `Architecture`."""
        layers: list[nn.Module] = []
        width, height, depth = shape[2], shape[1], shape[0]
        for size in self.channels:
            layers.append(nn.Conv2d(depth, size, 3, padding=1))
            if self.norm:
                layers.append(nn.BatchNorm2d(size))
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
            width, height, depth = width // 2, height // 2, size
        layers += [nn.Flatten(), nn.Linear(width * height * depth, self.hidden)]
        if self.norm:
            layers.append(nn.BatchNorm1d(self.hidden))
        layers.append(nn.ReLU())
        return Network(nn.Sequential(*layers), _head(self.head, self.hidden, n_classes))


@dataclass(frozen=True)
class ResNet18:
    """The residual network of continual-learning papers for small pictures: 3 x 3 stem, no first pooling.

    Parameters
    ----------
    width: channels of the first stage (64 is the full network; 20 the reduced one). head: see `_head`.

    >>> ResNet18(4).build((3, 32, 32), 10)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    width: int = 64
    head: str = "linear"

    def build(self, shape: tuple[int, ...], n_classes: int) -> Network:
        """See `Architecture`."""
        w = self.width
        layers: list[nn.Module] = [
            nn.Conv2d(shape[0], w, 3, padding=1, bias=False), nn.BatchNorm2d(w), nn.ReLU()
        ]  # fmt: skip
        depth = w
        for stage, size in enumerate((w, 2 * w, 4 * w, 8 * w)):
            layers += [_Block(depth, size, 2 if stage else 1), _Block(size, size, 1)]
            depth = size
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return Network(nn.Sequential(*layers), _head(self.head, depth, n_classes))


class _Block(nn.Module):
    def __init__(self, depth: int, size: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(depth, size, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(size)
        self.conv2 = nn.Conv2d(size, size, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(size)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or depth != size:
            self.shortcut = nn.Sequential(nn.Conv2d(depth, size, 1, stride, bias=False), nn.BatchNorm2d(size))

    def forward(self, x: Tensor) -> Tensor:
        """Two convolutions and the way around them."""
        out = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(out)) + self.shortcut(x))


NAMES = ("mlp", "cnn", "resnet18")


def resolve(model: Model) -> Callable[[tuple[int, ...], int], nn.Module]:
    """A function that builds the network that was named.

    `mlp` has two layers of 100, `mlp:400,400` those widths, `cnn` blocks of 16 and 32 channels and 64 units,
    `resnet18` the full residual network, `resnet18:20` that of width 20; `-norm` and `-cosine` may follow the name.

    >>> resolve("mlp-cosine:32")((1, 8, 8), 10).head.tau
    0.09
    """
    if not isinstance(model, str):
        return model.build if hasattr(model, "build") else model
    name, _, sizes = model.partition(":")
    name, *options = name.split("-")
    try:
        numbers = tuple(int(part) for part in sizes.split(",")) if sizes else ()
    except ValueError:
        numbers = (0,)
    if name not in NAMES or set(options) - {"norm", "cosine"} or any(n < 1 for n in numbers):
        raise InvalidInput(f"There is no model {model!r}.", "Use mlp, mlp:400,400, cnn, resnet18, resnet18:20.")
    head = "cosine" if "cosine" in options else "linear"
    norm = "norm" in options
    if name == "mlp":
        return MLP(numbers or (100, 100), norm, head).build
    if name == "cnn":
        return CNN(numbers[:-1] or (16, 32), numbers[-1] if numbers else 64, norm, head).build
    return ResNet18(numbers[0] if numbers else 64, head).build
