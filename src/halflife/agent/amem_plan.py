"""What A-MEM is about to write of one message: decided first, since a model may take its time, then written at once.

Paper: "A-MEM: Agentic Memory for LLM Agents", arXiv 2502.12110.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from halflife.agent.amem_notes import Attributes, Decision, Neighbour, Note, content_of
from halflife.agent.amem_recall import by_id
from halflife.agent.engine import Engine
from halflife.store.trace import Space, Trace
from halflife.store.vectors import Floats


@dataclass(frozen=True)
class Plan:
    """All that is to be written of one message, decided before the transaction in which it is."""

    message: Trace
    old: Trace | None  # the unfinished note that there is already
    note: Note
    near: Sequence[Neighbour] = ()
    embedded: Mapping[str, Floats] = field(default_factory=dict)  # texts with their vectors
    links: Sequence[tuple[str, float]] = ()
    evolved: Sequence[Note] = ()
    failure: str = ""

    def decided(self, decision: Decision, cleaned: Callable[[Attributes], Attributes]) -> Plan:
        """The notes as they are to be, each with all that it may now tell of as its sources."""
        shown, note = {one.note.id: one.note for one in self.near}, replace(self.note, linked=True)
        taught = dict.fromkeys(chain(note.sources, *(shown[id].sources for id in decision.drawn_from)))
        evolved = []
        for one in decision.evolved:
            known = shown[one.id]
            fresh = cleaned(replace(known.attributes, context=one.context, tags=one.tags))
            if fresh != known.attributes:
                sources = tuple(dict.fromkeys([*known.sources, *taught]))
                evolved.append(replace(known, attributes=fresh, sources=sources))
        if decision.tags is not None and decision.tags != note.tags:
            fresh = cleaned(replace(note.attributes, tags=decision.tags))
            note = replace(note, attributes=fresh, sources=tuple(taught))
        weight = {one.note.id: min(max(one.similarity, 0.01), 1.0) for one in self.near}
        links = [(id, weight[id]) for id in dict.fromkeys(decision.links)]
        return replace(self, note=note, links=links, evolved=evolved)

    def still_so(self, engine: Engine, space: Space) -> bool:
        """Whether message and notes are there in the versions from which the plan was made."""
        shown = {one.note.id: (one.note.version, one.note.sources) for one in self.near}
        if self.old is not None:
            shown[self.old.id] = (self.old.version, self.old.sources)
        found = by_id(engine, space, [self.message.id, *shown])
        message = found.pop(self.message.id, None)
        there = {id: (trace.version, trace.sources) for id, trace in found.items() if trace.status == "active"}
        return (
            message is not None
            and message.version == self.message.version
            and there == shown
            and (message.status == self.message.status)
        )


def raw(message: Trace) -> Note:
    """The note of a message before anything was written about it."""
    return Note(
        content_of(message), message.at, of_message=message.id, of_version=message.version, sources=(message.id,)
    )
