"""A-MemGuard, part E: what a guard does to a memory that is no memory of precedents: facts told in conversation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from halflife import Memory
from halflife.agent.guard import GuardedMemory
from halflife.llm.embedder import Embedder
from halflife.probe.benchmarks.history import History

HITS = 10


@dataclass(frozen=True)
class Talk:
    """Recall of evidence among `HITS` hits, share of reads that came back empty, and share of hits dropped."""

    name: str
    recall: float
    empty: float
    dropped: float


def talks(histories: Iterable[History], embedder: Embedder, questions: int | None = None) -> list[Talk]:
    """Ask the questions of conversations (LoCoMo) with and without a guard.

    Parameters
    ----------
    questions: of each history, how many with evidence are asked; all by default.
    """
    options: dict[str, dict[str, Any] | None] = {
        "no guard": None,
        "guard: vote": {"validator": "vote"},
        "guard: cluster, eps 0.5": {"validator": "cluster"},
    }
    totals = {name: [0.0, 0.0, 0.0, 0.0] for name in options}
    for history in histories:
        asked = [question for question in history.questions if question.gold][:questions]
        for name, chosen in options.items():
            with Memory(embedder=embedder, system=None if chosen is None else "guard", options=chosen) as memory:
                memory.add_many(
                    [
                        {
                            "text": i.text,
                            "at": i.at,
                            "role": i.speaker,
                            "session_id": i.session,
                            "metadata": {"turn": i.id},
                        }
                        for i in history.items
                    ]
                )
                for question in asked:
                    hits = memory.search(question.text, k=HITS, now=question.asked_at, reinforce=False)
                    totals[name][0] += len(question.gold & {hit.metadata["turn"] for hit in hits}) / len(question.gold)
                if isinstance(memory.system, GuardedMemory):
                    counts = memory.system.counts
                    totals[name][1] += counts["empty"]
                    totals[name][2] += counts["dropped"] / max(counts["found"], 1) * len(asked)
                totals[name][3] += len(asked)
    return [Talk(name, *(value / max(total[3], 1.0) for value in total[:3])) for name, total in totals.items()]
