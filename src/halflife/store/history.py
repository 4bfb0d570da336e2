"""Operations, what they changed, and how one is taken back.

Every write is an operation. Before a row changes, the columns that will change are kept in `change`, so that
the operation can be undone, and the undoing undone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from halflife.errors import InvalidInput, NothingToUndo, UnknownTrace
from halflife.store import seal
from halflife.store.draft import Draft
from halflife.store.protocol import Event, Why
from halflife.store.rows import halves
from halflife.store.text import term_bytes
from halflife.store.trace import Space

FINAL = ("forget", "reembed", "recall", "repair")


def begin(db: sqlite3.Connection, why: Why, now: float, space: int | None, count: int, first: int = 0) -> int:
    """Open an operation and return its number. `first`: the traces it adds are numbered from here."""
    cursor = db.execute(
        "INSERT INTO operation (kind, space, at, actor, reason, count, first) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (why.kind, space, now, why.actor, why.reason, count, first),
    )
    return int(cursor.lastrowid or 0)


def next_number(db: sqlite3.Connection) -> int:
    """The number of the next trace: above all that ever were, so that none is used twice."""
    return 1 + (db.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'trace'").fetchone()[0] or 0)


def created_by(db: sqlite3.Connection, op: int) -> list[int]:
    """The traces that an operation added and that are still there."""
    sql = """SELECT n FROM trace, operation WHERE op = ? AND first > 0 AND n >= first AND n < first + count
             AND created = op"""
    return [n for (n,) in db.execute(sql, (op,))]


def modify(
    db: sqlite3.Connection,
    op: int,
    n: int,
    columns: Mapping[str, Any],
    *,
    vectors: NDArray[np.float32] | None = None,
    vector: bytes | None = None,
    new_version: bool = False,
) -> None:
    """Set columns of a row, keeping what they were. A new text brings its words, digest and vectors.

    `sources`, the numbers of what the trace was derived from, counts as a column.
    """
    columns = dict(columns)
    sources = columns.pop("sources", None)
    sealed = not columns.keys().isdisjoint(seal.SEALED)
    if sealed:
        seal.check_row(db, n)  # or damage would be sealed with the change
    if vectors is not None:
        vector = halves(vectors)
    if "text" in columns or "role" in columns:
        kind, text, role = db.execute("SELECT kind, text, role FROM trace WHERE n = ?", (n,)).fetchone()
        payload = db.execute("SELECT data FROM payload WHERE n = ?", (n,)).fetchone()
        draft = Draft(
            columns.get("text", text), 0.0, role=columns.get("role", role), kind=kind, payload=payload and payload[0]
        )
        columns |= {"digest": draft.digest(), "terms": term_bytes(draft.text)}
    if new_version:
        columns["version"] = 1 + db.execute("SELECT version FROM trace WHERE n = ?", (n,)).fetchone()[0]
    kept = [name for name in columns if name not in ("digest", "terms")]
    before: dict[str, Any] = {}
    if kept:
        values = db.execute(f"SELECT {', '.join(kept)} FROM trace WHERE n = ?", (n,)).fetchone()
        before = dict(zip(kept, values, strict=True))
    if sources is not None:
        before["sources"] = _set_sources(db, n, sources)
    old = db.execute("SELECT data FROM vector WHERE n = ?", (n,)).fetchone() if vector is not None else None
    kept_text, kept_vector = json.dumps(before, ensure_ascii=False), old and old[0]
    db.execute(
        "INSERT INTO change VALUES (?, ?, ?, ?, ?)",
        (op, n, kept_text, kept_vector, seal.of_change(kept_text, kept_vector)),
    )
    try:
        db.execute(
            f"UPDATE trace SET {''.join(f'{name} = ?, ' for name in columns)}changed = ? WHERE n = ?",
            (*columns.values(), op, n),
        )
    except sqlite3.IntegrityError:
        raise InvalidInput(
            "Another memory of this space says the same already.", "Forget or update that one."
        ) from None
    if sealed:
        seal.reseal(db, n)
    if vector is not None:
        db.execute("INSERT OR REPLACE INTO vector VALUES (?, ?, ?)", (n, vector, crc32(vector)))


def _set_sources(db: sqlite3.Connection, n: int, sources: Sequence[int]) -> list[int]:
    """Say what a trace was derived from; what it was before. A source that was erased meanwhile does not come back."""
    before = [s for (s,) in db.execute("SELECT source FROM source WHERE derived = ? ORDER BY source", (n,))]
    db.execute("DELETE FROM source WHERE derived = ?", (n,))
    db.executemany(
        "INSERT OR IGNORE INTO source SELECT ?, n FROM trace WHERE n = ? AND n <> ?", [(n, s, n) for s in sources]
    )
    return before


def drop_vectors(db: sqlite3.Connection) -> None:
    """Forget the vectors of older versions: another embedder made them."""
    for op, n, before in db.execute("SELECT op, n, before FROM change WHERE vector IS NOT NULL").fetchall():
        db.execute(
            "UPDATE change SET vector = NULL, seal = ? WHERE op = ? AND n = ?", (seal.of_change(before, None), op, n)
        )


def undo(db: sqlite3.Connection, op: int, why: Why, now: float) -> Event:
    """Put back what an operation changed, and retire what it added. Links of an undone operation do not count."""
    row = db.execute("SELECT kind, space, undone_by FROM operation WHERE op = ?", (op,)).fetchone()
    if row is None:
        raise NothingToUndo(f"There is no operation {op}.", "See: halflife history")
    kind, space, undone_by = row
    if kind in FINAL:
        raise NothingToUndo(f"Operation {op} is a {kind}, which cannot be undone.")
    if undone_by is not None:
        raise NothingToUndo(f"Operation {op} was undone already, by operation {undone_by}.")
    _check_nothing_later(db, op)
    changes = _kept(db, "op", op)
    created = _active(db, created_by(db, op))
    new = begin(db, why, now, space, len(changes) + len(created))
    for _, n, before, vector in changes:
        if db.execute("SELECT 1 FROM trace WHERE n = ?", (n,)).fetchone():
            modify(db, new, n, json.loads(before), vector=vector)
    for n in created:
        modify(db, new, n, {"status": "retired", "retired_at": now})
    db.execute("UPDATE operation SET undone_by = ? WHERE op = ?", (new, op))
    db.execute("UPDATE operation SET undone_by = NULL WHERE undone_by = ?", (op,))  # undoing an undo
    return _event(db, new)


def _kept(db: sqlite3.Connection, column: str, value: int) -> list[tuple[int, int, str, bytes | None]]:
    """The older versions that one operation, or of one trace, kept: operation, number, fields, vectors."""
    rows = db.execute(f"SELECT op, n, before, vector, seal FROM change WHERE {column} = ?", (value,)).fetchall()
    for op, _, before, vector, kept in rows:
        seal.check_change(kept, op, before, vector)
    return [row[:-1] for row in rows]


def _active(db: sqlite3.Connection, ns: Sequence[int]) -> list[int]:
    sql = "SELECT n FROM trace WHERE n = ? AND status <> 'retired'"
    return [n for n in ns if db.execute(sql, (n,)).fetchone()]


def _check_nothing_later(db: sqlite3.Connection, op: int) -> None:
    """An operation is taken back only if nothing was built on it since."""
    touched = {n for (n,) in db.execute("SELECT n FROM change WHERE op = ?", (op,))} | set(created_by(db, op))
    later = None
    rows = db.execute(
        """SELECT later.op, n FROM change AS later JOIN operation USING (op)
           WHERE later.op > ? AND undone_by IS NULL AND kind <> 'undo' ORDER BY later.op DESC""",
        (op,),
    ).fetchall()  # an error that is kept would keep a half-read cursor, and that a lock
    for later_op, n in rows:
        if n in touched:
            later = later_op
            break
    if later is not None:
        raise NothingToUndo(f"Operation {later} changed the same memories later.", f"Undo {later} first.")


_OPERATION = (
    "SELECT operation.op, operation.kind, operation.at, actor, reason, count, undone_by, space.name "
    "FROM operation LEFT JOIN space ON space.id = operation.space"
)


def _event(db: sqlite3.Connection, op: int) -> Event:
    return Event(*db.execute(f"{_OPERATION} WHERE op = ?", (op,)).fetchone())


def operations(db: sqlite3.Connection, space: Space | None, limit: int) -> list[Event]:
    """The latest operations, newest first; recalls are left out."""
    where, args = ("AND space.name = ?", [space.name]) if space else ("", [])
    rows = db.execute(f"{_OPERATION} WHERE operation.kind <> 'recall' {where} ORDER BY op DESC LIMIT ?", [*args, limit])
    return [Event(*row) for row in rows]


def of_trace(db: sqlite3.Connection, id: str) -> list[Event]:
    """All that happened to one trace, oldest first."""
    row = db.execute("SELECT n, created FROM trace WHERE id = ?", (id,)).fetchone()
    if row is None:
        raise UnknownTrace(f"No memory has the id {id}.", "List what is there: halflife list")
    n, created = row
    befores = {op: before for op, _, before, _ in _kept(db, "n", n)}
    met = {op for (op,) in db.execute("SELECT op FROM met WHERE n = ?", (n,))}
    events = []
    for op in sorted({created, *befores, *met}):
        event = _event(db, op)
        before = json.loads(befores.get(op, "{}"))
        kind = "met" if op in met and event.kind not in ("recall",) and op != created else event.kind
        events.append(
            Event(op, kind, event.at, event.actor, event.reason, event.count, event.undone_by, event.space, id, before)
        )
    return events
