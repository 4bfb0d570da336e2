"""Ranking: relevance times retention times importance, exactly.

The relevance of a trace to a query is a weighted sum of parts in [0, 1]:

    semantic    cosine of the nearest window of its text (negative counts as 0)
    keyword     BM25 over the highest score that any text could reach for this query
    time        1 if the query names a time and the trace lies in it
    neighbour   relevance of the best anchor next to it in the same session
    link        relevance of the best anchor linked to it, times the link's weight

where the *anchors* are the traces most relevant by the first three parts. Its score is

    relevance x retention(now) ** fading x (0.5 + 0.5 importance)

`fading` says how much a ranking cares for what a law says is left: 1 takes retention as it is, 0 ignores it.
Similarities of texts differ by a few percent, retentions by much more, so that it is small by default (measured
on long conversations: with 1, recent talk buries what was asked for).

The top k by score are found without computing the score of every trace (Fagin's threshold algorithm): since
retention never rises with time, a weight computed earlier bounds the weight now; traces are fetched by
relevance times that bound until none unseen can enter the top k. `brute_force` is the definition itself,
against which the fast path is tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from halflife.store.bm25 import Terms
from halflife.store.protocol import Ints
from halflife.store.vectors import Floats
from halflife.store.working_set import WorkingSet

PARTS = ("semantic", "keyword", "time", "neighbour", "link")


@dataclass(frozen=True)
class Weights:
    """How much each part counts, how many anchors spread to what is next to them, and how much fading counts."""

    semantic: float = 1.0
    keyword: float = 1.5
    time: float = 0.25
    neighbour: float = 0.2
    link: float = 0.1
    anchors: int = 32
    fading: float = 0.2


@dataclass(frozen=True)
class Question:
    """What is asked of a working set.

    `vector` [dim] of unit length; `terms` the ids of the query's words; `period` start and end in seconds;
    `allowed` [slots] which may be found (None: all).
    """

    vector: Floats | None = None
    terms: Terms | None = None
    period: tuple[float, float] | None = None
    allowed: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Scored:
    """A trace found, with what each part of its relevance gave (already weighted) and its two factors."""

    slot: int
    score: float
    retention: float
    importance: float
    parts: dict[str, float] = field(default_factory=dict)


@dataclass
class _Fetched:
    """Candidates with the three first parts (weighted), and what no unseen trace can exceed."""

    slots: Ints
    parts: NDArray[np.float64]  # [3, candidates]
    unseen: float

    @property
    def relevance(self) -> NDArray[np.float64]:
        return np.asarray(self.parts.sum(axis=0))


_NO_ANCHORS = _Fetched(np.zeros(0, dtype=np.int64), np.zeros((3, 0)), 0.0)


def _time(work: WorkingSet, question: Question, weights: Weights) -> NDArray[np.float64]:
    """What the time named in a question gives to each slot."""
    if question.period is None:
        return np.zeros(len(work))
    start, end = question.period
    at = work.column("at")
    return np.where((at >= start) & (at < end), weights.time, 0.0)


def _visible(work: WorkingSet, question: Question) -> NDArray[np.bool_]:
    return work.alive if question.allowed is None else work.alive & question.allowed


class _Exact:
    """The three first parts of every slot."""

    floor = 0.0

    def __init__(self, work: WorkingSet, question: Question, weights: Weights) -> None:
        n = len(work)
        self.parts = np.zeros((3, n))
        if question.vector is not None:
            self.parts[0] = weights.semantic * work.similarity(question.vector)
        if question.terms is not None and (top := work.text.upper_bound(question.terms)) > 0:
            self.parts[1] = (weights.keyword / top) * work.text.scores(question.terms, n)
        self.parts[2] = _time(work, question, weights)
        self.visible = _visible(work, question)
        self.relevance = np.where(self.visible, self.parts.sum(axis=0), 0.0)
        self._work, self._fading = work, weights.fading

    def anchors(self, count: int) -> _Fetched:
        best = _largest(self.relevance, count)
        return self._pick(best[self.relevance[best] > 0], 0.0)

    def fetch(self, now: float) -> Iterator[_Fetched]:
        """More and more candidates, by relevance times the ceiling of their weight."""
        upper = np.where(self.visible, self.relevance * self._work.ceiling(now, self._fading), -np.inf)
        total, count = int(self.visible.sum()), 64
        while True:
            best = _largest(upper, min(count, total))
            rest = float(upper[best].min()) if count < total and len(best) else -np.inf
            yield self._pick(best, rest)
            if count >= total:
                return
            count *= 4

    def parts_of(self, slots: Ints) -> NDArray[np.float64]:
        """The three first parts of these slots."""
        return self.parts[:, slots]

    def _pick(self, slots: Ints, unseen: float) -> _Fetched:
        return _Fetched(slots, self.parts_of(slots), unseen)


class _Nearest:
    """Candidates from the approximate index, from the vectors that are newer than it, and from the words.

    What the index has not returned is at most as similar as the last it has. The words of every trace are known,
    so that adds up to a bound for each unseen trace; those whose bound is above the k-th score are looked at too.
    """

    first, limit, crowd = 64, 4096, 2048

    def __init__(self, work: WorkingSet, question: Question, weights: Weights) -> None:
        assert work.approximate is not None
        assert question.vector is not None
        self.work, self.index, self.vector, self.weights = work, work.approximate, question.vector, weights
        self.keyword: NDArray[np.floating] = np.zeros(len(work), dtype=np.float32)
        if question.terms is not None and (top := work.text.upper_bound(question.terms)) > 0:
            self.keyword = (weights.keyword / top) * work.text.scores(question.terms, len(work))
        self.time = _time(work, question, weights)
        self.visible = _visible(work, question)
        self.newer = work.vectors.scores(question.vector, len(work)) if len(work.vectors) else None
        self.plain = question.terms is None and question.period is None and self.newer is None
        self.floor = 0.0
        self._known: dict[int, float] = {}
        self._none = np.zeros((1, work.dim), dtype=np.float32)
        self._near: tuple[int, Ints, Floats, float] | None = None

    def anchors(self, count: int) -> _Fetched | None:
        for fetched in self._grow(np.ones(1)):
            best = _largest(fetched.relevance, count)
            self.floor = float(fetched.relevance[best].min()) if len(best) == count else 0.0
            if fetched.unseen <= self.floor:
                best = best[fetched.relevance[best] > 0]
                return _Fetched(fetched.slots[best], fetched.parts[:, best], self.floor)
        return None

    def fetch(self, now: float) -> Iterator[_Fetched]:
        """More and more candidates. Between two of them the caller sets `floor`, the k-th score so far."""
        return self._grow(self.work.ceiling(now, self.weights.fading))

    def _grow(self, weight: NDArray[np.float64]) -> Iterator[_Fetched]:
        count = self.first
        while count <= self.limit:
            slots = self._start(count)
            if self.plain:  # one bound for all that is unseen, before one for each
                yield _Fetched(slots, self.parts_of(slots), self._farthest() * float(weight.max()))
            upper = self._upper() * weight
            upper[~self.visible] = 0.0
            upper[slots] = 0.0
            yield _Fetched(slots, self.parts_of(slots), float(upper.max(initial=0.0)))
            rest = np.flatnonzero(upper > self.floor)
            if len(rest) <= self.crowd:
                slots = np.sort(np.concatenate([slots, rest]))
                yield _Fetched(slots, self.parts_of(slots), self.floor)
            count *= 4

    def _start(self, count: int) -> Ints:
        """The nearest, and the best by words and among the newer."""
        slots, _ = self._nearest(count)
        ranked = () if self.plain else (self.keyword, self.newer)
        more = [_best_of(values, count) for values in ranked if values is not None]
        slots = np.unique(np.concatenate([slots, *more]))
        return slots[self.visible[slots]]

    def _nearest(self, count: int) -> tuple[Ints, Floats]:
        if self._near is None or self._near[0] != count:
            ns, similarity, far = self.index.search(self.vector, count)
            slots = self.work.slots_of(ns)
            good = slots >= 0
            good[good] = self.work.covered[slots[good]]
            self._near = (count, slots[good], similarity[good], far)
            self._known.update(zip(slots[good].tolist(), similarity[good].tolist(), strict=True))
        return self._near[1], self._near[2]

    def _farthest(self) -> float:
        """What meaning can give at most to a trace that the index has not returned."""
        assert self._near is not None
        return self.weights.semantic * self._near[3]

    def _upper(self) -> NDArray[np.float64]:
        """No relevance is above this (leaving out what anchors give)."""
        assert self._near is not None
        similarity = np.full(len(self.work), self._near[3])
        if self.newer is not None:
            own = ~self.work.covered
            similarity[own] = self.newer[own]
        return self.weights.semantic * similarity + self.keyword + self.time

    def parts_of(self, slots: Ints) -> NDArray[np.float64]:
        """The three first parts of these slots."""
        parts = np.zeros((3, len(slots)))
        parts[0] = self.weights.semantic * np.maximum(self._similarity(slots), 0.0)
        parts[1] = self.keyword[slots]
        parts[2] = self.time[slots]
        return parts

    def _similarity(self, slots: Ints) -> NDArray[np.float64]:
        out = np.array([self._known.get(slot, np.nan) for slot in slots.tolist()])
        covered = self.work.covered[slots]
        missing = np.flatnonzero(np.isnan(out) & covered)
        if len(missing):
            windows = [one if len(one) else self._none for one in self.work.windows(slots[missing])]
            starts = np.cumsum([0, *(len(one) for one in windows[:-1])])
            out[missing] = np.maximum.reduceat(np.concatenate(windows) @ self.vector, starts)
        self._known.update(zip(slots[missing].tolist(), out[missing].tolist(), strict=True))
        out[~covered] = 0.0 if self.newer is None else self.newer[slots[~covered]]
        return out


def rank(work: WorkingSet, question: Question, k: int, now: float, weights: Weights | None = None) -> list[Scored]:
    """The k best traces by score, best first; equal scores by number, newest first.

    Exact when the vectors are searched exactly; with an approximate index, as exact as its neighbours are.
    """
    weights = weights or Weights()
    if k <= 0 or not len(work):
        return []
    if work.approximate is not None and question.vector is not None:
        found = _search(work, _Nearest(work, question, weights), question, k, now, weights)
        if found is not None:
            return found
    found = _search(work, _Exact(work, question, weights), question, k, now, weights)
    assert found is not None  # the exact source ends with every trace
    return found


def _search(
    work: WorkingSet, source: _Exact | _Nearest, question: Question, k: int, now: float, weights: Weights
) -> list[Scored] | None:
    """Fetch until nothing unseen can enter the top k; None if the source ends before."""
    anchors = source.anchors(weights.anchors) if question.terms is not None else _NO_ANCHORS
    if anchors is None:
        return None
    spread = _spread(work, anchors, question, weights)
    for fetched in source.fetch(now):
        slots, parts = _with_spread(work, source, fetched, spread)
        best = _scored(work, slots, parts, k, now, weights)
        full = len(best) == k
        source.floor = best[-1].score if full else 0.0
        if (full and source.floor >= fetched.unseen) or fetched.unseen <= 0:
            return best
    return None


def _scored(
    work: WorkingSet, slots: Ints, parts: NDArray[np.float64], k: int, now: float, weights: Weights
) -> list[Scored]:
    """The k best of some traces, from the five parts of their relevance; what scores nothing is left out."""
    retention, importance = work.weight(slots, now)
    score = parts.sum(axis=0) * retention**weights.fading * importance
    order = np.lexsort((-work.n[slots], -score))[:k]
    return [
        Scored(int(slots[i]), float(score[i]), float(retention[i]), float(importance[i]),
               dict(zip(PARTS, parts[:, i].tolist(), strict=True)))
        for i in order if score[i] > 0
    ]  # fmt: skip


def _spread(
    work: WorkingSet, anchors: _Fetched, question: Question, weights: Weights
) -> dict[int, tuple[float, float]]:
    """What anchors give to what is next to them: slot -> (neighbour, link). A bare vector has no anchors."""
    out: dict[int, tuple[float, float]] = {}
    if not len(anchors.slots):
        return out
    relevance = dict(zip(anchors.slots.tolist(), anchors.relevance.tolist(), strict=True))
    if weights.neighbour:
        sides = work.neighbours()[:, anchors.slots]
        for slot, *beside in zip(anchors.slots.tolist(), *sides.tolist(), strict=True):
            for other in beside:
                if other >= 0:
                    near, link = out.get(other, (0.0, 0.0))
                    out[other] = (max(near, weights.neighbour * relevance[slot]), link)
    if weights.link:
        for slot, other, strength in work.linked(anchors.slots):
            near, link = out.get(other, (0.0, 0.0))
            out[other] = (near, max(link, weights.link * strength * relevance[slot]))
    if question.allowed is not None:
        out = {slot: value for slot, value in out.items() if question.allowed[slot]}
    return out


def _with_spread(
    work: WorkingSet, source: _Exact | _Nearest, fetched: _Fetched, spread: dict[int, tuple[float, float]]
) -> tuple[Ints, NDArray[np.float64]]:
    """All five parts of the fetched candidates and of what the anchors reach."""
    slots, base = fetched.slots, fetched.parts
    reached = np.array(sorted(spread.keys() - set(slots.tolist())), dtype=np.int64)
    if len(reached):
        reached = reached[work.alive[reached]]
        slots = np.concatenate([slots, reached])
        base = np.concatenate([base, source.parts_of(reached)], axis=1)
    extra = np.array([spread.get(slot, (0.0, 0.0)) for slot in slots.tolist()]).reshape(-1, 2).T
    return slots, np.concatenate([base, extra])


def brute_force(
    work: WorkingSet, question: Question, k: int, now: float, weights: Weights | None = None
) -> list[Scored]:
    """The definition: score every trace, sort, take k."""
    weights = weights or Weights()
    exact = _Exact(work, question, weights)
    anchors = exact.anchors(weights.anchors) if question.terms is not None else _NO_ANCHORS
    spread = _spread(work, anchors, question, weights)
    slots = np.flatnonzero(exact.visible)
    extra = np.array([spread.get(slot, (0.0, 0.0)) for slot in slots.tolist()]).reshape(-1, 2).T
    parts = np.concatenate([exact.parts[:, slots], extra])
    return _scored(work, slots, parts, k, now, weights)


def _largest(values: NDArray[np.float64], count: int) -> Ints:
    """Positions of the largest values; ties to the later position, so that the choice is one."""
    if count >= len(values):
        return np.arange(len(values))
    if count <= 0:
        return np.zeros(0, dtype=np.int64)
    edge = np.partition(values, -count)[-count]
    above = np.flatnonzero(values > edge)
    ties = np.flatnonzero(values == edge)
    return np.concatenate([above, ties[len(ties) - (count - len(above)) :]])


def _best_of(values: NDArray[np.floating], count: int) -> Ints:
    """Positions of the `count` largest positive values."""
    positive = np.flatnonzero(values > 0)
    if len(positive) <= count:
        return positive
    return positive[np.argpartition(values[positive], -count)[-count:]]
