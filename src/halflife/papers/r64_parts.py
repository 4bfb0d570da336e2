"""LongMemEval's control points on generated histories: keys and values, and the time-aware query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from halflife.llm.embedder import Embedder
from halflife.probe.benchmarks import longmemeval
from halflife.probe.benchmarks.generate import World, instances
from halflife.probe.benchmarks.history import History
from halflife.probe.benchmarks.keyvalue import Granularity, Join, KeyValueMemory, Windows
from halflife.probe.benchmarks.metrics import project, retrieval
from halflife.probe.benchmarks.timeaware import TimeAwareQuery, asked_range, event_index

KS = (1, 3, 5, 10, 30, 50)
MEASURES = ("recall_all", "recall_any", "ndcg")


@dataclass(frozen=True)
class Design:
    """One way to keep a history: what is found, by which key, by meaning (MiniLM) or by words (BM25)."""

    value: Granularity
    key: str
    join: Join | None = None
    split: bool = False
    windows: Windows = "first"
    words: bool = False

    @property
    def label(self) -> str:
        """Its name in tables and figures."""
        how = ["separate"] * (self.join == "separate")
        how += ["each fact a key"] * self.split + ["all windows"] * (self.windows == "all") + ["BM25"] * self.words
        return f"{self.value}, {self.key}" + (f" ({', '.join(how)})" if how else "")

    def memory(self, embedder: Embedder) -> KeyValueMemory:
        """A memory of this design."""
        return KeyValueMemory(
            None if self.words else embedder,
            value=self.value,
            key=self.key,
            join=self.join,
            split=self.split,
            windows=self.windows,
        )


SIX = tuple(Design(value, key) for value in ("round", "session") for key in ("V", "fact", "V+fact"))
ROUND_V, ROUND_FACT, ROUND_BOTH, SESSION_V, SESSION_FACT, SESSION_BOTH = SIX
SEPARATE = tuple(Design(value, "V+fact", "separate") for value in ("round", "session"))
SPLIT = Design("session", "V+fact", "separate", split=True)
WINDOWS = Design("session", "V", windows="all")
WORDS = (Design("session", "V", words=True), Design("session", "V+fact", words=True), Design("round", "V", words=True))
ALL = (*SIX, *SEPARATE, SPLIT, WINDOWS, *WORDS)
TIMED = (SESSION_V, SESSION_BOTH, ROUND_V, ROUND_BOTH)


def drawn(world: World, sessions: int, seed: int) -> Iterator[History]:
    """The haystacks of the questions that have evidence, through the reader of the published form."""
    for instance in instances(world, seed, sessions=sessions):
        history = longmemeval.history(instance)
        if history.questions[0].gold_sessions:
            yield history


@dataclass(frozen=True)
class Measured:
    """What one design gives on the haystacks of one draw.

    Parameters
    ----------
    plain: [questions, ks, measures] at its own granularity.
    by_session: the same with a ranking of rounds read as one of sessions (the same array for session values).
    timed: as `plain`, with the time-aware query; None where that was not run.
    """

    plain: NDArray[np.float64]
    by_session: NDArray[np.float64]
    timed: NDArray[np.float64] | None = None


def measure(memory: KeyValueMemory, histories: Sequence[History], timed: bool = False) -> Measured:
    """Give every history to a memory, and ask its question."""
    plain, by_session, later = [], [], []
    for history in histories:
        question = history.questions[0]
        memory.ingest(history)
        ranking = [found.value.source for found in memory.find(question.text)]
        corpus = [value.source for value in memory.values]
        rounds = memory.values[0].source != memory.values[0].session
        gold = question.gold if rounds else question.gold_sessions
        plain.append([_row(ranking, gold, corpus, k) for k in KS])
        if rounds:
            by_session.append([_row(*project(ranking, gold, corpus, k)) for k in KS])
        if timed:
            dated = asked_range(question.text, question.asked_at or 0.0) is not None
            query = TimeAwareQuery(event_index(memory.values) if dated else {})  # no other question looks at them
            aware = query.rank(question.text, question.asked_at, ranking)
            later.append([_row(aware, gold, corpus, k) for k in KS])
    own = np.array(plain)
    return Measured(own, np.array(by_session) if by_session else own, np.array(later) if later else None)


def _row(ranking: Sequence[str], gold: frozenset[str], corpus: Sequence[str], k: int) -> list[float]:
    found = retrieval(ranking, gold, corpus, k)
    return [getattr(found, name) for name in MEASURES]


def at(values: NDArray[np.float64], measure: str, k: int) -> NDArray[np.float64]:
    """One measure at one k: [draws, questions]."""
    return values[..., KS.index(k), MEASURES.index(measure)]


def mean_and_error(values: NDArray[np.float64]) -> tuple[float, float]:
    """The mean over questions and its standard error, the draws of one question [draws, questions] averaged first.

    >>> mean_and_error(np.array([[0.0, 1.0], [0.0, 1.0]]))
    (0.5, 0.5)
    """
    of = values.mean(axis=0)
    return float(of.mean()), float(of.std(ddof=1) / np.sqrt(len(of))) if len(of) > 1 else 0.0
