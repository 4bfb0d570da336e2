"""The tables, and how an older store becomes a newer one.

A migration is a function of an open connection, in `MIGRATIONS`; the store's format is how many have run
(`PRAGMA user_version`). A migration is never edited after a release: a change is a new one at the end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from zlib import crc32

import numpy as np

from halflife.store.seal import TABLES, of_change, seal_all

APPLICATION_ID = 0x48414C46  # "HALF": tells a Halflife store from any other SQLite file


def _initial(db: sqlite3.Connection) -> None:
    """Traces with all that belongs to one of them in rows of its own, so that erasing is deleting rows."""
    for statement in (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE space (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE)",
        """CREATE TABLE operation (
            op INTEGER PRIMARY KEY AUTOINCREMENT, -- also the clock by which readers see what changed
            kind TEXT NOT NULL, space INTEGER, at REAL NOT NULL, actor TEXT NOT NULL DEFAULT '',
            reason TEXT NOT NULL DEFAULT '', count INTEGER NOT NULL DEFAULT 0, undone_by INTEGER,
            first INTEGER NOT NULL DEFAULT 0) -- of an addition: the traces it made are numbered from here""",
        """CREATE TABLE trace (
            n INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice, so that an index cannot mix up two traces
            id TEXT NOT NULL UNIQUE, space INTEGER NOT NULL REFERENCES space(id), digest BLOB NOT NULL,
            kind TEXT NOT NULL, text TEXT NOT NULL, at REAL NOT NULL, valid_from REAL, valid_to REAL,
            recorded_at REAL NOT NULL, retired_at REAL, agent_id TEXT, session_id TEXT, role TEXT,
            metadata TEXT NOT NULL DEFAULT '{}', importance REAL NOT NULL, layer TEXT NOT NULL,
            system TEXT NOT NULL DEFAULT '', version INTEGER NOT NULL DEFAULT 1,
            status TEXT NOT NULL DEFAULT 'active', terms BLOB NOT NULL,
            created INTEGER NOT NULL, changed INTEGER NOT NULL, -- operations
            last_used REAL NOT NULL, stability REAL NOT NULL, difficulty REAL NOT NULL, uses REAL NOT NULL,
            lapses REAL NOT NULL, span REAL NOT NULL)""",
        "CREATE UNIQUE INDEX trace_same ON trace (space, digest) WHERE status <> 'retired'",
        "CREATE INDEX trace_changed ON trace (space, changed)",
        "CREATE TABLE vector (n INTEGER PRIMARY KEY, data BLOB NOT NULL) -- [windows, dim], see rows.halves",
        "CREATE TABLE payload (n INTEGER PRIMARY KEY, data BLOB NOT NULL) -- safetensors",
        """CREATE TABLE source (derived INTEGER NOT NULL, source INTEGER NOT NULL,
            PRIMARY KEY (derived, source)) WITHOUT ROWID""",
        "CREATE INDEX source_of ON source (source)",
        """CREATE TABLE link (a INTEGER NOT NULL, b INTEGER NOT NULL, kind TEXT NOT NULL,
            op INTEGER NOT NULL, weight REAL NOT NULL, PRIMARY KEY (a, b, kind, op)) WITHOUT ROWID""",
        "CREATE INDEX link_back ON link (b)",
        # Of several links of a kind between two traces, the last that was not taken back counts.
        """CREATE VIEW live_link AS SELECT a, b, link.kind, weight, max(op) AS op FROM link JOIN operation USING (op)
            WHERE undone_by IS NULL GROUP BY a, b, link.kind""",
        """CREATE TABLE change (op INTEGER NOT NULL, n INTEGER NOT NULL, before TEXT NOT NULL, vector BLOB,
            PRIMARY KEY (op, n)) WITHOUT ROWID -- what a row was before an operation""",
        "CREATE INDEX change_of ON change (n)",
        "CREATE TABLE met (n INTEGER NOT NULL, op INTEGER NOT NULL, PRIMARY KEY (n, op)) WITHOUT ROWID",
        """CREATE TABLE erased (op INTEGER NOT NULL, n INTEGER NOT NULL, space INTEGER NOT NULL,
            id TEXT NOT NULL, PRIMARY KEY (op, n)) WITHOUT ROWID -- that it was here, not what it was""",
    ):
        db.execute(statement)


def _seals(db: sqlite3.Connection) -> None:
    """Checksums, by which damage to the file is seen (`halflife.store.seal`)."""
    for table in TABLES:
        db.execute(f"ALTER TABLE {table} ADD COLUMN seal INTEGER")
    seal_all(db)


def halve(db: sqlite3.Connection) -> None:
    """Vectors in 16 bits a number instead of 32. One that was damaged keeps a seal that is not its own."""
    for op, n, before, data, kept in db.execute(
        "SELECT op, n, before, vector, seal FROM change WHERE vector IS NOT NULL"
    ).fetchall():
        half, wrong = _half(data), of_change(before, data) != kept
        db.execute(
            "UPDATE change SET vector = ?, seal = ? WHERE op = ? AND n = ?",
            (half, of_change(before, half) + wrong, op, n),
        )
    db.create_function("half", 1, _half, deterministic=True)
    db.create_function("crc32", 1, crc32, deterministic=True)
    db.execute(
        "UPDATE vector SET data = half(data), seal = crc32(half(data)) + (seal IS NOT crc32(data)) "
        "WHERE typeof(data) = 'blob'"
    )


def _half(data: bytes) -> bytes:
    if len(data) % 4:
        return data  # cut short: the doctor says so
    with np.errstate(all="ignore"):  # a damaged number may be any
        return np.frombuffer(data, np.float32).astype(np.float16).tobytes()


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_initial, _seals, halve)
