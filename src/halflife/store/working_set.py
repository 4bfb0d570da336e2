"""A space as arrays: what a search works on.

Read once from the store, then kept up to date by `feed`, the rows that changed since. A trace has a *slot*; a
new version of it gets a new slot, and the old one dies. Nothing here is durable, and nothing is the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from halflife.decay.law import Array, State
from halflife.errors import CorruptStore
from halflife.store.ascending import find
from halflife.store.bm25 import TextIndex
from halflife.store.protocol import Feed, Ints, Store
from halflife.store.rows import STATE, STORED, floats
from halflife.store.sessions import Sessions
from halflife.store.text import content_words
from halflife.store.trace import Space, Status
from halflife.store.vectors import Approximate, ExactVectors, Floats, Growing, centre

SUBSTANTIAL = 16  # different content words from which a text says enough to be what was asked for
_BLOCK = 256
_NUMBERS = ("at", "last_used", *STATE, "importance")


def importance_factor(importance: Array) -> Array:
    """What importance does to a score: 0.5 for none, 0.75 by default, 1 for the highest."""
    return 0.5 + 0.5 * importance


class WorkingSet:
    """The searchable traces of one space.

    Parameters
    ----------
    store: where they are kept.
    space: whose they are.
    dim: length of their vectors; 0 if the store has none yet.
    statuses: which traces can be found.
    approximate: an HNSW index that covers older vectors, which then need not be read.
    """

    def __init__(
        self,
        store: Store,
        space: Space,
        dim: int,
        *,
        statuses: Sequence[Status] = ("active",),
        approximate: Approximate | None = None,
    ) -> None:
        self.store, self.space, self.law, self.dim = store, space, store.law, dim
        self.statuses = statuses
        self.approximate = approximate
        self.op = 0
        self._n = Growing(np.int64)
        self._alive = Growing(np.bool_)
        self._covered = Growing(np.bool_)
        self._columns = {name: Growing(np.float64) for name in _NUMBERS}
        self._ceiling = Growing(np.float64)
        self._ceiling_of = (np.inf, 0.0)
        self._highest = 0.0
        self._stale: list[Ints] = []  # slots whose ceiling is not known
        self.text = TextIndex()
        self.vectors = ExactVectors(dim)
        self._behind: ExactVectors | None = None  # the vectors that the approximate index covers, once needed
        self.living = 0
        self._rising = 0  # so many first slots have rising numbers; `_moved` has the slots of the others
        self._moved: dict[int, int] = {}
        self.sessions = Sessions()
        self.roles: dict[str, int] = {}  # who spoke, and the code of each
        self._role = Growing(np.int64)
        self._content = Growing(np.int64)

    # -- following the store ----------------------------------------------------------------------------------

    def refresh(self, last_op: int | None = None) -> None:
        """Take in what any process has written since the last time; `last_op` if the caller has just asked for it."""
        if self.op and (self.store.last_op() if last_op is None else last_op) == self.op:
            return
        cover = self.approximate.op if self.approximate else 0
        try:
            feed = self.store.feed(self.space, self.op, statuses=self.statuses, vectors_after=cover)
            self._apply(feed)
        except (
            ValueError,
            TypeError,
            OverflowError,
        ) as error:  # a column without its type, words or a vector cut short
            raise CorruptStore(
                f"The memories of {self.space} cannot be read: the file is damaged ({error}).",
                "Restore a backup, or keep what is readable: halflife doctor --repair",
            ) from error
        self.op = feed.op

    def _apply(self, feed: Feed) -> None:
        known = self.slots_of(feed.n)
        fresh = feed.fresh | (known < 0)
        old = np.concatenate([self.slots_of(feed.gone), known[fresh]])
        self._kill(old[old >= 0])
        self._update(known[~fresh], {name: feed.columns[name][~fresh] for name in _NUMBERS})
        if fresh.any():
            self._append(feed, fresh)

    def _update(self, slots: Ints, columns: dict[str, Array]) -> None:
        for name, values in columns.items():
            self._columns[name].array[slots] = values
        self._stale.append(slots)

    def _kill(self, slots: Ints) -> None:
        if not len(slots):
            return
        self.living -= len(slots)
        self._alive.array[slots] = False
        self.text.remove(slots)
        self.sessions.remove(slots)

    def _append(self, feed: Feed, fresh: NDArray[np.bool_]) -> None:
        """New slots, in the order of the numbers. `terms` and `vectors` come in that order too."""
        first = self._n.size
        ns = feed.n[fresh]
        slots = np.arange(first, first + len(ns))
        if self._rising == first and (not first or ns[0] > self.n[-1]):
            self._rising += len(ns)
        else:
            self._moved.update(zip(ns.tolist(), slots.tolist(), strict=True))
        self._n.extend(ns)
        self._alive.extend(np.ones(len(ns), dtype=np.bool_))
        self.living += len(ns)
        blobs = list(feed.vectors)
        covered = np.zeros(len(ns), dtype=np.bool_)
        if self.approximate is not None:
            covered = np.array([not blob for blob in blobs], dtype=np.bool_) & (
                feed.columns["created"][fresh] <= self.approximate.op
            )
        self._covered.extend(covered)
        for name in _NUMBERS:
            self._columns[name].extend(feed.columns[name][fresh])
        self._ceiling.extend(np.zeros(len(ns)))
        self._stale.append(slots)
        self.sessions.add([s for s, new in zip(feed.session, fresh, strict=True) if new], self.column("at"), self.n)
        codes = [self.roles.setdefault(r, len(self.roles)) if r else -1 for r in feed.role]
        self._role.extend(np.array(codes, dtype=np.int64)[fresh])
        docs = [np.frombuffer(terms, dtype=np.uint32) for terms in feed.terms]
        self._content.extend(content_words(docs))
        self.text.add(slots, docs)
        if self.dim:
            self.vectors.add(slots, blobs)

    def slots_of(self, ns: Ints) -> Ints:
        """The slots of traces by number, -1 for one that is not here."""
        if not len(self):
            return np.full(len(ns), -1, dtype=np.int64)
        rising = self.n[: self._rising]
        at, there = find(rising, ns)
        out = np.where(there & self.alive[at], at, -1)
        if self._moved:
            for i in np.flatnonzero(out < 0).tolist():
                slot = self._moved.get(int(ns[i]), -1)
                out[i] = slot if slot >= 0 and self.alive[slot] else -1
        return out

    # -- what a search reads ----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._n.size

    @property
    def n(self) -> Ints:
        return cast(Ints, self._n.array)

    @property
    def alive(self) -> NDArray[np.bool_]:
        return cast("NDArray[np.bool_]", self._alive.array)

    @property
    def covered(self) -> NDArray[np.bool_]:
        """The slots whose vectors are in the approximate index only."""
        return cast("NDArray[np.bool_]", self._covered.array)

    @property
    def role(self) -> Ints:
        """Who spoke, as a code of `roles`; -1 for nobody in particular."""
        return cast(Ints, self._role.array)

    def substance(self, slots: Ints, weight: float) -> Array:
        """A factor in [1 - weight, 1] for some slots: how much their texts say, by their different content words.

        From `SUBSTANTIAL` words on it is 1; so it is where there is no text.
        """
        content = cast(Ints, self._content.array)[slots]
        lost = weight * (1.0 - np.minimum(content, SUBSTANTIAL) / SUBSTANTIAL)
        return np.where(content > 0, 1.0 - lost, 1.0)

    def column(self, name: str) -> Array:
        """A column of numbers, one a slot."""
        return cast(Array, self._columns[name].array)

    def retention(self, slots: Ints, now: float) -> Array:
        """How much is left of these traces."""
        elapsed = np.maximum(now - self.column("last_used")[slots], 0.0)
        return self.law.retention(elapsed, State(*(self.column(name)[slots] for name in STATE)))

    def weight(self, slots: Ints, now: float) -> tuple[Array, Array]:
        """Retention, and the factor of importance."""
        return self.retention(slots, now), importance_factor(self.column("importance")[slots])

    def ceiling(self, now: float, fading: float) -> tuple[Array, float]:
        """No `retention ** fading * factor` is above this, nor any above the second value.

        It is their value earlier, since retention only falls with time.
        """
        ceiling = cast(Array, self._ceiling.array)
        if now < self._ceiling_of[0] or fading != self._ceiling_of[1]:
            self._stale = [np.arange(len(self))]
            self._ceiling_of, self._highest = (now, fading), 0.0
        if self._stale:
            stale = np.concatenate(self._stale)
            retention, factor = self.weight(stale, self._ceiling_of[0])  # not `now`, which may come again earlier
            ceiling[stale] = retention**fading * factor
            self._highest = max(self._highest, float(ceiling[stale].max(initial=0.0)))
            self._stale = []
        return ceiling, self._highest

    def linked(self, slots: Ints) -> tuple[Ints, Ints, Array]:
        """Links that leave these slots: position among them, the slot that each leads to (-1: none here), weight."""
        ns = self.n[slots]
        rows = np.array(self.store.links(self.space, ns.tolist()), dtype=np.float64).reshape(-1, 3)
        if not len(rows):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0)
        ends, weights = rows[:, :2].astype(np.int64), rows[:, 2]
        tails, heads = np.concatenate([ends, ends[:, ::-1]]).T
        order = np.argsort(ns)
        found, mine = find(ns[order], tails)
        return order[found[mine]], self.slots_of(heads[mine]), np.concatenate([weights, weights])[mine]

    def similarity(self, query: Floats) -> Floats:
        """The similarity of every slot, exactly."""
        return cast(Floats, self.similarities(query[None, :])[0])

    def similarities(self, queries: Floats) -> Floats:
        """The same for several queries [q, dim]: [q, slots]. Reads the vectors that only the index has, once."""
        out = self.vectors.scores(queries, len(self))
        if self.covered.any():
            out += self._read_covered().scores(queries, len(self))  # a slot is in one of the two
        return out

    def _read_covered(self) -> ExactVectors:
        if self._behind is None:
            slots = np.flatnonzero(self.covered)
            data = self.store.vector_bytes(self.n[slots])
            self._behind = ExactVectors(self.dim)
            self._behind.add(slots, [data.get(n, b"") for n in self.n[slots].tolist()])
        return self._behind

    def nearest(self, slots: Ints, count: int) -> Iterator[tuple[int, Ints, Floats]]:
        """For each slot the nearest other living slots, by the first window of its text: slot, others, similarity."""
        for start in range(0, len(slots), _BLOCK):
            block = slots[start : start + _BLOCK]
            firsts = {
                int(slot): windows[0] for slot, windows in zip(block, self.windows(block), strict=True) if len(windows)
            }
            if firsts:
                queries = np.stack(list(firsts.values()))
                found = self._nearest_many(queries, count + 1)
                for slot, (others, similarity) in zip(firsts, found, strict=True):
                    keep = (others != slot) & (similarity > 0)
                    yield slot, others[keep][:count], similarity[keep][:count]

    def _nearest_many(self, queries: Floats, count: int) -> Iterator[tuple[Ints, Floats]]:
        if self.approximate is not None and not len(self.vectors):
            for ns, similarity in self.approximate.search_many(queries, count):
                slots = self.slots_of(ns)
                yield slots[slots >= 0], similarity[slots >= 0]
            return
        scores = self.similarities(queries)
        scores[:, ~self.alive] = 0.0
        count = min(count, scores.shape[1])
        best = np.argpartition(scores, -count, axis=1)[:, -count:]
        for row, slots in zip(scores, best, strict=True):
            order = slots[np.argsort(-row[slots], kind="stable")]
            yield order, row[order]

    def centres(self, slots: Ints) -> Floats:
        """The mean direction of the windows of a few slots [slots, dim]; zero for one without a vector."""
        out = self.vectors.centres(slots)
        behind = np.flatnonzero(self.covered[slots])
        if len(behind):
            matrix, starts = self.read(slots[behind])
            if len(matrix) == len(behind):
                out[behind] = matrix
            else:
                out[behind] = [centre(one) for one in np.split(matrix, starts[1:])]
        return out

    def read(self, slots: Ints) -> tuple[Floats, Ints]:
        """The stored vectors of some slots, in one matrix, and where those of each begin: a row of zeros for none."""
        width = STORED.itemsize * self.dim
        ns = self.n[slots].tolist()
        data = self.store.vector_bytes(self.n[slots])
        blobs = list(data.values()) if list(data) == ns else [data.get(n, b"") for n in ns]
        joined = b"".join(blobs)
        if len(joined) == width * len(ns) and all(blobs):  # one window each
            return floats(joined).reshape(-1, self.dim), np.arange(len(ns))
        blobs = [blob or b"\0" * width for blob in blobs]
        ends = np.cumsum([len(blob) for blob in blobs]) // width
        return floats(b"".join(blobs)).reshape(-1, self.dim), np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1]])

    def windows(self, slots: Ints) -> list[Floats]:
        """The stored vectors of a few slots."""
        data = self.store.vector_bytes(self.n[slots])
        return [floats(data.get(int(n), b"")).reshape(-1, self.dim or 1) for n in self.n[slots]]


def allowed_slots(work: WorkingSet, ns: Ints) -> NDArray[np.bool_]:
    """Which slots a filter lets through, from the numbers of its traces."""
    mask = np.zeros(len(work), dtype=np.bool_)
    slots = work.slots_of(ns)
    mask[slots[slots >= 0]] = True
    return mask
