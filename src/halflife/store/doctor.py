"""The health of a store: what is in it, what is wrong with it, and mending that.

A check looks at one thing and returns a `Finding`; with `repair` it mends what it found, in one transaction.
What was derived (words, digests, indexes) is made anew; what was given is never changed, except that a field
that no memory can have gets a lawful value. A file that cannot be opened is for `halflife.store.salvage`.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from halflife.errors import HalflifeError, InvalidInput
from halflife.store import history, leftovers
from halflife.store.connection import MEMORY, Database
from halflife.store.diagnosis import Diagnosis, Finding
from halflife.store.draft import Draft
from halflife.store.erase import store_files
from halflife.store.protocol import Why
from halflife.store.rows import STATE, chunks, floats, marks
from halflife.store.sqlite import SqliteStore
from halflife.store.text import term_ids
from halflife.store.timeparse import format_time
from halflife.store.trace import KINDS, STATUSES

__all__ = ["Diagnosis", "Finding", "examine", "stats"]

_UNIT = 1e-3  # how far from 1 the length of a vector may be

# Rows that belong to a trace: table, column.
_BELONGS = (
    ("vector", "n"), ("payload", "n"), ("source", "derived"), ("source", "source"), ("link", "a"), ("link", "b"),
    ("change", "n"), ("met", "n"),
)  # fmt: skip
_FINITE = "typeof({0}) = 'real' AND abs({0}) < 1e308"


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
        checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
            ("pages and indexes", self._pages), ("tables", self._schema), ("spaces", self._homeless),
            ("rows of no trace", self._orphans), ("erased traces", self._risen), ("operations", self._operations),
            ("fields", self._fields), ("metadata and versions", self._json), ("words and digests", self._derived),
            ("vectors", self._vectors),
        ]  # fmt: skip
        for name, leftover in (
            ("index files", leftovers.index_files),
            ("overwriting of what is deleted", leftovers.secure_delete),
            ("free pages", leftovers.free_pages),
            ("write-ahead log", leftovers.log),
        ):
            checks.append((name, partial(leftover, self.store, self.repair)))
        for name, check in checks:
            try:
                found = [finding for finding in check() if finding.level != "ok" or finding.count]
            except (HalflifeError, sqlite3.Error) as error:
                found = [Finding("error", f"{name} cannot be read ({error})", advice=self._salvage)]
            yield from found or [Finding("ok", name)]

    @property
    def _again(self) -> str:
        return leftovers.advice(self.store)

    @property
    def _salvage(self) -> str:
        return "restore a backup, or save what can be read with halflife.store.salvage"

    def _begin(self, db: sqlite3.Connection, reason: str, count: int) -> int:
        return history.begin(db, Why("repair", "doctor", reason), self.now, None, count)

    # -- structure --------------------------------------------------------------------------------------------

    def _pages(self) -> Iterator[Finding]:
        def problems() -> list[str]:
            return [text for (text,) in self.db.all("PRAGMA integrity_check") if text != "ok" and self._true(text)]

        found = problems()
        if not found:
            return
        left = found
        if self.repair and all("index" in text for text in found):  # an index is derived from its table
            with self.db.write() as db:
                db.execute("REINDEX")
            left = problems()
        yield Finding(
            "error", f"pages and indexes ({found[0]})", len(found), not left, "" if not left else self._salvage
        )

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

    # -- content ----------------------------------------------------------------------------------------------

    def _fields(self) -> Iterator[Finding]:
        first = self.store.law.initial()
        finite = _FINITE.format
        lawful: list[tuple[str, str, Any]] = [
            ("kind", f"kind IN {KINDS}", "text"),
            ("status", f"status IN {STATUSES}", "active"),
            ("role", "role IS NULL OR (typeof(role) = 'text' AND trim(role) <> '')", None),
            ("recorded_at", finite("recorded_at"), self.now),
            ("at", finite("at"), self.now),
            ("last_used", finite("last_used"), self.now),
            ("importance", f"{finite('importance')} AND importance BETWEEN 0 AND 1", 0.5),
            ("version", "typeof(version) = 'integer' AND version > 0", 1),
        ]
        for name in STATE:
            positive = f"{finite(name)} AND {name} {'>' if name == 'stability' else '>='} 0"
            lawful.append((name, positive, float(getattr(first, name))))
        for column, sound, value in lawful:
            count = self.db.one(f"SELECT count(*) FROM trace WHERE NOT coalesce({sound}, 0)")
            if not count:
                continue
            if self.repair:
                with self.db.write() as db:
                    op = self._begin(db, f"impossible {column}", count)
                    sql = f"UPDATE OR IGNORE trace SET {column} = ?, changed = ? WHERE NOT coalesce({sound}, 0)"
                    db.execute(sql, (value, op))
            left = self.db.one(f"SELECT count(*) FROM trace WHERE NOT coalesce({sound}, 0)")
            yield Finding("error", f"traces with an impossible {column}", count, not left, self._again)

    def _json(self) -> Iterator[Finding]:
        rows = self.db.all("SELECT n, CAST(metadata AS BLOB) FROM trace WHERE metadata <> '{}'")
        bad = [(n, text) for n, text in rows if not _is_object(text)]
        if bad:
            if self.repair:
                with self.db.write() as db:
                    op = self._begin(db, "unreadable metadata", len(bad))
                    for n, text in bad:
                        kept = json.dumps({"unreadable": text.decode(errors="replace")}, ensure_ascii=False)
                        db.execute("UPDATE trace SET metadata = ?, changed = ? WHERE n = ?", (kept, op, n))
            yield Finding("error", "traces with unreadable metadata", len(bad), self.repair, self._again)
        lost = [(op, n) for op, n, text in self.db.all("SELECT op, n, CAST(before AS BLOB) FROM change")
                if not _is_object(text)]  # fmt: skip
        if lost:
            if self.repair:
                with self.db.write() as db:
                    db.executemany("DELETE FROM change WHERE op = ? AND n = ?", lost)
            yield Finding("error", "older versions that cannot be read", len(lost), self.repair, self._again)

    def _derived(self) -> Iterator[Finding]:
        found = list(mismatched(self.store))
        unreadable = [(n, raw) for n, _, raw, is_text in found if not is_text]
        wrong = [n for n, _, _, is_text in found if is_text]
        if unreadable:
            if self.repair:
                with self.db.write() as db:
                    op = self._begin(db, "unreadable text", len(unreadable))
                    for n, raw in unreadable:
                        text = raw.decode(errors="replace").replace("\x00", "\ufffd") or "\ufffd"
                        db.execute("UPDATE trace SET text = ? WHERE n = ?", (text, n))
                        self._rewrite(db, op, n)
            yield Finding("error", "texts that are not text", len(unreadable), self.repair, self._again)
        if wrong:
            if self.repair:
                with self.db.write() as db:
                    op = self._begin(db, "words or digest", len(wrong))
                    for n in wrong:
                        self._rewrite(db, op, n)
            yield Finding("error", "traces whose words or digest are not those of their text", len(wrong), self.repair,
                          self._again)  # fmt: skip

    def _rewrite(self, db: sqlite3.Connection, op: int, n: int) -> None:
        """Make words and digest anew, so that other readers notice. What then says the same as another retires."""
        (text,) = db.execute("SELECT text FROM trace WHERE n = ?", (n,)).fetchone()
        try:
            history.modify(db, op, n, {"text": text})
        except InvalidInput:
            db.execute("DELETE FROM change WHERE op = ? AND n = ?", (op, n))
            history.modify(db, op, n, {"status": "retired", "retired_at": self.now, "text": text})

    def _vectors(self) -> Iterator[Finding]:
        known = self.store.embedder()
        scaled: dict[int, bytes] = {}
        useless: list[int] = []
        last = 0
        while rows := self.db.all(
            "SELECT n, data FROM vector JOIN trace USING (n) WHERE n > ? ORDER BY n LIMIT 512", last
        ):
            last = rows[-1][0]
            for n, data in rows:
                mended = _unit(data, known[1] if known else 0)
                if mended is None:
                    useless.append(n)
                elif mended != data:
                    scaled[n] = mended
        if useless:
            if self.repair:
                with self.db.write() as db:
                    op = self._begin(db, "useless vectors", len(useless))
                    for n in useless:
                        self._rewrite(db, op, n)
                    for part in chunks(useless):
                        db.execute(f"DELETE FROM vector WHERE n IN ({marks(part)})", part)
            yield Finding(
                "error", "vectors of the wrong length, or not numbers", len(useless), self.repair, self._again
            )
        if scaled:
            if self.repair:
                with self.db.write() as db:
                    op = self._begin(db, "vectors scaled to length 1", len(scaled))
                    for n, data in scaled.items():
                        self._rewrite(db, op, n)
                        db.execute("UPDATE vector SET data = ? WHERE n = ?", (data, n))
            yield Finding("error", "vectors that have not length 1", len(scaled), self.repair, self._again)
        bare = self.db.one("SELECT count(*) FROM trace WHERE text <> '' AND n NOT IN (SELECT n FROM vector)")
        if bare and known:
            yield Finding("warning", "texts without a vector, found by their words alone", bare,
                          advice=f"run: halflife reembed --db {self.store.path}")  # fmt: skip


def mismatched(store: SqliteStore) -> Iterator[tuple[int, str, bytes, bool]]:
    """Traces whose words or digest are not those of their text: number, id, the bytes, and whether these are text."""
    last = 0
    while rows := store.db.all(
        "SELECT n, id, kind, role, CAST(text AS BLOB), data, digest, terms FROM trace LEFT JOIN payload USING (n) "
        "WHERE n > ? ORDER BY n LIMIT 512", last,
    ):  # fmt: skip
        last = rows[-1][0]
        for n, id, kind, role, raw, payload, digest, terms in rows:
            try:
                draft = Draft(raw.decode(), 0.0, kind=kind, role=role, payload=payload)
            except (UnicodeDecodeError, InvalidInput):
                yield n, id, raw, False
                continue
            if (draft.digest(), term_ids(draft.text).tobytes()) != (digest, terms):
                yield n, id, raw, True


def _is_object(text: bytes) -> bool:
    """Whether this is a JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _unit(data: bytes, dim: int) -> bytes | None:
    """Windows of unit length as bytes, scaled if need be; None for what cannot be scaled."""
    if not dim or not data or len(data) % (4 * dim):
        return None
    rows = floats(data).reshape(-1, dim)
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not (norms > 0).all():
        return None
    if np.abs(norms - 1).max() <= _UNIT:
        return data
    return bytes((rows / norms).astype(np.float32).tobytes())
