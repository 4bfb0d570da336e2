"""Traces that a system derived from others: their sources, and what becomes of them when a source is erased.

A derived trace whose only source is erased goes with it (`halflife.store.erase`). One that loses one source and keeps
others may still tell of what was erased: it is erased too, and its system derives it anew from what is left.
"""

from __future__ import annotations

from collections.abc import Sequence

from halflife.agent.engine import Engine
from halflife.store.erase import ErasureReport, erase
from halflife.store.filters import Filter, parse
from halflife.store.protocol import Why
from halflife.store.trace import Space, Trace

SOURCES = "of"  # the key in metadata under which the number of sources is kept
DERIVED = parse({SOURCES: {"gte": 1}})


def with_sources(metadata: dict[str, object], sources: Sequence[str]) -> dict[str, object]:
    """Metadata of a derived trace, with the number of its sources, by which `lost_a_source` tells.

    >>> with_sources({"tag": "tea"}, ["a", "b", "a"])
    {'tag': 'tea', 'of': 2}
    """
    return {**metadata, SOURCES: len(set(sources))}


def lost_a_source(trace: Trace) -> bool:
    """Whether something that a trace was derived from has been erased since: the trace may still tell of it."""
    count = trace.metadata.get(SOURCES, 0)
    return isinstance(count, int) and len(trace.sources) < count


def erase_stale(engine: Engine, space: Space, where: Filter, actor: str, now: float) -> list[ErasureReport]:
    """Erase the derived traces among these that lost a source, in use or not, and then what was derived from them."""
    reports = []
    while lost := [trace.id for trace in engine.store.find(space, where) if lost_a_source(trace)]:
        reports.append(erase(engine.store, lost, Why("forget", actor, "a source was erased"), now))
        engine.drop(space)
    return reports
