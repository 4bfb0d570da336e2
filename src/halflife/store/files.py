"""Reading the files of a store that is open, without giving up its locks.

When a process closes any descriptor of a file, POSIX drops every lock that the process has on that file, SQLite's
included; another process then takes itself for the last one and deletes the log under the first. So a file that was
opened to be looked at stays open until the process has closed the store.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

_lock = threading.RLock()
_users: Counter[str] = Counter()  # open databases of this process, by path
_held: dict[str, list[BinaryIO]] = {}  # of each, what was opened to be looked at


def hold(path: str | Path) -> None:
    """Say that a database is about to be opened here."""
    with _lock:
        _users[_base(path)] += 1


def release(path: str | Path) -> None:
    """Say that it was closed. The last one to go closes what was held."""
    base = _base(path)
    with _lock:
        _users[base] -= 1
        if _users[base] <= 0:
            del _users[base]
            for file in _held.pop(base, []):
                file.close()


@contextmanager
def reading(path: str | Path) -> Iterator[BinaryIO]:
    """A file from its beginning, unbuffered. Raises `FileNotFoundError`."""
    base = _base(path)
    with _lock:
        if base in _users:
            file = _kept(base, path)
            file.seek(0)
            yield file
            return
    with Path(path).open("rb", buffering=0) as other:
        yield cast(BinaryIO, other)


def _kept(base: str, path: str | Path) -> BinaryIO:
    held = _held.setdefault(base, [])
    found = os.stat(path)
    for known in held:
        if os.path.samestat(os.fstat(known.fileno()), found):
            return known
    held.append(cast(BinaryIO, Path(path).open("rb", buffering=0)))  # noqa: SIM115
    return held[-1]


def _base(path: str | Path) -> str:
    """The database that a file belongs to."""
    base = os.path.realpath(path)
    for suffix in ("-wal", "-shm", "-journal"):
        base = base.removesuffix(suffix)
    return base
