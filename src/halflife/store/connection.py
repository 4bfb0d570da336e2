"""One SQLite file, opened so that what is acknowledged stays and what is deleted goes."""

from __future__ import annotations

import sqlite3
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from halflife.errors import CorruptStore, HalflifeError, InvalidInput, NewerStore, StoreBusy, StoreError
from halflife.store import encryption, files, journal, private
from halflife.store.schema import APPLICATION_ID, MIGRATIONS

MEMORY = ":memory:"
LOG_DAMAGE = "log_damage"  # the setting that remembers commits of the log that could not be read


def explain(error: sqlite3.Error, path: str) -> HalflifeError:
    """SQLite's error as one of ours, with what to do."""
    text, code = str(error), getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(f"{path} is locked by another process.", "Try again, or open it with a longer timeout.")
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or text.startswith("Could not decode"):
        return CorruptStore(
            f"{path} is damaged or is no Halflife store ({text}).", f"Run: halflife doctor --db {path} --repair"
        )
    if primary == sqlite3.SQLITE_FULL:
        return StoreError(f"The disk that holds {path} is full; nothing was written.", "Free some room and repeat.")
    if primary == sqlite3.SQLITE_IOERR:
        return StoreError(
            f"The disk that holds {path} failed ({text}); what was being written is not acknowledged.",
            "Check the disk, its free space and quota, and repeat.",
        )
    if primary == sqlite3.SQLITE_READONLY:
        return StoreError(f"{path} cannot be written.", "Check its permissions, or open a copy.")
    if primary == sqlite3.SQLITE_CANTOPEN:
        return StoreError(f"{path} cannot be opened ({text}).", "Check that the folder exists and may be written.")
    return StoreError(f"{path}: {text}.", f"Run: halflife doctor --db {path}")


def _fold(value: Any) -> str | None:
    """Text without its case, in any script; SQLite's `lower` knows ASCII only."""
    return None if value is None else str(value).casefold()


class Database:
    """A connection with transactions: many readers and one writer, over threads and processes.

    Parameters
    ----------
    path: a file, made if missing (its folder must exist), or `:memory:`.
    timeout: seconds to wait for another process's lock.
    synchronous: `FULL` (a commit survives power loss) or `NORMAL` (survives a crash of the process).
    must_exist: refuse to make a new file.
    key: of an encrypted file, which is made so if it is missing; see `encryption`.
    """

    def __init__(
        self,
        path: str | Path = MEMORY,
        *,
        timeout: float = 30.0,
        synchronous: str = "FULL",
        must_exist: bool = False,
        key: encryption.Key | None = None,
    ) -> None:
        self.path = str(path)
        self._key = key
        self.synchronous = synchronous
        self.lock = threading.RLock()
        self._depth = 0
        self._closed = False
        if self.path != MEMORY:
            file = Path(self.path)
            if file.is_dir():
                raise StoreError(f"{self.path} is a folder.", "Name a file, such as assistant.db.")
            if must_exist and not file.exists():
                raise StoreError(f"{self.path} does not exist.", "Check the path, or add a first memory to it.")
            if must_exist and not file.stat().st_size:
                raise CorruptStore(f"{self.path} is empty: it is no store.", "Restore a backup, or delete it.")
            self._refuse_headless(file)
            if not file.parent.is_dir():
                raise StoreError(f"The folder {file.parent} does not exist.", "Make it first.")
        elif key is not None:
            raise InvalidInput("A memory without a file has nothing to encrypt.", "Name a file, or leave out the key.")
        files.hold(self.path)
        try:
            self._open(timeout)
        except BaseException as error:
            files.release(self.path)
            if isinstance(error, sqlite3.Error):
                raise self._explained(error) from error
            raise

    @property
    def encrypted(self) -> bool:
        """Whether the file cannot be read without its key."""
        return self._key is not None

    def _explained(self, error: sqlite3.Error) -> HalflifeError:
        unreadable = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB
        return (encryption.locked(self.path, self._key) if unreadable else None) or explain(error, self.path)

    def _open(self, timeout: float) -> None:
        before = journal.shared(self.path)
        self.connection = self._connect(self.path, timeout)
        try:
            self._prepare()
            if self.path != MEMORY:
                self._check_log(before)
        except BaseException:
            self.connection.close()
            raise

    def _connect(self, path: str, timeout: float = 30.0) -> sqlite3.Connection:
        """A connection to a file, made readable by its owner alone if it is missing."""
        options: dict[str, Any] = {
            "timeout": timeout, "isolation_level": None, "check_same_thread": False, "cached_statements": 256,
        }  # fmt: skip
        if self._key is not None:
            return encryption.connect(path, self._key, **options)
        if path != MEMORY:
            with suppress(OSError):  # SQLite says by itself what is wrong with the place
                private.make_file(path)
        return cast(sqlite3.Connection, sqlite3.connect(path, **options))

    def copy_to(self, target: Path) -> None:
        """Copy the file to a new one, under the same key, while it is in use."""
        if target.exists():
            raise StoreError(f"{target} exists already.", "Name a new file.")
        try:
            copy = self._connect(str(target))
            try:
                with self.lock:
                    self.connection.backup(copy)
            finally:
                copy.close()
        except BaseException as error:
            target.unlink(missing_ok=True)  # half a copy is worse than none
            if isinstance(error, sqlite3.Error):
                raise explain(error, str(target)) from error
            raise

    @staticmethod
    def _refuse_headless(file: Path) -> None:
        """SQLite would take an empty file for a new one, and delete the log that holds all there is."""
        log = Path(f"{file}-wal")
        if log.exists() and log.stat().st_size and file.exists() and not file.stat().st_size:
            raise CorruptStore(f"{file} is empty, but has a log.", f"Run: halflife doctor --db {file} --repair")

    def _check_log(self, before: journal.Shared | None) -> None:
        """Say it if the log held commits that SQLite could not read, and keep that for the doctor."""
        lost = journal.lost_frames(before, journal.shared(self.path))
        commits = journal.commits_beyond(self.path, journal.shared(self.path))
        if commits:
            with self.write():  # look again while nobody writes
                commits = journal.commits_beyond(self.path, journal.shared(self.path))
        if not lost and not commits:
            return
        count = commits or 1
        self.set_meta(LOG_DAMAGE, str(count + int(self.meta(LOG_DAMAGE) or 0)))
        warnings.warn(
            f"The log of {self.path} is damaged: at least {count} of its last commits could not be read. If power was "
            "cut or the disk failed, they were recalls or never acknowledged; otherwise memories are lost: restore a "
            "backup.",
            stacklevel=5,
        )

    def _prepare(self) -> None:
        run = self.connection.execute
        self.connection.create_function("fold", 1, _fold, deterministic=True)
        application, version, tables = run(  # in one statement: another process may be making the store
            "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
            "FROM pragma_application_id, pragma_user_version"
        ).fetchone()
        empty = tables == 0
        if not empty and application != APPLICATION_ID:
            raise CorruptStore(f"{self.path} is an SQLite file but no Halflife store.", "Name another file.")
        if version > len(MIGRATIONS):
            raise NewerStore(
                f"{self.path} has format {version}; this Halflife reads up to {len(MIGRATIONS)}.",
                "Upgrade it: pip install --upgrade halflife",
            )
        run("PRAGMA secure_delete = ON")
        run("PRAGMA cell_size_check = ON")  # see damage when a page is read, not when it misleads
        run("PRAGMA temp_store = MEMORY")
        run("PRAGMA cache_size = -65536")
        if version < len(MIGRATIONS):
            if self.path != MEMORY:
                run("PRAGMA page_size = 4096")  # a commit writes whole pages: smaller ones make single adds faster
                run("PRAGMA journal_mode = WAL")
            self._migrate()
        run(f"PRAGMA synchronous = {self.synchronous}")

    def _migrate(self) -> None:
        run = self.connection.execute
        run("BEGIN IMMEDIATE")  # another process may be migrating: look again once we hold the lock
        try:
            version = run("PRAGMA user_version").fetchone()[0]
            for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
                migration(self.connection)
                run(f"PRAGMA user_version = {number}")
            run(f"PRAGMA application_id = {APPLICATION_ID}")
            run("COMMIT")
        except BaseException:
            if self.connection.in_transaction:  # a full disk has rolled it back already
                run("ROLLBACK")
            raise

    @contextmanager
    def write(self, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A write transaction: all of it, or nothing. `durable=False` may lose it to a power cut, never to a crash."""
        with self.lock, self._errors():
            if self._depth:
                yield self.connection
                return
            relaxed = not durable and self.synchronous == "FULL"
            if relaxed:
                self.connection.execute("PRAGMA synchronous = NORMAL")
            try:
                self._depth += 1
                try:
                    self.connection.execute("BEGIN IMMEDIATE")
                    yield self.connection
                    self.connection.execute("COMMIT")
                except BaseException:
                    if self.connection.in_transaction:
                        self.connection.execute("ROLLBACK")
                    raise
                finally:
                    self._depth -= 1
            finally:
                if relaxed:
                    self.connection.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One snapshot for several reads."""
        with self.lock, self._errors():
            if self._depth or self.connection.in_transaction:
                yield self.connection
                return
            try:
                self.connection.execute("BEGIN")
                yield self.connection
            finally:
                if self.connection.in_transaction:
                    self.connection.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise explain(error, self.path) from error
        except (UnicodeEncodeError, OverflowError) as error:
            raise InvalidInput(f"A value cannot be stored or looked for ({error}).") from error

    def one(self, sql: str, *args: Any) -> Any:
        """The first column of the first row, or None."""
        with self.lock, self._errors():
            row = self.connection.execute(sql, args).fetchone()
            return None if row is None else row[0]

    def all(self, sql: str, *args: Any) -> list[Any]:
        """All rows."""
        with self.lock, self._errors():
            return self.connection.execute(sql, args).fetchall()

    def meta(self, key: str) -> str | None:
        """A setting of the store."""
        value = self.one("SELECT value FROM meta WHERE key = ?", key)
        return None if value is None else str(value)

    def set_meta(self, key: str, value: str) -> None:
        """Change a setting of the store."""
        with self.write() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        with self.lock:
            if not self._closed:
                self._closed = True
                self.connection.close()
                files.release(self.path)
