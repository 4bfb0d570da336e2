"""A-MemGuard, part D: what the guard adds to the time of a read, without a language model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from halflife import Memory
from halflife.llm.embedder import Embedder
from halflife.papers.r16_attack import Precedents

HITS = 20


@dataclass(frozen=True)
class Cost:
    """Milliseconds of a read of `HITS` records, the median: the first time that its records are seen, and again.

    They are of processor time, which other work on the machine does not count into; nothing is waited for in a memory
    without a file.
    """

    name: str
    first: float
    again: float


def costs(precedents: Precedents, embedder: Embedder, questions: int = 50) -> list[Cost]:
    """The same reads by the engine's own search and by guards around it, one after the other each time.

    `embedder` should know all texts of the memory and the questions already, so that reads are what is measured.
    """
    asked = precedents.questions[:questions]
    rows = [
        {"text": question, "metadata": {"action": action}}
        for question, action in zip(precedents.questions[questions:], precedents.actions[questions:], strict=True)
    ]
    memories = {
        "own search": _memory(embedder, rows, None, {}),
        "guard, vote": _memory(embedder, rows, "guard", {"validator": "vote"}),
        "guard, cluster": _memory(embedder, rows, "guard", {"validator": "cluster"}),
        "guard, cluster, no lessons": _memory(embedder, rows, "guard", {"validator": "cluster", "learn": False}),
    }
    times: dict[str, list[list[float]]] = {name: [] for name in memories}
    for _ in range(3):
        for name, memory in memories.items():
            times[name].append([_read(memory, question) for question in asked])
    for memory in memories.values():
        memory.close()
    return [
        Cost(name, 1000 * float(np.median(runs[0])), 1000 * float(np.median(np.min(runs[1:], axis=0))))
        for name, runs in times.items()
    ]


def _memory(embedder: Embedder, rows: Sequence[dict[str, Any]], system: str | None, options: dict[str, Any]) -> Memory:
    memory = Memory(embedder=embedder, system=system, options=options if system else None)
    memory.add_many(rows)
    memory.search(rows[0]["text"], k=HITS)
    return memory


def _read(memory: Memory, question: str) -> float:
    start = time.process_time()
    memory.search(question, k=HITS)
    return time.process_time() - start
