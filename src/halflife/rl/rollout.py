"""How a policy acts: from a start to an episode with its rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from halflife.errors import InvalidInput
from halflife.rl.policy import Policy


@dataclass(frozen=True)
class Episode:
    """The states that a policy met, what it did in each, and the reward of each step (0 but for the last, often).

    >>> Episode(["a", "b"], [1, 0], [0.0, 1.0]).total
    1.0
    """

    states: Sequence[Any]
    actions: Sequence[Any]
    rewards: Sequence[float]

    def __post_init__(self) -> None:
        if not len(self.states) == len(self.actions) == len(self.rewards):
            raise InvalidInput(
                f"An episode has {len(self.states)} states, {len(self.actions)} actions, {len(self.rewards)} rewards.",
                "Give one of each a step.",
            )

    @property
    def total(self) -> float:
        """The sum of the rewards."""
        return float(sum(self.rewards))


Rollout: TypeAlias = Callable[[Policy, Sequence[Any], torch.Generator], Sequence[Episode]]
"""(policy, starts, generator) -> one episode a start. A start may be anything, and stands there more than once."""


def one_step(reward: Callable[[Any, Any], float]) -> Rollout:
    """Episodes of a single decision: the start is the state, and `reward(state, action)` ends it.

    >>> from halflife.rl.policy import CategoricalPolicy
    >>> fair = CategoricalPolicy(torch.nn.Identity(), lambda s: (torch.stack(s), torch.ones(len(s), 2) > 0))
    >>> [episode] = one_step(lambda state, action: 2.0)(fair, [torch.zeros(2)], torch.Generator())
    >>> episode.rewards
    [2.0]
    """

    def rollout(policy: Policy, starts: Sequence[Any], generator: torch.Generator) -> list[Episode]:
        actions = policy.sample(starts, generator)
        return [Episode([s], [a], [float(reward(s, a))]) for s, a in zip(starts, actions, strict=True)]

    return rollout


def batches(count: int, size: int, updates: int, generator: torch.Generator) -> list[list[int]]:
    """Which of `count` starts each update takes: all in a random order, then all in another, and so on.

    >>> [len(batch) for batch in batches(3, 2, 4, torch.Generator().manual_seed(0))]
    [2, 2, 2, 2]
    """
    if count < 1 or size < 1:
        raise InvalidInput(f"{count} starts cannot be drawn {size} at a time.", "Give one start at least.")
    order: list[int] = []
    while len(order) < size * updates:
        order += torch.randperm(count, generator=generator).tolist()
    return [order[i * size : (i + 1) * size] for i in range(updates)]
