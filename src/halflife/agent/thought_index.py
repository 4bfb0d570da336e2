"""Thoughts in their buckets: the settings that a store keeps, and the working memory made from it.

Paper: "Think-in-Memory: Recalling and Post-thinking Enable LLMs with Long-Term Memory", arXiv 2311.08719.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from halflife.agent.derived import with_sources
from halflife.agent.engine import Engine
from halflife.agent.lsh import CrossPolytope, Floats, LshIndex, Rows
from halflife.agent.thoughts import Thought
from halflife.store.draft import Draft
from halflife.store.filters import parse
from halflife.store.rows import floats
from halflife.store.trace import Space, Trace

NAME = "think-in-memory"
ROLE = "thought"
THOUGHTS = parse({"role": ROLE})


@dataclass(frozen=True)
class Settings:
    """How the thoughts of a space are hashed; R is drawn from the seed again.

    Parameters
    ----------
    n_buckets, n_tables, seed: see `CrossPolytope`.
    space: fingerprint of the vector space that the mean belongs to.
    mean: base64 of float32, or empty for no centring.
    counted: how many thoughts the mean is of.
    """

    n_buckets: int
    n_tables: int
    seed: int
    space: str
    mean: str = ""
    counted: int = 0

    @cached_property
    def tag(self) -> str:
        """A short name of these settings: a bucket that was stored under another tag is worth nothing."""
        return hashlib.blake2b(self.to_json().encode(), digest_size=6).hexdigest()

    def to_json(self) -> str:
        """The settings as a store keeps them."""
        return json.dumps(asdict(self), sort_keys=True)

    def around(self, vectors: Floats | None) -> Settings:
        """The same, hashed around the mean of these vectors [n, d], or without centring."""
        if vectors is None:
            return replace(self, mean="", counted=0)
        mean = base64.b64encode(vectors.mean(axis=0).astype("<f4").tobytes()).decode()
        return replace(self, mean=mean, counted=len(vectors))

    def hashing(self, dim: int) -> CrossPolytope:
        """The hash function."""
        mean = np.frombuffer(base64.b64decode(self.mean), "<f4").astype(np.float32) if self.mean else None
        return CrossPolytope(dim, self.n_buckets, self.n_tables, self.seed, mean)


def kept_settings(engine: Engine, space: Space, default: Settings) -> Settings:
    """The settings that a space was hashed with, or the default; without centring if the embedder has changed."""
    kept = engine.store.meta(key(engine, space, "hash"))
    settings = Settings(**json.loads(kept)) if kept else default
    if settings.space != default.space:
        settings = replace(settings.around(None), space=default.space)
    return settings


def key(engine: Engine, space: Space, what: str) -> str:
    """Under which name a store keeps something about a space."""
    return f"{NAME}:{what}:{engine.store.space_id(space)}"


class ThoughtIndex:
    """The active thoughts of one space, hashed. Follows the store; nothing here is durable.

    Parameters
    ----------
    engine, space: where the thoughts are.
    """

    def __init__(self, engine: Engine, space: Space) -> None:
        self.engine, self.space = engine, space
        self.op = 0
        self._rows: dict[int, tuple[Floats, str, Sequence[int]]] = {}  # number -> vector, tag, buckets
        self._made: tuple[Settings, LshIndex, Rows] | None = None

    def refresh(self, settings: Settings) -> tuple[LshIndex, Rows]:
        """The index of what is active now, and the numbers of the traces in its rows."""
        self._follow()
        if self._made is None or self._made[0] != settings:
            self._made = (settings, *self._make(settings))
        return self._made[1:]

    def vectors(self) -> Floats:
        """The vectors of the thoughts, shape [n, d]."""
        self._follow()
        rows = [self._rows[n][0] for n in sorted(self._rows)]
        return np.stack(rows) if rows else np.zeros((0, self.engine.embedder.dim), np.float32)

    def _follow(self) -> None:
        store = self.engine.store
        if self.op and store.last_op() == self.op:
            return
        feed = store.feed(self.space, self.op)
        changed = [n for n in feed.gone.tolist() if self._rows.pop(n, None) is not None]
        fresh = feed.n[feed.fresh].tolist()
        traces = store.by_number(fresh)
        for n, blob in zip(fresh, feed.vectors, strict=True):
            if n in traces and traces[n].role == ROLE and blob:
                metadata = traces[n].metadata
                vector = floats(blob)[: self.engine.embedder.dim]
                self._rows[n] = (vector, metadata.get("hash", ""), metadata.get("bucket", ()))
                changed.append(n)
        if changed:
            self._made = None
        self.op = feed.op

    def _make(self, settings: Settings) -> tuple[LshIndex, Rows]:
        hashing = settings.hashing(self.engine.embedder.dim)
        ns = np.array(sorted(self._rows), dtype=np.int64)
        vectors = self.vectors()
        buckets = np.zeros((len(ns), settings.n_tables), dtype=np.int64)
        stale = [i for i, n in enumerate(ns.tolist()) if self._rows[n][1] != settings.tag]
        for i, n in enumerate(ns.tolist()):
            if self._rows[n][1] == settings.tag:
                buckets[i] = self._rows[n][2]
        if stale:
            buckets[stale] = hashing.buckets(vectors[stale])
        return LshIndex(vectors, hashing, buckets), ns


def draft_of(thought: Thought, vectors: Floats, hashed: dict[str, Any], sources: Sequence[str], now: float) -> Draft:
    """A thought as it is stored.

    Parameters
    ----------
    vectors: of its sentence, shape [windows, d].
    hashed: its buckets and the tag of the settings, as metadata.
    """
    metadata = {"head": thought.head, "relation": thought.relation, "tails": list(thought.tails), **hashed}
    return Draft(
        thought.text,
        thought.created or now,
        vectors=vectors,
        role=ROLE,
        metadata=with_sources(metadata | ({"worded": True} if thought.wording else {}), sources),
        sources=tuple(sources),
        system=NAME,
    )


def thought_of(trace: Trace) -> Thought:
    """A stored thought as it is reasoned about."""
    m = trace.metadata
    return Thought(
        m["head"], m["relation"], tuple(m["tails"]), trace.at, trace.id, wording=trace.text if m.get("worded") else ""
    )
