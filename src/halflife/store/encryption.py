"""SQLite files that cannot be read without their key: SQLCipher in the place of the built-in SQLite.

SQLCipher (sqlcipher3, extra `encryption`) encrypts every page of the file, of its log and of its journal with
AES-256, each under a checksum (HMAC-SHA512) that shows any change. A key that is text is stretched by PBKDF2
(256,000 rounds); 32 bytes are taken as they are. It is a build of SQLite with Python's own interface; only its
errors are classes of their own, which are turned into those of `sqlite3` here.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np

from halflife.errors import HalflifeError, InvalidInput, MissingExtra, StoreError, WrongKey
from halflife.store import private
from halflife.store.files import reading

Key: TypeAlias = str | bytes

_HEADER = b"SQLite format 3\x00"
_PAGE = 4096
_SAMPLE = 64  # pages
_RANDOM = 7.9  # bits a byte of a page of random bytes, at least (the mean is 7.955); of text or vectors: below 7.5
_RAW = 32


def connect(path: str, key: Key, **options: Any) -> sqlite3.Connection:
    """A connection to an encrypted file, made if missing.

    Parameters
    ----------
    path: the file. key: a passphrase, or 32 bytes. options: of `sqlite3.connect`.

    Errors
    ------
    MissingExtra: SQLCipher is not installed. InvalidInput: an impossible key. WrongKey: the file is not encrypted.
    A wrong key shows when the file is read.
    """
    secret = check_key(key)
    if is_plain(path):
        raise WrongKey(
            f"{path} is not encrypted; a key does not open it.",
            "Open it without a key, or make an encrypted copy: halflife rekey NEW --new-key-file KEYFILE",
        )
    make = _connection_class()
    with contextlib.suppress(OSError):  # SQLite says by itself what is wrong with the place
        private.make_file(path)
    connection = make(path, **options)
    connection.execute("PRAGMA cipher_log_level = NONE")  # a wrong key is an error of ours, not a line on stderr
    connection.execute(f"PRAGMA key = {_quoted(secret)}")
    return cast(sqlite3.Connection, connection)


def check_key(key: Key) -> str:
    """A key as SQLCipher takes it. Raises `InvalidInput`."""
    if isinstance(key, bytes) and len(key) == _RAW:
        return f"x'{key.hex()}'"
    if isinstance(key, bytes):
        raise InvalidInput(f"A key of bytes has {_RAW} bytes, not {len(key)}.", "Give a passphrase as a string.")
    if not isinstance(key, str) or not key.strip() or "\0" in key:
        raise InvalidInput("The key is empty, or no text.", "Give a passphrase, or 32 bytes.")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise InvalidInput("The key is no text (it has half a character).") from None
    return key


def _quoted(text: str) -> str:
    """Text in an SQL statement; `PRAGMA key` takes no parameters."""
    return "'" + text.replace("'", "''") + "'"


def is_plain(path: str | Path) -> bool:
    """Whether a file is an SQLite file that anybody can read."""
    try:
        with reading(path) as file:
            return file.read(len(_HEADER)) == _HEADER
    except OSError:
        return False


def looks_encrypted(path: str | Path) -> bool:
    """Whether a file has no header and all its pages look random. Damage that spares one page does not."""
    try:
        with reading(path) as file:
            pages = file.seek(0, 2) // _PAGE
            for page in sorted({round(at) for at in np.linspace(0, pages - 1, _SAMPLE)}) if pages else []:
                file.seek(page * _PAGE)
                data = file.read(_PAGE)
                if data[: len(_HEADER)] == _HEADER or _entropy(data) < _RANDOM:
                    return False
            return pages > 0
    except OSError:
        return False


def _entropy(data: bytes) -> float:
    counts = np.bincount(np.frombuffer(data, np.uint8))
    share = counts[counts > 0] / len(data)
    return float(-(share * np.log2(share)).sum())


def locked(path: str, key: Key | None) -> WrongKey | None:
    """Why a file that SQLite took for none cannot be read, if the key is why."""
    if key is not None:
        return WrongKey(f"This key does not open {path}.", "Check the key. If it is the right one, restore a backup.")
    if looks_encrypted(path):
        return WrongKey(
            f"{path} is encrypted.", "Give its key: Memory(path, key=...), --key-file FILE, or HALFLIFE_KEY."
        )
    return None


def recode(path: str | Path, target: str | Path, key: Key | None, new_key: Key | None) -> None:
    """Copy a store to a new file under another key; None is no encryption. The old file stays as it is.

    Parameters
    ----------
    path, key: the store, which this process must not have open. target, new_key: the copy.

    Errors
    ------
    StoreError: `path` is missing or `target` exists. WrongKey: `key` is not that of `path`.
    """
    source, copy = Path(path), Path(target)
    if not source.is_file():
        raise StoreError(f"{source} does not exist.", "Check the path.")
    if copy.exists():
        raise StoreError(f"{copy} exists already.", "Name a new file.")
    wanted = "" if new_key is None else check_key(new_key)
    try:
        private.make_file(copy)
        with contextlib.closing(_opened(str(source), key)) as db:
            try:
                db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except sqlite3.DatabaseError as error:
                raise locked(str(source), key) or error from None
            _export(db, str(copy), wanted)
    except BaseException as error:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{copy}{suffix}").unlink(missing_ok=True)
        if isinstance(error, (sqlite3.Error, OSError)) and not isinstance(error, HalflifeError):
            raise StoreError(f"{source} cannot be copied to {copy} ({error}).") from error
        raise


def _opened(path: str, key: Key | None) -> sqlite3.Connection:
    if key is not None:
        return connect(path, key, isolation_level=None)
    connection = _connection_class()(path, isolation_level=None)
    connection.execute("PRAGMA cipher_log_level = NONE")
    return cast(sqlite3.Connection, connection)


def _export(db: sqlite3.Connection, copy: str, key: str) -> None:
    """All that a store holds into another file, as it is at one moment."""
    db.execute("PRAGMA temp_store = MEMORY")
    db.execute("ATTACH ? AS copy KEY ?", (copy, key))
    db.execute("PRAGMA copy.journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    db.execute("SELECT sqlcipher_export('copy')").fetchone()
    for name in ("application_id", "user_version"):
        value = db.execute(f"PRAGMA main.{name}").fetchone()[0]
        db.execute(f"PRAGMA copy.{name} = {int(value)}")
    db.execute("COMMIT")
    db.execute("PRAGMA copy.wal_checkpoint(TRUNCATE)")
    db.execute("DETACH copy")


@cache
def _connection_class() -> Any:
    """SQLCipher's connection, with the errors of `sqlite3`. Raises `MissingExtra`."""
    try:
        from sqlcipher3 import dbapi2
    except ImportError:
        raise MissingExtra("sqlcipher3", "encryption") from None

    @contextlib.contextmanager
    def errors() -> Iterator[None]:
        try:
            yield
        except dbapi2.Error as error:
            same = getattr(sqlite3, type(error).__name__, sqlite3.DatabaseError)(*error.args)
            for name in ("sqlite_errorcode", "sqlite_errorname"):
                if hasattr(error, name):
                    setattr(same, name, getattr(error, name))
            raise same from None

    class Cursor(dbapi2.Cursor):  # type: ignore[misc]
        def execute(self, *args: Any) -> Any:
            with errors():
                return super().execute(*args)

        def executemany(self, *args: Any) -> Any:
            with errors():
                return super().executemany(*args)

        def fetchone(self) -> Any:
            with errors():
                return super().fetchone()

        def fetchall(self) -> Any:
            with errors():
                return super().fetchall()

        def __next__(self) -> Any:
            with errors():
                return super().__next__()

    class Connection(dbapi2.Connection):  # type: ignore[misc]
        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

        def backup(self, *args: Any, **options: Any) -> Any:
            with errors():
                return super().backup(*args, **options)

    return Connection
