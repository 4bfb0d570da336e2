"""Store, embedder and clock as one thing: what every memory system is built on.

The engine knows nothing of users, prompts or policies. It embeds what is written, keeps one working set a
space, and ranks. Systems decide what to write and what a recall means.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from halflife.agent.hit import Hit
from halflife.agent.redact import Redactor
from halflife.decay.law import Law
from halflife.errors import EmbedderMismatch, InvalidInput
from halflife.llm.chat import ChatModel
from halflife.llm.client import Chat
from halflife.llm.embedder import Embedder
from halflife.llm.meter import Meter
from halflife.store.connection import MEMORY
from halflife.store.draft import Draft
from halflife.store.filters import ALL, Filter
from halflife.store.protocol import Added, Pulse, Why
from halflife.store.recall import Question, Scored, Weights, rank
from halflife.store.rows import STORED, state_of, state_row
from halflife.store.sqlite import SqliteStore
from halflife.store.text import content, query_ids
from halflife.store.timerange import time_range
from halflife.store.trace import Space, Status, Trace
from halflife.store.vectors import Approximate, Floats
from halflife.store.voice import asked_of
from halflife.store.working_set import WorkingSet, allowed_slots

APPROXIMATE_FROM = 10_000  # vectors in a space from which HNSW beats the exact product (benchmarks/engine.py)
DUPLICATE = 0.97  # cosine above which two hits say the same
SPACES_IN_MEMORY = 64
EMBED_AT_ONCE = 256  # windows; sorted by length within, so that little is padding

Clock = Callable[[], float]
Progress = Callable[[int, int], None]


class Engine:
    """A store with its embedder, its clock, and the working sets of the spaces in use.

    Parameters
    ----------
    store: where traces are kept.
    embedder: how texts become vectors.
    clock: seconds since the epoch; injected in tests and simulations.
    weights: what each part of relevance counts.
    redactor: keeps secrets out of what is written.
    model: a language model for what a system leaves to one; None for the forms that need none.
    """

    def __init__(
        self,
        store: SqliteStore,
        embedder: Embedder,
        clock: Clock = time.time,
        weights: Weights | None = None,
        redactor: Redactor | None = None,
        model: ChatModel | None = None,
    ) -> None:
        self.store, self.embedder, self.clock = store, embedder, clock
        self.meter = Meter(store)
        self.chat = None if model is None else Chat(model, self.meter)
        self.redactor = redactor
        self.weights = weights or Weights()
        self._work: OrderedDict[tuple[str, tuple[Status, ...]], WorkingSet] = OrderedDict()
        self._lock = threading.RLock()
        store.require(embedder.fingerprint, embedder.dim)

    # -- writing ----------------------------------------------------------------------------------------------

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> list[Floats]:
        """The vectors of texts, [windows, dim] each: long texts are embedded in windows, never cut."""
        return embed_windows(self.embedder, texts, progress)

    def write(
        self,
        space: Space,
        drafts: Sequence[Draft],
        why: Why,
        now: float | None = None,
        progress: Progress | None = None,
    ) -> list[Added]:
        """Embed what has no vector yet, and store all in one transaction."""
        cleaned, labels = self.redacted(drafts)
        added = self._write(space, cleaned, why, now, progress)
        if not any(labels):
            return added
        return [replace(one, redacted=found) for one, found in zip(added, labels, strict=True)]

    def redacted(self, drafts: Sequence[Draft]) -> tuple[Sequence[Draft], list[tuple[str, ...]]]:
        """Drafts without secrets, if there is a redactor, and what was taken out of each."""
        if self.redactor is None:
            return drafts, []
        cleaned = [self.redactor.draft(draft) for draft in drafts]
        return [draft for draft, _ in cleaned], [labels for _, labels in cleaned]

    def _write(
        self, space: Space, drafts: Sequence[Draft], why: Why, now: float | None, progress: Progress | None
    ) -> list[Added]:
        todo = [i for i, draft in enumerate(drafts) if draft.vectors is None and draft.text.strip()]
        if todo:
            for i, vectors in zip(todo, self.embed([drafts[i].text for i in todo], progress), strict=True):
                drafts[i].vectors = vectors
        moment = self.clock() if now is None else now
        return self.store.add(space, drafts, why, moment, (self.embedder.fingerprint, self.embedder.dim))

    def unit(self, vector: Sequence[float] | NDArray[np.floating]) -> Floats:
        """A caller's vector, checked and scaled to unit length."""
        if isinstance(vector, np.ndarray) and vector.shape == (self.embedder.dim,):
            norm = math.sqrt(float(np.dot(vector, vector)))
            if 0.0 < norm < math.inf:
                return (vector / norm).astype(np.float32, copy=False)
        return cast(Floats, self.units([vector])[0][0])

    def units(self, vectors: Sequence[Any]) -> list[Floats]:
        """Callers' vectors (or windows of vectors, [windows, dim]) as rows of unit length."""
        try:
            arrays = [np.asarray(vector, dtype=np.float32) for vector in vectors]
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"A vector is a row of numbers ({error}).") from None
        dim = self.embedder.dim
        for array in arrays:
            if array.ndim not in (1, 2) or array.shape[-1] != dim or array.size == 0:
                raise EmbedderMismatch(
                    f"The vector has the shape {array.shape}; this memory's vectors have {dim} components.",
                    "Give the embedder that made it when opening the memory.",
                )
        matrix: Floats = np.concatenate([array.reshape(-1, dim) for array in arrays])
        norms: Floats = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
        if not math.isfinite(float(norms.sum())):
            raise InvalidInput("The vector has a NaN or infinite component.", "Check the embedder that made it.")
        if not norms.all():
            raise InvalidInput("The vector is all zeros.", "Check the embedder that made it.")
        matrix /= norms[:, None]
        ends = np.cumsum([array.size // dim for array in arrays])
        starts = ends - [array.size // dim for array in arrays]
        return [matrix[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    # -- reading ----------------------------------------------------------------------------------------------

    def working_set(self, space: Space, statuses: tuple[Status, ...] = ("active",)) -> WorkingSet:
        """The searchable traces of a space, up to date."""
        return self._follow(space, statuses, self.store.pulse(space))

    def _follow(self, space: Space, statuses: tuple[Status, ...], pulse: Pulse) -> WorkingSet:
        with self._lock:
            key = (space.name, statuses)
            work = self._work.get(key)
            dim = self.store.agree(pulse.embedder, self.embedder.fingerprint, self.embedder.dim)
            if work is None or work.dim != dim or self._worn(work):
                approximate = self.approximate(space) if statuses == ("active",) else None
                work = WorkingSet(self.store, space, dim, statuses=statuses, approximate=approximate)
                self._work[key] = work
            self._work.move_to_end(key)
            while len(self._work) > SPACES_IN_MEMORY:
                self._work.popitem(last=False)
            try:
                work.refresh(pulse.op)
            except BaseException:  # an interrupt half-way leaves it half updated
                del self._work[key]
                raise
            return work

    def snapshot(self, space: Space) -> WorkingSet:
        """The active traces of a space as they are now: the caller's own, which no other thread moves on."""
        dim = self.store.require(self.embedder.fingerprint, self.embedder.dim)
        work = WorkingSet(self.store, space, dim, approximate=self.approximate(space))
        work.refresh()
        return work

    @staticmethod
    def _worn(work: WorkingSet) -> bool:
        """More dead slots than living ones: reading it again is cheaper than carrying them."""
        return len(work) > 1024 and work.living * 2 < len(work)

    def set_law(self, law: Law) -> None:
        """Let memories fade by this law from now on; the store keeps it."""
        self.store.law = law
        text = json.dumps(law.to_dict(), sort_keys=True)
        if self.store.meta("law") != text:
            self.store.set_meta("law", text)
        for space, _ in self.store.spaces():
            self.drop(space)  # a working set keeps the law that it was made with

    def drop(self, space: Space) -> None:
        """Forget the working sets of a space; the next search reads it anew."""
        with self._lock:
            for key in [key for key in self._work if key[0] == space.name]:
                del self._work[key]

    def search(
        self,
        space: Space,
        query: str | None,
        k: int,
        *,
        vector: Floats | None = None,
        where: Filter = ALL,
        now: float | None = None,
        statuses: tuple[Status, ...] = ("active",),
        collapse: bool = True,
    ) -> list[Hit]:
        """The k best traces, near-duplicates collapsed. Nothing is reinforced."""
        now = self.clock() if now is None else now
        with self._lock:
            pulse = self.store.pulse(space)
            if pulse.space is None:
                return []
            asked = asked_of(query, self._follow(space, statuses, pulse).roles) if query is not None else None
        if vector is None and asked is not None:
            vector = self.embedder.embed([asked.spoken])[0]
            pulse = self.store.pulse(space)
        with self._lock:
            work = self._follow(space, statuses, pulse)
            question = Question(
                vector=vector if work.dim else None,
                terms=query_ids(asked.words) if asked else None,
                period=self._period(query, now),
                allowed=None if where.empty else allowed_slots(work, self.store.match(space, where)),
                voices=tuple(work.roles[voice] for voice in asked.voices) if asked else (),
            )
            found = rank(work, question, 2 * k + 8 if collapse else k, now, self.weights)
            return self._hits(work, found, k, collapse)

    def retention(self, traces: Sequence[Trace], now: float) -> list[float]:
        """How much is left of each trace, in [0, 1]."""
        if not traces:
            return []
        state = state_of(state_row(trace.state) for trace in traces)
        elapsed = np.array([max(now - trace.last_used, 0.0) for trace in traces])
        return [float(left) for left in self.store.law.retention(elapsed, state)]

    @staticmethod
    def _period(query: str | None, now: float) -> tuple[float, float] | None:
        named = time_range(query, now) if query else None
        return (named.start, named.end) if named else None

    def _hits(self, work: WorkingSet, found: Sequence[Scored], k: int, collapse: bool) -> list[Hit]:
        """The first k results as hits; one that says the same as an earlier one is left out and named there."""
        hits: list[Hit] = []
        seen: dict[frozenset[int], int] = {}
        for start in range(0, len(found), k):
            block = found[start : start + k]
            traces = self.store.by_number([int(work.n[s.slot]) for s in block])
            for s in block:
                trace = traces.get(int(work.n[s.slot]))
                if trace is None:
                    continue
                words = content(trace.text) if collapse else None
                twin = seen.get(words) if words else None
                if twin is not None and self._alike(hits[twin].trace.id, trace.id):
                    hits[twin] = replace(hits[twin], also=(*hits[twin].also, trace.id))
                    continue
                if len(hits) == k:
                    return hits
                if words:
                    seen.setdefault(words, len(hits))
                hits.append(Hit(trace, s.score, s.retention, s.parts, s.importance, self.weights.fading, s.substance))
            if len(hits) == k:
                return hits
        return hits

    def _alike(self, a: str, b: str) -> bool:
        """Whether two texts with the same content words are near in meaning too."""
        vectors = self.store.vectors([a, b])
        return len(vectors) == 2 and float(np.max(vectors[a] @ vectors[b].T)) >= DUPLICATE

    # -- the index of large spaces ----------------------------------------------------------------------------

    def approximate_path(self, space: Space) -> Path | None:
        """Where the HNSW index of a space lies; None for one kept in memory alone: of a store without a file, or an
        encrypted one, since vectors tell what was said.
        """
        if self.store.path == MEMORY or self.store.db.encrypted:
            return None
        return Path(f"{self.store.path}.ann") / f"{self.store.space_id(space)}.usearch"

    def approximate(self, space: Space) -> Approximate | None:
        """The HNSW index of a space, if one was built and still belongs to this store."""
        path = self.approximate_path(space)
        return Approximate.load(path, self.identity()) if path is not None and path.exists() else None

    def identity(self) -> str:
        """What an index must match: the store and the vector space."""
        return f"{self.store.identity()}|{self.embedder.fingerprint}|{self.embedder.dim}"

    def build_index(self, space: Space) -> int:
        """Build the HNSW index of a space that is large enough to need it. Returns how many vectors it holds."""
        work = self.working_set(space)
        slots = np.flatnonzero(work.alive)
        if len(slots) < APPROXIMATE_FROM or not work.dim:
            return 0
        if work.approximate is not None and int(np.sum(~work.covered & work.alive)) * 10 < len(slots):
            return 0
        work = self.snapshot(space)
        slots = np.flatnonzero(work.alive)
        data = self.store.vector_bytes(work.n[slots])
        blobs = [(int(n), data[int(n)]) for n in work.n[slots] if int(n) in data]
        width = STORED.itemsize * work.dim
        keys = np.repeat([n for n, _ in blobs], [len(blob) // width for _, blob in blobs]).astype(np.int64)
        vectors = np.frombuffer(b"".join(blob for _, blob in blobs), dtype=STORED).reshape(-1, work.dim)
        built = Approximate.build(work.dim, keys, vectors, work.op)
        built.path = self.approximate_path(space)
        try:
            built.save(self.identity())
        except FileNotFoundError:  # forgetting removed the draft
            return 0
        erased = "SELECT 1 FROM erased WHERE space = ? AND op > ?"
        if built.path is not None and self.store.db.one(erased, self.store.space_id(space), built.op):
            built.path.unlink(missing_ok=True)  # forgotten while it was built: it must not come back
            return 0
        self.drop(space)
        if built.path is None:
            self._work[(space.name, ("active",))] = WorkingSet(self.store, space, work.dim, approximate=built)
        return len(keys)

    def close(self) -> None:
        """Close the store."""
        with self._lock:
            self._work.clear()
            self.store.close()


def embed_windows(embedder: Embedder, texts: Sequence[str], progress: Progress | None = None) -> list[Floats]:
    """The vectors of texts, [windows, dim] each. `progress(done, total)` counts windows."""
    windows = [embedder.split(text) for text in texts]
    flat = [window for parts in windows for window in parts]
    done: list[Floats] = []
    for start in range(0, len(flat), EMBED_AT_ONCE):
        done.append(embedder.embed(flat[start : start + EMBED_AT_ONCE]))
        if progress:
            progress(min(start + EMBED_AT_ONCE, len(flat)), len(flat))
    matrix = np.concatenate(done) if done else np.zeros((0, embedder.dim), dtype=np.float32)
    ends = np.cumsum([len(parts) for parts in windows]).tolist()
    return [matrix[end - len(parts) : end] for end, parts in zip(ends, windows, strict=True)]


def reembed_store(store: SqliteStore, embedder: Embedder, progress: Progress | None = None) -> int:
    """Replace every vector of a store by those of another embedder."""
    total = int(store.db.one("SELECT count(*) FROM trace WHERE text <> ''") or 0)
    done = 0

    def embed(texts: Sequence[str]) -> list[Floats]:
        nonlocal done
        vectors = embed_windows(embedder, texts)
        done += len(texts)
        if progress:
            progress(done, total)
        return vectors

    return store.reembed(embedder.fingerprint, embedder.dim, embed, time.time())
