"""Files that only their owner can read, from the moment they exist and whatever the umask.

A memory of somebody's life is nobody else's to read. On Windows, where a file inherits the access list of its
folder, nothing is done.
"""

from __future__ import annotations

import os
from pathlib import Path

POSIX = os.name == "posix"


def make_file(path: str | Path) -> None:
    """Make an empty file with mode 0600, unless one is there already. Raises `OSError` if that cannot be done.

    SQLite gives its log and its shared memory the mode of the file, so that they need no care of their own.
    """
    if not POSIX:
        return
    try:  # where a link leads, as SQLite would; a file that is there is the business of its owner
        made = os.open(os.path.realpath(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    try:
        os.fchmod(made, 0o600)  # a umask can only have made it narrower
    finally:
        os.close(made)


def make_folder(path: Path) -> None:
    """Make a folder with mode 0700, unless one is there already."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    if POSIX:
        path.chmod(0o700)
