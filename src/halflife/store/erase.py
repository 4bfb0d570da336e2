"""Forgetting for good, and proving it.

Erasing deletes every row that belongs to a trace (SQLite overwrites freed content with zeros: `secure_delete`),
empties the write-ahead log, and overwrites the vectors in the index file. Then every file of the store is
searched for the bytes of what was erased; if any is left, the file is rebuilt (`VACUUM`) and searched again.
What remains is that something was here: an id and the number of the operation.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from halflife.errors import StoreError, UnknownTrace
from halflife.store import history, scan
from halflife.store.connection import MEMORY
from halflife.store.protocol import Why
from halflife.store.rows import chunks, marks
from halflife.store.sqlite import SqliteStore
from halflife.store.timeparse import format_time
from halflife.store.vectors import renote, stored_bytes, undamaged

_VECTOR_STRIDE = 64
_WORDS_CHECKED = 64
_ENCRYPTED = "the file is encrypted, so it was written anew without them"
_IN_SPACE = "trace JOIN space ON space.id = trace.space"

# Where content may rightly stand: in the memories that stay.
_CONTENT = (
    ("trace", "text"), ("trace", "metadata"), ("trace", "role"), ("trace", "session_id"), ("trace", "agent_id"),
    ("trace", "terms"), ("vector", "data"), ("payload", "data"), ("change", "before"), ("change", "vector"),
    ("operation", "reason"), ("operation", "actor"), ("space", "name"), ("meta", "value"), ("sqlite_master", "sql"),
    ("erased", "id"),
)  # fmt: skip


@dataclass(frozen=True)
class ErasureReport:
    """What was erased, and how that was checked.

    Parameters
    ----------
    op: number of the operation in the history. at: when.
    ids: the traces asked for. derived: those that went with them, since nothing else supported them.
    kept: derived traces that have other sources, and stay.
    sha256: of each erased text, so that a third party who has it can see that it was meant.
    files, bytes: what was searched. fragments: how many pieces of content were looked for.
    rebuilt: the file had to be rebuilt before the search came back empty.
    left: pieces that were still found (hexadecimal); empty if `verified`.
    verified: nothing was found.
    note: why verification was not possible, if so; or how it was done where bytes tell nothing.
    """

    op: int
    at: str
    ids: tuple[str, ...]
    derived: tuple[str, ...]
    kept: tuple[str, ...]
    spaces: tuple[str, ...]
    sha256: dict[str, str]
    files: tuple[str, ...]
    bytes: int
    fragments: int
    rebuilt: bool
    left: tuple[str, ...]
    verified: bool
    note: str = ""

    @property
    def count(self) -> int:
        """How many traces are gone."""
        return len(self.ids) + len(self.derived)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"count": self.count, **asdict(self)}

    def __str__(self) -> str:
        checked = f"{self.fragments:,} fragments looked for in {self.bytes:,} bytes of {len(self.files)} files"
        if not self.files:
            checked = "this memory has no file"
        found = f"none found{f' ({self.note})' if self.note else ''}" if self.files else ""
        outcome = found if self.verified else f"NOT VERIFIED: {self.note}"
        derived = f" and {len(self.derived)} derived from them" if self.derived else ""
        noun = "memory" if len(self.ids) == 1 else "memories"
        return f"Erased {len(self.ids)} {noun}{derived}. {checked}{': ' if outcome else ''}{outcome}."


def joined(first: ErasureReport, later: Sequence[ErasureReport]) -> ErasureReport:
    """One report of an erasure and of those that it made necessary: what they erased counts as derived."""
    if not later:
        return first
    every = (first, *later)
    gone = [id for report in later for id in (*report.ids, *report.derived)]
    return replace(
        first,
        derived=tuple(dict.fromkeys((*first.derived, *gone))),
        kept=tuple(id for id in first.kept if id not in set(gone)),
        sha256={id: digest for report in every for id, digest in report.sha256.items()},
        files=every[-1].files,
        bytes=every[-1].bytes,
        fragments=sum(report.fragments for report in every),
        rebuilt=any(report.rebuilt for report in every),
        left=tuple(sorted({needle for report in every for needle in report.left})),
        verified=all(report.verified for report in every),
        note="; ".join(dict.fromkeys(report.note for report in every if report.note)),
    )


def erase(store: SqliteStore, ids: Sequence[str], why: Why, now: float) -> ErasureReport:
    """Erase traces and what was derived from them alone; all or, for an unknown id (`UnknownTrace`), nothing."""
    ids = tuple(dict.fromkeys(ids))
    with store.db.write() as db:
        asked = _numbers(db, ids)
        derived, kept = _cascade(db, asked)
        ns = [*asked, *derived]
        rows = _each(db, "SELECT n, id, text FROM trace WHERE n IN ({})", ns)
        names = {n: id for n, id, _ in rows}
        sha256 = {id: hashlib.sha256(text.encode()).hexdigest() for _, id, text in rows}
        spaces = {name for (name,) in _each(db, f"SELECT DISTINCT name FROM {_IN_SPACE} WHERE n IN ({{}})", ns)}
        versions = _versions_from(db, ns)
        needles = _needles(db, ns, versions)
        _blank_reasons(db, needles)
        why = Why(why.kind, why.actor, "" if _quotes(why.reason, needles) else why.reason)
        op = history.begin(db, why, now, _single_space(db, ns), len(ns))
        _delete(db, op, ns)
        db.executemany("DELETE FROM change WHERE op = ? AND n = ?", versions)
    needles |= _wipe_indexes(store, ns)
    checked = _prove(store, needles)
    return ErasureReport(
        op, format_time(now), ids, tuple(names[n] for n in derived), tuple(kept), tuple(sorted(spaces)), sha256,
        **checked,
    )  # fmt: skip


def _numbers(db: sqlite3.Connection, ids: Sequence[str]) -> list[int]:
    found = dict(_each(db, "SELECT id, n FROM trace WHERE id IN ({})", ids))
    missing = [id for id in ids if id not in found]
    if missing:
        raise UnknownTrace(
            f"No memory has the id {missing[0]}; nothing was erased.", "List what is there: halflife list"
        )
    return [found[id] for id in ids]


def _cascade(db: sqlite3.Connection, asked: Sequence[int]) -> tuple[list[int], list[str]]:
    """What was derived from these alone (directly or not), and what has other sources too.

    A derived trace with other sources goes as well if it repeats the text of one that is erased.
    """
    gone, frontier, kept = set(asked), list(asked), set[int]()
    derived: list[int] = []
    while frontier:
        children = [n for (n,) in _each(db, "SELECT DISTINCT derived FROM source WHERE source IN ({})", frontier)]
        frontier = []
        for n in children:
            if n in gone:
                continue
            sources = {s for (s,) in db.execute("SELECT source FROM source WHERE derived = ?", (n,))}
            if sources <= gone or _repeats(db, n, sources & gone):
                gone.add(n)
                derived.append(n)
                frontier.append(n)
                kept.discard(n)
            else:
                kept.add(n)
    return derived, [id for (id,) in _each(db, "SELECT id FROM trace WHERE n IN ({})", sorted(kept))]


def _repeats(db: sqlite3.Connection, n: int, sources: Iterable[int]) -> bool:
    """Whether a text holds a run of 16 bytes of one of these sources."""
    (text,) = db.execute("SELECT text FROM trace WHERE n = ?", (n,)).fetchone()
    data = text.encode()
    for (source,) in _each(db, "SELECT text FROM trace WHERE n IN ({})", sorted(sources)):
        content = source.encode()
        if any(content[i : i + scan.SIZE] in data for i in range(max(1, len(content) - scan.SIZE + 1))):
            return True
    return False


def _versions_from(db: sqlite3.Connection, ns: Sequence[int]) -> list[tuple[int, int]]:
    """Older versions of traces that stay which were derived from these: they may still tell of them."""
    gone = set(ns)
    rows = db.execute("""SELECT op, n, before FROM change WHERE instr(before, '"sources"')""").fetchall()
    return [
        (op, n)
        for op, n, before in rows
        if n not in gone and not gone.isdisjoint(json.loads(before).get("sources") or ())
    ]


def _needles(db: sqlite3.Connection, ns: Sequence[int], versions: Sequence[tuple[int, int]]) -> set[bytes]:
    """By what the content of these traces would be recognised, all versions included, and that of other versions."""
    out: set[bytes] = set()
    words: set[str] = set()
    for text, metadata, terms in _each(db, "SELECT text, metadata, terms FROM trace WHERE n IN ({})", ns):
        out |= scan.fragments(text.encode()) | scan.fragments(terms, 16)
        out |= scan.fragments(metadata.encode()) if metadata != "{}" else set()
        words |= {word for word in text.split() if len(word.encode()) >= 6}
    for (before,) in _each(db, "SELECT before FROM change WHERE n IN ({})", ns):
        out |= scan.fragments(before.encode())
    for op, n in versions:
        (before, vector) = db.execute("SELECT before, vector FROM change WHERE op = ? AND n = ?", (op, n)).fetchone()
        out |= scan.fragments(before.encode()) | (scan.fragments(vector, _VECTOR_STRIDE) if vector else set())
    vectors = _each(db, "SELECT data FROM vector WHERE n IN ({})", ns)
    vectors += _each(db, "SELECT vector FROM change WHERE vector IS NOT NULL AND n IN ({})", ns)
    vectors += _each(db, "SELECT data FROM payload WHERE n IN ({})", ns)
    for (data,) in vectors:
        out |= scan.fragments(data, _VECTOR_STRIDE)
    longest = sorted(words, key=lambda word: (-len(word), word))[:_WORDS_CHECKED]
    return out | {word.encode()[: scan.SIZE] for word in longest}


def _single_space(db: sqlite3.Connection, ns: Sequence[int]) -> int | None:
    spaces = {s for (s,) in _each(db, "SELECT DISTINCT space FROM trace WHERE n IN ({})", ns)}
    return spaces.pop() if len(spaces) == 1 else None


def _blank_reasons(db: sqlite3.Connection, needles: set[bytes]) -> None:
    """A reason kept in the history may quote what is erased: it goes too."""
    for op, reason in db.execute("SELECT op, reason FROM operation WHERE reason <> ''").fetchall():
        if _quotes(reason, needles):
            db.execute("UPDATE operation SET reason = '' WHERE op = ?", (op,))


def _quotes(reason: str, needles: set[bytes]) -> bool:
    data = reason.encode()
    return any(needle in data for needle in needles)


def _delete(db: sqlite3.Connection, op: int, ns: Sequence[int]) -> None:
    for part in chunks(list(ns)):
        mark = marks(part)
        db.execute(f"INSERT INTO erased SELECT {op}, n, space, id FROM trace WHERE n IN ({mark})", part)
        for table, column in (
            ("link", "a"), ("link", "b"), ("source", "derived"), ("source", "source"), ("change", "n"), ("met", "n"),
            ("vector", "n"), ("payload", "n"), ("trace", "n"),
        ):  # fmt: skip
            db.execute(f"DELETE FROM {table} WHERE {column} IN ({mark})", part)


def _wipe_indexes(store: SqliteStore, ns: Sequence[int]) -> set[bytes]:
    """Overwrite the vectors of these traces in the index files; what to look for afterwards.

    An index that is half written or cannot be read, or in which a trace that stays has one of these vectors too, is
    deleted: sleep builds it anew.
    """
    needles: set[bytes] = set()
    keys = np.array(ns, dtype=np.uint64)
    for path in _index_files(store):
        if path.suffix == ".json":
            continue
        if path.suffix != ".usearch":
            path.unlink(missing_ok=True)
            continue
        if not undamaged(path):
            path.unlink(missing_ok=True)
            continue
        try:
            vectors = Counter(stored_bytes(path, keys))
        except (RuntimeError, ValueError, OSError):
            path.unlink(missing_ok=True)
            continue
        needles.update(*(scan.fragments(vector, _VECTOR_STRIDE) for vector in vectors))
        if any(_overwrite(path, vector) > count for vector, count in vectors.items()):
            path.unlink(missing_ok=True)
        elif vectors:
            renote(path)
    return needles


def _overwrite(path: Path, content: bytes) -> int:
    """Put zeros where a content stands in a file. Returns how many places that were."""
    count = 0
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        start = data.find(content) if any(content) else -1
        while start >= 0:
            data[start : start + len(content)] = bytes(len(content))
            count += 1
            start = data.find(content, start + len(content))
        data.flush()
    return count


def _prove(store: SqliteStore, needles: set[bytes]) -> dict[str, Any]:
    """Empty the log, then search every file; rebuild the file if something is left."""
    if store.path == MEMORY:
        return {"files": (), "bytes": 0, "fragments": len(needles), "rebuilt": False, "left": (), "verified": True}
    note = _empty_log(store)
    left = _left(store, needles)
    rebuilt = (bool(left) or store.db.encrypted) and not note  # what is encrypted cannot be searched: write it anew
    if rebuilt:
        for path in scan.find(_index_files(store), left).values():
            path.unlink(missing_ok=True)  # what a crash left half written
        note = _rebuild(store) or _empty_log(store) or note
        left = _left(store, set(left))
    files = store_files(store)
    return {
        "files": tuple(str(path) for path in files),
        "bytes": sum(path.stat().st_size for path in files if path.exists()),
        "fragments": len(needles),
        "rebuilt": rebuilt,
        "left": tuple(sorted(needle.hex() for needle in left)),
        "verified": not left and not note,
        "note": note or (f"{len(left)} fragments are still there" if left else _ENCRYPTED * store.db.encrypted),
    }


def _rebuild(store: SqliteStore) -> str:
    try:
        store.db.all("VACUUM")
    except StoreError as error:
        return str(error)
    return ""


def _empty_log(store: SqliteStore, patience: float = 10.0) -> str:
    """Move the write-ahead log into the file and cut it to nothing; a reader elsewhere can delay that."""
    deadline = time.monotonic() + patience
    while True:
        [(busy, _, _)] = store.db.all("PRAGMA wal_checkpoint(TRUNCATE)")
        if not busy:
            return ""
        if time.monotonic() > deadline:
            return (
                "another process is reading the store, so that its log cannot be emptied; run `halflife doctor` later"
            )
        time.sleep(0.02)


def _left(store: SqliteStore, needles: set[bytes]) -> list[bytes]:
    """Needles that occur in a file and in no memory that stays."""
    found = scan.find(store_files(store), needles)
    return [needle for needle in found if not _rightly_there(store, needle)]


def _rightly_there(store: SqliteStore, needle: bytes) -> bool:
    return any(
        store.db.one(f"SELECT 1 FROM {table} WHERE instr(CAST({column} AS BLOB), ?) LIMIT 1", needle)
        for table, column in _CONTENT
    )


def store_files(store: SqliteStore) -> list[Path]:
    """Every file that belongs to a store."""
    if store.path == MEMORY:
        return []
    own = [Path(store.path + suffix) for suffix in ("", "-wal", "-shm", "-journal")]
    return [path for path in [*own, *_index_files(store)] if path.exists()]


def _index_files(store: SqliteStore) -> list[Path]:
    folder = Path(f"{store.path}.ann")
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _each(db: sqlite3.Connection, sql: str, values: Sequence[Any]) -> list[Any]:
    """The rows of a query with one `IN ({})`, over any number of values."""
    return [row for part in chunks(list(values)) for row in db.execute(sql.format(marks(part)), part)]
