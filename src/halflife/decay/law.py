"""What every law of forgetting offers, and the state it keeps for a trace.

Times are seconds everywhere. A law is a frozen dataclass whose fields are its parameters; it works on arrays
and broadcasts `elapsed` against the fields of `State`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
ArrayLike: TypeAlias = float | Array

DAY = 86_400.0
AGAIN, HARD, GOOD, EASY = 1, 2, 3, 4


@dataclass(frozen=True)
class State:
    """What a law remembers of one trace, or of many at once (arrays of one shape).

    One record serves all laws, so that a store has one set of columns whatever the law.

    Parameters
    ----------
    stability: the law's strength as a time in seconds; its meaning is the law's own.
    difficulty: a number in [1, 10] for FSRS; 0 where a law has none.
    uses: how often the trace was met or recalled, the first time included.
    lapses: how often a recall failed.
    span: seconds between the first use and the last.
    """

    stability: ArrayLike
    difficulty: ArrayLike = 0.0
    uses: ArrayLike = 1.0
    lapses: ArrayLike = 0.0
    span: ArrayLike = 0.0


@runtime_checkable
class Law(Protocol):
    """A law of forgetting, vectorised over numpy arrays."""

    @property
    def name(self) -> str:
        """The registry's name of the law."""
        ...

    def __hash__(self) -> int:
        """A law is a frozen dataclass: equal parameters, equal law."""
        ...

    def initial(self, grade: ArrayLike = GOOD) -> State:
        """The state of a trace just written."""
        ...

    def retention(self, elapsed: ArrayLike, state: State) -> Array:
        """How much is left `elapsed` seconds after the last reinforcement: in [0, 1], non-increasing."""
        ...

    def reinforce(self, state: State, elapsed: ArrayLike, grade: ArrayLike = GOOD) -> State:
        """The state after a recall (or a failed one, grade 1) `elapsed` seconds after the last."""
        ...

    def half_life(self, state: State) -> Array:
        """Seconds until retention is one half."""
        ...

    def time_to(self, target: ArrayLike, state: State) -> Array:
        """Seconds until retention falls to `target`."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """The law and its parameters as plain JSON data; `halflife.decay.law_from_dict` reads it back."""
        ...
