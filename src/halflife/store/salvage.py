"""Saving what can be read of a file that cannot be opened: truncated, overwritten, or with flipped bits.

The original is never touched: a copy is read, table by table, in ranges of keys that are halved around what
cannot be read. What comes out goes into a new store, which is then examined and mended.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from halflife.decay import FSRS6, Law, law_from_dict
from halflife.errors import CorruptStore, HalflifeError, StoreError
from halflife.store import seal
from halflife.store.connection import Database
from halflife.store.contents import changed, mismatched
from halflife.store.diagnosis import Diagnosis, named
from halflife.store.doctor import examine
from halflife.store.files import reading
from halflife.store.schema import halve
from halflife.store.sqlite import SqliteStore

_BLOCK = 4096  # keys read at once
_PROBES = 256  # places of a table at which reading is tried before it is given up
_FAR = 1 << 20  # where to stop when nothing says how far the keys go

# Tables with the whole number that starts their key, and whose numbers those are.
_TABLES = (
    ("space", "id", ""), ("operation", "op", "operation"), ("trace", "n", "trace"), ("vector", "n", "trace"),
    ("payload", "n", "trace"), ("source", "derived", "trace"), ("link", "a", "trace"), ("change", "op", "operation"),
    ("met", "n", "trace"), ("erased", "op", "operation"),
)  # fmt: skip

Range = tuple[int, int]


@dataclass(frozen=True)
class Salvage:
    """What was saved, and what was not.

    Parameters
    ----------
    path: the damaged file. target: the new store.
    saved: rows by table. lost: by table, the ranges of numbers that could not be read (of traces, vectors and
        links the trace's, of changes the operation's); a range may name numbers that were never used.
    refused: rows that were read but make no sense. changed: ids of traces that were read, but whose text is not
        the one that was written. gone: the memories that are known to be lost, by id, or by number where that
        is all that is left.
    diagnosis: the new store, after it was mended.
    """

    path: str
    target: str
    saved: dict[str, int]
    lost: dict[str, tuple[Range, ...]]
    refused: int
    changed: tuple[str, ...]
    diagnosis: Diagnosis
    gone: tuple[str, ...] = ()

    @property
    def traces(self) -> int:
        """How many traces were saved."""
        return self.saved.get("trace", 0)

    @property
    def healthy(self) -> bool:
        """The new store is sound. It need not hold all that the old one held."""
        return self.diagnosis.healthy

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "traces": self.traces, "healthy": self.healthy, "diagnosis": self.diagnosis.to_dict()}

    def __str__(self) -> str:
        lines = [f"{self.traces:,} memories of {self.path} were saved into {self.target}."]
        lines.append(f"  lost: {len(self.gone):,} memories{f' ({named(self.gone)})' if self.gone else ''}")
        for table, ranges in self.lost.items():
            shown = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges[:8])
            more = f" and {len(ranges) - 8} more ranges" if len(ranges) > 8 else ""
            lines.append(f"  unreadable in {table}: {shown}{more}")
        if self.refused:
            lines.append(f"  rows that make no sense: {self.refused}")
        if self.changed:
            lines.append(f"  read, but not as written: {named(self.changed)}")
        return "\n".join([*lines, str(self.diagnosis)])


def salvage(path: str | Path, target: str | Path) -> Salvage:
    """Read what can be read of a damaged store into a new one.

    Parameters
    ----------
    path: the damaged file, which is left as it is (with its `-wal`, if there is one). target: a file to be made.

    Errors
    ------
    StoreError: `path` is missing or `target` exists. CorruptStore: not one memory can be read; nothing is made.
    """
    path, target = Path(path), Path(target)
    if not path.is_file():
        raise StoreError(f"{path} does not exist.", "Check the path.")
    if target.exists():
        raise StoreError(f"{target} exists already.", "Name a new file.")
    if not target.parent.is_dir():
        raise StoreError(f"The folder {target.parent} does not exist.", "Make it first.")
    try:
        with TemporaryDirectory(prefix=".salvage-", dir=target.parent) as folder:
            return _salvage(path, target, Path(folder))
    except BaseException:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{target}{suffix}").unlink(missing_ok=True)
        raise


def _salvage(path: Path, target: Path, folder: Path) -> Salvage:
    copy = _copy(path, folder)
    if not _readable(copy):
        copy = _copy(path, folder)  # SQLite deletes the log of a file that is empty
        _lend_schema(copy, folder)
        if not _readable(copy):
            Path(f"{copy}-wal").unlink(missing_ok=True)
    with closing(_open(copy)) as damaged, closing(Database(target)) as fresh, fresh.write() as db:
        reader = _Reader(damaged, db)
        reader.run()
        if reader.unsealed:
            seal.seal_all(db)
        if reader.wide:
            halve(db)
        gone = reader.gone()
    if not reader.saved["trace"]:
        raise CorruptStore(f"No memory can be read in {path}.", "Restore a backup.")
    with SqliteStore(target, law=reader.law()) as store:
        altered = tuple(dict.fromkeys([id for _, id in changed(store)] + [id for _, id, _, _ in mismatched(store)]))
        diagnosis = examine(store, repair=True)
    lost = {table: tuple(ranges) for table, ranges in reader.lost.items() if ranges}
    return Salvage(str(path), str(target), reader.saved, lost, reader.refused, altered, diagnosis, gone)


def _copy(path: Path, folder: Path) -> Path:
    copy = folder / "damaged.db"
    for suffix in ("", "-wal"):
        if Path(f"{path}{suffix}").exists():
            with reading(f"{path}{suffix}") as damaged, Path(f"{copy}{suffix}").open("wb") as new:
                shutil.copyfileobj(damaged, new)
    return copy


def _open(path: Path) -> sqlite3.Connection:
    """A connection that reads on where SQLite would refuse the whole file."""
    db = sqlite3.connect(path, isolation_level=None)
    db.text_factory = lambda data: data.decode("utf-8", "replace").replace("\x00", "\ufffd")
    db.execute("PRAGMA writable_schema = ON")  # accept a file that is shorter than its header says
    db.execute("PRAGMA mmap_size = 0")
    return db


def _readable(path: Path) -> bool:
    """Whether the list of tables can be read."""
    with closing(_open(path)) as db:
        try:
            names = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
            db.execute("SELECT id FROM trace LIMIT 0")
        except sqlite3.DatabaseError:
            return False
        return {table for table, _, _ in _TABLES} <= names


def _lend_schema(path: Path, folder: Path) -> None:
    """Replace the first page (header and list of tables) by that of a new store, whose tables begin where ours did.

    A file that is shorter than a new store gets the rest of that too; the log, if there is one, lies over it.
    """
    model = folder / "model.db"
    Database(model).close()
    lent = model.read_bytes()
    size = struct.unpack(">H", lent[16:18])[0]
    page = bytearray(lent[:size])
    there = path.stat().st_size // size
    page[28:32] = struct.pack(">I", max(there, len(lent) // size))  # pages of the file
    page[32:40] = bytes(8)  # no free pages
    with path.open("r+b") as file:
        file.write(page)
        start = max(there, 1) * size
        if start < len(lent):
            file.seek(start)
            file.write(lent[start:])


class _Reader:
    """Moves rows from a damaged file to a new one."""

    def __init__(self, damaged: sqlite3.Connection, db: sqlite3.Connection) -> None:
        self.damaged, self.db = damaged, db
        self.saved: dict[str, int] = {}
        self.lost: dict[str, list[Range]] = {}
        self.refused = 0
        self.unsealed = False  # the store is of a time without seals
        self.wide = self._one("PRAGMA user_version") in (1, 2)  # of a time with vectors of 32 bits a number

    def run(self) -> None:
        self._settings()
        numbers = {name: self._last(name, key) for name, key in (("trace", "n"), ("operation", "op"))}
        for table, key, counted in _TABLES:
            self._table(table, key, numbers[counted] if counted else self._last(table, key))
        for name, last in numbers.items():
            if last != _FAR:  # numbers of what is lost are not given again
                self.db.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
                self.db.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (name, last))

    def _table(self, table: str, key: str, last: int) -> None:
        self.saved[table] = 0
        self.lost[table] = []
        there = {row[1] for row in self.damaged.execute(f"PRAGMA table_info({table})")}
        columns = [row[1] for row in self.db.execute(f"PRAGMA table_info({table})") if row[1] in there]
        self.unsealed |= table == "trace" and "seal" not in there
        insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        select = f"SELECT {', '.join(columns)} FROM {table} WHERE {key} BETWEEN ? AND ?"
        if self._hopeless(select, last):
            self._lose(table, 0, last)
            return
        for start in range(0, last + 1, _BLOCK):
            for rows in self._halved(table, select, start, min(start + _BLOCK - 1, last)):
                before = self.db.total_changes
                self.db.executemany(insert, rows)
                self.saved[table] += self.db.total_changes - before
                self.refused += len(rows) - (self.db.total_changes - before)

    def gone(self) -> tuple[str, ...]:
        """Traces that an index or another table names, that were not forgotten, and that could not be read."""
        known: dict[int, str] = {}
        for direction in ("ASC", "DESC"):  # from both ends, up to what cannot be read
            by_id = f"SELECT n, id FROM trace INDEXED BY sqlite_autoindex_trace_1 ORDER BY id {direction}"
            try:
                known.update((n, id) for n, id in self.damaged.execute(by_id) if isinstance(n, int))
            except sqlite3.DatabaseError:
                continue
        for table in ("vector", "payload"):
            for (n,) in self.db.execute(f"SELECT n FROM {table}"):
                known.setdefault(n, f"number {n}")
        for table in ("trace", "erased"):
            for (n,) in self.db.execute(f"SELECT n FROM {table}"):
                known.pop(n, None)
        return tuple(known[n] for n in sorted(known))

    def _settings(self) -> None:
        """What the store knew of itself, but for its name: it is another store now."""
        for key in ("embedder", "law"):
            value = self._one("SELECT value FROM meta WHERE key = ?", key)
            if isinstance(value, str):
                self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def law(self) -> Law:
        """The law of the old store, or the default one if that cannot be read."""
        value = self._one("SELECT value FROM meta WHERE key = 'law'")
        try:
            return law_from_dict(json.loads(value))
        except (HalflifeError, ValueError, TypeError, KeyError):
            return FSRS6()

    def _last(self, table: str, key: str) -> int:
        """The highest number of a table."""
        candidates = (
            self._one("SELECT seq FROM sqlite_sequence WHERE name = ?", table),
            self._one(f"SELECT max({key}) FROM {table}"),
        )
        known = [value for value in candidates if isinstance(value, int) and 0 <= value < 1 << 40]
        return max(known) if known else _FAR

    def _one(self, sql: str, *args: Any) -> Any:
        try:
            row = self.damaged.execute(sql, args).fetchone()
        except sqlite3.DatabaseError:
            return None
        return row and row[0]

    def _halved(self, table: str, select: str, low: int, high: int) -> Iterator[list[Any]]:
        """The rows whose key lies in a range, without those that cannot be read."""
        rows = self._rows(select, low, high)
        if rows is not None:
            yield rows
        elif low == high:
            self._lose(table, low, high)
        else:
            middle = (low + high) // 2
            yield from self._halved(table, select, low, middle)
            yield from self._halved(table, select, middle + 1, high)

    def _rows(self, select: str, low: int, high: int) -> list[Any] | None:
        try:
            return self.damaged.execute(select, (low, high)).fetchall()
        except sqlite3.DatabaseError:
            return None

    def _hopeless(self, select: str, last: int) -> bool:
        """Whether no part of a table can be read, tried at many places: then there is no use in looking further."""
        places = range(0, last + 1, max(1, last // _PROBES))
        return all(self._rows(select, place, place) is None for place in places)

    def _lose(self, table: str, low: int, high: int) -> None:
        ranges = self.lost[table]
        if ranges and ranges[-1][1] == low - 1:
            ranges[-1] = (ranges[-1][0], high)
        else:
            ranges.append((low, high))
