"""What deleted content may leave behind in the files of a store: free pages, the log, indexes of another time.

SQLite overwrites what is deleted (`secure_delete`), but another program that edits the file may not have asked it to.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from halflife.store.connection import LOG_DAMAGE, MEMORY
from halflife.store.diagnosis import Finding, Level
from halflife.store.files import reading
from halflife.store.sqlite import SqliteStore
from halflife.store.vectors import stored_bytes, undamaged

LARGE_LOG = 64 << 20  # bytes of write-ahead log that some checkpoint should have emptied


def advice(store: SqliteStore) -> str:
    """How to have a store mended."""
    return f"run: halflife doctor --db {store.path} --repair"


def secure_delete(store: SqliteStore, repair: bool) -> Iterator[Finding]:
    """Whether SQLite overwrites what this connection deletes."""
    if store.db.one("PRAGMA secure_delete") != 1:
        if repair:
            store.db.all("PRAGMA secure_delete = ON")
        yield Finding("error", "deleted content is not overwritten (secure_delete is off)", 0, repair, advice(store))


def index_files(store: SqliteStore, repair: bool) -> Iterator[Finding]:
    """Files beside the store that are no index of it as it is: deleted by repair, and built again by consolidation."""
    folder = Path(f"{store.path}.ann")
    if store.path == MEMORY or not folder.is_dir():
        return
    strange = [path for path in sorted(folder.iterdir()) if path.is_file() and not _belongs(store, path)]
    if strange:
        for path in strange if repair else []:
            path.unlink(missing_ok=True)
        yield Finding(
            "error", f"index files that are not of this store, or hold what was forgotten ({strange[0].name})",
            len(strange), repair, advice(store),
        )  # fmt: skip


def _belongs(store: SqliteStore, path: Path) -> bool:
    index, note = path.with_suffix(".usearch"), path.with_suffix(".json")
    if path.suffix not in (".usearch", ".json") or not (index.exists() and note.exists()):
        return False
    embedder = store.embedder()
    try:
        meta = json.loads(note.read_text())
        identity, op, size = meta["identity"], int(meta["op"]), meta["bytes"]
        space = int(index.stem)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if embedder is None or identity != f"{store.db.meta('store')}|{embedder[0]}|{embedder[1]}":
        return False
    if op > store.last_op() or size != index.stat().st_size or not undamaged(index):
        return False
    if store.db.one("SELECT 1 FROM space WHERE id = ?", space) is None:
        return False
    return not _holds_forgotten(store, index, space)


def _holds_forgotten(store: SqliteStore, index: Path, space: int) -> bool:
    """Whether vectors of erased traces stand in an index; erasing overwrites them with zeros."""
    gone = np.array([n for (n,) in store.db.all("SELECT n FROM erased WHERE space = ?", space)], dtype=np.uint64)
    try:
        return bool(len(gone)) and any(any(data) for data in stored_bytes(index, gone))
    except (RuntimeError, ValueError):
        return True


def free_pages(store: SqliteStore, repair: bool) -> Iterator[Finding]:
    """Pages that are not in use and yet hold something: repair rebuilds the file without them."""
    if store.path == MEMORY or store.db.encrypted:  # the list of free pages is encrypted too
        return
    with store.db.lock:
        store.db.all("PRAGMA wal_checkpoint(PASSIVE)")
        with store.db.write():
            dirty = dirty_free_pages(Path(store.path))
        if not dirty:
            return
        if repair:
            store.db.all("VACUUM")
            store.db.all("PRAGMA wal_checkpoint(TRUNCATE)")
            left = dirty_free_pages(Path(store.path))
        else:
            left = dirty
    yield Finding("error", "free pages that still hold deleted content", len(dirty), not left, advice(store))


def dirty_free_pages(path: Path) -> list[int]:
    """Numbers of the free pages of an SQLite file that hold anything but zeros and page numbers.

    The list of free pages starts in the header (bytes 32 to 39); a trunk page names the next trunk and its leaves
    (sqlite.org/fileformat2.html, section 1.5).
    """
    dirty: list[int] = []
    with reading(path) as file:
        header = file.read(100)
        if len(header) < 100:
            return dirty
        (size,) = struct.unpack(">H", header[16:18])
        size = 65536 if size == 1 else size
        trunk, count = struct.unpack(">II", header[32:40])
        pages = path.stat().st_size // size

        def page(number: int) -> bytes:
            file.seek((number - 1) * size)
            return file.read(size)

        while 0 < trunk <= pages and count > 0:
            words = np.frombuffer(page(trunk), dtype=">u4")
            if bool((words > pages).any()):
                dirty.append(trunk)
            leaves = words[2 : 2 + min(int(words[1]), len(words) - 2)].tolist()
            dirty += [leaf for leaf in leaves if 0 < leaf <= pages and any(page(leaf))]
            count -= 1 + len(leaves)
            trunk = int(words[0])
    return dirty


def log(store: SqliteStore, repair: bool) -> Iterator[Finding]:
    """The write-ahead log: repair moves it into the file and cuts it to nothing."""
    yield from _lost_commits(store, repair)
    path = Path(f"{store.path}-wal")
    size = path.stat().st_size if store.path != MEMORY and path.exists() else 0
    if not size:
        return
    if repair:
        store.db.all("PRAGMA wal_checkpoint(TRUNCATE)")
    emptied = repair and not path.stat().st_size
    level: Level = "warning" if size > LARGE_LOG or (repair and not emptied) else "ok"
    hint = "close other processes that read the store, then " if repair else ""
    yield Finding(level, "bytes in the write-ahead log", size, emptied, hint + advice(store) if level != "ok" else "")


def _lost_commits(store: SqliteStore, repair: bool) -> Iterator[Finding]:
    """Commits of the log that could not be read when the store was opened: said until a repair takes note of it."""
    lost = int(store.db.meta(LOG_DAMAGE) or 0)
    if not lost:
        return
    if repair:
        with store.db.write() as db:
            db.execute("DELETE FROM meta WHERE key = ?", (LOG_DAMAGE,))
    yield Finding(
        "warning", "last commits of the log that could not be read, and are lost", lost, False,
        "after a power cut or a failing disk they were recalls or never acknowledged; otherwise restore a backup",
    )  # fmt: skip
