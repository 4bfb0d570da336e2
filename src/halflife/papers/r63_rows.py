"""The released training rows of Memento's case selection: what they teach, by how they are split."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from halflife.agent.cases_case import plan_text
from halflife.agent.cases_head import Pairs, auc
from halflife.agent.cases_policy import NeuralCasePolicy
from halflife.errors import InvalidInput
from halflife.llm.embedder import Embedder

Split: TypeAlias = Literal["row", "query"]
SPLITS: tuple[Split, ...] = ("row", "query")

FILES = ("training_data.jsonl.gz",)
TESTED = 0.2  # share of the rows, or of the queries, that is kept apart
HIDDEN, EPOCHS, BATCH, RATE = 512, 3, 32, 1e-3


@dataclass(frozen=True)
class Rows:
    """Training rows as vectors.

    Parameters
    ----------
    pairs: query and case of each row. query: which query it is, shape [n]. truth: whether that was answered rightly.
    """

    pairs: Pairs
    query: NDArray[np.int64]
    truth: NDArray[np.bool_]

    def mixed(self) -> int:
        """How many queries have rows of both labels."""
        positive = np.bincount(self.query, weights=self.truth)
        return int(((positive > 0) & (positive < np.bincount(self.query))).sum())


def case_line(row: Mapping[str, Any]) -> str:
    """The text of a case as the released code reads it.

    >>> case_line({"case": "Who?", "plan": '{"plan": [{"id": 1, "description": "Ask."}]}'})
    '[CASE] Who? [PLAN] 1. Ask.'
    """
    try:
        plan = plan_text(json.loads(row["plan"]))
    except (json.JSONDecodeError, InvalidInput):
        plan = str(row["plan"])  # some plans of the data are cut short
    return " ".join(f"[CASE] {row['case']} [PLAN] {plan}".split())


def read_rows(data: Sequence[Mapping[str, Any]], embedder: Embedder) -> Rows:
    """Rows of the released file, with a vector for each query and each case."""
    queries, lines = [row["query"] for row in data], [case_line(row) for row in data]
    known = {text: i for i, text in enumerate(dict.fromkeys([*queries, *lines]))}
    vectors = embedder.embed(list(known))
    number = {text: i for i, text in enumerate(dict.fromkeys(queries))}
    labels = np.array([row["case_label"] == "positive" for row in data], dtype=np.float64)
    pairs = Pairs(vectors[[known[q] for q in queries]], vectors[[known[line] for line in lines]], labels)
    truth = np.array([bool(row["truth_label"]) for row in data])
    return Rows(pairs, np.array([number[q] for q in queries]), truth)


def split(rows: Rows, by: Split, seed: int) -> NDArray[np.bool_]:
    """Which rows are for testing: one row in five, or all rows of one query in five."""
    rng = np.random.default_rng(seed)
    if by == "row":
        return rng.random(len(rows.truth)) < TESTED
    return (rng.random(int(rows.query.max()) + 1) < TESTED)[rows.query]


def head(rows: Rows, by: Split, seed: int, *, cases: bool = True) -> float:
    """The area under the curve of a trained head on rows kept apart; `cases=False` hides the cases from it."""
    pairs = rows.pairs if cases else Pairs(rows.pairs.states, np.zeros_like(rows.pairs.cases), rows.pairs.rewards)
    test = split(rows, by, seed)
    policy = NeuralCasePolicy(pairs.states.shape[1], HIDDEN, features="concat", decay=0.01, seed=seed)
    train = np.flatnonzero(~test)
    policy.fit(pairs.take(train), rows.truth[train].astype(np.float64), epochs=EPOCHS, batch=BATCH, rate=RATE)
    held = np.flatnonzero(test)
    return auc(policy.logits(pairs.take(held)), rows.truth[held])


def by_similarity(rows: Rows, by: Split, seed: int) -> float:
    """The area under the curve of the cosine of query and case, on the same rows."""
    test = split(rows, by, seed)
    cosine = (rows.pairs.states * rows.pairs.cases).sum(axis=1)
    return auc(cosine[test], rows.truth[test])
