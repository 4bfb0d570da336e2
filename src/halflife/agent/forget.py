"""Choosing what to forget: by id, by filter, by meaning. Nothing here erases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from halflife.agent.engine import Engine
from halflife.errors import InvalidInput, UnknownTrace
from halflife.store.filters import Filter
from halflife.store.text import query_ids, term_ids
from halflife.store.trace import STATUSES, Space, Trace

ABOUT = 0.6  # cosine from which a memory counts as being about a query that it does not name


@dataclass(frozen=True)
class Doomed:
    """A memory that would be forgotten, and why."""

    trace: Trace
    why: str
    similarity: float | None = None


@dataclass(frozen=True)
class ForgetPlan:
    """What would be forgotten. Carry it out with `Memory.erase`."""

    items: tuple[Doomed, ...]

    @property
    def ids(self) -> list[str]:
        """The ids, most certain first."""
        return [item.trace.id for item in self.items]

    def __len__(self) -> int:
        return len(self.items)


def plan_forget(
    engine: Engine,
    space: Space | None,
    ids: Sequence[str] | None,
    where: Filter,
    about: str | None,
    threshold: float | None = None,
) -> ForgetPlan:
    """The traces that meet every condition given; archived and retired ones too.

    `about` selects the traces that hold all its words, and those whose meaning is near (cosine >= `threshold`,
    0.6 by default). Raises `UnknownTrace` for an id that is not in the space.
    """
    if ids is not None:
        traces = engine.store.get(list(dict.fromkeys(ids)), space)
        if not where.empty:
            spaces = {trace.space for trace in traces}
            allowed = {trace.id for one in spaces for trace in engine.store.find(one, where)}
            if any(trace.id not in allowed for trace in traces):
                raise UnknownTrace("An id given is not among what the filter selects; nothing was forgotten.")
        chosen = [Doomed(trace, "named by id") for trace in traces]
    else:
        assert space is not None
        chosen = [Doomed(trace, "selected by filter") for trace in engine.store.find(space, where)]
    if about is None:
        return ForgetPlan(tuple(chosen))
    if space is None:
        raise InvalidInput("about needs a space to look in.", "Give user_id or agent_id.")
    return ForgetPlan(tuple(_about(engine, space, chosen, about, ABOUT if threshold is None else threshold)))


def _about(engine: Engine, space: Space, chosen: Sequence[Doomed], about: str, threshold: float) -> list[Doomed]:
    words = query_ids(about)
    if not len(words):
        raise InvalidInput(f"There is no word in {about!r}.")
    work = engine.working_set(space, STATUSES)
    nearness = np.zeros(len(work))
    if work.dim:
        nearness = work.similarity(engine.embedder.embed([about])[0]).astype(float)
    by_id = {trace.id: n for n, trace in engine.store.by_number(work.n[work.alive].tolist()).items()}
    out = []
    for item in chosen:
        [slot] = work.slots_of(np.array([by_id.get(item.trace.id, -1)]))
        similarity = float(nearness[slot]) if slot >= 0 else 0.0
        if np.isin(words, term_ids(item.trace.text)).all():
            out.append(Doomed(item.trace, "holds the words", similarity))
        elif similarity >= threshold:
            out.append(Doomed(item.trace, "near in meaning", similarity))
    return sorted(out, key=lambda item: (item.why != "holds the words", -(item.similarity or 0.0)))
