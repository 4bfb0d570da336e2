"""Where a ranking gets its candidates from: every trace, or an index of vectors and the words.

A source hands out traces with the parts of their relevance, in growing sets, each with a bound for all that is
not in it. `recall` combines the parts and decides when the bound is low enough to stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from halflife.decay.law import Array
from halflife.store.ascending import among, distinct, find
from halflife.store.protocol import Ints
from halflife.store.vectors import Floats
from halflife.store.working_set import WorkingSet

if TYPE_CHECKING:
    from halflife.store.recall import Question, Weights


@dataclass
class Fetched:
    """Candidates with the four first parts (weighted), and what no unseen trace can exceed."""

    slots: Ints
    parts: NDArray[np.float64]  # [4, candidates]
    unseen: float


class Exact:
    """The four first parts of every slot."""

    floor = 0.0

    def __init__(self, work: WorkingSet, question: Question, weights: Weights) -> None:
        n = len(work)
        self.parts = np.zeros((4, n))
        if question.vector is not None:
            self.parts[0] = weights.semantic * work.similarity(question.vector)
        if question.terms is not None and (top := work.text.upper_bound(question.terms)) > 0:
            self.parts[1] = (weights.keyword / top) * work.text.scores(question.terms, n)
        self.parts[2:] = _given(work, question, weights, np.arange(n))
        self._share = _share(question, weights)
        self._seen = work.alive if question.allowed is None else work.alive & question.allowed
        self.relevance = np.where(self._seen, self.parts.sum(axis=0) * work.substance(np.arange(n), self._share), 0.0)
        self._work, self._fading = work, weights.fading

    def anchors(self, count: int) -> Fetched:
        """The traces of the highest relevance."""
        best = largest(self.relevance, count)
        return self._pick(best[self.relevance[best] > 0], 0.0)

    def fetch(self, now: float) -> Iterator[Fetched]:
        """More and more candidates, by relevance times the ceiling of their weight."""
        ceiling, _ = self._work.ceiling(now, self._fading)
        upper = np.where(self._seen, self.relevance * ceiling, -np.inf)
        total, count = int(self._seen.sum()), 64
        while True:
            best = largest(upper, min(count, total))
            rest = float(upper[best].min()) if count < total and len(best) else -np.inf
            yield self._pick(best, rest)
            if count >= total:
                return
            count *= 4

    def visible(self, slots: Ints) -> Ints:
        """Those of some slots that may be found."""
        return slots[self._seen[slots]]

    def substance(self, slots: Ints) -> Array:
        """The factor by which some slots' relevance counts."""
        return self._work.substance(slots, self._share)

    def parts_of(self, slots: Ints) -> NDArray[np.float64]:
        """The four first parts of these slots."""
        return self.parts[:, slots]

    def everything(self) -> Fetched:
        """Every trace that may be found."""
        return self._pick(np.flatnonzero(self._seen), 0.0)

    def _pick(self, slots: Ints, unseen: float) -> Fetched:
        return Fetched(slots, self.parts_of(slots), unseen)


class Nearest:
    """Candidates from the approximate index, from the vectors that are newer than it, and from the words.

    What the index has not returned is at most as similar as the last it has, and what holds none of the words
    looked up has at most what the others can give. That adds up to a bound for each unseen trace; those whose
    bound is above the k-th score are looked at too. Of the many traces that are near to the question neither in
    meaning nor by its rarer words, none is touched.
    """

    first, limit = 64, 4096  # how many neighbours are asked for, at first and at most
    crowd = 4  # times as many candidates are looked at one by one, rather than asking for more neighbours
    some = 64  # of them at first, the best, since they raise the bar for the rest

    def __init__(self, work: WorkingSet, question: Question, weights: Weights) -> None:
        assert work.approximate is not None
        assert question.vector is not None
        self.work, self.index, self.vector, self.weights = work, work.approximate, question.vector, weights
        self.words = None if question.terms is None else work.text.ask(question.terms)
        self.gain = weights.keyword / self.words.top if self.words and self.words.top > 0 else 0.0
        self.question, self.allowed = question, question.allowed
        self.given = weights.voice if question.voices else 0.0  # what may come to any trace without a look at it
        self._share = _share(question, weights)
        self.newer, self.newer_similarity = work.vectors.similarities(question.vector)
        self.floor = 0.0
        self._count, self._last = 0, 0.0  # neighbours asked for, and the similarity of the last of them
        self._known: Ints = np.zeros(0, dtype=np.int64)  # ascending
        self._similarity: NDArray[np.float64] = np.zeros(0)

    def anchors(self, count: int) -> Fetched | None:
        """The traces of the highest relevance; None if the index cannot tell."""
        for fetched in self._grow(None, 1.0):
            relevance = fetched.parts.sum(axis=0) * self.substance(fetched.slots)
            best = largest(relevance, count)
            self.floor = float(relevance[best].min()) if len(best) == count else 0.0
            if fetched.unseen <= self.floor:
                best = best[relevance[best] > 0]
                return Fetched(fetched.slots[best], fetched.parts[:, best], self.floor)
        return None

    def fetch(self, now: float) -> Iterator[Fetched]:
        """More and more candidates. Between two of them the caller sets `floor`, the k-th score so far."""
        return self._grow(*self.work.ceiling(now, self.weights.fading))

    def _grow(self, ceiling: Array | None, highest: float) -> Iterator[Fetched]:
        """`ceiling` [slots] is what relevance counts at most, `highest` the highest of it; None for 1."""
        if self.allowed is not None and np.count_nonzero(self.allowed) <= self.limit:
            self._learn(np.flatnonzero(self.allowed))
            yield self._fetched(0.0)
            return
        count = self.first
        while count <= self.limit:
            self._nearest(count)
            yield self._fetched(self._bound() * highest if self._plain else np.inf)
            above = self._above(ceiling, highest)
            if above is not None and len(above[0]) > self.some:
                slots, upper = above
                self._learn(slots[largest(upper, self.some)])
                yield self._fetched(float(upper.max()))
                above = self._tighter(slots[upper > self.floor], ceiling)
            if above is not None and len(above[0]) <= self.crowd * count:
                self._learn(above[0])
                yield self._fetched(self.floor)
            count *= 4

    @property
    def _plain(self) -> bool:
        """Nothing but the index tells traces apart."""
        return not (self.gain or self.question.period or self.question.voices or len(self.newer))

    def _fetched(self, unseen: float) -> Fetched:
        slots = self.visible(self._known)
        return Fetched(slots, self.parts_of(slots), unseen)

    def visible(self, slots: Ints) -> Ints:
        """Those of some slots that may be found."""
        seen = self.work.alive[slots]
        if self.allowed is not None:
            seen = seen & self.allowed[slots]
        return slots if seen.all() else slots[seen]

    def substance(self, slots: Ints) -> Array:
        """The factor by which some slots' relevance counts."""
        return self.work.substance(slots, self._share)

    # -- what to look at --------------------------------------------------------------------------------------

    def _nearest(self, count: int) -> None:
        """Learn the nearest in the index and among the newer."""
        if self._count >= count:
            return
        ns, similarity, self._last = self.index.search(self.vector, count)
        self._count = count
        slots = self.work.slots_of(ns)
        good = slots >= 0
        good[good] = self.work.covered[slots[good]]
        self._learn(slots[good], similarity[good])
        if len(self.newer):
            best = _best_of(self.newer_similarity, self.some)
            self._learn(self.newer[best], self.newer_similarity[best])

    def _above(self, ceiling: Array | None, highest: float) -> tuple[Ints, Array] | None:
        """The unknown whose bound is above the floor, with their bounds. None if they are too many to list."""
        while self.words is not None and self.words.rest and self._bound() * highest > self.floor:
            self.words.open()
        groups = [self.newer] if len(self.newer) else []
        if self.words is not None:
            groups.append(self.words.slots)
        if self.question.period is not None:
            at, (start, end) = self.work.column("at"), self.question.period
            groups.append(np.flatnonzero((at >= start) & (at < end)))
        if self._bound() * highest > self.floor:  # then it depends on what is left of each
            if ceiling is None:
                return None
            groups.append(np.flatnonzero(ceiling * self._bound() > self.floor))
        found = [group[self._upper(group, ceiling) > self.floor] for group in groups]
        slots = self.visible(distinct(np.concatenate(found))) if found else self._known[:0]
        slots = slots[~among(slots, self._known)]
        return slots, self._upper(slots, ceiling)

    def _tighter(self, slots: Ints, ceiling: Array | None) -> tuple[Ints, Array]:
        """Those of some slots that are still unknown, and above the floor when all their words are looked up."""
        slots = slots[~among(slots, self._known)]
        upper = self._upper(slots, ceiling, whole=True)
        return slots[upper > self.floor], upper[upper > self.floor]

    # -- bounds and parts -------------------------------------------------------------------------------------

    def _far(self) -> float:
        """What meaning can give at most to a trace that the index has not returned."""
        return self.weights.semantic * self._last

    def _bound(self) -> float:
        """The most relevant that a trace can be that is not newer, holds no opened word and lies not in the time."""
        return self._far() + self.given + (self.gain * self.words.rest if self.words is not None else 0.0)

    def _upper(self, slots: Ints, ceiling: Array | None, whole: bool = False) -> Array:
        """No score is above this (leaving out what anchors give). `whole`: with their exact words."""
        upper = np.full(len(slots), self._far())
        if len(self.newer):
            own = ~self.work.covered[slots]
            upper[own] = self.weights.semantic * self._of_newer(slots[own])
        if self.words is not None:
            upper += self.gain * (
                self.words.score(slots) if whole else self.words.scores[slots] + np.float64(self.words.rest)
            )
        upper += _given(self.work, self.question, self.weights, slots).sum(axis=0)
        upper *= self.substance(slots)
        return upper if ceiling is None else upper * ceiling[slots]

    def parts_of(self, slots: Ints) -> NDArray[np.float64]:
        """The four first parts of these slots, distinct ones."""
        self._learn(slots)
        parts = np.zeros((4, len(slots)))
        parts[0] = self._similarity[np.searchsorted(self._known, slots)]
        parts[0] *= self.weights.semantic
        if self.words is not None:
            parts[1] = self.gain * self.words.score(slots)
        parts[2:] = _given(self.work, self.question, self.weights, slots)
        return parts

    def _learn(self, slots: Ints, similarity: NDArray[np.floating] | None = None) -> None:
        """Remember how similar some slots are, which may be known already; what is not given is looked up."""
        new = ~among(slots, self._known)
        slots = slots[new]
        if not len(slots):
            return
        if similarity is None:
            known = np.zeros(len(slots))
            covered = self.work.covered[slots]
            known[~covered] = self._of_newer(slots[~covered])
            known[covered] = self._read(slots[covered])
        else:
            known = similarity[new].astype(np.float64)
        slots = np.concatenate([self._known, slots])
        known = np.concatenate([self._similarity, np.maximum(known, 0.0)])
        order = np.argsort(slots)
        self._known, self._similarity = slots[order], known[order]

    def _of_newer(self, slots: Ints) -> Floats:
        """The similarity of traces that the index does not cover: 0 without a vector."""
        at, there = find(self.newer, slots)
        out = np.zeros(len(slots), dtype=np.float32)
        out[there] = self.newer_similarity[at[there]]
        return out

    def _read(self, slots: Ints) -> Floats:
        """The similarity of traces from their stored vectors."""
        if not len(slots):
            return np.zeros(0, dtype=np.float32)
        matrix, starts = self.work.read(slots)
        similarity: Floats = matrix @ self.vector
        return similarity if len(similarity) == len(slots) else np.maximum.reduceat(similarity, starts)


def _given(work: WorkingSet, question: Question, weights: Weights, slots: Ints) -> NDArray[np.float64]:
    """[2, slots]: what a named time gives, and what it gives to be said by whom a question asks about."""
    out = np.zeros((2, len(slots)))
    if question.period is not None:
        at = work.column("at")[slots]
        out[0, (at >= question.period[0]) & (at < question.period[1])] = weights.time
    for code in question.voices:
        out[1, work.role[slots] == code] = weights.voice
    return out


def _share(question: Question, weights: Weights) -> float:
    """How much of its relevance a text without words loses; a bare vector asks for none."""
    return weights.substance if question.terms is not None else 0.0


def largest(values: NDArray[np.float64], count: int) -> Ints:
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
