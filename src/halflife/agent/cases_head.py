"""The network behind a learned choice of cases, in numpy: a pair of vectors in, a logit out.

Paper: "AgentFly: Fine-tuning LLM Agents without Fine-tuning LLMs" (Memento), arXiv 2508.16153.

The released classifier has two outputs and a softmax; one logit and a sigmoid are the same function. Its gradients
are written out here, so that a memory can learn on any machine that it runs on; the encoder is not trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from halflife.decay.law import Array
from halflife.errors import InvalidInput

Features: TypeAlias = Literal["compare", "concat"]
Weights: TypeAlias = dict[str, NDArray[np.float32]]
Matrix: TypeAlias = NDArray[np.float32]

SHAPES = ("w1", "b1", "w2", "b2")
UNKNOWN = 0.5  # what stands for the reward of a case that has none yet


@dataclass(frozen=True)
class Pairs:
    """States and the cases that are weighed for them, a pair a row.

    Parameters
    ----------
    states, cases: vectors, shape [b, d] each, or [1, d] for a single state before many cases.
    rewards: of the cases, shape [b]; NaN where none is known.
    """

    states: Matrix
    cases: Matrix
    rewards: Array

    def __len__(self) -> int:
        return len(self.cases)

    def take(self, rows: NDArray[np.integer]) -> Pairs:
        """Some of the rows."""
        return Pairs(self.states[rows], self.cases[rows], self.rewards[rows])

    def features(self, kind: Features) -> Matrix:
        """What the network reads, shape [b, width]: [x, c, |x - c|, r] or [c, x]."""
        states = np.broadcast_to(self.states, self.cases.shape)
        if kind == "concat":
            return np.concatenate([self.cases, states], axis=1, dtype=np.float32)
        rewards = np.nan_to_num(self.rewards, nan=UNKNOWN)[:, None]
        return np.concatenate([states, self.cases, np.abs(states - self.cases), rewards], axis=1, dtype=np.float32)


def width_of(features: Features, dim: int) -> int:
    """The number of features of a pair of vectors of length `dim`."""
    if features not in get_args(Features):
        raise InvalidInput(f"features is {features!r}.", f"Use one of {', '.join(get_args(Features))}.")
    return 2 * dim if features == "concat" else 3 * dim + 1


def initial(width: int, hidden: int, rng: np.random.Generator) -> Weights:
    """Weights of Linear(width -> hidden), ReLU, Linear(hidden -> 1), uniform within 1/sqrt(inputs) as is usual."""

    def uniform(*shape: int, inputs: int) -> Matrix:
        return rng.uniform(-(inputs**-0.5), inputs**-0.5, shape).astype(np.float32)

    return {
        "w1": uniform(width, hidden, inputs=width),
        "b1": uniform(hidden, inputs=width),
        "w2": uniform(hidden, inputs=hidden),
        "b2": uniform(1, inputs=hidden),
    }


def logits(weights: Weights, features: Matrix) -> Matrix:
    """The logit of each row of features, shape [b]."""
    hidden = np.maximum(features @ weights["w1"] + weights["b1"], 0.0)
    out: Matrix = hidden @ weights["w2"] + weights["b2"]
    return out


def sigmoid(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """1 / (1 + exp(-x)), without overflow."""
    out: NDArray[np.floating] = 0.5 * (1.0 + np.tanh(0.5 * values))
    return out


def gradients(
    weights: Weights, features: Matrix, targets: Array, positive: float = 1.0, mask: Matrix | None = None
) -> tuple[float, Weights]:
    """The binary cross entropy of a batch, and its gradient.

    Parameters
    ----------
    features, targets: shape [b, width] and, in [0, 1], [b].
    positive: what a positive target weighs.
    mask: dropout of the hidden units, shape [b, hidden], scaled already; None for none.

    Source: the loss of the one-step case, section 4.2.
    """
    before = features @ weights["w1"] + weights["b1"]
    hidden = np.maximum(before, 0.0)
    if mask is not None:
        hidden = hidden * mask
    out = hidden @ weights["w2"] + weights["b2"]
    weight = 1.0 + (positive - 1.0) * targets
    total = float(weight.sum())
    loss = float((weight * (np.logaddexp(0.0, out) - targets * out)).sum()) / total
    error = (weight * (sigmoid(out) - targets) / total).astype(np.float32)
    back = error[:, None] * weights["w2"] * (before > 0)
    if mask is not None:
        back = back * mask
    return loss, {
        "w1": features.T @ back,
        "b1": back.sum(axis=0),
        "w2": hidden.T @ error,
        "b2": error.sum(keepdims=True),
    }


class AdamW:
    """Adam with decoupled weight decay on matrices (Loshchilov and Hutter, arXiv 1711.05101).

    Parameters
    ----------
    weights: what is trained, changed in place.
    decay: of the matrices; biases are left alone.
    """

    def __init__(self, weights: Weights, decay: float = 0.0) -> None:
        self.weights, self.decay, self.steps = weights, decay, 0
        self._mean = {name: np.zeros_like(value) for name, value in weights.items()}
        self._square = {name: np.zeros_like(value) for name, value in weights.items()}

    def step(self, gradient: Weights, rate: float) -> None:
        """One step at a learning rate."""
        self.steps += 1
        first, second = 1 - 0.9**self.steps, 1 - 0.999**self.steps
        for name, value in self.weights.items():
            mean, square = self._mean[name], self._square[name]
            mean += 0.1 * (gradient[name] - mean)
            square += 0.001 * (gradient[name] ** 2 - square)
            if value.ndim > 1 and self.decay:
                value *= np.float32(1 - rate * self.decay)
            value -= np.float32(rate / first) * mean / (np.sqrt(square / second) + 1e-8).astype(np.float32)


def clipped(gradient: Weights, norm: float) -> Weights:
    """A gradient of at most this length."""
    length = float(np.sqrt(sum(float((g**2).sum()) for g in gradient.values())))
    return gradient if length <= norm else {name: g * np.float32(norm / length) for name, g in gradient.items()}


def auc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """The area under the ROC curve, ties counted half; NaN when all labels are the same.

    >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    n = int(positive.sum())
    if n in (0, len(positive)):
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[inverse]
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))
