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
from halflife.store.filters import ALL, Filter
from halflife.store.protocol import Added
from halflife.store.trace import Space

# Name -> where its class is. A class is called with the engine and the system's own options.
SYSTEMS: dict[str, str] = {
    "memorybank": "halflife.agent.memorybank:MemoryBank",
    "think-in-memory": "halflife.agent.think_in_memory:ThinkInMemory",
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
        """What the system does away from the hot path; returns a report as plain data."""
        ...


def system(name: str, engine: Engine, **options: Any) -> MemorySystem:
    """Open a memory system by its name in the registry. Raises `InvalidInput` for an unknown one."""
    if name not in SYSTEMS:
        raise InvalidInput(f"There is no memory system {name!r}.", f"Choose one of {', '.join(sorted(SYSTEMS))}.")
    module, _, attribute = SYSTEMS[name].partition(":")
    make = cast(Callable[..., MemorySystem], getattr(import_module(module), attribute))
    return make(engine, **options)
