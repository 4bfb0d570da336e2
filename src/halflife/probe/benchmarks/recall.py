"""How often the evidence comes back: every system is given the same histories and asked the same questions.

Measures, each a mean over the questions that have evidence: *recall@k*, the share of a question's evidence among the
first k results; *any@k* and *all@k*, whether some or all of it is there (a published "R@5" is nearly always *any*);
*NDCG@k*, with a gain of one for evidence and a discount of log2(rank + 1). LongMemEval's own NDCG, whose first two
ranks count the same, is in the JSON as `ndcg_longmemeval`. At the level of sessions, turns are ranked
and read as their sessions, each counted where its first turn stands.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from halflife.errors import InvalidInput
from halflife.probe.benchmarks.history import History, Question, Retriever
from halflife.probe.benchmarks.metrics import retrieval

Level: TypeAlias = Literal["turn", "session"]
Part: TypeAlias = Literal["tune", "test", "all"]
Progress: TypeAlias = Callable[[int, int], None]

MEASURES = ("recall", "any", "all", "ndcg")
TURNS_A_SESSION = 8  # turns asked for at first for each session wanted


@dataclass(frozen=True, slots=True)
class Row:
    """What one system did.

    Args:
        system: Its name.
        setup: How it was set up.
        scores: `recall@5` and so on, and `tokens@5` (mean tokens of the first k results), by name.
        by_kind: The same for each type of question.
        search_p50_ms: Median time of a search, embedding of the question included.
        search_p95_ms: 95th percentile of the same.
        ingest_seconds: Time to store all histories, embedding included.
    """

    system: str
    setup: str
    scores: Mapping[str, float]
    by_kind: Mapping[str, Mapping[str, float]]
    search_p50_ms: float
    search_p95_ms: float
    ingest_seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """A run: its rows, on what it was run, and how.

    Args:
        level: `"turn"` or `"session"`: what counts as evidence.
        ks: The k of the measures, ascending.
        rows: One for each system, in the order asked for.
        histories: How many were searched.
        questions: How many questions counted, by type.
        skipped: How many did not, because nothing in their history holds their evidence.
        settings: Anything more that a reader needs to run it again.
    """

    level: Level
    ks: tuple[int, ...]
    rows: tuple[Row, ...]
    histories: int
    questions: Mapping[str, int]
    skipped: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows: every measure at every k, tokens, and times."""
        names = [f"{measure}@{k}" for k in self.ks for measure in MEASURES]
        tokens = f"tokens@{self.ks[-1]}"
        heads = ["system", *names, tokens, "p50 ms", "p95 ms", "ingest s"]
        return heads, [
            [
                row.system,
                *(f"{row.scores[name]:.3f}" for name in names),
                f"{row.scores[tokens]:,.0f}",
                f"{row.search_p50_ms:.1f}",
                f"{row.search_p95_ms:.1f}",
                f"{row.ingest_seconds:.1f}",
            ]
            for row in self.rows
        ]

    def by_kind(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows: recall at the largest k for each type of question, with how many there are."""
        name = f"recall@{self.ks[-1]}"
        heads = ["system", "all", *(f"{kind} ({count})" for kind, count in self.questions.items())]
        return heads, [
            [row.system, *(f"{scores[name]:.3f}" for scores in (row.scores, *row.by_kind.values()))]
            for row in self.rows
        ]

    def markdown(self) -> str:
        """Both tables, what was measured, and how each system was set up."""
        lines = [self.summary(), "", *markdown_table(*self.table()), "", *markdown_table(*self.by_kind()), ""]
        lines += [f"By type: recall@{self.ks[-1]}.", ""]
        lines += [f"- {row.system}: {row.setup}" for row in self.rows]
        lines += [f"- {name}: {value}" for name, value in self.settings.items()]
        return "\n".join(lines) + "\n"

    def summary(self) -> str:
        """One line: how much was asked."""
        asked = sum(self.questions.values())
        return (
            f"{asked:,} questions of {self.histories:,} histories, evidence by {self.level}; "
            f"{self.skipped:,} questions without evidence not counted."
        )


def run(
    histories: Iterable[History],
    retrievers: Sequence[Retriever],
    level: Level = "turn",
    ks: Sequence[int] = (5, 10),
    *,
    count_tokens: Callable[[str], int],
    progress: Progress | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Result:
    """Give every history to every retriever, and ask its questions.

    Parameters
    ----------
    histories: what is stored and asked.
    retrievers: the systems; each is closed at the end.
    level: count turns or sessions as evidence.
    ks: how many results are looked at.
    count_tokens: length of a text in tokens, such as an embedder's `count_tokens`.
    progress: called with (questions asked, all of them) over all systems.
    settings: kept with the result.

    Errors
    ------
    InvalidInput: no k or one below 1, an unknown level, or no question with evidence.

    >>> from halflife.llm.hashing import HashEmbedder
    >>> from halflife.probe.benchmarks.history import Item
    >>> from halflife.probe.benchmarks.retrievers import Dense
    >>> items = (Item("1", "The cat sleeps."), Item("2", "Tax is due in May."))
    >>> asked = Question("q", "When is tax due?", None, "time", gold=frozenset({"2"}))
    >>> embedder = HashEmbedder()
    >>> result = run([History("h", items, (asked,))], [Dense(embedder)], ks=[1], count_tokens=embedder.count_tokens)
    >>> result.rows[0].scores["recall@1"], result.rows[0].scores["tokens@1"]
    (1.0, 6.0)
    """
    if level not in get_args(Level):
        raise InvalidInput(f"The level is 'turn' or 'session', not {level!r}.")
    if not ks or min(ks) < 1:
        raise InvalidInput("Give at least one k, of at least 1.")
    every = list(histories)
    counted = [history for history in every if any(evidence(q, level) for q in history.questions)]
    kinds = [q.kind for history in counted for q in history.questions if evidence(q, level)]
    if not kinds:
        raise InvalidInput(
            f"None of these questions has evidence by {level}.", "Choose the other level, or other data."
        )
    lengths = _Lengths(count_tokens)
    rows = []
    for done, retriever in enumerate(retrievers):
        tick = _shifted(progress, done * len(kinds), len(retrievers) * len(kinds))
        rows.append(_row(counted, retriever, level, sorted(set(ks)), lengths, tick))
    return Result(
        level,
        tuple(sorted(set(ks))),
        tuple(rows),
        len(counted),
        {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        sum(len(history.questions) for history in every) - len(kinds),
        dict(settings or {}),
    )


def part(histories: Iterable[History], name: Part, limit: int | None = None) -> list[History]:
    """A part of the histories: every other one in the order of their ids is for tuning, the others are for testing.

    Parameters
    ----------
    histories: all of them.
    name: `"tune"`, `"test"`, or `"all"`.
    limit: the first so many of the part.

    >>> [h.id for h in part([History(i, ()) for i in "cadb"], "tune")]
    ['a', 'c']
    """
    if name not in get_args(Part):
        raise InvalidInput(f"The part is 'tune', 'test' or 'all', not {name!r}.")
    by_id = sorted(histories, key=lambda history: history.id)
    chosen = {"tune": by_id[::2], "test": by_id[1::2], "all": by_id}[name]
    return chosen[:limit]


def evidence(question: Question, level: Level) -> frozenset[str]:
    """What a question's answer stands in: turns or sessions."""
    return question.gold if level == "turn" else question.gold_sessions


def share(history: History, question: Question, ranking: Sequence[str], level: Level, k: int) -> float:
    """Evidence recall@k of a ranking of items: the share of the evidence among the first k turns or sessions."""
    return measures(_seen(history, ranking, level), evidence(question, level), k)["recall"]


def measures(ranking: Sequence[str], gold: Collection[str], k: int) -> dict[str, float]:
    """The measures of one ranking without repeats.

    Parameters
    ----------
    ranking: ids of turns or sessions, best first. gold: those that hold the evidence, at least one.
    k: how many of the ranking are looked at.

    >>> {name: round(value, 3) for name, value in measures(["b", "a", "c"], {"a", "d"}, k=2).items()}
    {'recall': 0.5, 'any': 1.0, 'all': 0.0, 'ndcg': 0.387, 'ndcg_longmemeval': 0.5}
    """
    usual = retrieval(ranking, gold, list(gold), k, "standard")
    own = retrieval(ranking, gold, list(gold), k, "longmemeval")
    return {
        "recall": usual.recall,
        "any": usual.recall_any,
        "all": usual.recall_all,
        "ndcg": usual.ndcg,
        "ndcg_longmemeval": own.ndcg,
    }


# -- one system -----------------------------------------------------------------------------------------------


class _Lengths:
    """Tokens of the items of a history, each counted once."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count
        self._known: dict[tuple[str, str], int] = {}

    def of(self, history: History, ids: Iterable[str]) -> int:
        texts = {item.id: item.text for item in history.items}
        total = 0
        for id in ids:
            key = history.id, id
            if key not in self._known:
                self._known[key] = self._count(texts[id])
            total += self._known[key]
        return total


def _row(
    histories: Sequence[History],
    retriever: Retriever,
    level: Level,
    ks: Sequence[int],
    lengths: _Lengths,
    tick: Progress,
) -> Row:
    scores: dict[str, list[float]] = defaultdict(list)
    kinds: list[str] = []
    seconds: list[float] = []
    ingest = 0.0
    try:
        for history in histories:
            started = time.perf_counter()
            retriever.ingest(history)
            ingest += time.perf_counter() - started
            for question in history.questions:
                if evidence(question, level):
                    ranking, took = _search(history, retriever, question, level, max(ks))
                    for name, value in _scores(history, question, ranking, level, ks, lengths).items():
                        scores[name].append(value)
                    seconds.append(took)
                    kinds.append(question.kind)
                    tick(len(kinds), 0)
    finally:
        retriever.close()
    by_kind = {
        kind: {
            name: _mean([v for v, of in zip(values, kinds, strict=True) if of == kind])
            for name, values in scores.items()
        }
        for kind in sorted(set(kinds))
    }
    p50, p95 = (1000.0 * float(p) for p in np.percentile(seconds, [50, 95]))
    means = {name: _mean(values) for name, values in scores.items()}
    return Row(retriever.name, getattr(retriever, "setup", ""), means, by_kind, p50, p95, ingest)


def _search(
    history: History, retriever: Retriever, question: Question, level: Level, k: int
) -> tuple[list[str], float]:
    """A ranking of turns that is deep enough, and the seconds of the search that gave it."""
    depth = k if level == "turn" else k * TURNS_A_SESSION
    sessions = _sessions(history)
    while True:
        started = time.perf_counter()
        ranking = retriever.search(question, depth)
        took = time.perf_counter() - started
        if level == "turn" or len(ranking) < depth or len({sessions[id] for id in ranking}) >= k:
            return ranking, took
        depth *= 2


def _scores(
    history: History, question: Question, ranking: Sequence[str], level: Level, ks: Sequence[int], lengths: _Lengths
) -> dict[str, float]:
    seen = _seen(history, ranking, level)
    found: dict[str, float] = {}
    for k in ks:
        for name, value in measures(seen, evidence(question, level), k).items():
            found[f"{name}@{k}"] = value
        first = set(seen[:k])
        shown = first if level == "turn" else {item.id for item in history.items if item.session in first}
        found[f"tokens@{k}"] = lengths.of(history, shown)
    return found


def _seen(history: History, ranking: Sequence[str], level: Level) -> list[str]:
    """A ranking of turns as what is counted: itself, or its sessions in the order of their first turns."""
    if level == "turn":
        return list(ranking)
    sessions = _sessions(history)
    return list(dict.fromkeys(sessions[id] for id in ranking))


def _sessions(history: History) -> dict[str, str]:
    return {item.id: item.session or "" for item in history.items}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _shifted(progress: Progress | None, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total) if progress else None


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of text and numbers."""
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---", *["---:"] * (len(heads) - 1)], *rows)]
