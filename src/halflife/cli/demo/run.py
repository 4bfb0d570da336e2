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
from halflife.cli.demo.excerpt import best_sentence
from halflife.cli.demo.story import PEOPLE, QUESTIONS, RECALLS, Question
from halflife.store.erase import ErasureReport, store_files
from halflife.store.trace import Trace

BATCH = 32
WHO = "pepys"
YEAR = 365 * 86_400.0


@dataclass(frozen=True)
class Answer:
    """A question with what was recalled for it: each hit with its best sentence."""

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
        for done, batch in self._batches({moment for moment, _ in thoughts}):
            self.now = _seconds(batch[-1].day)
            self.memory.add_many([entry.item() for entry in batch], user_id=WHO)
            for moment, text in thoughts:
                if moment == self.now:
                    self.memory.search(text, user_id=WHO, k=1)
            tick(done, len(self.part))
        return len(thoughts)

    def _batches(self, stops: set[float]) -> Iterator[tuple[int, list[Entry]]]:
        """The entries in batches that end where a thought comes back, so that it meets nothing of the days to come."""
        batch: list[Entry] = []
        for done, entry in enumerate(self.part, start=1):
            batch.append(entry)
            if len(batch) == BATCH or done == len(self.part) or _seconds(entry.day) in stops:
                yield done, batch
                batch = []

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
                embedder = self.memory.engine.embedder
                best = tuple((hit, best_sentence(hit.text, question.text, embedder)) for hit in hits)
                answers.append(Answer(question, best))
        return answers

    def left(self) -> list[Left]:
        """Every memory with what is left of it, least first."""
        traces = self.memory.list(user_id=WHO, limit=None)
        found = [Left(trace, self.memory.retention(trace), int(float(trace.state.uses)) - 1) for trace in traces]
        return sorted(found, key=lambda left: (left.retention, left.trace.at))

    def sleep(self) -> tuple[SleepReport, SleepReport]:
        """A year passes; what sleep would do, and what it then does."""
        self.now += YEAR
        plan = self.memory.consolidate(user_id=WHO, dry_run=True)
        return plan, self.memory.consolidate(user_id=WHO)

    def forget(self, out: Path) -> Forgotten | None:
        """Forget the first of `PEOPLE` who is met, and look for the name in every byte; the report goes into `out`."""
        for name, who in PEOPLE:
            plan = self.memory.plan_forget(user_id=WHO, about=name)
            if len(plan):
                break
        else:
            return None
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
