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
from halflife.store.bm25 import TextIndex
from halflife.store.protocol import Feed, Ints, Store
from halflife.store.rows import STATE
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
        self.text = TextIndex()
        self.vectors = ExactVectors(dim)
        self._behind: ExactVectors | None = None  # the vectors that the approximate index covers, once needed
        self.slot_of: dict[int, int] = {}
        self._ascending = True  # numbers rise with slots, until a trace gets a new version
        self._sessions: list[str | None] = []
        self.roles: dict[str, int] = {}  # who spoke, and the code of each
        self._role = Growing(np.int64)
        self._content = Growing(np.int64)
        self._substance: tuple[float, Array] | None = None
        self._neighbours: NDArray[np.int64] | None = None
        self._links: tuple[Ints, Ints, Array] | None = None

    # -- following the store ----------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take in what any process has written since the last time."""
        if self.op and self.store.last_op() == self.op:
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
        if feed.links_changed:
            self._links = None
        for n in feed.gone:
            self._kill(int(n))
        known = np.array([self.slot_of.get(int(n), -1) for n in feed.n], dtype=np.int64)
        fresh = feed.fresh | (known < 0)
        self._update(known[~fresh], {name: feed.columns[name][~fresh] for name in _NUMBERS})
        for n in feed.n[fresh]:
            self._kill(int(n))
        if fresh.any():
            self._append(feed, fresh)

    def _update(self, slots: Ints, columns: dict[str, Array]) -> None:
        for name, values in columns.items():
            self._columns[name].array[slots] = values
        self._ceiling.array[slots] = np.inf

    def _kill(self, n: int) -> None:
        slot = self.slot_of.pop(n, None)
        if slot is not None:
            self._alive.array[slot] = False
            self.text.remove(np.array([slot]))
            self._neighbours = self._links = None

    def _append(self, feed: Feed, fresh: NDArray[np.bool_]) -> None:
        """New slots, in the order of the numbers. `terms` and `vectors` come in that order too."""
        first = self._n.size
        ns = feed.n[fresh]
        slots = np.arange(first, first + len(ns))
        self._ascending = self._ascending and (not first or int(ns[0]) > int(self.n[-1]))
        self._n.extend(ns)
        self._alive.extend(np.ones(len(ns), dtype=np.bool_))
        blobs = list(feed.vectors)
        covered = np.zeros(len(ns), dtype=np.bool_)
        if self.approximate is not None:
            covered = np.array([not blob for blob in blobs], dtype=np.bool_) & (
                feed.columns["created"][fresh] <= self.approximate.op
            )
        self._covered.extend(covered)
        for name in _NUMBERS:
            self._columns[name].extend(feed.columns[name][fresh])
        self._ceiling.extend(np.full(len(ns), np.inf))
        self.slot_of.update(zip(ns.tolist(), slots.tolist(), strict=True))
        self._sessions += [s for s, new in zip(feed.session, fresh, strict=True) if new]
        codes = [self.roles.setdefault(r, len(self.roles)) if r else -1 for r in feed.role]
        self._role.extend(np.array(codes, dtype=np.int64)[fresh])
        docs = [np.frombuffer(terms, dtype=np.uint32) for terms in feed.terms]
        self._content.extend(content_words(docs))
        self.text.add(slots, docs)
        if self.dim:
            self.vectors.add(slots, blobs)
        self._neighbours = self._links = None

    def slots_of(self, ns: Ints) -> Ints:
        """The slots of traces by number, -1 for one that is not here."""
        if not self._ascending:
            return np.array([self.slot_of.get(n, -1) for n in ns.tolist()], dtype=np.int64)
        at = np.minimum(np.searchsorted(self.n, ns), max(len(self) - 1, 0))
        if not len(self):
            return np.full(len(ns), -1, dtype=np.int64)
        return np.where((self.n[at] == ns) & self.alive[at], at, -1)

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

    def substance(self, weight: float) -> Array:
        """A factor in [1 - weight, 1] for each slot: how much its text says, by its different content words.

        From `SUBSTANTIAL` words on it is 1; so it is where there is no text.
        """
        if self._substance is None or self._substance[0] != weight or len(self._substance[1]) != len(self):
            content = cast(Ints, self._content.array)
            lost = weight * (1.0 - np.minimum(content, SUBSTANTIAL) / SUBSTANTIAL)
            self._substance = weight, np.where(content > 0, 1.0 - lost, 1.0)
        return self._substance[1]

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

    def ceiling(self, now: float, fading: float) -> Array:
        """No `retention ** fading * factor` is above this: its value earlier, since retention only falls with time."""
        ceiling = cast(Array, self._ceiling.array)
        if (now, fading) != self._ceiling_of and (now < self._ceiling_of[0] or fading != self._ceiling_of[1]):
            ceiling[:] = np.inf
            self._ceiling_of = (now, fading)
        stale = np.flatnonzero(np.isinf(ceiling))
        if len(stale):
            retention, factor = self.weight(stale, self._ceiling_of[0])  # not `now`, which may come again earlier
            ceiling[stale] = retention**fading * factor
        return ceiling

    def neighbours(self) -> NDArray[np.int64]:
        """[2, slots + 1]: the slot said before and the one said after in the same session, -1 for none.

        The last column is that of no slot, so that indexing by -1 gives -1.
        """
        if self._neighbours is None:
            self._neighbours = self._find_neighbours()
        return self._neighbours

    def _find_neighbours(self) -> NDArray[np.int64]:
        out = np.full((2, len(self) + 1), -1, dtype=np.int64)
        code: dict[str, int] = {}
        sessions = np.array(
            [-1 if s is None else code.setdefault(s, len(code)) for s in self._sessions], dtype=np.int64
        )
        slots = np.flatnonzero(self.alive & (sessions >= 0))
        order = slots[np.lexsort((self.n[slots], self.column("at")[slots], sessions[slots]))]
        same = sessions[order[1:]] == sessions[order[:-1]]
        out[0, order[1:][same]] = order[:-1][same]
        out[1, order[:-1][same]] = order[1:][same]
        return out

    def linked(self, slots: Ints) -> list[tuple[int, int, float]]:
        """Links that leave these slots: (from, to, weight)."""
        if self._links is None:
            self._links = self._read_links()
        starts, targets, weights = self._links
        out = []
        for slot in slots.tolist():
            for i in range(starts[slot], starts[slot + 1]):
                out.append((slot, int(targets[i]), float(weights[i])))
        return out

    def _read_links(self) -> tuple[Ints, Ints, Array]:
        """The links by the slot they leave: where each slot's begin, where they lead, their weights."""
        rows = np.array(self.store.links(self.space), dtype=np.float64).reshape(-1, 3)
        ends = self.slots_of(rows[:, :2].astype(np.int64).ravel()).reshape(-1, 2)
        known = (ends >= 0).all(axis=1)
        ends, weights = ends[known], rows[known, 2]
        tails = np.concatenate([ends[:, 0], ends[:, 1]])
        order = np.argsort(tails, kind="stable")
        starts = np.searchsorted(tails[order], np.arange(len(self) + 1))
        return starts, np.concatenate([ends[:, 1], ends[:, 0]])[order], np.concatenate([weights, weights])[order]

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
        for i, windows in zip(behind.tolist(), self.windows(slots[behind]) if len(behind) else (), strict=True):
            out[i] = centre(windows) if len(windows) else 0.0
        return out

    def windows(self, slots: Ints) -> list[Floats]:
        """The stored vectors of a few slots."""
        data = self.store.vector_bytes(self.n[slots])
        return [
            np.frombuffer(data.get(int(n), b""), dtype=np.float32).reshape(-1, self.dim or 1) for n in self.n[slots]
        ]


def allowed_slots(work: WorkingSet, ns: Ints) -> NDArray[np.bool_]:
    """Which slots a filter lets through, from the numbers of its traces."""
    mask = np.zeros(len(work), dtype=np.bool_)
    slots = work.slots_of(ns)
    mask[slots[slots >= 0]] = True
    return mask
