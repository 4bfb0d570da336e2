"""Several memory systems on the same conversations: what each brings back, and what that costs.

Each system stores every message, sleeps once, and is then asked. A hit that a system derived (a note, a thought, an
entry of a bank) counts for the messages that it was derived from. So a system is free to keep less than was said, or
to say it anew; what that is worth shows in the evidence, and in the tokens that its hits take.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from halflife.agent.system import SYSTEMS, named
from halflife.errors import InvalidInput
from halflife.llm.embedder import Embedder
from halflife.llm.meter import Usage
from halflife.probe.benchmarks.history import History
from halflife.probe.benchmarks.recall import markdown_table
from halflife.probe.benchmarks.retrievers import as_memory, stored

if TYPE_CHECKING:
    from halflife.agent.hit import Hit
    from halflife.agent.memory import Memory
    from halflife.llm.chat import ChatModel

Progress: TypeAlias = Callable[[int, int], None]

PLAIN = "halflife"  # the engine's own search, without a system
USER = "compared"


@dataclass(frozen=True, slots=True)
class Compared:
    """What one system did.

    Args:
        system: Its name.
        recall: Evidence recall of the first k hits: the share of a question's evidence among their messages, mean.
        by_kind: The same for each type of question.
        tokens: Mean tokens of the text of these hits.
        behind: Mean number of messages that these hits stand for.
        kept: Traces in recall after sleep, for each message.
        calls: Calls of a language model, in all; `failed` of them gave nothing that could be used.
        llm_tokens: Tokens that the model read and wrote, in all.
        write_ms: Mean time to store a message, embedding included.
        sleep_ms: Mean time of consolidation, for each message.
        recall_ms: Median time of a recall, embedding of the question included.
        seconds: All of it together.
    """

    system: str
    recall: float
    by_kind: Mapping[str, float]
    tokens: float
    behind: float
    kept: float
    calls: int
    failed: int
    llm_tokens: int
    write_ms: float
    sleep_ms: float
    recall_ms: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run: a row for each system, and on what it was run."""

    k: int
    rows: tuple[Compared, ...]
    histories: int
    messages: int
    questions: Mapping[str, int]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows."""
        heads = [
            "system", f"recall@{self.k}", "tokens", "messages", "kept", "calls", "failed", "LLM tokens", "write ms",
            "sleep ms", "recall ms", "seconds",
        ]  # fmt: skip
        return heads, [
            [
                row.system, f"{row.recall:.3f}", f"{row.tokens:,.0f}", f"{row.behind:.1f}", f"{row.kept:.2f}",
                f"{row.calls:,}", f"{row.failed:,}", f"{row.llm_tokens:,}", f"{row.write_ms:.1f}",
                f"{row.sleep_ms:.1f}", f"{row.recall_ms:.1f}", f"{row.seconds:.0f}",
            ]
            for row in self.rows
        ]  # fmt: skip

    def by_kind(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows: evidence recall for each type of question, with how many there are."""
        heads = ["system", *(f"{kind} ({count})" for kind, count in self.questions.items())]
        return heads, [[row.system, *(f"{value:.3f}" for value in row.by_kind.values())] for row in self.rows]

    def summary(self) -> str:
        """One line: how much was asked of how much."""
        asked = sum(self.questions.values())
        return f"{asked:,} questions of {self.histories:,} conversations with {self.messages:,} messages."

    def markdown(self) -> str:
        """Both tables and the settings."""
        lines = [self.summary(), "", *markdown_table(*self.table()), "", *markdown_table(*self.by_kind()), ""]
        lines += [f"- {name}: {value}" for name, value in self.settings.items()]
        return "\n".join(lines) + "\n"


def compare(
    names: Sequence[str],
    histories: Iterable[History],
    embedder: Embedder,
    k: int = 10,
    *,
    llm: ChatModel | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Progress | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Comparison:
    """Run the same conversations through several systems.

    Parameters
    ----------
    names: of systems (or their short names), or `halflife` for the engine's own search.
    histories: conversations and questions; only questions with evidence are asked.
    embedder: shared by all.
    k: how many hits are looked at.
    llm: the language model of all; None runs each in the form that needs none.
    options: of a system, by its name.
    progress: called with (questions asked, all of them).
    settings: kept with the result.

    Raises
    ------
    InvalidInput: an unknown system, one named twice, or no question with evidence.

    >>> from halflife.llm.hashing import HashEmbedder
    >>> from halflife.probe.benchmarks.history import History, Item, Question
    >>> items = (Item("1", "The cat sleeps.", at=0.0), Item("2", "Tax is due in May.", at=60.0))
    >>> asked = Question("q", "When is tax due?", 120.0, "time", gold=frozenset({"2"}))
    >>> done = compare(["halflife", "tim"], [History("h", items, (asked,))], HashEmbedder(), k=1)
    >>> [(row.system, row.recall, row.calls) for row in done.rows]
    [('halflife', 1.0, 0), ('think-in-memory', 1.0, 0)]
    """
    systems = [name if name == PLAIN else named(name) for name in names]
    if not systems or len(set(systems)) < len(systems):
        raise InvalidInput("Name each system once, and at least one.", f"There are {PLAIN}, {', '.join(SYSTEMS)}.")
    if k < 1:
        raise InvalidInput(f"k must be at least 1, not {k}.")
    counted = [history for history in histories if any(q.gold for q in history.questions)]
    kinds = [q.kind for history in counted for q in history.questions if q.gold]
    if not kinds:
        raise InvalidInput("None of these questions says what its evidence is.", "Choose other data.")
    rows = []
    for number, system in enumerate(systems):
        runner = _Runner(system, embedder, k, llm, (options or {}).get(system, {}))
        for done, history in enumerate(counted):
            runner.run(history)
            if progress:
                progress(number * len(counted) + done + 1, len(systems) * len(counted))
        rows.append(runner.row())
    return Comparison(
        k,
        tuple(rows),
        len(counted),
        sum(len(history.items) for history in counted),
        {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        dict(settings or {}),
    )


class _Runner:
    """One system over the conversations, each in a memory of its own."""

    def __init__(
        self, system: str, embedder: Embedder, k: int, llm: ChatModel | None, options: Mapping[str, Any]
    ) -> None:
        self.system, self.embedder, self.k, self.llm, self.options = system, embedder, k, llm, options
        self.found: dict[str, list[float]] = defaultdict(list)
        self.tokens: list[int] = []
        self.behind: list[int] = []
        self.recalls: list[float] = []
        self.usage = Usage()
        self.messages = self.kept = 0
        self.write = self.sleep = 0.0

    def run(self, history: History) -> None:
        from halflife.agent.memory import Memory

        folder = Path(tempfile.mkdtemp(prefix="halflife-compare-"))
        last = max((item.at for item in history.items if item.at is not None), default=0.0)
        try:
            with Memory(
                folder / "memory.db", embedder=self.embedder, llm=self.llm, clock=lambda: last,
                system=None if self.system == PLAIN else self.system, options=self.options,
            ) as memory:  # fmt: skip
                self._ask(memory, history, self._store(memory, history))
                self.usage += memory.engine.meter.total()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _store(self, memory: Memory, history: History) -> Mapping[str, list[str]]:
        """Write and sleep; the items that each trace holds (what was said twice is one trace)."""
        items = stored(history)
        start = time.perf_counter()
        added = memory.add_many([as_memory(item) for item in items], user_id=USER)
        written = time.perf_counter()
        memory.consolidate(user_id=USER)
        self.write += written - start
        self.sleep += time.perf_counter() - written
        self.messages += len(items)
        self.kept += sum(count for _, count in memory.spaces())
        held: dict[str, list[str]] = defaultdict(list)
        for item, one in zip(items, added, strict=True):
            held[one.id].append(item.id)
        return held

    def _ask(self, memory: Memory, history: History, held: Mapping[str, list[str]]) -> None:
        for question in (q for q in history.questions if q.gold):
            start = time.perf_counter()
            hits = memory.search(question.text, user_id=USER, k=self.k, now=question.asked_at, reinforce=False)
            self.recalls.append(time.perf_counter() - start)
            seen = messages_of(hits[: self.k], memory, held)
            self.found[question.kind].append(len(question.gold & seen) / len(question.gold))
            self.tokens.append(sum(memory.engine.embedder.count_tokens(hit.text) for hit in hits[: self.k]))
            self.behind.append(len(seen))

    def row(self) -> Compared:
        every = [value for values in self.found.values() for value in values]
        return Compared(
            self.system,
            float(np.mean(every)),
            {kind: float(np.mean(self.found[kind])) for kind in sorted(self.found)},
            float(np.mean(self.tokens)),
            float(np.mean(self.behind)),
            self.kept / self.messages,
            self.usage.calls,
            self.usage.failed,
            self.usage.prompt_tokens + self.usage.completion_tokens,
            1000 * self.write / self.messages,
            1000 * self.sleep / self.messages,
            1000 * float(np.median(self.recalls)),
            self.write + self.sleep + sum(self.recalls),
        )


def messages_of(hits: Sequence[Hit], memory: Memory, held: Mapping[str, Sequence[str]]) -> set[str]:
    """The messages that hits stand for: themselves, or all that they were derived from, however often."""
    found: set[str] = set()
    seen: set[str] = set()
    todo = [hit.trace for hit in hits]
    while todo:
        trace = todo.pop()
        if trace.id in seen:
            continue
        seen.add(trace.id)
        found.update(held.get(trace.id, ()))
        if trace.sources:
            todo += memory.engine.store.get(list(trace.sources))
    return found
