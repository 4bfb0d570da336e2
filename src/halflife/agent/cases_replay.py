"""What a policy learns from online: past (state, case, outcome), drawn at random.

Paper: "AgentFly: Fine-tuning LLM Agents without Fine-tuning LLMs" (Memento), arXiv 2508.16153.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from halflife.agent.cases_head import Pairs
from halflife.agent.cases_index import CaseIndex, Transitions
from halflife.decay.law import Array
from halflife.errors import InvalidInput
from halflife.store.protocol import Ints


class ReplayBuffer:
    """The latest rows of experience: numbers of traces and rewards, no content.

    Parameters
    ----------
    capacity: rows kept; the oldest go first.

    >>> buffer = ReplayBuffer(capacity=2)
    >>> for case in (1, 2, 3):
    ...     buffer.add(state=9, case=case, reward=1.0)
    >>> buffer.drop([2]), len(buffer)
    (1, 1)
    """

    def __init__(self, capacity: int = 100_000) -> None:
        if capacity < 1:
            raise InvalidInput(f"capacity is {capacity}.", "Keep one row or more.")
        self.capacity = capacity
        self._rows: list[tuple[int, int, float]] = []
        self._oldest = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, state: int, case: int, reward: float) -> None:
        """A row: the number of the case that keeps the state, of the one that was in view, and the outcome."""
        row = (state, case, reward)
        if len(self._rows) < self.capacity:
            self._rows.append(row)
            return
        self._rows[self._oldest] = row
        self._oldest = (self._oldest + 1) % self.capacity

    def drop(self, ns: Iterable[int]) -> int:
        """Take out the rows of traces that are gone. Returns how many rows went."""
        gone, before = set(ns), len(self._rows)
        ordered = self._rows[self._oldest :] + self._rows[: self._oldest]
        self._rows = [row for row in ordered if row[0] not in gone and row[1] not in gone]
        self._oldest = 0
        return before - len(self._rows)

    def sample(self, batch: int, rng: np.random.Generator) -> tuple[Ints, Ints, Array]:
        """Rows drawn with replacement: states, cases and rewards, shape [batch]; none of none."""
        rows = self._rows
        picked = [rows[i] for i in rng.integers(len(rows), size=batch).tolist()] if rows else []
        columns = np.array(picked, dtype=np.float64).reshape(-1, 3)
        return columns[:, 0].astype(np.int64), columns[:, 1].astype(np.int64), columns[:, 2]


def pairs_of(index: CaseIndex, rows: Transitions) -> Pairs:
    """Rows of experience as the vectors that a network reads."""
    table = index.table()
    return Pairs(table.vectors[rows.states], table.vectors[rows.cases], table.rewards[rows.cases])
