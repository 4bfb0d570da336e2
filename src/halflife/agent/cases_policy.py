"""Which case to bring to mind: by similarity, or by a learned value.

Paper: "AgentFly: Fine-tuning LLM Agents without Fine-tuning LLMs" (Memento), arXiv 2508.16153.

Implemented: the similarity of the non-parametric instance; the value network of the parametric one, trained by
binary cross entropy on one-step experience, over vectors of an encoder that stays as it is; and the soft policy
mu(c | s) = softmax(Q / alpha), drawn from without replacement. Not implemented: training of the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from halflife.agent.cases_head import (
    SHAPES,
    AdamW,
    Features,
    Pairs,
    Weights,
    auc,
    clipped,
    gradients,
    initial,
    logits,
    sigmoid,
    width_of,
)
from halflife.agent.cases_index import CaseTable
from halflife.decay.law import Array
from halflife.errors import InvalidInput
from halflife.store.protocol import Ints
from halflife.store.vectors import Floats

How: TypeAlias = Literal["greedy", "sample"]

WARM_UP = 0.06  # share of the steps in which the learning rate rises
CLIP = 1.0


class CasePolicy(Protocol):
    """Scores the cases of a bank for a state; higher is better."""

    @property
    def name(self) -> str:
        """What an explanation of a hit calls its score."""
        ...

    @property
    def alpha(self) -> float:
        """The temperature of the soft policy, in units of the score."""
        ...

    def score(self, state: Floats, cases: CaseTable) -> Array:
        """A score a case, shape [n], for a state of shape [d]."""
        ...

    def shown(self, scores: Array) -> Array:
        """Scores as they are shown in a hit: in [0, 1], in the same order."""
        ...


@dataclass(frozen=True)
class SimilarityPolicy:
    """The nearest states: cosine of unit vectors.

    Parameters
    ----------
    alpha: temperature of `select(how="sample")`.

    Source: the non-parametric instance.

    >>> table = CaseTable(np.array([4, 7]), np.float32([[1, 0], [0, 1]]), np.ones(2))
    >>> choose(SimilarityPolicy().score(np.float32([0.6, 0.8]), table), 1).tolist()
    [1]
    """

    alpha: float = 0.1

    @property
    def name(self) -> str:
        return "semantic"

    def score(self, state: Floats, cases: CaseTable) -> Array:
        """The cosine of each case's state with this one."""
        return (cases.vectors @ state).astype(np.float64)

    def shown(self, scores: Array) -> Array:
        """The cosine, 0 where it is negative."""
        return np.maximum(scores, 0.0)


def choose(scores: Array, k: int, how: How = "greedy", alpha: float = 1.0, seed: int | np.random.Generator = 0) -> Ints:
    """The rows of the k best scores, best first; or k drawn from softmax(scores / alpha) without replacement.

    Drawing is by Gumbel noise (Kool et al., arXiv 1903.06059). All rows are returned if there are fewer than k.

    >>> choose(np.array([0.1, 0.9, 0.5]), 2).tolist()
    [1, 2]
    """
    if how not in get_args(How):
        raise InvalidInput(f"how is {how!r}.", f"Use one of {', '.join(get_args(How))}.")
    if how == "sample":
        scores = scores + alpha * np.random.default_rng(seed).gumbel(size=len(scores))
    if k < len(scores):
        rows: Ints = np.sort(np.argpartition(-scores, k - 1)[:k])
        return rows[np.argsort(-scores[rows], kind="stable")]
    return np.argsort(-scores, kind="stable")


@dataclass(frozen=True)
class Fitted:
    """What training came to.

    Parameters
    ----------
    rows: how many were trained on. loss: mean of the last epoch.
    auc: on the rows held out, the best epoch's; NaN if all their labels are the same.
    weight: of the positives.
    """

    rows: int
    loss: float
    auc: float
    weight: float


class NeuralCasePolicy:
    """A learned value: how likely a case is to lead to success in a state.

    Parameters
    ----------
    dim: length of the vectors.
    hidden: units.
    features: `compare` reads [x, c, |x - c|, reward of c]; `concat` reads [c, x], as released.
    alpha: temperature of the soft policy, in logits.
    seed: of the first weights and of the order of training.
    weights: given instead of fresh ones.

    Raises
    ------
    InvalidInput: unknown features, no hidden unit, or weights of another shape.

    Source: the parametric instance; mu*(c | s, M) = softmax(Q*(s, M, c) / alpha).
    """

    name = "chance of success"

    def __init__(
        self,
        dim: int,
        hidden: int = 64,
        *,
        features: Features = "compare",
        alpha: float = 0.5,
        decay: float = 0.0,
        seed: int = 0,
        weights: Weights | None = None,
    ) -> None:
        if hidden < 1:
            raise InvalidInput(f"hidden is {hidden}.", "Use one unit or more.")
        if alpha <= 0:
            raise InvalidInput(f"alpha is {alpha}.", "Use a temperature above 0.")
        self.dim, self.hidden, self.features, self.alpha = dim, hidden, features, alpha
        self._rng = np.random.default_rng(seed)
        width = width_of(features, dim)
        self.weights = initial(width, hidden, self._rng) if weights is None else weights
        shapes = dict(zip(SHAPES, ((width, hidden), (hidden,), (hidden,), (1,)), strict=True))
        if {name: value.shape for name, value in self.weights.items()} != shapes:
            raise InvalidInput(f"The weights of the policy do not have the shapes {shapes}.", "Train it anew.")
        self._adam = AdamW(self.weights, decay)

    def score(self, state: Floats, cases: CaseTable) -> Array:
        """The logit of each case."""
        return self.logits(Pairs(state[None], cases.vectors, cases.rewards))

    def shown(self, scores: Array) -> Array:
        """The chance that the network sees."""
        return sigmoid(scores).astype(np.float64)

    def logits(self, pairs: Pairs) -> Array:
        """The logit of each pair, shape [b]."""
        return logits(self.weights, pairs.features(self.features)).astype(np.float64)

    def update(self, pairs: Pairs, targets: Array, rate: float = 2e-3, positive: float = 1.0) -> float:
        """One gradient step on a batch. Returns its loss before the step."""
        loss, gradient = gradients(self.weights, pairs.features(self.features), targets, positive)
        self._adam.step(gradient, rate)
        return loss

    def fit(
        self,
        pairs: Pairs,
        targets: Array,
        *,
        epochs: int = 3,
        batch: int = 32,
        rate: float = 1e-3,
        dropout: float = 0.2,
        held_out: float = 0.1,
    ) -> Fitted:
        """Train on rows, and keep the weights of the epoch that was best on those held out.

        Positives weigh max(1, negatives / positives); the rate rises over the first 6 % of the steps and then falls
        to 0; gradients are clipped at length 1. The released code does the same, with a rate of 2e-5 for its encoder.

        Parameters
        ----------
        pairs, targets: the rows, and how each ended, in [0, 1], shape [n].
        held_out: share of the rows kept for choosing, the same of each label; the loss chooses where the area
            under the curve is not defined.
        """
        positive = targets >= 0.5
        weight = max(1.0, float((~positive).sum()) / max(1, int(positive.sum())))
        held = self._held_out(positive, held_out)
        train = np.flatnonzero(~held)
        steps = max(1, epochs * -(-len(train) // batch))
        best, loss, area, done = dict(self.weights), float("nan"), float("nan"), 0
        chosen = -np.inf
        for _ in range(epochs):
            losses = []
            order = self._rng.permutation(train)
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                done += 1
                losses.append(
                    self._train(pairs.take(rows), targets[rows], rate * _schedule(done / steps), weight, dropout)
                )
            loss = float(np.mean(losses)) if losses else float("nan")
            found = auc(self.logits(pairs.take(np.flatnonzero(held))), positive[held])
            value = -loss if np.isnan(found) else found
            if value > chosen:
                chosen, area = value, found
                best = {name: value.copy() for name, value in self.weights.items()}
        for name, weights in best.items():
            self.weights[name][...] = weights
        return Fitted(len(train), loss, area, weight)

    def _train(self, pairs: Pairs, targets: Array, rate: float, weight: float, dropout: float) -> float:
        keep = self._rng.random((len(pairs), self.hidden)) >= dropout
        mask = (keep / (1.0 - dropout)).astype(np.float32)
        loss, gradient = gradients(self.weights, pairs.features(self.features), targets, weight, mask)
        self._adam.step(clipped(gradient, CLIP), rate)
        return loss

    def _held_out(self, positive: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
        """A share of each label."""
        held = np.zeros(len(positive), dtype=np.bool_)
        for label in (True, False):
            rows = self._rng.permutation(np.flatnonzero(positive == label))
            held[rows[: round(share * len(rows))]] = True
        return held


def _schedule(done: float) -> float:
    """The share of the learning rate after a share of the steps."""
    return done / WARM_UP if done < WARM_UP else (1.0 - done) / (1.0 - WARM_UP)
