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

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from halflife.store import context
from halflife.store.ascending import among, distinct
from halflife.store.bm25 import Terms
from halflife.store.candidates import Exact, Fetched, Nearest
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
    substance: float = 0.15
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


class Scored(NamedTuple):
    """A trace found, with what each part of its relevance gave (already weighted) and its three factors."""

    slot: int
    score: float
    retention: float
    importance: float
    substance: float
    parts: dict[str, float]


def rank(work: WorkingSet, question: Question, k: int, now: float, weights: Weights | None = None) -> list[Scored]:
    """The k best traces by score, best first; equal scores by number, newest first.

    Exact when the vectors are searched exactly; with an approximate index, as exact as its neighbours are.
    """
    weights = weights or Weights()
    if k <= 0 or not len(work):
        return []
    if work.approximate is not None and question.vector is not None:
        found = _search(work, Nearest(work, question, weights), question, k, now, weights)
        if found is not None:
            return found
    found = _search(work, Exact(work, question, weights), question, k, now, weights)
    assert found is not None  # the exact source ends with every trace
    return found


def _search(
    work: WorkingSet, source: Exact | Nearest, question: Question, k: int, now: float, weights: Weights
) -> list[Scored] | None:
    """Fetch until nothing unseen can enter the top k; None if the source ends before."""
    reached = _reach(work, source, question, weights)
    if reached is None:
        return None
    for fetched in source.fetch(now):
        slots, parts = _with(reached, fetched)
        best = _scored(work, slots, parts, source.substance(slots), k, now, weights)
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
    score = parts.sum(axis=0) * substance * retention**weights.fading * importance
    order = np.lexsort((-work.n[slots], -score))[:k]
    order = order[score[order] > 0]
    columns = (slots, score, retention, importance, substance)
    named = [dict(zip(PARTS, one, strict=True)) for one in parts[:, order].T.tolist()]
    return list(map(Scored, *(column[order].tolist() for column in columns), named))


@dataclass
class _Reached:
    """Traces that anchors reach, ascending, with all five parts."""

    slots: Ints
    parts: NDArray[np.float64]  # [5, reached]


_NOBODY = _Reached(np.zeros(0, dtype=np.int64), np.zeros((5, 0)))


def _reach(work: WorkingSet, source: Exact | Nearest, question: Question, weights: Weights) -> _Reached | None:
    """Read the anchors and what lies near them in their context, and follow their links.

    None if the source cannot tell the anchors. A bare vector has none.
    """
    if question.terms is None or not weights.anchors:
        return _NOBODY
    anchors = source.anchors(weights.anchors)
    if anchors is None:
        return None
    near = distinct(np.concatenate([anchors.slots, context.around(work, anchors.slots).ravel()]))
    heads, lent = _linked(work, source, anchors, weights)
    slots = distinct(np.concatenate([near, heads]))
    slots = source.visible(slots[slots >= 0])
    parts = np.concatenate([source.parts_of(slots), np.zeros((1, len(slots)))])
    _read_in_context(work, slots, among(slots, near), parts, question, weights)
    here = among(heads, slots)
    np.maximum.at(parts[4], np.searchsorted(slots, heads[here]), lent[here])
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


def _linked(
    work: WorkingSet, source: Exact | Nearest, anchors: Fetched, weights: Weights
) -> tuple[Ints, NDArray[np.float64]]:
    """The slots that anchors are linked to, and what that gives to each."""
    if not weights.link:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    relevance = anchors.parts.sum(axis=0) * source.substance(anchors.slots)
    position, heads, strength = work.linked(anchors.slots)
    return heads, weights.link * strength * relevance[position]


def _with(reached: _Reached, fetched: Fetched) -> tuple[Ints, NDArray[np.float64]]:
    """All five parts of the fetched candidates and of what the anchors reach."""
    others = ~among(fetched.slots, reached.slots)
    plain = np.concatenate([fetched.parts[:, others], np.zeros((1, int(others.sum())))])
    return np.concatenate([fetched.slots[others], reached.slots]), np.concatenate([plain, reached.parts], axis=1)


def brute_force(
    work: WorkingSet, question: Question, k: int, now: float, weights: Weights | None = None
) -> list[Scored]:
    """The same by scoring every trace: the definition that `rank` is tested against."""
    weights = weights or Weights()
    if k <= 0 or not len(work):
        return []
    source = Exact(work, question, weights)
    reached = _reach(work, source, question, weights)
    assert reached is not None  # the exact source knows every trace
    slots, parts = _with(reached, source.everything())
    return _scored(work, slots, parts, source.substance(slots), k, now, weights)
