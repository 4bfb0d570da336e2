"""What a memory system is, and which ones there are.

A system decides what is written, what a recall means, and what sleep does; the engine below it keeps, embeds
and ranks. `Memory(path, system="memorybank")` opens one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, cast, runtime_checkable

from halflife.agent.engine import Engine
from halflife.agent.hit import Hit
from halflife.errors import InvalidInput
from halflife.store.draft import Draft
from halflife.store.erase import ErasureReport
from halflife.store.filters import ALL, Filter
from halflife.store.protocol import Added
from halflife.store.trace import Space

# Name -> where its class is. A class is called with the engine and the system's own options.
SYSTEMS: dict[str, str] = {
    "memorybank": "halflife.agent.memorybank:MemoryBank",
    "think-in-memory": "halflife.agent.think_in_memory:ThinkInMemory",
    "amem": "halflife.agent.amem:AgenticMemory",
    "layered": "halflife.agent.layered:LayeredMemory",
    "guard": "halflife.agent.guard:GuardedMemory",
    "memory-r1": "halflife.agent.memory_r1:MemoryR1",
    "cases": "halflife.agent.cases:CaseMemory",
    "task-graph": "halflife.agent.task_graph:TaskMemory",
}


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


def system(name: str, engine: Engine, **options: Any) -> MemorySystem:
    """Open a memory system by its name in the registry. Raises `InvalidInput` for an unknown one."""
    if name not in SYSTEMS:
        raise InvalidInput(f"There is no memory system {name!r}.", f"Choose one of {', '.join(sorted(SYSTEMS))}.")
    module, _, attribute = SYSTEMS[name].partition(":")
    make = cast(Callable[..., MemorySystem], getattr(import_module(module), attribute))
    return make(engine, **options)
