"""Traces as they were elsewhere, written back exactly: ids, times, state, versions and statuses included.

`SqliteStore.add` records something new; this puts back something old. Both leave an operation in the history.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from halflife.errors import InvalidInput
from halflife.store import history, seal
from halflife.store.draft import Draft, metadata_json
from halflife.store.protocol import Why
from halflife.store.rows import PAYLOAD, TRACE, chunks, halves, marks, new_rows, read_payload
from halflife.store.sqlite import SqliteStore
from halflife.store.trace import Space, Trace

_COLUMNS = (*TRACE, "retired_at", "version", "status")
_PAGE = 4096  # traces whose links are read at once
_INSERT = f"INSERT INTO trace ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"


@dataclass(frozen=True)
class Record:
    """A trace with what lies beside it: vectors [windows, dim] and the bytes of its tensors.

    Raises `InvalidInput` for what a store cannot hold.
    """

    trace: Trace
    vectors: NDArray[np.float32] | None = None
    payload: bytes | None = None

    def __post_init__(self) -> None:
        self.draft()
        metadata_json(self.trace.metadata)

    def draft(self) -> Draft:
        """What a caller would write to make this trace."""
        t = self.trace
        return Draft(
            t.text, t.at, self.vectors, t.role, t.agent_id, t.session_id, t.metadata, t.importance, t.layer, t.kind,
            t.valid_from, t.valid_to, t.sources, t.system, self.payload, t.id, t.state,
        )  # fmt: skip


class Present(NamedTuple):
    """A trace that is in the store already."""

    id: str
    space: str
    digest: bytes
    last_used: float


def present(store: SqliteStore, ids: Sequence[str]) -> dict[str, Present]:
    """Which of these ids are taken, and by what."""
    found: dict[str, Present] = {}
    for part in chunks(list(ids)):
        for row in store.db.all(f"{_PRESENT} WHERE trace.id IN ({marks(part)})", *part):
            found[row[0]] = Present(*row)
    return found


def same(store: SqliteStore, space: Space, digests: Sequence[bytes]) -> dict[bytes, Present]:
    """What a space holds already of these contents, by digest."""
    found: dict[bytes, Present] = {}
    for part in chunks(list(digests)):
        where = f"WHERE space.name = ? AND digest IN ({marks(part)}) AND status <> 'retired'"
        for row in store.db.all(f"{_PRESENT} {where}", space.name, *part):
            found[row[2]] = Present(*row)
    return found


_PRESENT = "SELECT trace.id, space.name, digest, last_used FROM trace JOIN space ON space.id = trace.space"


def insert(store: SqliteStore, space: Space, records: Sequence[Record], why: Why, now: float) -> int:
    """Write records as they are, without their sources (see `relate`). Returns the operation's number.

    Raises `InvalidInput` if an id is taken, or if the space says the same already.
    """
    drafts = [record.draft() for record in records]
    with store.db.write() as db:
        db.execute("INSERT OR IGNORE INTO space (name) VALUES (?)", (space.name,))
        space_id = int(store.space_id(space) or 0)
        n0 = history.next_number(db)
        op = history.begin(db, why, now, space_id, len(records), first=n0)
        rows = new_rows(drafts, [draft.digest() for draft in drafts], n0, (space_id, space.name), op, now, store.law)
        for row, record in zip(rows, records, strict=True):
            t = record.trace
            columns = dict(zip(TRACE, row, strict=True)) | {"recorded_at": t.recorded_at, "last_used": t.last_used}
            columns["seal"] = seal.of_trace(columns["n"], space.name, [columns[name] for name in seal.SEALED])
            taken = db.execute(
                "SELECT 1 FROM trace WHERE id = ?1 "
                "OR (space = ?2 AND digest = ?3 AND status <> 'retired' AND ?4 <> 'retired')",
                (t.id, space_id, columns["digest"], t.status),
            ).fetchone()
            if taken:
                raise InvalidInput(f"The memory {t.id} is in the store already.")
            db.execute(_INSERT, (*columns.values(), t.retired_at, t.version, t.status))
            if record.vectors is not None:
                data = halves(record.vectors)
                db.execute("INSERT INTO vector VALUES (?, ?, ?)", (columns["n"], data, crc32(data)))
            if record.payload is not None:
                db.execute("INSERT INTO payload VALUES (?, ?)", (columns["n"], record.payload))
    return op


def relate(store: SqliteStore, sources: Sequence[tuple[str, str]]) -> None:
    """Say from which traces others were derived: pairs (derived, source) of ids that are there."""
    with store.db.write() as db:
        db.executemany(
            "INSERT OR IGNORE INTO source SELECT d.n, s.n FROM trace AS d, trace AS s WHERE d.id = ? AND s.id = ?",
            sources,
        )


def connect(
    store: SqliteStore, links: Sequence[tuple[str, str, str, float]], why: Why, now: float
) -> tuple[int | None, int]:
    """Write those links (id, id, kind, weight) that are not there yet. Returns the operation, if any, and how many."""
    with store.db.write() as db:
        new = [link for link in links if link[0] != link[1] and not db.execute(_LINKED, link[:3]).fetchone()]
        if not new:
            return None, 0
        op = history.begin(db, why, now, None, len(new))
        before = db.total_changes
        db.executemany(
            "INSERT OR IGNORE INTO link (a, b, kind, weight, op) "
            "SELECT min(a.n, b.n), max(a.n, b.n), ?3, ?4, ?5 FROM trace AS a, trace AS b WHERE a.id = ?1 AND b.id = ?2",
            [(*link, op) for link in new],
        )
        return op, db.total_changes - before


# The view `live_link`, looked up by its key: SQLite would read the whole view for each.
_LINKED = """SELECT 1 FROM trace AS x, trace AS y JOIN link ON a = min(x.n, y.n) AND b = max(x.n, y.n)
    JOIN operation USING (op) WHERE x.id = ?1 AND y.id = ?2 AND link.kind = ?3 AND undone_by IS NULL"""


def payloads(store: SqliteStore, ids: Sequence[str]) -> dict[str, bytes]:
    """The tensors of those traces that have some, as safetensors bytes."""
    found: dict[str, bytes] = {}
    for part in chunks(list(ids)):
        rows = store.db.all(f"{PAYLOAD} WHERE id IN ({marks(part)})", *part)
        found.update((row[0], read_payload(row)) for row in rows)
    return found


def links(store: SqliteStore, space: Space | None) -> Iterator[tuple[str, str, str, float]]:
    """Every link, of one space or all: the ids of both ends, kind and weight."""
    where = "" if space is None else "AND x.space = (SELECT id FROM space WHERE name = ?)"
    sql = (  # the view `live_link`, page by page
        "SELECT x.id, y.id, link.kind, weight, max(op) FROM link JOIN operation USING (op) JOIN trace AS x ON x.n = a "
        f"JOIN trace AS y ON y.n = b WHERE undone_by IS NULL AND a BETWEEN ? AND ? {where} "
        "GROUP BY a, b, link.kind ORDER BY a, b, link.kind"
    )
    last = int(store.db.one("SELECT max(a) FROM link") or 0)
    for start in range(0, last + 1, _PAGE):
        for x, y, kind, weight, _ in store.db.all(sql, start, start + _PAGE - 1, *([space.name] if space else [])):
            yield x, y, kind, weight
