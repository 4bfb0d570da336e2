"""Ranking: relevance times retention times importance, exactly.

The relevance of a trace to a query is a weighted sum of parts in [0, 1]:

    semantic    cosine of the nearest window of its text (negative counts as 0)
    keyword     BM25 over the highest score that any text could reach for this query
    time        1 if the query names a time and the trace lies in it
    voice       1 if it was said by whom the query asks about
    link        relevance of the best anchor linked to it, times the link's weight

times its substance: a text of few words counts a little less. The *anchors* are the traces most relevant by the
first four parts. They, and what lies within two turns of them in the same session, are read in their context:
their keyword part is that of the text with what is around it, and `context` is the share of their semantic part
that is (see `context.py`). The score of a trace is

    relevance x substance x retention(now) ** fading x (0.5 + 0.5 importance)

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

from halflife.store import context
from halflife.store.bm25 import Terms
from halflife.store.protocol import Ints
from halflife.store.vectors import Floats
from halflife.store.working_set import WorkingSet

PARTS = ("semantic", "keyword", "time", "voice", "link")


@dataclass(frozen=True)
class Weights:
    """What each part counts, and how the sum becomes a score.

    `anchors`: how many traces spread to what is linked to them and are read in their context. `context`: the share
    of meaning in that reading. `substance`: what a text of no words loses of its relevance. `fading`: the power of
    retention. The defaults are measured, see docs/recall.md.
    """

    semantic: float = 1.0
    keyword: float = 1.1
    time: float = 0.3
    voice: float = 0.25
    link: float = 0.1
    context: float = 0.5
    substance: float = 0.3
    anchors: int = 32
    fading: float = 0.1

    @classmethod
    def only(cls, **parts: float) -> Weights:
        """Nothing but what is named: `Weights.only(semantic=1.0)` ranks by cosine alone."""
        nothing = dict.fromkeys((*PARTS, "context", "substance", "anchors", "fading"), 0)
        return cls(**(nothing | parts))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Question:
    """What is asked of a working set.

    `vector` [dim] of unit length; `terms` the ids of the query's words; `period` start and end in seconds;
    `allowed` [slots] which may be found (None: all); `voices` the codes of whom it asks about (`WorkingSet.roles`).
    """

    vector: Floats | None = None
    terms: Terms | None = None
    period: tuple[float, float] | None = None
    allowed: NDArray[np.bool_] | None = None
    voices: tuple[int, ...] = ()


@dataclass(frozen=True)
class Scored:
    """A trace found, with what each part of its relevance gave (already weighted) and its three factors."""

    slot: int
    score: float
    retention: float
    importance: float
    substance: float
    parts: dict[str, float] = field(default_factory=dict)


@dataclass
class _Fetched:
    """Candidates with the four first parts (weighted), and what no unseen trace can exceed."""

    slots: Ints
    parts: NDArray[np.float64]  # [4, candidates]
    unseen: float


_NO_ANCHORS = _Fetched(np.zeros(0, dtype=np.int64), np.zeros((4, 0)), 0.0)


def _time(work: WorkingSet, question: Question, weights: Weights) -> NDArray[np.float64]:
    """What the time named in a question gives to each slot."""
    if question.period is None:
        return np.zeros(len(work))
    start, end = question.period
    at = work.column("at")
    return np.where((at >= start) & (at < end), weights.time, 0.0)


def _voice(work: WorkingSet, question: Question, weights: Weights) -> NDArray[np.float64]:
    """What it gives to each slot to be said by whom a question asks about."""
    out = np.zeros(len(work))
    for code in question.voices:
        out[work.role == code] = weights.voice
    return out


def _substance(work: WorkingSet, question: Question, weights: Weights) -> NDArray[np.float64]:
    """The factor of each slot's substance; a bare vector asks for none."""
    return work.substance(weights.substance if question.terms is not None else 0.0)


def _visible(work: WorkingSet, question: Question) -> NDArray[np.bool_]:
    return work.alive if question.allowed is None else work.alive & question.allowed


class _Exact:
    """The four first parts of every slot."""

    floor = 0.0

    def __init__(self, work: WorkingSet, question: Question, weights: Weights) -> None:
        n = len(work)
        self.parts = np.zeros((4, n))
        if question.vector is not None:
            self.parts[0] = weights.semantic * work.similarity(question.vector)
        if question.terms is not None and (top := work.text.upper_bound(question.terms)) > 0:
            self.parts[1] = (weights.keyword / top) * work.text.scores(question.terms, n)
        self.parts[2] = _time(work, question, weights)
        self.parts[3] = _voice(work, question, weights)
        self.visible = _visible(work, question)
        self.substance = _substance(work, question, weights)
        self.relevance = np.where(self.visible, self.parts.sum(axis=0) * self.substance, 0.0)
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
        """The four first parts of these slots."""
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
        self.given = _time(work, question, weights), _voice(work, question, weights)
        self.substance = _substance(work, question, weights)
        self.visible = _visible(work, question)
        self.newer = work.vectors.scores(question.vector, len(work)) if len(work.vectors) else None
        self.plain = question.terms is None and question.period is None and not question.voices and self.newer is None
        self.floor = 0.0
        self._known: dict[int, float] = {}
        self._none = np.zeros((1, work.dim), dtype=np.float32)
        self._near: tuple[int, Ints, Floats, float] | None = None

    def anchors(self, count: int) -> _Fetched | None:
        for fetched in self._grow(self.substance):
            relevance = fetched.parts.sum(axis=0) * self.substance[fetched.slots]
            best = _largest(relevance, count)
            self.floor = float(relevance[best].min()) if len(best) == count else 0.0
            if fetched.unseen <= self.floor:
                best = best[relevance[best] > 0]
                return _Fetched(fetched.slots[best], fetched.parts[:, best], self.floor)
        return None

    def fetch(self, now: float) -> Iterator[_Fetched]:
        """More and more candidates. Between two of them the caller sets `floor`, the k-th score so far."""
        return self._grow(self.work.ceiling(now, self.weights.fading) * self.substance)

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
        time, voice = self.given
        return self.weights.semantic * similarity + self.keyword + time + voice

    def parts_of(self, slots: Ints) -> NDArray[np.float64]:
        """The four first parts of these slots."""
        similarity = self.weights.semantic * np.maximum(self._similarity(slots), 0.0)
        return np.stack([similarity, self.keyword[slots], *(given[slots] for given in self.given)])

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
    reached = _NOBODY
    if question.terms is not None and weights.anchors:
        anchors = source.anchors(weights.anchors)
        if anchors is None:
            return None
        reached = _reach(work, source, anchors, question, weights)
    for fetched in source.fetch(now):
        slots, parts = _with(reached, fetched)
        best = _scored(work, slots, parts, source.substance, k, now, weights)
        full = len(best) == k
        source.floor = best[-1].score if full else 0.0
        if (full and source.floor >= fetched.unseen) or fetched.unseen <= 0:
            return best
    return None


def _scored(
    work: WorkingSet,
    slots: Ints,
    parts: NDArray[np.float64],
    substance: NDArray[np.float64],
    k: int,
    now: float,
    weights: Weights,
) -> list[Scored]:
    """The k best of some traces, from the five parts of their relevance; what scores nothing is left out."""
    retention, importance = work.weight(slots, now)
    share = substance[slots]
    score = parts.sum(axis=0) * share * retention**weights.fading * importance
    order = np.lexsort((-work.n[slots], -score))[:k]
    return [
        Scored(int(slots[i]), float(score[i]), float(retention[i]), float(importance[i]), float(share[i]),
               dict(zip(PARTS, parts[:, i].tolist(), strict=True)))
        for i in order if score[i] > 0
    ]  # fmt: skip


@dataclass
class _Reached:
    """Traces that anchors reach, ascending, with all five parts."""

    slots: Ints
    parts: NDArray[np.float64]  # [5, reached]


_NOBODY = _Reached(np.zeros(0, dtype=np.int64), np.zeros((5, 0)))


def _reach(
    work: WorkingSet, source: _Exact | _Nearest, anchors: _Fetched, question: Question, weights: Weights
) -> _Reached:
    """Read the anchors and what lies near them in their context, and follow the links of the anchors."""
    near = np.unique(np.concatenate([anchors.slots, context.around(work, anchors.slots).ravel()]))
    linked = _linked(work, source, anchors, weights)
    slots = np.union1d(near, np.array(list(linked), dtype=np.int64))
    slots = slots[slots >= 0]
    slots = slots[source.visible[slots]]
    parts = np.concatenate([source.parts_of(slots), np.zeros((1, len(slots)))])
    _read_in_context(work, slots, np.isin(slots, near), parts, question, weights)
    parts[4] = [linked.get(slot, 0.0) for slot in slots.tolist()]
    return _Reached(slots, parts)


def _read_in_context(
    work: WorkingSet,
    slots: Ints,
    near: NDArray[np.bool_],
    parts: NDArray[np.float64],
    question: Question,
    weights: Weights,
) -> None:
    """Put the parts `semantic` and `keyword` of what is near an anchor, and has neighbours, as read with them."""
    beside = context.around(work, slots)
    some = np.flatnonzero(near & (beside >= 0).any(axis=0))
    if not len(some):
        return
    assert question.terms is not None
    if weights.keyword and (top := work.text.upper_bound(question.terms)) > 0:
        parts[1, some] = (weights.keyword / top) * context.words(work, question.terms, slots[some], beside[:, some])
    if weights.semantic and weights.context and question.vector is not None:
        read = weights.semantic * context.meaning(work, question.vector, slots[some], beside[:, some])
        parts[0, some] += weights.context * (read - parts[0, some])


def _linked(work: WorkingSet, source: _Exact | _Nearest, anchors: _Fetched, weights: Weights) -> dict[int, float]:
    """What anchors give to the slots that they are linked to."""
    out: dict[int, float] = {}
    if weights.link:
        relevance = anchors.parts.sum(axis=0) * source.substance[anchors.slots]
        by_slot = dict(zip(anchors.slots.tolist(), relevance.tolist(), strict=True))
        for slot, other, strength in work.linked(anchors.slots):
            out[other] = max(out.get(other, 0.0), weights.link * strength * by_slot[slot])
    return out


def _with(reached: _Reached, fetched: _Fetched) -> tuple[Ints, NDArray[np.float64]]:
    """All five parts of the fetched candidates and of what the anchors reach."""
    others = ~np.isin(fetched.slots, reached.slots)
    plain = np.concatenate([fetched.parts[:, others], np.zeros((1, int(others.sum())))])
    return np.concatenate([fetched.slots[others], reached.slots]), np.concatenate([plain, reached.parts], axis=1)


def brute_force(
    work: WorkingSet, question: Question, k: int, now: float, weights: Weights | None = None
) -> list[Scored]:
    """The same by scoring every trace: the definition that `rank` is tested against."""
    weights = weights or Weights()
    if k <= 0 or not len(work):
        return []
    source = _Exact(work, question, weights)
    everything = _Fetched(np.flatnonzero(source.visible), source.parts[:, source.visible], 0.0)
    reached = _NOBODY
    if question.terms is not None and weights.anchors:
        reached = _reach(work, source, source.anchors(weights.anchors), question, weights)
    slots, parts = _with(reached, everything)
    return _scored(work, slots, parts, source.substance, k, now, weights)


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
