"""The health of a store: what is in it, what is wrong with it, and mending that.

A check looks at one thing and returns a `Finding`; with `repair` it mends what it found, in one transaction.
What was derived (words, digests, indexes) is made anew; what was given is never changed, except that a field
that no memory can have gets a lawful value. A file that cannot be opened is for `halflife.store.salvage`.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from halflife.errors import CorruptStore, HalflifeError, StoreError
from halflife.store import history, leftovers
from halflife.store.connection import MEMORY, Database
from halflife.store.contents import Contents
from halflife.store.diagnosis import Diagnosis, Finding, named
from halflife.store.erase import store_files
from halflife.store.protocol import Why
from halflife.store.sqlite import SqliteStore
from halflife.store.timeparse import format_time

__all__ = ["Diagnosis", "Finding", "examine", "stats"]

# Rows that belong to a trace: table, column.
_BELONGS = (
    ("vector", "n"), ("payload", "n"), ("source", "derived"), ("source", "source"), ("link", "a"), ("link", "b"),
    ("change", "n"), ("met", "n"),
)  # fmt: skip


def stats(store: SqliteStore) -> dict[str, Any]:
    """Counts, sizes and settings of a store, as plain data."""
    count = store.db.one
    known = store.embedder()
    with store.db.read():
        files = {str(path): path.stat().st_size for path in store_files(store)}
        oldest, newest = store.db.all("SELECT min(at), max(at) FROM trace")[0]
        return {
            "path": store.path,
            "format": count("PRAGMA user_version"),
            "store": store.db.meta("store"),
            "law": store.law.to_dict(),
            "embedder": None if known is None else {"fingerprint": known[0], "dim": known[1]},
            "spaces": _spaces(store),
            "traces": {
                "total": count("SELECT count(*) FROM trace"),
                **{column: _by(store, "trace", column) for column in ("status", "layer", "kind", "system")},
            },
            "vectors": count("SELECT count(*) FROM vector"),
            "payloads": count("SELECT count(*) FROM payload"),
            "links": count("SELECT count(*) FROM live_link"),
            "erased": count("SELECT count(*) FROM erased"),
            "operations": _by(store, "operation", "kind"),
            "last_op": store.last_op(),
            "oldest": None if oldest is None else format_time(oldest),
            "newest": None if newest is None else format_time(newest),
            "files": files,
            "bytes": sum(files.values()),
        }


def missing(read: Callable[[str], list[Any]]) -> dict[int, str]:
    """Numbers and ids of the traces that the index of ids knows and the table does not hold: they are lost.

    `read` runs a query and returns its rows.
    """
    indexed = dict(read("SELECT n, id FROM trace INDEXED BY sqlite_autoindex_trace_1 ORDER BY id"))
    for (n,) in read("SELECT n FROM trace NOT INDEXED"):
        indexed.pop(n, None)
    return indexed


def _by(store: SqliteStore, table: str, column: str) -> dict[str, int]:
    return dict(store.db.all(f"SELECT {column}, count(*) FROM {table} GROUP BY {column} ORDER BY {column}"))


def _spaces(store: SqliteStore) -> dict[str, dict[str, int]]:
    out: dict[str, dict[str, int]] = {}
    rows = store.db.all(
        "SELECT name, status, count(n) FROM space LEFT JOIN trace ON trace.space = space.id "
        "GROUP BY name, status ORDER BY name"
    )
    for name, status, count in rows:
        out.setdefault(name, {}).update({status: count} if status else {})
    return out


def examine(store: SqliteStore, repair: bool = False, now: float | None = None) -> Diagnosis:
    """Check a store; with `repair`, mend what can be mended.

    Parameters
    ----------
    store: an open store. repair: mend. now: seconds since the epoch, for the history of repairs.

    >>> from halflife.decay import FSRS6
    >>> with SqliteStore(law=FSRS6()) as store:
    ...     examine(store).healthy
    True
    """
    doctor = _Doctor(store, repair, time.time() if now is None else now)
    return Diagnosis(store.path, tuple(doctor.findings()))


class _Doctor:
    """One examination."""

    def __init__(self, store: SqliteStore, repair: bool, now: float) -> None:
        self.store, self.db, self.repair, self.now = store, store.db, repair, now

    def findings(self) -> Iterator[Finding]:
        contents = Contents(self.store, self.repair, self.now)
        checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
            ("lost memories", self._lost), ("pages and indexes", self._pages), ("tables", self._schema),
            ("spaces", self._homeless), ("rows of no trace", self._orphans), ("erased traces", self._risen),
            ("operations", self._operations),
            ("seals", contents.seals), ("fields", contents.fields), ("metadata and versions", contents.readable),
            ("tensors", contents.payloads),
            ("words and digests", contents.derived), ("vectors", contents.vectors), ("checksums", contents.sealed),
        ]  # fmt: skip
        for name, leftover in (
            ("index files", leftovers.index_files),
            ("overwriting of what is deleted", leftovers.secure_delete),
            ("free pages", leftovers.free_pages),
            ("write-ahead log", leftovers.log),
        ):
            checks.append((name, partial(self._leftover, leftover)))
        for name, check in checks:
            try:
                found = [finding for finding in check() if finding.level != "ok" or finding.count]
            except StoreError as error:  # a full disk or a lock is no damage
                found = [self._failed(name, error, isinstance(error, CorruptStore))]
            except (HalflifeError, sqlite3.Error, ValueError, TypeError, AttributeError) as error:
                found = [self._failed(name, error, True)]
            if any(finding.unreadable and not finding.repaired for finding in found):
                contents.repair = self.repair = False  # nothing is written to a file with damaged pages
            yield from found or [Finding("ok", name)]

    def _failed(self, name: str, error: Exception, damaged: bool) -> Finding:
        if damaged:
            return Finding("error", f"{name} cannot be read ({error})", advice=self._salvage, unreadable=True)
        return Finding("warning", f"{name} could not be checked ({error})")

    def _leftover(self, check: Callable[[SqliteStore, bool], Iterator[Finding]]) -> Iterator[Finding]:
        return check(self.store, self.repair)

    @property
    def _again(self) -> str:
        return leftovers.advice(self.store)

    @property
    def _salvage(self) -> str:
        return "restore a backup, or save what can be read: halflife doctor --repair, or halflife.store.salvage"

    def _begin(self, db: sqlite3.Connection, reason: str, count: int) -> int:
        return history.begin(db, Why("repair", "doctor", reason), self.now, None, count)

    # -- structure --------------------------------------------------------------------------------------------

    def _lost(self) -> Iterator[Finding]:
        gone = missing(self.db.all)
        if gone:
            yield Finding("error", f"memories that are lost ({named(list(gone.values()))})", len(gone), False,
                          "restore a backup; what is left can be mended")  # fmt: skip

    def _pages(self) -> Iterator[Finding]:
        def problems() -> list[str]:
            lines = [line for (text,) in self.db.all("PRAGMA integrity_check") for line in text.splitlines()]
            return [line for line in lines if line != "ok" and not line.startswith("***") and self._true(line)]

        found = problems()
        if not found:
            return
        left = found
        if self.repair and all("index" in text for text in found):  # an index is derived from its table
            with self.db.write() as db:
                db.execute("REINDEX")
            left = problems()
        beyond = any("index" not in text for text in left)
        yield Finding("error", f"pages and indexes ({found[0]})", len(found), not left,
                      self._salvage if beyond else self._again, beyond)  # fmt: skip

    def _true(self, text: str) -> bool:
        """SQLite 3.40 sees NULLs that are not there, in tables whose key names a column after one that is not in it."""
        found = re.fullmatch(r"NULL value in (\w+)\.(\w+)", text)
        return not found or bool(self.db.one(f"SELECT 1 FROM {found[1]} WHERE {found[2]} IS NULL"))

    def _schema(self) -> Iterator[Finding]:
        fresh = Database(MEMORY)
        wanted = dict(fresh.all("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        fresh.close()
        there = {name for (name,) in self.db.all("SELECT name FROM sqlite_master")}
        missing = [name for name in wanted if name not in there]
        if not missing:
            return
        if self.repair:
            with self.db.write() as db:
                if "trace_same" in missing:
                    self._retire_doubles(db)
                for name in missing:
                    db.execute(wanted[name])
        yield Finding(
            "error", f"missing tables or indexes ({', '.join(missing)})", len(missing), self.repair, self._again
        )

    def _retire_doubles(self, db: sqlite3.Connection) -> None:
        """Of memories that say the same in one space, the first stays."""
        doubles = db.execute(
            "SELECT n FROM trace WHERE status <> 'retired' AND EXISTS (SELECT 1 FROM trace AS first "
            "WHERE first.n < trace.n AND first.space = trace.space AND first.digest = trace.digest "
            "AND first.status <> 'retired')"
        ).fetchall()
        if doubles:
            op = self._begin(db, "said twice", len(doubles))
            for (n,) in doubles:
                history.modify(db, op, n, {"status": "retired", "retired_at": self.now})

    def _homeless(self) -> Iterator[Finding]:
        lost = self.db.all("SELECT space, count(*) FROM trace WHERE space NOT IN (SELECT id FROM space) GROUP BY space")
        if not lost:
            return
        if self.repair:
            with self.db.write() as db:
                for space, _ in lost:
                    db.execute("INSERT INTO space VALUES (?, ?)", (space, f"user:recovered-{space}"))
        count = sum(number for _, number in lost)
        where = ", ".join(f"user:recovered-{space}" for space, _ in lost)
        yield Finding("error", f"traces of no space (now in {where})" if self.repair else "traces of no space",
                      count, self.repair, self._again)  # fmt: skip

    def _orphans(self) -> Iterator[Finding]:
        for table, column in _BELONGS:
            where = f"{column} NOT IN (SELECT n FROM trace)"
            forgotten = f"{column} IN (SELECT n FROM erased)"
            count = self.db.one(f"SELECT count(*) FROM {table} WHERE {where}")
            if not count:
                continue
            erased = self.db.one(f"SELECT count(*) FROM {table} WHERE {where} AND {forgotten}")
            if self.repair:
                with self.db.write() as db:
                    db.execute(f"DELETE FROM {table} WHERE {where}")
            whose = "of a forgotten trace" if erased else "of no trace"
            yield Finding("error", f"{table} rows {whose} ({column})", count, self.repair, self._again)

    def _risen(self) -> Iterator[Finding]:
        risen = [id for (id,) in self.db.all("SELECT trace.id FROM trace JOIN erased USING (n)")]
        if risen:
            yield Finding("error", "forgotten traces are there again", len(risen), False,
                          f"forget them again: halflife forget {' '.join(risen[:3])}")  # fmt: skip

    def _operations(self) -> Iterator[Finding]:
        named = " UNION ".join(
            f"SELECT {column} AS op FROM {table}"
            for table, column in (
                ("trace", "created"),
                ("trace", "changed"),
                ("change", "op"),
                ("met", "op"),
                ("link", "op"),
            )
        )
        missing = [op for (op,) in self.db.all(f"SELECT op FROM ({named}) WHERE op NOT IN (SELECT op FROM operation)")]
        if not missing:
            return
        if self.repair:
            with self.db.write() as db:
                rows = [(op, "lost", self.now, "doctor", "the record of this operation was lost") for op in missing]
                db.executemany("INSERT INTO operation (op, kind, at, actor, reason) VALUES (?, ?, ?, ?, ?)", rows)
        yield Finding("error", "operations that are named but not there", len(missing), self.repair, self._again)
