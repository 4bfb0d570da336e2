"""BM25 over term ids: compact inverted indexes, and a small tail of new documents that is scanned.

Folding the tail makes one more index, and indexes of like size are merged, so that there are few, and adding
documents one by one costs little more than adding them at once.

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), with the idf that is
never negative: ln(1 + (N - df + 0.5) / (df + 0.5)). The statistics count living documents only, so a removed
document leaves no trace in any score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from halflife.errors import InvalidInput
from halflife.store.ascending import find

Terms: TypeAlias = NDArray[np.uint32]
T = TypeVar("T", bound=np.generic)

_TAIL_DOCS = 2048
_BURIED_SHARE = 0.25
_MERGE_FROM = 0.5  # an index is merged into the one before it when it has this share of its size
_MAX_TF = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class _Postings:
    """Which documents hold each term. Those of `terms[i]` are the entries `offsets[i]` to `offsets[i + 1]`.

    Parameters
    ----------
    terms: [T], ascending and unique.
    offsets: [T + 1].
    slots: [P], ascending within a term.
    tf: [P], how often the term occurs there, at most 65,535.
    """

    terms: Terms
    offsets: NDArray[np.int64]
    slots: NDArray[np.int32]
    tf: NDArray[np.uint16]

    @classmethod
    def build(cls, terms: Terms, owners: NDArray[np.int32]) -> _Postings:
        """Invert pairs of term and document. Two integers in one key sort fastest."""
        keys = (terms.astype(np.uint64) << np.uint64(32)) | owners.astype(np.uint64)
        keys.sort()
        keys, tf = _runs(keys)
        unique, df = _runs((keys >> np.uint64(32)).astype(np.uint32))
        slots = (keys & np.uint64(0xFFFF_FFFF)).astype(np.int32)
        return cls(unique, _offsets(df), slots, np.minimum(tf, _MAX_TF).astype(np.uint16))

    def only(self, live: NDArray[np.bool_]) -> _Postings:
        """The postings of living documents."""
        keep = live[self.slots]
        df = np.diff(np.concatenate(([0], np.cumsum(keep)))[self.offsets])
        used = df > 0
        return _Postings(self.terms[used], _offsets(df[used]), self.slots[keep], self.tf[keep])

    def followed_by(self, later: _Postings) -> _Postings:
        """Both, where every slot of `later` is above every slot of this one. Linear in the postings."""
        terms = np.union1d(self.terms, later.terms)
        mine, theirs = np.searchsorted(terms, self.terms), np.searchsorted(terms, later.terms)
        df_mine, df_theirs = np.diff(self.offsets), np.diff(later.offsets)
        df = np.zeros(len(terms), dtype=np.int64)
        df[mine] += df_mine
        theirs_start = df[theirs]
        df[theirs] += df_theirs
        offsets = _offsets(df)
        slots = np.empty(offsets[-1], dtype=np.int32)
        tf = np.empty(offsets[-1], dtype=np.uint16)
        for part, shift, count in (
            (self, offsets[mine] - self.offsets[:-1], df_mine),
            (later, offsets[theirs] + theirs_start - later.offsets[:-1], df_theirs),
        ):
            place = np.arange(len(part.slots)) + np.repeat(shift, count)
            slots[place] = part.slots
            tf[place] = part.tf
        return _Postings(terms, offsets, slots, tf)

    def of(self, term: int) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        """Slots and frequencies of a term."""
        at = int(np.searchsorted(self.terms, np.uint32(term)))
        if at == len(self.terms) or self.terms[at] != term:
            return self.slots[:0], self.tf[:0]
        start, end = int(self.offsets[at]), int(self.offsets[at + 1])
        return self.slots[start:end], self.tf[start:end]


@dataclass(frozen=True)
class _Word:
    """A term of a query: the documents that hold it, and what it can add to a score at most."""

    slots: NDArray[np.int32]
    tf: NDArray[np.uint16]
    most: float


class TextIndex:
    """BM25 over documents in slots 0, 1, 2, ...

    Slots are added in increasing order; one may be removed, and is never used again. The index is not locked:
    its owner lets no query run beside a change.

    Parameters
    ----------
    k1: how slowly repetition saturates, at least 0.
    b: how much long documents are discounted, in [0, 1].

    >>> index = TextIndex()
    >>> index.add([0, 1], [np.array([7, 8], np.uint32), np.array([8, 8, 9], np.uint32)])
    >>> [round(score, 3) for score in index.scores(np.array([7, 9], np.uint32), n=3).tolist()]
    [0.755, 0.641, 0.0]
    >>> index.remove([1])
    >>> index.scores(np.array([9], np.uint32), n=3).tolist()
    [0.0, 0.0, 0.0]
    """

    def __init__(self, k1: float = 1.2, b: float = 0.75) -> None:
        if not (math.isfinite(k1) and k1 >= 0 and 0 <= b <= 1):
            raise InvalidInput(f"BM25 needs k1 >= 0 and 0 <= b <= 1, not k1={k1}, b={b}.")
        self.k1, self.b = k1, b
        self._size = 0  # one above the highest slot ever added
        self._live = np.zeros(0, dtype=np.bool_)
        self._length = np.zeros(0, dtype=np.int32)
        self._count = 0  # living documents, and their words
        self._words = 0
        self._buried = 0  # removed documents whose postings are still there
        self._parts: list[_Postings] = []  # each has higher slots than the one before it
        self._tail_terms = np.zeros(0, dtype=np.uint32)
        self._tail_owners = np.zeros(0, dtype=np.int32)
        self._tail_words = 0
        self._tail_docs = 0
        self._asked: dict[int, tuple[NDArray[np.int32], NDArray[np.uint16]]] = {}  # postings of the last query

    def __len__(self) -> int:
        """Living documents."""
        return self._count

    def add(self, slots: ArrayLike, docs: Sequence[Terms]) -> None:
        """Add documents.

        Parameters
        ----------
        slots: [D] integers, increasing, all above every slot added before.
        docs: D arrays of term ids (`halflife.store.text.term_ids`), repeats kept.

        Errors
        ------
        InvalidInput: slots out of order, or not one for each document; nothing is added then.
        """
        self._asked = {}
        new = _slots(slots)
        if len(new) != len(docs):
            raise InvalidInput(f"{len(new)} slots for {len(docs)} documents; give one for each.")
        if not len(new):
            return
        if new[0] < self._size or (np.diff(new) <= 0).any():
            raise InvalidInput(f"Slots must increase and start at {self._size} or above; the first is {new[0]}.")
        lengths = np.fromiter(map(len, docs), dtype=np.int32, count=len(docs))
        terms = np.concatenate(docs)
        start, end = self._tail_words, self._tail_words + len(terms)
        self._tail_terms = _grown(self._tail_terms, end)
        self._tail_owners = _grown(self._tail_owners, end)
        self._tail_terms[start:end] = terms
        self._tail_owners[start:end] = np.repeat(new, lengths)
        self._tail_words = end
        self._tail_docs += len(new)
        self._size = int(new[-1]) + 1
        self._live = _grown(self._live, self._size)
        self._length = _grown(self._length, self._size)
        self._live[new] = True
        self._length[new] = lengths
        self._count += len(new)
        self._words += len(terms)
        if self._tail_docs > _TAIL_DOCS:
            self._fold()

    def remove(self, slots: ArrayLike) -> None:
        """Remove documents. Removing one twice does nothing.

        Errors
        ------
        InvalidInput: a slot that was never added; nothing is removed then.
        """
        self._asked = {}
        gone = np.unique(_slots(slots))
        if len(gone) and not 0 <= gone[0] <= gone[-1] < self._size:
            raise InvalidInput(f"Slot {gone[0] if gone[0] < 0 else gone[-1]} was never added; there are {self._size}.")
        gone = gone[self._live[gone]]
        self._live[gone] = False
        self._count -= len(gone)
        self._words -= int(self._length[gone].sum(dtype=np.int64))
        self._length[gone] = 0
        self._buried += len(gone)
        if self._buried > max(_TAIL_DOCS, _BURIED_SHARE * self._count):
            self.compact()

    def compact(self) -> None:
        """Fold all into one index and drop what was removed.

        It happens by itself as removals gather; call it to have no term of a removed document left in memory.
        """
        self._fold()
        if self._parts:
            merged = reduce(_Postings.followed_by, self._parts)
            self._parts = [merged.only(self._live) if self._buried else merged]
        self._buried = 0

    def _fold(self) -> None:
        """The tail as an index, merged with those before it that are not much larger."""
        terms, owners = self._tail_terms[: self._tail_words], self._tail_owners[: self._tail_words]
        if len(terms):
            self._parts.append(_Postings.build(terms, owners))
        while len(self._parts) > 1 and len(self._parts[-1].slots) >= _MERGE_FROM * len(self._parts[-2].slots):
            later = self._parts.pop()
            self._parts.append(self._parts.pop().followed_by(later))
        self._tail_terms = np.zeros(0, dtype=np.uint32)
        self._tail_owners = np.zeros(0, dtype=np.int32)
        self._tail_words = self._tail_docs = 0

    def scores(self, query: Terms, n: int) -> NDArray[np.float32]:
        """The BM25 score of every document for a query, 0 where none of its terms occurs.

        Parameters
        ----------
        query: [Q] term ids (`halflife.store.text.query_ids`); a repeat counts once.
        n: length of the answer; slots from `n` on are left out, slots never added score 0.
        """
        matches = self.ask(query)
        while matches.rest:
            matches.open()
        out = np.zeros(n, dtype=np.float32)
        out[: self._size] = matches.scores[:n]
        return out

    def frequencies(self, query: Terms, slots: ArrayLike) -> NDArray[np.float64]:
        """How often each term of the query occurs in some documents: [terms, slots], terms ascending and unique."""
        wanted = _slots(slots).astype(np.int32)
        rows = []
        for term in sorted(set(query.tolist())):
            where, tf = self._postings(term)
            at, there = find(where, wanted)
            row = np.zeros(len(wanted))
            row[there] = tf[at[there]]
            rows.append(row)
        return np.array(rows).reshape(-1, len(wanted))

    def lengths(self, slots: ArrayLike) -> NDArray[np.float64]:
        """How many words some documents have."""
        return self._length[_slots(slots)].astype(np.float64)

    @property
    def mean_length(self) -> float:
        """Words of a document on average."""
        return self._words / self._count if self._count else 0.0

    def saturated(self, query: Terms, tf: NDArray[np.float64], length: NDArray[np.float64]) -> NDArray[np.float64]:
        """BM25 of texts given by their term frequencies [terms, texts] and lengths, in units of the mean length."""
        found = [len(self._postings(term)[0]) for term in sorted(set(query.tolist()))]
        idf = np.array([self._idf(df) if df else 0.0 for df in found])
        damping = self.k1 * (1 - self.b + self.b * length)
        return np.asarray((idf * (self.k1 + 1)) @ (tf / (tf + damping)))

    def upper_bound(self, query: Terms) -> float:
        """A score that no document can exceed: the sum of idf * (k1 + 1) over the query's known terms."""
        return sum(word.most for word in self._words_of(query))

    def ask(self, query: Terms) -> Matches:
        """Begin to answer a query, term by term. The answer is good until the index changes."""
        mean = max(self.mean_length, 1e-9)
        damping = np.float32(self.k1 * (1 - self.b)), np.float32(self.k1 * self.b / mean)
        return Matches(self._words_of(query), self._length[: self._size], damping)

    def _idf(self, df: int) -> float:
        return math.log(1 + (self._count - df + 0.5) / (df + 0.5))

    def _words_of(self, query: Terms) -> list[_Word]:
        """The known terms of a query with their living documents, the rarest first."""
        words = []
        terms = sorted(set(query.tolist()))
        if not self._asked.keys() >= set(terms):
            self._asked = {}
        for term in terms:
            slots, tf = self._postings(term)
            if len(slots):
                words.append(_Word(slots, tf, self._idf(len(slots)) * (self.k1 + 1)))
        return sorted(words, key=lambda word: len(word.slots))

    def _postings(self, term: int) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        """Slots, ascending, and frequencies of the living documents that hold a term."""
        if term not in self._asked:
            self._asked[term] = self._find(term)
        return self._asked[term]

    def _find(self, term: int) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        found = [part.of(term) for part in self._parts]
        if self._tail_words:
            recent, repeats = _runs(self._tail_owners[: self._tail_words][self._tail_terms[: self._tail_words] == term])
            found.append((recent, np.minimum(repeats, _MAX_TF).astype(np.uint16)))
        found = [one for one in found if len(one[0])]
        if not found:
            return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.uint16)
        slots, tf = found[0] if len(found) == 1 else map(np.concatenate, zip(*found, strict=True))
        if self._buried:
            keep = self._live[slots]
            slots, tf = slots[keep], tf[keep]
        return slots, tf


class Matches:
    """The scores of a query as its terms are opened, one after the other, the rarest first.

    What is still closed can add `rest` to a score at most, so that the many documents which hold nothing but the
    commonest words of a query need never be looked at (the idea of MaxScore: Turtle and Flood, "Query evaluation:
    strategies and optimizations", 1995).

    >>> index = TextIndex()
    >>> index.add([0, 1, 2], [np.array([7, 8], np.uint32), np.array([8], np.uint32), np.array([9], np.uint32)])
    >>> matches = index.ask(np.array([7, 8], np.uint32))
    >>> matches.open()
    >>> matches.slots.tolist(), matches.rest > 0                    # the rarer of the two is in document 0
    ([0], True)
    >>> bool((matches.score(np.array([0, 1, 2])) == index.scores(np.array([7, 8], np.uint32), 3)).all())
    True
    """

    def __init__(
        self, words: Sequence[_Word], length: NDArray[np.int32], damping: tuple[np.float32, np.float32]
    ) -> None:
        self._closed = list(words)
        self._length = length
        self._base, self._by_length = damping
        self._held: list[NDArray[np.int32]] = []
        self.top = sum(word.most for word in words)
        self.scores = np.zeros(len(length), dtype=np.float32)  # [slots], by the opened terms

    @property
    def rest(self) -> float:
        """What the terms that are still closed can add."""
        return sum(word.most for word in self._closed)

    @property
    def slots(self) -> NDArray[np.int64]:
        """The documents that hold an opened term, in no order."""
        return np.concatenate(self._held).astype(np.int64) if self._held else np.zeros(0, dtype=np.int64)

    def open(self) -> None:
        """Add the next term to the scores."""
        word = self._closed.pop(0)
        before = self.scores[word.slots]
        self.scores[word.slots] = before + self._gain(word, word.slots, word.tf)
        self._held.append(word.slots[before == 0])

    def score(self, slots: NDArray[np.int64]) -> NDArray[np.float32]:
        """The whole score of some documents."""
        out = self.scores[slots]
        wanted = slots.astype(np.int32)
        for word in self._closed:
            at, there = find(word.slots, wanted)
            holds = np.flatnonzero(there)
            out[holds] += self._gain(word, slots[holds], word.tf[at[holds]])
        return out

    def _gain(self, word: _Word, slots: NDArray[np.integer], tf: NDArray[np.uint16]) -> NDArray[np.float32]:
        """What a term adds to the scores of documents that hold it."""
        frequency = tf.astype(np.float32)
        damping = self._base + self._length[slots].astype(np.float32) * self._by_length
        gain: NDArray[np.float32] = np.float32(word.most) * frequency / (frequency + damping)
        return gain


def _runs(ordered: NDArray[T]) -> tuple[NDArray[T], NDArray[np.int64]]:
    """The distinct values of an ordered array, and how often each occurs."""
    first = np.ones(len(ordered), dtype=np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    start = np.flatnonzero(first)
    return ordered[start], np.diff(start, append=len(ordered))


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    out = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=out[1:])
    return out


def _grown(array: NDArray[T], size: int) -> NDArray[T]:
    """The array, or a copy with room for `size` items and some more."""
    if size <= len(array):
        return array
    out = np.zeros(max(size, 1024, len(array) * 3 // 2), dtype=array.dtype)
    out[: len(array)] = array
    return out


def _slots(slots: ArrayLike) -> NDArray[np.int64]:
    out = np.asarray(slots)
    if out.ndim != 1 or (out.size and out.dtype.kind not in "iu"):
        raise InvalidInput(f"Slots must be one row of integers, not shape {out.shape} of {out.dtype}.")
    return out.astype(np.int64)
