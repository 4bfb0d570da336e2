"""What the demo does, step by step; each step returns its findings as data and prints nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from halflife.agent.consolidate import SleepReport
from halflife.agent.hit import Hit
from halflife.agent.memory import Memory
from halflife.cli.demo.diary import Entry
from halflife.cli.demo.excerpt import best_passage
from halflife.cli.demo.story import PEOPLE, QUESTIONS, RECALLS, Question
from halflife.store.erase import ErasureReport, store_files
from halflife.store.trace import Trace

BATCH = 12
WHO = "pepys"
LONG, SHORT = 260, 80  # characters of the passage shown for the best hit, and for the others
YEAR = 365 * 86_400.0


@dataclass(frozen=True)
class Answer:
    """A question with what was recalled for it: each hit with its best passage."""

    question: Question
    hits: tuple[tuple[Hit, str], ...]

    @property
    def rank(self) -> int | None:
        """The place of the first hit that holds the answer, from 1; None if none does."""
        days = [day.isoformat() for day in self.question.answers]
        return next((i for i, (hit, _) in enumerate(self.hits, 1) if str(hit.at.date()) in days), None)


@dataclass(frozen=True)
class Left:
    """A memory and what is left of it."""

    trace: Trace
    retention: float
    recalls: int


@dataclass(frozen=True)
class Forgotten:
    """What forgetting a person came to: counted in the files and by search, before and after."""

    name: str
    who: str
    count: int
    of: int
    bytes_before: int
    bytes_after: int
    hits_before: int
    hits_after: int
    report: ErasureReport


class Demo:
    """One run over a part of the diary; `now` goes along with what is read.

    Parameters
    ----------
    path: the file of the memory, which must not exist.
    part: the entries to read. embedder: a name, or None for the default.
    """

    def __init__(self, path: Path, part: Sequence[Entry], embedder: str | None) -> None:
        self.part = part
        self.now = _seconds(part[0].day)
        self.memory = Memory(path, embedder=embedder, clock=lambda: self.now, actor="demo")

    def read(self, tick: Callable[[int, int], None]) -> int:
        """Read the entries in their order; between them, think back. Returns how often that was."""
        thoughts = sorted(self._thoughts())
        waiting, batch = list(thoughts), list[Entry]()
        tick(0, len(self.part))
        for done, entry in enumerate(self.part):
            while waiting and waiting[0][0] < _seconds(entry.day):
                self._write(batch)
                self._think(*waiting.pop(0))
            if len(batch) == BATCH:
                self._write(batch)
                tick(done, len(self.part))
            batch.append(entry)
        self._write(batch)
        for thought in waiting:
            self._think(*thought)
        tick(len(self.part), len(self.part))
        return len(thoughts)

    def _write(self, batch: list[Entry]) -> None:
        """Remember the entries, on the evening of the last of them."""
        if batch:
            self.now = _seconds(batch[-1].day)
            self.memory.add_many([entry.item() for entry in batch], user_id=WHO)
            batch.clear()

    def _think(self, moment: float, text: str) -> None:
        """Recall the one memory that answers best."""
        self.now = moment
        self.memory.search(text, user_id=WHO, k=1)

    def _thoughts(self) -> Iterator[tuple[float, str]]:
        first, last = self.part[0].day, self.part[-1].day
        for recall in RECALLS:
            for day in recall.moments():
                if first <= recall.about and day <= last:
                    yield _seconds(day), recall.text

    def ask(self, k: int = 3) -> list[Answer]:
        """Ask what can be answered from what was read, without reinforcing anything."""
        first, last = self.part[0].day, self.part[-1].day
        answers = []
        for question in QUESTIONS:
            if any(first <= day <= last for day in question.answers):
                hits = self.memory.search(question.text, user_id=WHO, k=k, reinforce=False)
                embedder, text = self.memory.engine.embedder, question.text
                best = [
                    best_passage(hit.text, text, embedder, SHORT if rank else LONG) for rank, hit in enumerate(hits)
                ]
                answers.append(Answer(question, tuple(zip(hits, best, strict=True))))
        return answers

    def left(self) -> list[Left]:
        """Every memory with what is left of it, least first."""
        traces = self.memory.list(user_id=WHO, limit=None)
        found = [Left(trace, self.memory.retention(trace), int(float(trace.state.uses)) - 1) for trace in traces]
        return sorted(found, key=lambda left: (left.retention, left.trace.at))

    def sleep(self) -> tuple[SleepReport, SleepReport]:
        """Two years pass; what sleep would do, and what it then does."""
        self.now += 2 * YEAR
        plan = self.memory.consolidate(user_id=WHO, dry_run=True)
        return plan, self.memory.consolidate(user_id=WHO)

    def forget(self, out: Path) -> Forgotten | None:
        """Forget the first of `PEOPLE` who is met, and look for the name in every byte.

        The report goes into the folder `out`; None if none of them is met.
        """
        plans = ((name, who, self.memory.plan_forget(user_id=WHO, about=name)) for name, who in PEOPLE)
        met = next((found for found in plans if len(found[2])), None)
        if met is None:
            return None
        name, who, plan = met
        held, before = self._hits(name), self._bytes(name)
        total = len(self.memory.list(user_id=WHO, limit=None))
        report = self.memory.erase(plan, reason="asked to be forgotten")
        text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False)
        (out / "erasure.json").write_text(text + "\n", encoding="utf-8")
        return Forgotten(name, who, len(plan), total, before, self._bytes(name), held, self._hits(name), report)

    def _bytes(self, name: str) -> int:
        """How often a name stands in the files of the memory, counted without the store's help."""
        return sum(
            path.read_bytes().lower().count(name.lower().encode()) for path in store_files(self.memory.engine.store)
        )

    def _hits(self, name: str) -> int:
        """How many of the best 100 memories for a name hold it."""
        hits = self.memory.search(name, user_id=WHO, k=100, reinforce=False, archived=True)
        return sum(name in hit.text for hit in hits)


def remove(path: Path) -> None:
    """Delete the file of a memory with what lies beside it."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def record(forgotten: Forgotten | None) -> dict[str, Any] | None:
    """A `Forgotten` as plain data."""
    return None if forgotten is None else {**asdict(forgotten), "report": forgotten.report.to_dict()}


def _seconds(day: date) -> float:
    """The evening of a day, in seconds since the epoch."""
    return (day - date(1970, 1, 1)).days * 86_400.0 + 72_000.0


def stopwatch() -> Callable[[], float]:
    """Seconds since it was made."""
    start = time.perf_counter()
    return lambda: time.perf_counter() - start
