"""MemoryBank's forgetting curve, and three ways to forget by it.

Paper: "MemoryBank: Enhancing Large Language Models with Long-Term Memory", arXiv 2305.10250.

The paper gives R = exp(-t / S), with t the time since the last recall and S a strength that starts at 1 and
grows by 1 with each recall. The released code has `exp(-t / 5 * S)`, which by precedence is exp(-(t / 5) S):
there, a stronger memory fades *faster*. Its evident intent, exp(-t / (5 S)) with t in days, is the default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from halflife.decay import DAY, Array, ArrayLike, Exponential, State
from halflife.errors import InvalidInput

CurveKind: TypeAlias = Literal["ebbinghaus", "paper", "code_as_written"]
ForgetMode: TypeAlias = Literal["threshold", "draw", "hazard"]

_UNIT_DAYS: dict[CurveKind, float] = {"ebbinghaus": 5.0, "paper": 1.0, "code_as_written": 5.0}


@dataclass(frozen=True)
class ForgettingCurve:
    """Retention as a function of days since the last recall and of strength.

    Parameters
    ----------
    kind: `ebbinghaus` is exp(-t / (unit S)); `paper` is the same with a unit of one day; `code_as_written` is
        exp(-(t / unit) S), the released code's slip, kept so that its effect can be shown.
    unit_days: days after which a memory of strength 1 is down to 1/e; 5, or 1 for `paper`, unless given.

    Raises
    ------
    InvalidInput: an unknown kind, or a unit that is not a positive number.

    Source: paper, section 2.3; code, memory_retrieval/forget_memory.py.

    >>> ForgettingCurve().retention(5.0, [1, 3]).round(3).tolist()
    [0.368, 0.717]
    >>> ForgettingCurve("code_as_written").retention(5.0, [1, 3]).round(3).tolist()
    [0.368, 0.05]
    """

    kind: CurveKind = "ebbinghaus"
    unit_days: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in _UNIT_DAYS:
            raise InvalidInput(
                f"There is no forgetting curve {self.kind!r}.",
                f"Use one of {', '.join(get_args(CurveKind))}.",
            )
        if not (0 < self.unit < np.inf):
            raise InvalidInput(f"unit_days is {self.unit_days}.", "Use a positive number of days.")

    @property
    def unit(self) -> float:
        """Days after which a memory of strength 1 is down to 1/e."""
        return _UNIT_DAYS[self.kind] if self.unit_days is None else self.unit_days

    def stability(self, strength: ArrayLike | list[int]) -> Array:
        """Days after which retention is down to 1/e, for each strength."""
        s = np.asarray(strength, dtype=np.float64)
        if not np.all(s > 0):
            raise InvalidInput("A strength is not positive.", "A memory starts with strength 1.")
        return self.unit / s if self.kind == "code_as_written" else self.unit * s

    def retention(self, t_days: ArrayLike | list[float], strength: ArrayLike | list[int]) -> Array:
        """How much is left `t_days` after the last recall, in [0, 1]; both arguments broadcast.

        A clock that went backwards counts as no time at all.
        """
        t = np.maximum(np.asarray(t_days, dtype=np.float64), 0.0)
        return self._exponential.retention(t * DAY, State(self.stability(strength) * DAY))

    def half_life(self, strength: ArrayLike | list[int]) -> Array:
        """Days until retention is one half."""
        return self._exponential.half_life(State(self.stability(strength) * DAY)) / DAY

    @property
    def law(self) -> Exponential:
        """The same curve as a law for a store: a strength S is a stability of S units, and a recall adds one.

        Raises
        ------
        InvalidInput: for `code_as_written`, where a recall shortens the stability.
        """
        if self.kind == "code_as_written":
            raise InvalidInput(
                "The curve 'code_as_written' fades faster with each recall, and is no law for a store.",
                "Use 'ebbinghaus'.",
            )
        return self._exponential

    @property
    def _exponential(self) -> Exponential:
        return Exponential(unit=self.unit)


def forgotten(
    retention: ArrayLike,
    mode: ForgetMode = "threshold",
    *,
    threshold: float = 0.1,
    before: ArrayLike = 1.0,
    rng: np.random.Generator | None = None,
) -> NDArray[np.bool_]:
    """Which memories are to be forgotten now.

    Parameters
    ----------
    retention: R now, shape [n].
    mode: `threshold` forgets what is below the threshold, the same on every run. `draw` keeps each with
        probability R, as the released code does: every further check draws again, so that a memory checked
        daily survives with the product of all R. `hazard` keeps each with probability R / `before`, so that
        survival follows R however often it is checked.
    threshold: for `threshold`, in [0, 1].
    before: for `hazard`, R at the last check; 1 for what was written or recalled since.
    rng: for `draw` and `hazard`.

    Raises
    ------
    InvalidInput: an unknown mode, a threshold outside [0, 1], or no generator where one is needed.

    >>> forgotten([0.9, 0.05]).tolist()
    [False, True]
    """
    r = np.asarray(retention, dtype=np.float64)
    if mode == "threshold":
        if not 0 <= threshold <= 1:
            raise InvalidInput(f"The threshold is {threshold}.", "Use a retention between 0 and 1.")
        return np.asarray(r < threshold)
    if mode not in ("draw", "hazard"):
        raise InvalidInput(
            f"There is no way to forget called {mode!r}.", f"Use one of {', '.join(get_args(ForgetMode))}."
        )
    if rng is None:
        raise InvalidInput(f"Mode {mode!r} draws at random.", "Pass rng=numpy.random.default_rng(seed).")
    keep = r
    if mode == "hazard":
        earlier = np.broadcast_to(np.asarray(before, dtype=np.float64), r.shape)
        # What was already down to nothing cannot have been kept.
        keep = np.divide(r, earlier, out=np.zeros_like(r), where=earlier > 0)
    return np.asarray(rng.random(r.shape) >= keep)
