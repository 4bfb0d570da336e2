"""Checksums of what was written, so that what a disk changed is never taken for a memory.

SQLite checks its log, not its pages: a bit that flips in a text is read as that text. So a trace carries the
CRC-32 of what it says and of whose and when it is, checked whenever it is read; a vector and an older version
carry theirs, checked by the doctor and before they are given out or put back. What a recall changes (strength,
last use) is not sealed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from zlib import crc32

from halflife.errors import CorruptStore

TABLES = ("trace", "vector", "change")

# What is sealed, in order; the name of the space stands for its number.
SEALED = (
    *"id kind text at valid_from valid_to recorded_at agent_id session_id role metadata".split(),
    *"importance layer system".split(),
)
_SELECT = (
    f"SELECT trace.n, space.name, {', '.join(f'trace.{name}' for name in SEALED)} "
    "FROM trace JOIN space ON space.id = trace.space WHERE trace.n = ?"
)


def of_trace(n: int, space: str, sealed: Sequence[Any]) -> int:
    """The checksum of a trace.

    Parameters
    ----------
    n: its number. space: the name of its space. sealed: its columns, in the order of `SEALED`.
    """
    id, kind, text, at, start, end, recorded, agent, session, role, metadata, importance, layer, system = sealed
    numbers = f"{_digits(at)}\0{_digits(start)}\0{_digits(end)}\0{_digits(recorded)}\0{_digits(importance)}"
    names = f"{agent}\0{session}\0{role}\0{metadata}\0{layer}\0{system}"
    return crc32(f"{n}\0{space}\0{id}\0{kind}\0{text}\0{numbers}\0{names}".encode())


@lru_cache(maxsize=1024)  # a batch has few different ones, and writing a float out costs more than all the rest
def _digits(number: float | None) -> str:
    return "" if number is None else repr(float(number) + 0.0)  # SQLite keeps -0.0 as 0.0


def of_change(before: str, vector: bytes | None) -> int:
    """The checksum of an older version."""
    return crc32(vector or b"", crc32(before.encode()))


def check_trace(seal: int | None, n: int, space: str, sealed: Sequence[Any]) -> None:
    """Raise `CorruptStore` for a trace that is not as it was written."""
    try:
        same = of_trace(n, space, sealed) == seal
    except (TypeError, ValueError):  # a column has not even its type
        same = False
    if not same:
        raise CorruptStore(
            f"The memory {sealed[0]} is not as it was written: the file is damaged.",
            "Restore a backup, or keep what is readable: halflife doctor --repair",
        )


def check_change(seal: int | None, op: int, before: str, vector: bytes | None) -> None:
    """Raise `CorruptStore` for an older version that is not as it was kept."""
    if of_change(before, vector) != seal:
        raise CorruptStore(
            f"What operation {op} kept of a memory is not as it was written: the file is damaged.",
            "Restore a backup, or drop it: halflife doctor --repair",
        )


def check_vector(seal: int | None, id: str, data: bytes) -> None:
    """Raise `CorruptStore` for a vector that is not as it was written."""
    if not isinstance(data, bytes) or crc32(data) != seal:
        raise CorruptStore(
            f"The vector of the memory {id} is not as it was written: the file is damaged.",
            "Drop it: halflife doctor --repair, then make it anew: halflife reembed",
        )


def check_row(db: sqlite3.Connection, n: int) -> None:
    """Raise `CorruptStore` if a stored trace is not as it was written."""
    seal = db.execute("SELECT seal FROM trace WHERE n = ?", (n,)).fetchone()
    row = db.execute(_SELECT, (n,)).fetchone()
    if seal is not None and row is not None:
        check_trace(seal[0], row[0], row[1], row[2:])


def reseal(db: sqlite3.Connection, n: int) -> None:
    """Seal a stored trace as it is."""
    row = db.execute(_SELECT, (n,)).fetchone()
    if row is not None:
        db.execute("UPDATE trace SET seal = ? WHERE n = ?", (of_trace(row[0], row[1], row[2:]), n))


def seal_all(db: sqlite3.Connection) -> None:
    """Seal what has no seal yet, as it is: for a store of a time without seals."""
    for (n,) in db.execute("SELECT n FROM trace WHERE seal IS NULL").fetchall():
        reseal(db, n)
    db.create_function("crc32", 1, crc32, deterministic=True)
    db.execute("UPDATE vector SET seal = crc32(data) WHERE seal IS NULL")
    for op, n, before, vector in db.execute("SELECT op, n, before, vector FROM change WHERE seal IS NULL").fetchall():
        db.execute("UPDATE change SET seal = ? WHERE op = ? AND n = ?", (of_change(before, vector), op, n))
