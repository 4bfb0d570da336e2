"""What a store's memories say, looked at row by row: fields, metadata, words, vectors, and their seals.

A memory that is not as it was written is named. Repair keeps what can be read of it, says so in its history, and
never takes it for undamaged: the finding and the history stay the only places where that is known.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any
from zlib import crc32

import numpy as np

from halflife.errors import InvalidInput
from halflife.store import history, leftovers, seal
from halflife.store.diagnosis import Finding, named
from halflife.store.draft import Draft
from halflife.store.protocol import Why
from halflife.store.rows import STATE, STORED, chunks, floats, halves, marks, onward
from halflife.store.sqlite import SqliteStore
from halflife.store.text import term_ids
from halflife.store.trace import KINDS, STATUSES

UNIT = 1e-3  # how far from 1 the length of a vector may be
_FINITE = "typeof({0}) = 'real' AND abs({0}) < 1e308"
_BYTES = ("id", "kind", "text", "agent_id", "session_id", "role", "metadata", "layer", "system")


class Contents:
    """The checks of one examination that look at what memories say."""

    def __init__(self, store: SqliteStore, repair: bool, now: float) -> None:
        self.store, self.db, self.repair, self.now = store, store.db, repair, now

    @property
    def _again(self) -> str:
        return leftovers.advice(self.store)

    def _begin(self, db: sqlite3.Connection, reason: str, count: int) -> int:
        return history.begin(db, Why("repair", "doctor", reason), self.now, None, count)

    def seals(self) -> Iterator[Finding]:
        """Memories that are not as they were written."""
        found = list(changed(self.store))
        if not found:
            return
        if self.repair:
            with self.db.write() as db:
                op = self._begin(db, "not as it was written", len(found))
                for column in _BYTES:  # one bit of a type makes a text of the same bytes a blob
                    db.execute(f"UPDATE trace SET {column} = CAST({column} AS TEXT) WHERE typeof({column}) = 'blob'")
                for n, _ in found:  # the checks that follow mend what they can, and the last one seals
                    db.execute("INSERT INTO change VALUES (?, ?, '{}', NULL, ?)", (op, n, seal.of_change("{}", None)))
                    db.execute("UPDATE trace SET seal = NULL, changed = ? WHERE n = ?", (op, n))
        yield Finding("error", f"memories that are not as they were written ({named([id for _, id in found])})",
                      len(found), self.repair, self._again)  # fmt: skip

    def sealed(self) -> Iterator[Finding]:
        """After a repair: what was mended is sealed as it is now."""
        if self.repair and any(self.db.one(f"SELECT 1 FROM {table} WHERE seal IS NULL") for table in seal.TABLES):
            with self.db.write() as db:
                seal.seal_all(db)
        return iter(())

    def fields(self) -> Iterator[Finding]:
        """Fields that no memory can have."""
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
                    mend = f"UPDATE OR IGNORE trace SET {column} = ?, changed = ?, seal = NULL"
                    db.execute(f"{mend} WHERE NOT coalesce({sound}, 0)", (value, op))
            left = self.db.one(f"SELECT count(*) FROM trace WHERE NOT coalesce({sound}, 0)")
            yield Finding("error", f"traces with an impossible {column}", count, not left, self._again)

    def readable(self) -> Iterator[Finding]:
        """Metadata and older versions that are no JSON, or not as they were kept."""
        rows = self.db.all("SELECT n, CAST(metadata AS BLOB) FROM trace WHERE metadata <> '{}'")
        bad = [(n, text) for n, text in rows if not _is_object(text)]
        if bad:
            if self.repair:
                with self.db.write() as db:
                    op = self._begin(db, "unreadable metadata", len(bad))
                    for n, text in bad:
                        kept = json.dumps({"unreadable": text.decode(errors="replace")}, ensure_ascii=False)
                        db.execute("UPDATE trace SET metadata = ?, changed = ?, seal = NULL WHERE n = ?", (kept, op, n))
            yield Finding("error", "traces with unreadable metadata", len(bad), self.repair, self._again)
        lost = [(op, n) for op, n, text, vector, kept in self.db.all(
            "SELECT op, n, CAST(before AS BLOB), vector, seal FROM change")
            if not _is_object(text) or kept != crc32(vector or b"", crc32(text))]  # fmt: skip
        if lost:
            if self.repair:
                with self.db.write() as db:
                    db.executemany("DELETE FROM change WHERE op = ? AND n = ?", lost)
            yield Finding("error", "older versions that cannot be read", len(lost), self.repair, self._again)

    def payloads(self) -> Iterator[Finding]:
        """Tensors that are no bytes."""
        where = "typeof(data) <> 'blob'"
        count = self.db.one(f"SELECT count(*) FROM payload WHERE {where}")
        if count:
            if self.repair:
                with self.db.write() as db:
                    db.execute(f"DELETE FROM payload WHERE {where}")
            yield Finding("error", "tensors that are none", count, self.repair, self._again)

    def derived(self) -> Iterator[Finding]:
        """Words and digests that are not those of the text."""
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
        seal.reseal(db, n)  # what it is from now on
        try:
            history.modify(db, op, n, {"text": text})
        except InvalidInput:
            db.execute("DELETE FROM change WHERE op = ? AND n = ?", (op, n))
            history.modify(db, op, n, {"status": "retired", "retired_at": self.now, "text": text})

    def vectors(self) -> Iterator[Finding]:
        """Vectors that are damaged, of the wrong length, or missing."""
        known = self.store.embedder()
        scaled: dict[int, bytes] = {}
        useless: list[int] = []
        last = 0
        while rows := self.db.all(
            "SELECT n, data, vector.seal FROM vector JOIN trace USING (n) WHERE n > ? ORDER BY n LIMIT 512", last
        ):
            last = onward(rows, last)
            for n, data, kept in rows:
                mended = _unit(data, known[1] if known else 0)
                if mended is None or kept != crc32(data):
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
                "error",
                "vectors of the wrong length, not numbers, or not as written",
                len(useless),
                self.repair,
                self._again,
            )
        if scaled:
            if self.repair:
                with self.db.write() as db:
                    op = self._begin(db, "vectors scaled to length 1", len(scaled))
                    for n, data in scaled.items():
                        self._rewrite(db, op, n)
                        db.execute("UPDATE vector SET data = ?, seal = ? WHERE n = ?", (data, crc32(data), n))
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
        last = onward(rows, last)
        for n, id, kind, role, raw, payload, digest, terms in rows:
            try:
                draft = Draft(raw.decode(), 0.0, kind=kind, role=role, payload=payload)
                made = draft.digest(), term_ids(draft.text).tobytes()
            except (UnicodeDecodeError, InvalidInput, TypeError):
                yield n, id, raw, False
                continue
            if made != (digest, terms):
                yield n, id, raw, True


def changed(store: SqliteStore) -> Iterator[tuple[int, str]]:
    """Traces that are not as they were written: number, and id as far as it can be read."""
    columns = ", ".join(f"CAST(trace.{c} AS BLOB)" if c in _BYTES else f"trace.{c}" for c in seal.SEALED)
    blobs = " OR ".join(f"typeof(trace.{column}) = 'blob'" for column in _BYTES)
    last = 0
    while rows := store.db.all(
        f"SELECT trace.n, CAST(space.name AS BLOB), trace.seal, {blobs}, {columns} FROM trace JOIN space "
        "ON space.id = trace.space WHERE trace.n > ? ORDER BY trace.n LIMIT 512", last,
    ):  # fmt: skip
        last = onward(rows, last)
        for n, space, kept, blob, *sealed in rows:
            try:
                same = not blob and seal.of_trace(n, space.decode(), _decoded(sealed)) == kept
            except (TypeError, ValueError, AttributeError):  # not even of its type
                same = False
            if not same:
                yield n, bytes(sealed[0] or b"").decode(errors="replace")


def _decoded(sealed: Sequence[Any]) -> list[Any]:
    return [value.decode() if isinstance(value, bytes) else value for value in sealed]


def _is_object(text: bytes) -> bool:
    """Whether this is a JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _unit(data: bytes, dim: int) -> bytes | None:
    """Windows of unit length as bytes, scaled if need be; None for what cannot be scaled."""
    if not dim or not isinstance(data, bytes) or not data or len(data) % (STORED.itemsize * dim):
        return None
    rows = floats(data).reshape(-1, dim)
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not (norms > 0).all():
        return None
    if np.abs(norms - 1).max() <= UNIT:
        return data
    return halves(rows / norms)
