"""The cases of one space as arrays: what a policy scores, and the rows that it learns from.

Paper: "AgentFly: Fine-tuning LLM Agents without Fine-tuning LLMs" (Memento), arXiv 2508.16153.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from halflife.agent.cases_case import NAME, Run, runs_of
from halflife.agent.engine import Engine
from halflife.decay.law import Array
from halflife.store.protocol import Ints
from halflife.store.rows import floats
from halflife.store.trace import Space, Trace
from halflife.store.vectors import Floats, Growing, centre


@dataclass(frozen=True)
class CaseTable:
    """Cases, one a row.

    Parameters
    ----------
    n: numbers of their traces, shape [n].
    vectors: of their states, unit length, shape [n, d].
    rewards: mean rewards, NaN where none is known, shape [n].
    """

    n: Ints
    vectors: Floats
    rewards: Array

    def __len__(self) -> int:
        return len(self.n)

    def take(self, rows: NDArray[np.integer]) -> CaseTable:
        """Some of the rows."""
        return CaseTable(self.n[rows], self.vectors[rows], self.rewards[rows])


@dataclass(frozen=True)
class Transitions:
    """One-step experience: in this state that case was in view, and this came of it.

    Parameters
    ----------
    states, cases: rows of a `CaseTable`, shape [t].
    rewards: of the state's run, in [0, 1], shape [t].
    """

    states: Ints
    cases: Ints
    rewards: Array

    def __len__(self) -> int:
        return len(self.states)


class CaseIndex:
    """The active cases of one space. Follows the store; nothing here is durable.

    Parameters
    ----------
    engine, space: where the cases are.
    """

    def __init__(self, engine: Engine, space: Space) -> None:
        self.engine, self.space = engine, space
        self.op = 0
        self._checkpoints: dict[int, Trace] = {}
        self._n = Growing(np.int64)
        self._vectors = Growing(np.float32, (engine.embedder.dim,))
        self._rewards = Growing(np.float64)
        self._row: dict[int, int] = {}
        self._number: dict[str, int] = {}
        self._runs: dict[int, list[Run]] = {}
        self._ids: dict[int, str] = {}

    def follow(self) -> CaseIndex:
        """Take in what any process has written since the last time."""
        store = self.engine.store
        if self.op and store.last_op() == self.op:
            return self
        feed = store.feed(self.space, self.op)
        for n in feed.gone.tolist():
            self._drop(n)
        fresh = feed.n[feed.fresh].tolist()
        traces = store.by_number(fresh)
        for n, blob in zip(fresh, feed.vectors, strict=True):
            if n in traces:
                self._take(n, traces[n], blob)
        self.op = feed.op
        return self

    def _take(self, n: int, trace: Trace, blob: bytes) -> None:
        if trace.kind == "parameter" and trace.system == NAME:
            self._checkpoints[n] = trace
        if not blob:
            return
        row = self._row.setdefault(n, self._n.size)
        vector = centre(floats(blob).reshape(-1, self.engine.embedder.dim))
        reward = trace.metadata.get("reward")
        value = float("nan") if reward is None else float(reward)
        if row == self._n.size:
            self._n.extend(np.array([n]))
            self._vectors.extend(vector[None])
            self._rewards.extend(np.array([value]))
        else:
            self._vectors.array[row], self._rewards.array[row] = vector, value
        self._number[trace.id], self._ids[n] = n, trace.id
        self._runs.pop(n, None)
        if runs := runs_of(trace.metadata):
            self._runs[n] = runs

    def _drop(self, n: int) -> None:
        """The last row takes the place of the one that goes, so that the arrays have no holes."""
        self._checkpoints.pop(n, None)
        row = self._row.pop(n, None)
        if row is None:
            return
        last = self._n.size - 1
        if row != last:
            for column in (self._n, self._vectors, self._rewards):
                column.array[row] = column.array[last]
            self._row[int(self._n.array[row])] = row
        for column in (self._n, self._vectors, self._rewards):
            column.size -= 1
        self._runs.pop(n, None)
        del self._number[self._ids.pop(n)]

    @property
    def checkpoint(self) -> Trace | None:
        """The latest policy that was kept for this space."""
        return self._checkpoints[max(self._checkpoints)] if self._checkpoints else None

    def table(self) -> CaseTable:
        """The cases; views, valid until the next `follow`."""
        return CaseTable(cast(Ints, self._n.array), cast(Floats, self._vectors.array), cast(Array, self._rewards.array))

    def rows(self, ns: Ints) -> Ints:
        """The rows of traces by number; -1 for one that is no active case here."""
        return np.array([self._row.get(n, -1) for n in ns.tolist()], dtype=np.int64)

    def numbers(self, ids: Sequence[str]) -> list[int]:
        """The numbers of active cases by id; others are left out."""
        return [self._number[id] for id in ids if id in self._number]

    def transitions(self) -> Transitions:
        """What there is to learn from: a row for each run and each case in view that is still here."""
        found = [
            (self._row[n], self._row[self._number[id]], reward)
            for n, runs in self._runs.items()
            for reward, used in runs
            for id in used
            if id in self._number
        ]
        columns = np.array(found, dtype=np.float64).reshape(-1, 3)
        return Transitions(columns[:, 0].astype(np.int64), columns[:, 1].astype(np.int64), columns[:, 2])

    def dangling(self) -> set[str]:
        """Ids in view of a run that are no active case."""
        return {id for runs in self._runs.values() for _, used in runs for id in used if id not in self._number}

    def users(self, ids: set[str]) -> list[str]:
        """The cases of which one of these was in view."""
        return [self._ids[n] for n, runs in self._runs.items() if any(ids.intersection(used) for _, used in runs)]

    def ids(self, ns: Ints) -> list[str]:
        """The ids of cases by number."""
        return [self._ids[n] for n in ns.tolist()]
