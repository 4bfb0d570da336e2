"""What a memory system is, and which ones there are.

A system decides what is written, what a recall means, and what sleep does; the engine below it keeps, embeds
and ranks. `Memory(path, system="memorybank")` opens one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from typing import Any, Protocol, cast, runtime_checkable

from halflife.agent.engine import Engine
from halflife.agent.hit import Hit
from halflife.errors import InvalidInput
from halflife.store.draft import Draft
from halflife.store.erase import ErasureReport
from halflife.store.filters import ALL, Filter
from halflife.store.protocol import Added
from halflife.store.trace import Space


@dataclass(frozen=True)
class Entry:
    """A system in the registry.

    Parameters
    ----------
    path: where its class is; it is called with the engine and the system's own options.
    paper: its number in the reading list.
    about: what it does, in a few words.
    model: what a language model adds, if it has one; empty if it asks none.
    short: another name for it.
    """

    path: str
    paper: int
    about: str
    model: str = ""
    short: str = ""


SYSTEMS: dict[str, Entry] = {
    "amem": Entry(
        "halflife.agent.amem:AgenticMemory", 33, "notes that are linked and evolve", "writes and links the notes",
        "a-mem",
    ),
    "cases": Entry(
        "halflife.agent.cases:CaseMemory", 63, "what was tried and how it ended", "plans and judges", "memento",
    ),
    "guard": Entry(
        "halflife.agent.guard:GuardedMemory", 16, "drops what disagrees with the rest", "draws and judges the paths",
        "a-memguard",
    ),
    "layered": Entry(
        "halflife.agent.layered:LayeredMemory", 8, "layers that fade at their own speeds", "routes and debates",
        "tradinggpt",
    ),
    "memory-r1": Entry(
        "halflife.agent.memory_r1:MemoryR1", 65, "a bank of facts kept by a learned manager", "extracts and manages",
    ),
    "memorybank": Entry(
        "halflife.agent.memorybank:MemoryBank", 19, "turns that fade by days, with daily notes", "writes the notes",
    ),
    "task-graph": Entry(
        "halflife.agent.task_graph:TaskMemory", 49, "the state of tasks, with revisions", "reads the turns",
        "task-memory-engine",
    ),
    "think-in-memory": Entry(
        "halflife.agent.think_in_memory:ThinkInMemory", 35, "conclusions, drawn once", "draws and merges them", "tim",
    ),
}  # fmt: skip


@runtime_checkable
class MemorySystem(Protocol):
    """A memory system on an engine."""

    engine: Engine

    def write(self, space: Space, drafts: Sequence[Draft], now: float) -> list[Added]:
        """Take in what was said; no model is waited for but the embedder."""
        ...

    def recall(
        self, space: Space, query: str, k: int, now: float, *, where: Filter = ALL, reinforce: bool = True
    ) -> list[Hit]:
        """What the system brings to mind for a query, best first."""
        ...

    def consolidate(self, space: Space, now: float) -> Mapping[str, Any]:
        """What the system does away from the hot path; returns a report as plain data.

        It can be interrupted and called again: what was not done is done then.
        """
        ...

    def mend(self, space: Space, now: float) -> list[ErasureReport]:
        """After something was erased from a space: erase what the system made of it and of other things too.

        What it lost so of what is still there, the next `consolidate` makes anew.
        """
        ...


def named(name: str) -> str:
    """The name of a system in the registry, from that or its short one. Raises `InvalidInput` for an unknown one.

    >>> named("tim")
    'think-in-memory'
    """
    if name in SYSTEMS:
        return name
    for known, entry in SYSTEMS.items():
        if name and name == entry.short:
            return known
    raise InvalidInput(f"There is no memory system {name!r}.", f"Choose one of {', '.join(SYSTEMS)}.")


def system(name: str, engine: Engine, **options: Any) -> MemorySystem:
    """Open a memory system by its name in the registry. Raises `InvalidInput` for an unknown one, or such options."""
    module, _, attribute = SYSTEMS[named(name)].path.partition(":")
    make = cast(Callable[..., MemorySystem], getattr(import_module(module), attribute))
    try:
        signature(make).bind(engine, **options)
    except TypeError as error:
        raise InvalidInput(f"The memory system {name} cannot be opened so: {error}.") from None
    return make(engine, **options)
