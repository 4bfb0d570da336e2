"""Finding A-MEM's notes: directly, and by the links between them.

Paper: "A-MEM: Agentic Memory for LLM Agents", arXiv 2502.12110, section 3.4 and the linked notes of its code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from halflife.agent.amem_notes import ACTIVE, NOTES, ROLE, Neighbour, Note, marked, note_of
from halflife.agent.engine import Engine
from halflife.agent.hit import Hit
from halflife.store.filters import Filter, parse
from halflife.store.rows import chunks
from halflife.store.trace import Space, Trace
from halflife.store.vectors import Floats
from halflife.store.working_set import importance_factor

_LENT = 0.1  # of a hit's relevance to what it is linked to, as in the engine's own ranking


@dataclass(frozen=True)
class NoteHit(Hit):
    """A note found, or a message of which there is none yet. `via`: `direct`, or the id of the hit it is linked to."""

    via: str = "direct"

    @property
    def of_message(self) -> str:
        """The id of the message: what was said, word for word."""
        return marked(self.trace, "said") if self.role == ROLE else self.id

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**super().to_dict(), "via": self.via, "of_message": self.of_message}


def messages_of(engine: Engine, space: Space, notes: Sequence[Trace]) -> dict[str, Trace]:
    """The message of each note, by the note's id; a note whose message is gone is left out."""
    ids = [marked(note, "said") for note in notes]
    found = by_id(engine, space, ids)
    return {note.id: found[id] for note, id in zip(notes, ids, strict=True) if id in found}


def by_id(engine: Engine, space: Space, ids: Sequence[str]) -> dict[str, Trace]:
    """Those of these traces that are there."""
    parts = [engine.store.find(space, parse({"id": {"in": part}})) for part in chunks(list(ids))]
    return {trace.id: trace for part in parts for trace in part}


def notes_of(engine: Engine, space: Space, traces: Sequence[Trace]) -> dict[str, Note]:
    """The notes in traces, by id, in their order."""
    messages = messages_of(engine, space, traces)
    return {trace.id: note_of(trace, messages[trace.id]) for trace in traces if trace.id in messages}


def nearest(engine: Engine, space: Space, note: Note, vectors: Floats, k: int) -> list[Neighbour]:
    """The k notes nearest to one with these vectors [windows, dim] in meaning, itself left out, nearest first."""
    with engine._lock:
        work = engine.working_set(space)
        code = work.roles.get(ROLE)
        if code is None or not work.dim:
            return []
        slots = np.flatnonzero(work.alive & (work.role == code))
        cosine = work.similarities(vectors).max(axis=0)[slots]
        best = np.argsort(-cosine, kind="stable")[: k + 1]
        ranked = {int(n): float(s) for n, s in zip(work.n[slots[best]], cosine[best], strict=True)}
    traces = engine.store.by_number(list(ranked))
    notes = notes_of(engine, space, list(traces.values()))
    found = [(traces[n].id, similarity) for n, similarity in ranked.items() if n in traces]
    return [Neighbour(notes[id], similarity) for id, similarity in found if id in notes and id != note.id][:k]


def current(engine: Engine, space: Space, hits: Sequence[Hit]) -> Iterator[NoteHit]:
    """The hits as they are to be shown: not what is archived or erased, nor a message beside its note.

    A message that was changed since stands for itself until it has a new note.
    """
    messages = messages_of(engine, space, [hit.trace for hit in hits if hit.role == ROLE])
    noted = {message.id for message in messages.values()}
    for hit in hits:
        trace = hit.trace
        if trace.role == ROLE:
            message = messages.get(trace.id)
            if message is None or message.status not in ("active", "merged"):
                continue
            if message.version != trace.metadata["of_version"]:
                trace = message
        elif trace.id in noted:
            continue
        yield NoteHit(
            trace, hit.score, hit.retention, hit._parts, hit._importance, hit._fading, hit._substance, hit.also
        )


def linked(
    engine: Engine, space: Space, hits: Sequence[NoteHit], budget: int, now: float, where: Filter
) -> list[NoteHit]:
    """Notes linked to hits: the strongest link of each hit in turn, then their second, until the budget is spent."""
    if budget < 1 or not hits:
        return []
    seen, ends = {hit.id for hit in hits}, links_of(engine, space, [hit.id for hit in hits])
    turns = zip_longest(*([(hit, *end) for end in ends[hit.id] if end[0] not in seen] for hit in hits))
    via: dict[str, tuple[NoteHit, float]] = {}
    for hit, id, weight in (one for turn in turns for one in turn if one is not None):
        via.setdefault(id, (hit, weight))
    if not via:
        return []
    traces = engine.store.find(space, NOTES & ACTIVE & where & parse({"id": {"in": list(via)}}))
    found = {trace.id: _lent(engine, trace, *via[trace.id], now) for trace in traces}
    shown = current(engine, space, [found[id] for id in via if id in found])
    return [replace(hit, via=via[hit.id][0].id) for hit in shown if hit.id in via][:budget]


def _lent(engine: Engine, trace: Trace, hit: NoteHit, weight: float, now: float) -> Hit:
    """A linked note, with the relevance that a hit lends to it."""
    lent, fading = _LENT * weight * hit.explain().relevance, engine.weights.fading
    left = float(engine.store.law.retention(max(now - trace.last_used, 0.0), trace.state))
    factor = float(importance_factor(np.array(trace.importance)))
    return Hit(trace, lent * left**fading * factor, left, {"link": lent}, factor, fading)


def links_of(engine: Engine, space: Space, ids: Sequence[str]) -> dict[str, list[tuple[str, float]]]:
    """For each of these ids the notes it is linked to, with the weight, the strongest link first."""
    ends: dict[str, list[tuple[str, float]]] = {id: [] for id in ids}
    numbers = engine.store.match(space, parse({"id": {"in": list(ids)}}))
    for a, b, weight in between(engine, engine.store.links(space, numbers.tolist())):
        for one, other in ((a, b), (b, a)):
            if one in ends:
                ends[one].append((other, weight))
    return {id: sorted(found, key=lambda end: -end[1]) for id, found in ends.items()}


def between(engine: Engine, rows: Sequence[tuple[int, int, float]]) -> list[tuple[str, str, float]]:
    """Those of some links that are between notes in use, by ids."""
    traces = engine.store.by_number(sorted({n for a, b, _ in rows for n in (a, b)}))
    notes = {n: trace.id for n, trace in traces.items() if trace.role == ROLE and trace.status == "active"}
    return [(notes[a], notes[b], weight) for a, b, weight in rows if a in notes and b in notes]
