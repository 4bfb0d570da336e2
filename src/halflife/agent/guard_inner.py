"""What a guard stands around: the engine's own search as a memory system, and a limit on what one writer can store.

Paper: "A-MemGuard: A Proactive Defense Framework for LLM-Based Agent Memory", arXiv 2510.02373.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from halflife.agent import consolidate as sleep
from halflife.agent.engine import Engine
from halflife.agent.guard_lessons import ROLE
from halflife.agent.hit import Hit
from halflife.errors import InvalidInput
from halflife.store.draft import Draft
from halflife.store.erase import ErasureReport
from halflife.store.filters import ALL, Filter, parse
from halflife.store.protocol import Added, Why
from halflife.store.trace import Space


class OwnSearch:
    """The engine's own hybrid search and sleep, as a memory system.

    >>> from halflife import Memory
    >>> memory = Memory(embedder="hash", clock=lambda: 0.0)
    >>> _ = memory.add("I moved to Lisbon.")
    >>> [hit.text for hit in OwnSearch(memory.engine).recall(Space.of(), "Lisbon", 3, now=0.0)]
    ['I moved to Lisbon.']
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def write(self, space: Space, drafts: Sequence[Draft], now: float) -> list[Added]:
        """Store what was said."""
        return self.engine.write(space, drafts, Why("add"), now)

    def recall(
        self, space: Space, query: str, k: int, now: float, *, where: Filter = ALL, reinforce: bool = True
    ) -> list[Hit]:
        """The k best by meaning, words, time and links."""
        hits = self.engine.search(space, query, k, where=where, now=now)
        if reinforce and hits:
            self.engine.store.reinforce([hit.id for hit in hits], now)
        return hits

    def consolidate(self, space: Space, now: float) -> Mapping[str, Any]:
        """The engine's sleep, with its default policy."""
        report = sleep.consolidate(self.engine, [space], sleep.Policy(), now, False, None)
        done = report.to_dict()
        return {name: done[name] for name in ("merged", "archived", "promoted", "linked", "operations")} | {
            "failed": []
        }

    def mend(self, space: Space, now: float) -> list[ErasureReport]:
        """Nothing: the engine derives nothing from what it keeps."""
        return []


@dataclass(frozen=True)
class Quota:
    """How much one writer may store: copies are what an attack on a consensus needs, and they are cheap.

    Parameters
    ----------
    engine: where records are.
    records, seconds: so many within so long a time, by when they were stored.
    writer: the field that names a writer, as in a filter. Records without one count as of one writer.

    The count is taken before the write: two processes that write at the same moment may exceed it by what they write.
    """

    engine: Engine
    records: int
    seconds: float
    writer: str

    def __post_init__(self) -> None:
        if self.records < 1 or not self.seconds > 0:
            raise InvalidInput(
                f"A quota of {self.records} records in {self.seconds} seconds lets nobody write.",
                "Allow one record or more, in a positive time.",
            )

    def check(self, space: Space, drafts: Sequence[Draft], now: float) -> None:
        """Refuse drafts by which a writer would exceed the quota. Raises `InvalidInput`."""
        for writer, count in Counter(self._writer(draft) for draft in drafts).items():
            there = self._stored(space, writer, now)
            if there + count > self.records:
                raise InvalidInput(
                    f"{writer or 'A writer without a name'} has stored {there} records in the last "
                    f"{self.seconds:g} seconds and may store {self.records}; {count} more were given, and none stored.",
                    "Write later, or raise the quota of the guard.",
                )

    def _writer(self, draft: Draft) -> str | float | None:
        value = getattr(draft, self.writer, None) or draft.metadata.get(self.writer)
        return value if isinstance(value, (str, int, float)) else None

    def _stored(self, space: Space, writer: str | float | None, now: float) -> int:
        if self.engine.store.space_id(space) is None:
            return 0
        recent = parse({self.writer: {"eq": writer}, "recorded_at": {"gt": now - self.seconds}, "role": {"ne": ROLE}})
        return len(self.engine.store.match(space, recent))
