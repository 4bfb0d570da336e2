"""What is asked of an unlearning method, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from halflife.continual.examples import Examples, joined
from halflife.continual.seeds import generator
from halflife.continual.unlearning.training import Fresh
from halflife.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class Request:
    """Make a model forget some of its training examples.

    Parameters
    ----------
    model: a copy that the method may change. forget: what is to go. given: the rest of the training data, if there.
    seed: where all draws come from. fresh: makes a network of the same kind with new weights.
    """

    model: nn.Module
    forget: Examples
    given: Examples | None
    seed: int
    fresh: Fresh

    @property
    def retain(self) -> Examples:
        """The rest of the training data. Raises `InvalidInput` if it was not given."""
        if self.given is None:
            raise InvalidInput(
                "This method needs the training data that stay.",
                "Give retain, or use SSD with importances that were measured after training.",
            )
        return self.given

    @property
    def data(self) -> Examples:
        """All training data."""
        return joined([self.retain, self.forget])

    def rng(self, purpose: str) -> torch.Generator:
        """A generator for one purpose."""
        return generator(self.seed, "unlearning", purpose)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a method gives back.

    Parameters
    ----------
    model: the one that has forgotten. passes: how many examples went forward and back through it.
    details: what else the method says, by name.
    """

    model: nn.Module
    passes: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)


class Unlearner(Protocol):
    """An unlearning method with its settings."""

    def __call__(self, request: Request) -> Outcome:
        """A model that has forgotten."""
        ...


def whole_classes(request: Request) -> tuple[int, ...]:
    """The classes that go with all their examples."""
    return tuple(c for c in request.forget.classes if c not in request.retain.classes)
