"""The multi-step form: soft targets, and a value read off past uses of a case by a learned kernel.

Paper: "AgentFly: Fine-tuning LLM Agents without Fine-tuning LLMs" (Memento), arXiv 2508.16153.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from halflife.decay.law import Array
from halflife.errors import InvalidInput


def soft_td_target(reward: float, next_scores: ArrayLike, gamma: float, alpha: float) -> float:
    """r + gamma alpha log sum_c' exp(Q(s', c') / alpha): what the value of a case should have been.

    Parameters
    ----------
    reward: of this step.
    next_scores: values of all cases in the next state, shape [n]; empty at the end of an episode or for an empty bank.
    gamma: discount in [0, 1]. alpha: temperature above 0.

    Source: the soft temporal-difference rule of the memory-augmented decision process.

    >>> soft_td_target(1.0, [], 0.9, 0.5), round(soft_td_target(0.0, [1.0, 1.0], 0.5, 1.0), 4)
    (1.0, 0.8466)
    """
    if alpha <= 0 or not 0 <= gamma <= 1:
        raise InvalidInput(f"gamma is {gamma} and alpha {alpha}.", "gamma lies in [0, 1] and alpha above 0.")
    scores = np.asarray(next_scores, dtype=np.float64)
    if not scores.size:
        return float(reward)
    high = float(scores.max())
    return float(reward + gamma * (high + alpha * np.log(np.exp((scores - high) / alpha).sum())))


@dataclass(frozen=True)
class Step:
    """One step of an episode: `state` and `following` have the shape [d]; `following` None ends the episode."""

    state: Array
    case: str
    reward: float
    following: Array | None = None


class KernelQ:
    """Q(s, c) = sum_i k(s, s_i) Q_i / sum_i k(s, s_i) over the past uses i of case c.

    The kernel is k(s, s') = exp(-1/2 sum_d theta_d^2 (s_d - s'_d)^2); the scales theta are learned by the squared
    temporal-difference error against a frozen copy of them.

    Parameters
    ----------
    dim: length of a state.
    scale: the first theta, the same for all components.
    prior: the value of a case that was never used.

    Source: the episodic-control form of Q.

    >>> q = KernelQ(1, scale=4.0)
    >>> q.add([0.0], "a", 1.0)
    >>> q.add([1.0], "a", 0.0)
    >>> round(q.value([0.0], "a"), 3), q.value([0.0], "b")
    (1.0, 0.0)
    """

    def __init__(self, dim: int, scale: float = 1.0, prior: float = 0.0) -> None:
        if scale <= 0:
            raise InvalidInput(f"scale is {scale}.", "Use one above 0.")
        self.dim, self.prior = dim, prior
        self.theta: Array = np.full(dim, float(scale))
        self._states: dict[str, list[Array]] = {}
        self._values: dict[str, list[float]] = {}

    def add(self, state: ArrayLike, case: str, value: float) -> None:
        """Remember that a case was used in a state, and what it was worth."""
        self._states.setdefault(case, []).append(self._state(state))
        self._values.setdefault(case, []).append(float(value))

    def drop(self, case: str) -> None:
        """Forget all uses of a case."""
        self._states.pop(case, None)
        self._values.pop(case, None)

    def value(self, state: ArrayLike, case: str) -> float:
        """Q of a case in a state."""
        return self._value(self._state(state), case, self.theta)[0]

    def scores(self, state: ArrayLike, cases: Sequence[str]) -> Array:
        """Q of several cases, shape [n]."""
        return np.array([self.value(state, case) for case in cases])

    def fit(
        self, steps: Sequence[Step], gamma: float, alpha: float, *, rate: float = 0.1, epochs: int = 20, sync: int = 5
    ) -> list[float]:
        """Learn theta from steps. Returns the mean squared error before each epoch.

        A use in exactly the state asked about is left out of its own estimate, which would be no estimate. The
        frozen copy that makes the targets is renewed every `sync` epochs.
        """
        errors: list[float] = []
        cases = sorted(self._states)
        frozen = self.theta.copy()
        for epoch in range(epochs):
            if epoch % sync == 0:
                frozen = self.theta.copy()
            slope, squares = np.zeros(self.dim), []
            for step in steps:
                target = soft_td_target(step.reward, self._following(step, cases, frozen), gamma, alpha)
                value, gradient = self._value(self._state(step.state), step.case, self.theta, leave_out=True)
                squares.append((value - target) ** 2)
                slope += 2 * (value - target) * gradient / len(steps)
            errors.append(float(np.mean(squares)))
            self.theta = self.theta * np.exp(-rate * slope)
        return errors

    def _following(self, step: Step, cases: Sequence[str], theta: Array) -> list[float]:
        if step.following is None:
            return []
        return [self._value(self._state(step.following), case, theta)[0] for case in cases]

    def _value(self, state: Array, case: str, theta: Array, leave_out: bool = False) -> tuple[float, Array]:
        """The value, and its gradient by log theta."""
        past = np.array(self._states.get(case, [])).reshape(-1, self.dim)
        squares = (past - state) ** 2
        keep = squares.sum(axis=1) > 0 if leave_out else np.ones(len(past), dtype=np.bool_)
        if not keep.any():
            return self.prior, np.zeros(self.dim)
        squares, values = squares[keep], np.array(self._values[case])[keep]
        exponent = -0.5 * squares @ theta**2
        weight = np.exp(exponent - exponent.max())
        weight /= weight.sum()
        value = float(weight @ values)
        gradient = -(weight * (values - value)) @ squares * theta**2
        return value, gradient

    def _state(self, state: ArrayLike) -> Array:
        vector = np.asarray(state, dtype=np.float64)
        if vector.shape != (self.dim,) or not np.isfinite(vector).all():
            raise InvalidInput(f"A state has {self.dim} finite components, not the shape {vector.shape}.")
        return vector
