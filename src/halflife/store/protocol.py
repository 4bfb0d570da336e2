"""What a store must do. `tests/store/conformance.py` is the contract in executable form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from halflife.decay.law import Law
from halflife.store.draft import Draft
from halflife.store.filters import Filter
from halflife.store.trace import Space, Status, Trace

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Why:
    """Who does something to the memory, and why: kept in its history."""

    kind: str
    actor: str = ""
    reason: str = ""


RECALL = Why("recall")


@dataclass(frozen=True)
class Added:
    """What became of one draft: a new trace, or one met again. `redacted`: what was kept out of it, such as `email`."""

    id: str
    n: int
    event: Literal["add", "met"]
    redacted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """One line of history. `before` holds what changed, as it was (empty for additions and recalls)."""

    op: int
    kind: str
    at: float
    actor: str = ""
    reason: str = ""
    count: int = 0
    undone_by: int | None = None
    space: str | None = None
    trace: str | None = None
    before: Mapping[str, Any] = field(default_factory=dict)


class Pulse(NamedTuple):
    """Whether anything changed: the number of a space (None: unknown), the store's embedder, the last operation."""

    space: int | None
    embedder: tuple[str, int] | None
    op: int


class Feed(NamedTuple):
    """What changed in a space since an operation: the columns of the rows, and the rows that are gone.

    `vectors[i]` is the windows of row i as they are stored (empty: none); both it and `terms` are given only
    for rows whose content is new since then.
    """

    op: int
    n: Ints
    fresh: NDArray[np.bool_]
    columns: Mapping[str, NDArray[Any]]
    session: Sequence[str | None]
    role: Sequence[str | None]
    terms: Sequence[bytes]
    vectors: Sequence[bytes]
    gone: Ints
    links_changed: bool


class Store(Protocol):
    """A durable set of traces. Every write is one transaction, acknowledged when it is safe.

    What each method promises stands with `SqliteStore`, and is tested by the contract.
    """

    path: str
    law: Law

    # identity
    def identity(self) -> str: ...
    def bind(self, fingerprint: str, dim: int) -> None: ...
    def require(self, fingerprint: str, dim: int) -> int: ...
    def embedder(self) -> tuple[str, int] | None: ...
    def pulse(self, space: Space) -> Pulse: ...
    def spaces(self) -> list[tuple[Space, int]]: ...
    def space_id(self, space: Space) -> int | None: ...

    # writing
    def add(
        self, space: Space, drafts: Sequence[Draft], why: Why, now: float, embedder: tuple[str, int] | None = None
    ) -> list[Added]: ...
    def update(
        self, id: str, changes: Mapping[str, Any], vectors: NDArray[np.float32] | None, why: Why, now: float
    ) -> Trace: ...
    def revise(self, changes: Sequence[tuple[str, Mapping[str, Any]]], why: Why, now: float) -> int: ...
    def set_status(self, ids: Sequence[str], status: Status, why: Why, now: float) -> int: ...
    def reinforce(self, ids: Sequence[str], now: float, grade: int = 3, why: Why = RECALL) -> int: ...
    def link(self, pairs: Sequence[tuple[str, str, float]], kind: str, why: Why, now: float) -> int: ...
    def trim_recalls(self, space: Space, keep: int) -> int: ...

    # reading
    def get(self, ids: Sequence[str], space: Space | None = None) -> list[Trace]: ...
    def by_number(self, ns: Sequence[int]) -> dict[int, Trace]: ...
    def find(self, space: Space, where: Filter, *, limit: int | None = None, offset: int = 0) -> list[Trace]: ...
    def match(self, space: Space, where: Filter) -> Ints: ...
    def iterate(self, space: Space | None = None) -> Iterator[Trace]: ...
    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]: ...
    def vector_bytes(self, ns: Ints) -> dict[int, bytes]: ...
    def payload(self, id: str) -> bytes: ...
    def links(self, space: Space, of: Sequence[int] | None = None) -> list[tuple[int, int, float]]: ...

    # what a reader follows
    def last_op(self) -> int: ...
    def new_since(self, space: Space, op: int) -> Ints: ...
    def feed(
        self, space: Space, after: int, *, statuses: Sequence[Status] = ("active",), vectors_after: int = 0
    ) -> Feed: ...

    # settings; several writes as one
    def transaction(self, durable: bool = True) -> AbstractContextManager[object]: ...
    def meta(self, key: str) -> str | None: ...
    def set_meta(self, key: str, value: str) -> None: ...

    # history, copies
    def history(self, id: str) -> list[Event]: ...
    def operations(self, space: Space | None = None, limit: int = 50) -> list[Event]: ...
    def undo(self, op: int, why: Why, now: float) -> Event: ...
    def backup(self, target: str | Path) -> None: ...
    def close(self) -> None: ...
