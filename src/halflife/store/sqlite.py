"""The default store: one SQLite file.

All that belongs to a trace (its text, words, vectors, versions, links) lies in rows keyed by its number `n`,
so a write is one transaction, and erasing is deleting rows. Search structures are working memory derived from
these rows (`working_set`): a process reads them once and then follows `feed`, the rows changed since.

A count of operations is the clock: every write gets the next number in the order of commits, whatever the
process, so that a reader that has seen operation 41 asks for what changed after it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from halflife.decay.law import GOOD, Law
from halflife.errors import EmbedderMismatch, InvalidInput, UnknownTrace
from halflife.store import history, seal
from halflife.store.connection import MEMORY, Database
from halflife.store.draft import Draft
from halflife.store.filters import Filter
from halflife.store.protocol import RECALL, Added, Event, Feed, Ints, Pulse, Why
from halflife.store.rows import (
    INSERT_NEW,
    LINKS_OF,
    PAYLOAD,
    READ,
    STATE,
    chunks,
    columns_of,
    floats,
    halves,
    marks,
    new_rows,
    onward,
    read_payload,
    read_trace,
    sources_of,
    state_of,
)
from halflife.store.trace import Space, Status, Trace, new_ids

_FEED = ("n", "version", "at", "last_used", *STATE, "importance", "created")
_PULSE = """
    SELECT (SELECT id FROM space WHERE name = ?), (SELECT value FROM meta WHERE key = 'embedder'),
           (SELECT max(seq) FROM sqlite_sequence WHERE name = 'operation')"""
_FRESH = (
    "created > ? OR n IN (SELECT n FROM change WHERE op > ?) "
    "OR EXISTS (SELECT 1 FROM operation WHERE kind = 'reembed' AND op > ?)"
)


class SqliteStore:
    """A durable store of traces in one SQLite file, shared by threads and processes.

    Parameters
    ----------
    path: the file, made if missing, or `:memory:`.
    law: the law of forgetting by which a recall strengthens a trace.
    timeout: seconds to wait for another process that writes.
    synchronous: `FULL` survives power loss; `NORMAL` survives a crash of the process and is faster.
    must_exist: refuse to make a new file.
    key: of an encrypted file; see `halflife.store.encryption`.

    Examples
    --------
    >>> from halflife.decay import FSRS6
    >>> store = SqliteStore(law=FSRS6())
    >>> anna = Space.of(user_id="anna")
    >>> [added] = store.add(anna, [Draft("I moved to Lisbon.", at=0.0)], Why("add"), now=0.0)
    >>> store.get([added.id])[0].text
    'I moved to Lisbon.'
    >>> store.close()
    """

    def __init__(
        self,
        path: str | Path = MEMORY,
        *,
        law: Law,
        timeout: float = 30.0,
        synchronous: str = "FULL",
        must_exist: bool = False,
        key: str | bytes | None = None,
    ) -> None:
        self.db = Database(path, timeout=timeout, synchronous=synchronous, must_exist=must_exist, key=key)
        self.path = self.db.path
        self.law = law

    # -- identity ---------------------------------------------------------------------------------------------

    def bind(self, fingerprint: str, dim: int) -> None:
        """Remember the embedder at the first use; refuse another one later. Raises `EmbedderMismatch`."""
        if self.embedder() is None:
            with self.db.write() as db:
                db.execute("INSERT OR IGNORE INTO meta VALUES ('embedder', ?)", (f"{fingerprint}|{dim}",))
        self.require(fingerprint, dim)

    def require(self, fingerprint: str, dim: int) -> int:
        """Refuse an embedder other than the store's. Returns the dimension of its vectors, 0 if it has none yet."""
        return self.agree(self.embedder(), fingerprint, dim)

    def agree(self, known: tuple[str, int] | None, fingerprint: str, dim: int) -> int:
        """The same, where the store's embedder is known."""
        if known is not None and known != (fingerprint, dim):
            raise EmbedderMismatch(
                f"{self.path} was made with the embedder {known[0]} ({known[1]} dimensions); "
                f"this one is {fingerprint} ({dim} dimensions).",
                f"Open it with the first, or convert it: halflife reembed --db {self.path}",
            )
        return 0 if known is None else dim

    def embedder(self) -> tuple[str, int] | None:
        """Fingerprint and dimension of the embedder that the store was made with, once it has vectors."""
        return _embedder(self.db.meta("embedder"))

    def pulse(self, space: Space) -> Pulse:
        """What a reader asks before every search, in one query."""
        [(space_id, embedder, op)] = self.db.all(_PULSE, space.name)
        return Pulse(space_id, _embedder(embedder), op or 0)

    def identity(self) -> str:
        """A random name given to the store when it was made, by which derived files know theirs."""
        known = self.db.meta("store")
        if known is None:
            with self.db.write() as db:
                db.execute("INSERT OR IGNORE INTO meta VALUES ('store', ?)", (new_ids(1)[0],))
            known = self.db.meta("store")
        return str(known)

    def space_id(self, space: Space) -> int | None:
        """The number of a space, or None if nothing was ever written there."""
        found = self.db.one("SELECT id FROM space WHERE name = ?", space.name)
        return None if found is None else int(found)

    def spaces(self) -> list[tuple[Space, int]]:
        """Every space with the number of its active traces."""
        active = "SELECT count(*) FROM trace WHERE space = space.id AND status = 'active'"
        rows = self.db.all(f"SELECT name, ({active}) FROM space ORDER BY name")
        return [(Space(name), count) for name, count in rows]

    # -- writing ----------------------------------------------------------------------------------------------

    def add(
        self,
        space: Space,
        drafts: Sequence[Draft],
        why: Why,
        now: float,
        embedder: tuple[str, int] | None = None,
    ) -> list[Added]:
        """Write traces in one transaction. What is there already is met again: reinforced, not doubled.

        `embedder`, the fingerprint and dimension behind the drafts' vectors, must be the store's if it has one.
        """
        if not drafts:
            return []
        digests = [draft.digest() for draft in drafts]
        with self.db.write() as db:
            self._check_embedder(drafts, embedder)
            space_id = self._make_space(db, space)
            n0 = history.next_number(db)
            op = history.begin(db, why, now, space_id, len(drafts), first=n0)
            rows = new_rows(drafts, digests, n0, (space_id, space.name), op, now, self.law)
            before = db.total_changes
            try:
                db.executemany(INSERT_NEW, rows)
            except sqlite3.IntegrityError as error:
                raise InvalidInput(f"A trace with this id exists already ({error}).") from None
            if db.total_changes - before == len(rows):
                added = [Added(row[1], row[0], "add") for row in rows]
            else:
                added = self._resolve(db, space_id, op, drafts, digests, rows, now)
            self._attach(db, space_id, drafts, added)
        return added

    def _make_space(self, db: sqlite3.Connection, space: Space) -> int:
        found = db.execute("SELECT id FROM space WHERE name = ?", (space.name,)).fetchone()
        if found:
            return int(found[0])
        return int(db.execute("INSERT INTO space (name) VALUES (?)", (space.name,)).lastrowid or 0)

    def _check_embedder(self, drafts: Sequence[Draft], embedder: tuple[str, int] | None) -> None:
        dims = {draft.vectors.shape[1] for draft in drafts if draft.vectors is not None}
        if not dims:
            return
        known = self.embedder()
        if embedder is not None and known != embedder:
            self.bind(*embedder)
            known = embedder
        if known is None or dims != {known[1]}:
            raise EmbedderMismatch(
                f"A vector has {sorted(dims)} dimensions; the store holds {known[1] if known else 'none yet'}.",
                "Give the embedder that made it when opening the memory.",
            )

    def _resolve(
        self,
        db: sqlite3.Connection,
        space: int,
        op: int,
        drafts: Sequence[Draft],
        digests: Sequence[bytes],
        rows: Sequence[tuple[Any, ...]],
        now: float,
    ) -> list[Added]:
        """Some drafts were there before, or twice among themselves: those traces are met again."""
        new = set(history.created_by(db, op))
        added = []
        for draft, digest, row in zip(drafts, digests, rows, strict=True):
            if row[0] in new:
                added.append(Added(row[1], row[0], "add"))
                continue
            n, id, status = db.execute(
                "SELECT n, id, status FROM trace WHERE space = ? AND digest = ? AND status <> 'retired'",
                (space, digest),
            ).fetchone()
            if status == "archived":
                history.modify(db, op, n, {"status": "active"})
            elif status == "merged":
                n, id = self._survivor(db, n, id)
            self._strengthen(db, op, [n], min(draft.at, now), GOOD)
            added.append(Added(id, n, "met"))
        return added

    def _survivor(self, db: sqlite3.Connection, n: int, id: str) -> tuple[int, str]:
        """The trace that a merged one went into, directly or not."""
        seen = {n}
        while True:
            found = db.execute(
                "SELECT n, id, status FROM live_link JOIN trace ON n = CASE a WHEN ?1 THEN b ELSE a END "
                "WHERE (a = ?1 OR b = ?1) AND live_link.kind = 'merged into'",
                (n,),
            ).fetchall()
            found = [row for row in found if row[0] not in seen]
            if not found:
                return n, id
            n, id, status = min(found, key=lambda row: row[2] != "active")
            seen.add(n)
            if status == "active":
                return n, id

    def _attach(self, db: sqlite3.Connection, space: int, drafts: Sequence[Draft], added: Sequence[Added]) -> None:
        """Vectors, payloads and sources of the new traces."""
        new = [(d, a.n) for d, a in zip(drafts, added, strict=True) if a.event == "add"]
        vectors = [(n, halves(d.vectors)) for d, n in new if d.vectors is not None]
        db.executemany("INSERT INTO vector VALUES (?, ?, ?)", [(n, data, crc32(data)) for n, data in vectors])
        if payloads := [(n, d.payload) for d, n in new if d.payload is not None]:
            db.executemany("INSERT INTO payload VALUES (?, ?)", payloads)
        for draft, n in new:
            if draft.sources:
                ns = self._numbers(db, draft.sources, space)
                db.executemany("INSERT INTO source VALUES (?, ?)", [(n, source) for source in dict.fromkeys(ns)])

    def _numbers(self, db: sqlite3.Connection, ids: Sequence[str], space: int | None = None) -> list[int]:
        found: dict[str, int] = {}
        for part in chunks(list(ids)):
            sql = f"SELECT id, n FROM trace WHERE id IN ({marks(part)})"
            if space is not None:
                sql += f" AND space = {space}"
            found.update(db.execute(sql, part).fetchall())
        missing = [id for id in ids if id not in found]
        if missing:
            raise UnknownTrace(f"No memory has the id {missing[0]}.", "List what is there: halflife list")
        return [found[id] for id in ids]

    def update(
        self, id: str, changes: Mapping[str, Any], vectors: NDArray[np.float32] | None, why: Why, now: float
    ) -> Trace:
        """Make a new version of a trace; the old one stays in its history. Raises `UnknownTrace`."""
        with self.db.write() as db:
            [n] = self._numbers(db, [id])
            op = history.begin(db, why, now, self._space_of(db, n), 1)
            history.modify(db, op, n, self._columns(db, n, changes), vectors=vectors, new_version=True)
        return self.get([id])[0]

    def _columns(self, db: sqlite3.Connection, n: int, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Changes as columns; sources, which must be of the same space, as their numbers."""
        columns = columns_of({name: value for name, value in changes.items() if name != "sources"})
        if "sources" in changes:
            columns["sources"] = self._numbers(db, changes["sources"], self._space_of(db, n))
        return columns

    def _space_of(self, db: sqlite3.Connection, n: int) -> int:
        return int(db.execute("SELECT space FROM trace WHERE n = ?", (n,)).fetchone()[0])

    def set_status(self, ids: Sequence[str], status: Status, why: Why, now: float) -> int:
        """Archive, merge, retire or revive traces, as one operation that can be undone."""
        return self.revise([(id, {"status": status}) for id in dict.fromkeys(ids)], why, now)

    def revise(self, changes: Sequence[tuple[str, Mapping[str, Any]]], why: Why, now: float) -> int:
        """Change fields of many traces (not their text) as one operation. Returns its number."""
        with self.db.write() as db:
            ns = self._numbers(db, [id for id, _ in changes])
            op = history.begin(db, why, now, self._space_of(db, ns[0]) if ns else None, len(ns))
            for n, (_, change) in zip(ns, changes, strict=True):
                columns = self._columns(db, n, change)
                if columns.get("status") == "retired":
                    columns["retired_at"] = now
                history.modify(db, op, n, columns)
        return op

    def reinforce(self, ids: Sequence[str], now: float, grade: int = GOOD, why: Why = RECALL) -> int:
        """Strengthen (or with grade 1 weaken) traces by the law, from what the store holds at this moment."""
        if not ids:
            return 0
        with self.db.write(durable=False) as db:
            ns = [n for part in chunks(list(ids)) for (n,) in db.execute(
                f"SELECT n FROM trace WHERE id IN ({marks(part)})", part)]  # fmt: skip
            op = history.begin(db, why, now, self._space_of(db, ns[0]) if ns else None, len(ns))
            self._strengthen(db, op, ns, now, grade)
        return op

    def _strengthen(self, db: sqlite3.Connection, op: int, ns: Sequence[int], now: float, grade: int) -> None:
        sql = f"SELECT n, last_used, {', '.join(STATE)} FROM trace WHERE n IN ({marks(ns)})"
        rows = db.execute(sql, list(ns)).fetchall()
        elapsed = np.maximum(now - np.array([row[1] for row in rows]), 0.0)
        state = self.law.reinforce(state_of(row[2:] for row in rows), elapsed, grade)
        columns = [np.broadcast_to(np.asarray(getattr(state, name), float), elapsed.shape) for name in STATE]
        last = np.maximum([row[1] for row in rows], now)
        db.executemany(
            f"UPDATE trace SET {', '.join(f'{name} = ?' for name in STATE)}, last_used = ?, changed = ? WHERE n = ?",
            [(*map(float, values), float(t), op, row[0]) for row, t, *values in zip(rows, last, *columns, strict=True)],
        )
        db.executemany("INSERT OR IGNORE INTO met VALUES (?, ?)", [(row[0], op) for row in rows])

    def link(self, pairs: Sequence[tuple[str, str, float]], kind: str, why: Why, now: float) -> int:
        """Link traces of one space, symmetrically, with a weight in (0, 1]. Returns the operation's number."""
        with self.db.write() as db:
            a = self._numbers(db, [pair[0] for pair in pairs])
            b = self._numbers(db, [pair[1] for pair in pairs])
            spaces = {n: self._space_of(db, n) for n in {*a, *b}}
            if len(set(spaces.values())) > 1:
                raise InvalidInput("A link cannot join the memories of two spaces.")
            why = Why("link", why.actor, why.reason)  # the kind by which readers know that links changed
            op = history.begin(db, why, now, next(iter(spaces.values()), None), len(pairs))
            rows = [(min(x, y), max(x, y), kind, w, op) for x, y, (_, _, w) in zip(a, b, pairs, strict=True) if x != y]
            db.executemany("INSERT OR REPLACE INTO link (a, b, kind, weight, op) VALUES (?, ?, ?, ?, ?)", rows)
        return op

    def trim_recalls(self, space: Space, keep: int) -> int:
        """Drop from the history all but the latest recalls of each trace. Returns how many were dropped."""
        ranked = """SELECT n, op, row_number() OVER (PARTITION BY n ORDER BY op DESC) AS age
                    FROM met JOIN trace USING (n) WHERE space = ?"""
        with self.db.write() as db:
            old = db.execute(f"SELECT n, op FROM ({ranked}) WHERE age > ?", (self.space_id(space), keep)).fetchall()
            db.executemany("DELETE FROM met WHERE n = ? AND op = ?", old)
            db.execute(
                "DELETE FROM operation WHERE kind = 'recall' AND space = ? AND op NOT IN (SELECT op FROM met)",
                (self.space_id(space),),
            )
        return len(old)

    def reembed(
        self, fingerprint: str, dim: int, embed: Callable[[Sequence[str]], Sequence[NDArray[np.float32]]], now: float
    ) -> int:
        """Replace every vector by those of another embedder, in one transaction. Returns how many traces."""
        with self.db.write() as db:
            op = history.begin(db, Why("reembed", reason=fingerprint), now, None, 0)
            count, last = 0, 0
            while rows := db.execute(
                "SELECT n, text FROM trace WHERE n > ? AND text <> '' ORDER BY n LIMIT 512", (last,)
            ).fetchall():
                vectors = embed([text for _, text in rows])
                data = [(n, halves(v)) for (n, _), v in zip(rows, vectors, strict=True)]
                db.executemany(
                    "INSERT OR REPLACE INTO vector VALUES (?, ?, ?)", [(n, blob, crc32(blob)) for n, blob in data]
                )
                count, last = count + len(rows), onward(rows, last)
            db.execute("DELETE FROM vector WHERE n IN (SELECT n FROM trace WHERE text = '')")  # given with a payload
            db.execute("UPDATE trace SET version = version + 1, changed = ?", (op,))
            history.drop_vectors(db)
            db.execute("UPDATE operation SET count = ? WHERE op = ?", (count, op))
            db.execute("INSERT OR REPLACE INTO meta VALUES ('embedder', ?)", (f"{fingerprint}|{dim}",))
        return count

    # -- reading ----------------------------------------------------------------------------------------------

    def get(self, ids: Sequence[str], space: Space | None = None) -> list[Trace]:
        """Traces by id, in the order asked. Raises `UnknownTrace` for one that is not there (or not in `space`)."""
        by_id: dict[str, Trace] = {}
        with self.db.read() as db:
            for part in chunks(list(ids)):
                for trace in self._read(db, f"{READ} WHERE trace.id IN ({marks(part)})", part):
                    if space is None or trace.space == space:
                        by_id[trace.id] = trace
        for id in ids:
            if id not in by_id:
                raise UnknownTrace(f"No memory has the id {id}.", "List what is there: halflife list")
        return [by_id[id] for id in ids]

    def by_number(self, ns: Sequence[int]) -> dict[int, Trace]:
        """Traces by number; those that are gone are left out."""
        with self.db.read() as db:
            found: dict[int, Trace] = {}
            for part in chunks([int(n) for n in ns]):
                rows = db.execute(f"{READ} WHERE trace.n IN ({marks(part)})", part).fetchall()
                sources = sources_of(db, [row[0] for row in rows if row[-1]])
                found.update({row[0]: read_trace(row, sources.get(row[0], ())) for row in rows})
            return found

    def _read(self, db: sqlite3.Connection, sql: str, args: Sequence[Any]) -> list[Trace]:
        rows = db.execute(sql, args).fetchall()
        sources = sources_of(db, [row[0] for row in rows if row[-1]])
        return [read_trace(row, sources.get(row[0], ())) for row in rows]

    def find(self, space: Space, where: Filter, *, limit: int | None = None, offset: int = 0) -> list[Trace]:
        """Traces of a space, newest first."""
        sql, args = where.sql
        tail = f" WHERE {where.space} = (SELECT id FROM space WHERE name = ?) AND {sql}"
        tail += " ORDER BY at DESC, trace.n DESC LIMIT ? OFFSET ?"
        with self.db.read() as db:
            return self._read(db, READ + tail, [space.name, *args, -1 if limit is None else limit, offset])

    def match(self, space: Space, where: Filter) -> Ints:
        """Numbers of the traces of a space that a filter lets through."""
        sql, args = where.sql
        rows = self.db.all(f"SELECT n FROM trace WHERE {where.space} = ? AND {sql}", self.space_id(space), *args)
        return np.array([n for (n,) in rows], dtype=np.int64)

    def new_since(self, space: Space, op: int) -> Ints:
        """Numbers of the active traces of a space that are new, or say something new, since an operation."""
        sql = f"SELECT n FROM trace WHERE space = ? AND changed > ? AND status = 'active' AND ({_FRESH})"
        return np.array([n for (n,) in self.db.all(sql, self.space_id(space), op, op, op, op)], dtype=np.int64)

    def iterate(self, space: Space | None = None) -> Iterator[Trace]:
        """Every trace, oldest first, in one order and without loading all."""
        last = 0
        while True:
            sql = f"{READ} WHERE trace.n > ? {'AND space.name = ?' if space else ''} ORDER BY trace.n LIMIT 512"
            with self.db.read() as db:
                rows = db.execute(sql, (last, space.name) if space else (last,)).fetchall()
                sources = sources_of(db, [row[0] for row in rows if row[-1]])
            if not rows:
                return
            last = onward(rows, last)
            for row in rows:
                yield read_trace(row, sources.get(row[0], ()))

    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The stored vectors of traces, [windows, dim] each."""
        known = self.embedder()
        found: dict[str, NDArray[np.float32]] = {}
        for part in chunks(list(ids)):
            sql = f"SELECT id, data, vector.seal FROM trace JOIN vector USING (n) WHERE id IN ({marks(part)})"
            for id, data, kept in self.db.all(sql, *part):
                seal.check_vector(kept, id, data)
                found[id] = floats(data).reshape(-1, known[1] if known else 1)
        return found

    def vector_bytes(self, ns: Ints) -> dict[int, bytes]:
        """The vectors of traces by number, as they are stored: `rows.floats` reads them."""
        found: dict[int, bytes] = {}
        for part in chunks(ns.tolist()):
            found.update(self.db.all(f"SELECT n, data FROM vector WHERE n IN ({marks(part)})", *part))
        return found

    def payload(self, id: str) -> bytes:
        """The tensors of a trace, as safetensors bytes. Raises `UnknownTrace` if it has none."""
        rows = self.db.all(f"{PAYLOAD} WHERE id = ?", id)
        if not rows:
            raise UnknownTrace(f"{id} has no tensors.")
        return read_payload(rows[0])

    def links(self, space: Space, of: Sequence[int] | None = None) -> list[tuple[int, int, float]]:
        """The links within a space, or those of them that touch some traces: numbers of both ends, and weight."""
        if of is None:
            sql = "SELECT a, b, max(weight) FROM live_link JOIN trace ON n = a WHERE space = ? GROUP BY a, b"
            return self.db.all(sql, self.space_id(space))
        # Of several links of a kind the last that was not taken back counts, of several kinds the strongest.
        rows = {row for part in chunks(of) for row in self.db.all(LINKS_OF.format(marks(part)), *part, *part)}
        strongest = {(a, b): weight for a, b, _, _, weight in rows}
        if len(strongest) == len(rows):
            return [(a, b, weight) for (a, b), weight in strongest.items()]
        last = {(a, b, kind): (op, weight) for a, b, kind, op, weight in sorted(rows)}
        strongest = {}
        for (a, b, _), (_, weight) in last.items():
            strongest[a, b] = max(weight, strongest.get((a, b), 0.0))
        return [(a, b, weight) for (a, b), weight in strongest.items()]

    def last_op(self) -> int:
        """The number of the last operation: what a reader compares to know whether anything changed."""
        return int(self.db.one("SELECT max(seq) FROM sqlite_sequence WHERE name = 'operation'") or 0)

    def feed(
        self, space: Space, after: int, *, statuses: Sequence[Status] = ("active",), vectors_after: int = 0
    ) -> Feed:
        """What changed in a space after an operation; all of it for `after=0`.

        Vectors that were there at the operation `vectors_after` are left out: the caller has them in an index.
        """
        with self.db.read() as db:
            op = self.last_op()
            space_id = self.space_id(space)
            allowed = ",".join(f"'{status}'" for status in statuses)
            where = "space = ? AND changed > ?"
            rows = db.execute(
                f"SELECT {', '.join(_FEED)}, session_id, role, status IN ({allowed}) FROM trace "
                f"WHERE {where} ORDER BY n",
                (space_id, after),
            ).fetchall()
            content = db.execute(
                f"SELECT n, terms, CASE WHEN {_FRESH} THEN coalesce((SELECT data FROM vector WHERE n = trace.n), x'') "
                f"ELSE x'' END FROM trace WHERE {where} "
                f"AND status IN ({allowed}) AND ({_FRESH}) ORDER BY n",
                (vectors_after, vectors_after, vectors_after, space_id, after, after, after, after),
            ).fetchall() if rows else []  # fmt: skip
            relinked = db.execute(
                "SELECT 1 FROM operation WHERE op > ? AND kind IN ('link', 'undo', 'import') LIMIT 1", (after,)
            ).fetchone()
            gone = [n for (n,) in db.execute("SELECT n FROM erased WHERE space = ? AND op > ?", (space_id, after))]
        gone += [row[0] for row in rows if not row[-1]]
        live = [row for row in rows if row[-1]]
        fresh = {n for n, _, _ in content}
        columns = list(zip(*live, strict=True)) if live else [()] * (len(_FEED) + 3)
        return Feed(
            op,
            np.array(columns[0], dtype=np.int64),
            np.array([row[0] in fresh for row in live], dtype=np.bool_),
            {name: np.array(column, dtype=np.float64) for name, column in zip(_FEED, columns, strict=False)},
            columns[len(_FEED)],
            columns[len(_FEED) + 1],
            [terms for _, terms, _ in content],
            [data for _, _, data in content],
            np.array(gone, dtype=np.int64),
            relinked is not None,
        )

    # -- history, copies --------------------------------------------------------------------------------------

    def history(self, id: str) -> list[Event]:
        """All that happened to a trace, oldest first: who, what, when, why, and what it was before."""
        with self.db.read() as db:
            return history.of_trace(db, id)

    def operations(self, space: Space | None = None, limit: int = 50) -> list[Event]:
        """The latest operations, newest first."""
        with self.db.read() as db:
            return history.operations(db, space, limit)

    def undo(self, op: int, why: Why, now: float) -> Event:
        """Take an operation back, as a new operation. Raises `NothingToUndo`."""
        with self.db.write() as db:
            return history.undo(db, op, why, now)

    def backup(self, target: str | Path) -> None:
        """Copy the store to a new file while it is in use."""
        self.db.copy_to(Path(target))

    def transaction(self, durable: bool = True) -> AbstractContextManager[object]:
        """All writes within are one transaction; `durable=False` may lose it to a power cut, never to a crash."""
        return self.db.write(durable)

    def meta(self, key: str) -> str | None:
        """A setting that was kept with the store."""
        return self.db.meta(key)

    def set_meta(self, key: str, value: str) -> None:
        """Keep a setting with the store. It is for settings and counters, never for what was said: `forget` does
        not look here.
        """
        self.db.set_meta(key, value)

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        self.db.close()

    def __enter__(self) -> SqliteStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _embedder(value: str | None) -> tuple[str, int] | None:
    """Fingerprint and dimension, from the setting that keeps them."""
    if value is None:
        return None
    fingerprint, _, dim = value.rpartition("|")
    return fingerprint, int(dim)
