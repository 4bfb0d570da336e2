"""Looking for bytes in files: how an erasure is checked.

Content is looked for in fragments of 16 bytes taken every 8, so that any surviving run of 24 bytes of it is
found, wherever the file has put it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halflife.store.files import reading

SIZE = 16
STRIDE = 8
_TELLING = 4  # bytes that must not be zero: a file is full of zeros with a byte or two beside them
_CHUNK = 8 << 20
_BITS = 20
_MIX = np.uint64(0x9E37_79B9_7F4A_7C15)


def fragments(content: bytes, stride: int = STRIDE) -> set[bytes]:
    """The fragments of a content by which it is recognised; a short content is its own fragment.

    >>> sorted(fragments(b"0123456789abcdefghijklmn"))
    [b'0123456789abcdef', b'89abcdefghijklmn']
    """
    if len(content) <= SIZE:
        return {content} if len(content) >= 4 else set()
    starts = {*range(0, len(content) - SIZE + 1, stride), len(content) - SIZE}
    pieces = (content[start : start + SIZE] for start in starts)
    return {piece for piece in pieces if piece.count(0) <= SIZE - _TELLING}


def find(paths: Iterable[Path], needles: Iterable[bytes]) -> dict[bytes, Path]:
    """Which needles occur in which file (the first one found). Files that vanish meanwhile count as clean."""
    needles = set(needles)
    long = {needle for needle in needles if len(needle) == SIZE}
    other = needles - long
    search = _Fragments(long) if long else None
    found: dict[bytes, Path] = {}
    overlap = max((len(needle) for needle in needles), default=1) - 1
    for path in paths:
        for chunk in _chunks(path, overlap):
            hits = search.within(chunk) if search else set()
            hits |= {needle for needle in other if needle in chunk}
            for needle in hits:
                found.setdefault(needle, path)
    return found


def _chunks(path: Path, overlap: int) -> Iterable[bytes]:
    try:
        with reading(path) as file:
            tail = b""
            while data := file.read(_CHUNK):
                yield tail + data
                tail = data[-overlap:] if overlap else b""
    except FileNotFoundError:
        return


class _Fragments:
    """Many fragments of 16 bytes, looked for together: by their first 8 bytes, then in full."""

    def __init__(self, needles: set[bytes]) -> None:
        self.needles = needles
        heads = np.frombuffer(b"".join(needle[:8] for needle in needles), dtype="<u8")
        self.heads = np.unique(heads)
        self.filter = np.zeros(1 << _BITS, dtype=np.bool_)
        self.filter[self._hash(self.heads)] = True

    @staticmethod
    def _hash(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
        return (words * _MIX) >> np.uint64(64 - _BITS)

    def within(self, chunk: bytes) -> set[bytes]:
        """The needles that occur in a chunk."""
        found: set[bytes] = set()
        for phase in range(8):
            count = (len(chunk) - phase) // 8
            if count < 2:
                break
            words = np.frombuffer(chunk, dtype="<u8", offset=phase, count=count)
            maybe = np.flatnonzero(self.filter[self._hash(words)])
            maybe = maybe[np.isin(words[maybe], self.heads)]
            for start in (maybe * 8 + phase).tolist():
                piece = chunk[start : start + SIZE]
                if piece in self.needles:
                    found.add(piece)
        return found
