"""Whether SQLite's write-ahead log still holds what was put into it.

SQLite reads its log up to the first frame whose checksum is wrong and takes that for the end, since a power cut
leaves such a frame behind. So damage to the log loses what stands after it without a word. Two things tell: the
shared memory beside it (`-shm`), which says how many frames there were, and frames of the same log beyond its end.
Layouts: sqlite.org/fileformat2.html, section 4, and sqlite.org/walformat.html, section 2.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from halflife.store.files import reading

_HEADER, _FRAME = 32, 24
_SHARED = 48  # bytes of the header of the shared memory, which stands there twice
_VERSION = 3_007_000


@dataclass(frozen=True)
class Shared:
    """What the shared memory says of the log: its salt, its frames, and how many were moved into the file."""

    salt: bytes
    frames: int
    moved: int
    page: int
    file: tuple[int, int]  # device and number of the shared memory's file


def shared(path: str) -> Shared | None:
    """The state of a log as processes share it; None if there is none, or it is being changed."""
    try:
        with reading(f"{path}-shm") as file:
            data = file.read(2 * _SHARED + 4)
            found = os.fstat(file.fileno())
    except OSError:
        return None
    if len(data) < 2 * _SHARED + 4 or data[:_SHARED] != data[_SHARED : 2 * _SHARED]:
        return None
    version, _, _, ready, _, page, frames = struct.unpack("=IIIBBHI", data[:20])
    if version != _VERSION or not ready:
        return None
    (moved,) = struct.unpack("=I", data[2 * _SHARED :])
    return Shared(data[32:40], frames, moved, 65536 if page == 1 else page, (found.st_dev, found.st_ino))


def lost_frames(before: Shared | None, after: Shared | None) -> int:
    """Frames that the log held before it was opened, that are not in the file, and that it does not hold now.

    `before` says nothing if another process has moved all of them into the file in between: the last to close a store
    deletes the shared memory with the log, and one that begins the log again counts the first half of its salt up.
    """
    if before is None or after is None or before.frames == 0 or after.file != before.file:
        return 0
    if after.salt == before.salt:
        return max(0, before.frames - max(after.frames, before.moved))
    if _generation(after) == (_generation(before) + 1) % 2**32:
        return 0
    return before.frames - before.moved if after.frames == 0 else 0


def _generation(state: Shared) -> int:
    return int.from_bytes(state.salt[:4], "big")


def commits_beyond(path: str, state: Shared | None) -> int:
    """Commits of this log that stand after the frame at which SQLite stopped reading."""
    if state is None:
        return 0
    return sum(1 for salt, size in _frames(Path(f"{path}-wal"), state) if salt == state.salt and size)


def _frames(log: Path, state: Shared) -> Iterator[tuple[bytes, int]]:
    """Salt and, of the last frame of a commit, the size of the file, for every frame beyond the end."""
    step = _FRAME + state.page
    try:
        with reading(log) as file:
            head = file.read(_HEADER)
            if len(head) < _HEADER or head[16:24] != state.salt:
                return
            at = _HEADER + state.frames * step
            file.seek(at)
            while len(frame := file.read(_FRAME)) == _FRAME:
                yield frame[8:16], struct.unpack(">I", frame[4:8])[0]
                at += step
                file.seek(at)
    except OSError:
        return
