"""Which classes come rarely enough to be replayed, and often enough to be worth it (SCoLe, arXiv 2207.04543)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from halflife.errors import InvalidInput


@dataclass
class Frequencies:
    """How often classes came, and which of them are rare enough to be replayed.

    Parameters
    ----------
    low, high: a class is replayed if it came in more than `low` and at most `high` of the tasks: a rarer one costs more
        than it is worth. trigger: and at least so often.

    >>> counts = Frequencies(low=0.1, high=0.6, trigger=1)
    >>> for classes in ([0, 1], [0, 2], [0, 3], [0, 2], [0, 2]):
    ...     counts.saw(classes)
    >>> counts.rare(current=[1], count=2)
    [3, 2]
    """

    low: float = 0.01
    high: float = 0.1
    trigger: int = 3
    tasks: int = 0
    weights: dict[int, float] = field(default_factory=dict)
    visits: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1 or self.trigger < 0:
            raise InvalidInput(
                f"Frequencies from {self.low} to {self.high}, {self.trigger} visits: no class can be chosen.",
                "Use 0 <= low < high <= 1 and trigger >= 0.",
            )

    def saw(self, classes: Sequence[int], weights: Sequence[float] | None = None) -> None:
        """A task had these classes, replayed ones among them.

        Parameters
        ----------
        weights: how much a visit counts, such as the accuracy on the class in [0, 1]; None: 1.
        """
        self.tasks += 1
        for c, weight in zip(classes, weights or [1.0] * len(classes), strict=True):
            self.weights[c] = self.weights.get(c, 0.0) + weight
            self.visits[c] = self.visits.get(c, 0) + 1

    def rare(self, current: Sequence[int], count: int) -> list[int]:
        """At most so many classes to replay beside the current ones, the least frequent first."""
        candidates = sorted((weight, c) for c, weight in self.weights.items() if c not in current)
        return [
            c
            for weight, c in candidates
            if self.visits[c] >= self.trigger and self.low < weight / self.tasks <= self.high
        ][:count]

    def state_dict(self) -> dict[str, Any]:
        """What was counted, as plain data."""
        return {"tasks": self.tasks, "weights": dict(self.weights), "visits": dict(self.visits)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.tasks, self.weights, self.visits = state["tasks"], dict(state["weights"]), dict(state["visits"])
