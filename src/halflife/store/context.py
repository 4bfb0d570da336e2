"""A turn read with what was said around it.

"Yes, last May!" says little by itself. What it means stands in the turns beside it, in the same session: for a
search it is read together with the two before it and the two after it. Its words are then its own and, counted for
less, theirs; its vector is the direction of its own and theirs, summed with weights. A long text needs no help and
gets none: what is around counts by `_OPEN / (_HALF + words)`, at most 1, and a long neighbour is taken in no more
than a short one. The distances at which words and meaning count were measured on long conversations
(docs/recall.md): a turn before, which asks, says more about the words than one after, which comments.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from halflife.store.bm25 import Terms
from halflife.store.protocol import Ints
from halflife.store.vectors import Floats
from halflife.store.working_set import WorkingSet

Array = NDArray[np.float64]

# What a neighbour counts: two before, one before, one after, two after.
WORDS = (0.4, 0.7, 0.4, 0.2)
MEANING = (0.25, 0.5, 0.5, 0.25)
_HALF, _OPEN = 40.0, 64.0  # words


def around(work: WorkingSet, slots: Ints) -> Ints:
    """[4, slots]: two before, one before, one after, two after in the same session; -1 for none."""
    before, after = work.sessions.beside(slots)
    return np.stack([work.sessions.beside(before)[0], before, after, work.sessions.beside(after)[1]])


def openness(length: Array | float) -> Array:
    """How much a text of so many words takes in of what is around it, in [0, 1]."""
    return np.minimum(1.0, _OPEN / (_HALF + np.asarray(length)))


def _taken(length: Array | float) -> Array:
    """How much of a neighbour of so many words is taken in, in [0, 1]."""
    return np.minimum(1.0, _HALF / np.maximum(length, 1.0))


def _gathered(slots: Ints, beside: Ints) -> tuple[Ints, Ints, Ints]:
    """All slots concerned, each once; and where in them each of `slots` and of `beside` is, -1 for none."""
    there = beside >= 0
    members, where = np.unique(np.concatenate([slots, beside[there]]), return_inverse=True)
    others = np.full(beside.shape, -1)
    others[there] = where[len(slots) :]
    return members, where[: len(slots)], others


def words(work: WorkingSet, terms: Terms, slots: Ints, beside: Ints) -> Array:
    """BM25 [slots] of texts read with what is around them (`beside`, from `around`)."""
    text = work.text
    members, own, others = _gathered(slots, beside)
    tf, length = text.frequencies(terms, members), text.lengths(members)
    there = np.where(others >= 0, 1.0, 0.0)
    share = openness(length[own]) * np.array(WORDS)[:, None] * there * _taken(length[others])  # [4, slots]
    mean = text.mean_length
    whole = mean * (1.0 + float(openness(mean) * _taken(mean)) * sum(WORDS))
    read = tf[:, own] + np.einsum("os,tos->ts", share, tf[:, others])
    return text.saturated(terms, read, (length[own] + (share * length[others]).sum(axis=0)) / max(whole, 1e-9))


def meaning(work: WorkingSet, vector: Floats, slots: Ints, beside: Ints) -> Array:
    """The cosine [slots] of a query and texts read with what is around them, where negative 0."""
    members, own, others = _gathered(slots, beside)
    centres = np.concatenate([work.centres(members), np.zeros((1, work.dim), dtype=np.float32)])
    share = openness(work.text.lengths(slots)) * np.array(MEANING)[:, None]
    read = centres[own] + np.einsum("os,osd->sd", share, centres[others])
    norm = np.linalg.norm(read, axis=1)
    return np.asarray(np.maximum(read @ vector, 0.0) / np.where(norm > 0, norm, 1.0))
