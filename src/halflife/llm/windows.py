"""Cuts a long text into overlapping windows, at the ends of sentences or words where there are any."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeAlias

Piece: TypeAlias = tuple[int, int, int]  # start, end (characters of the text), cost (tokens)
Span: TypeAlias = tuple[int, int]

_MOST = 4  # tokens that one character can become by Unicode decomposition, and its bytes in UTF-8
_WORD = re.compile(r"\w+|[^\w\s]")
_STOPS = frozenset(".!?…")
_WIDE_STOPS = frozenset("。！？")  # no space follows these


def spans(text: str, pieces: Sequence[Piece], size: int, overlap: int) -> list[Span]:
    """The windows of a text as (start, end) in characters.

    Together they cover every character; each begins before or where the last one ended. A window's cost is at
    most `size`, if no single piece costs more.

    Parameters
    ----------
    text: the whole text.
    pieces: its words in order, each with what it costs; a window is cut only between pieces.
    size: what a window may cost.
    overlap: what of a window's end may be repeated at the next one's beginning.

    >>> words = [(0, 3, 1), (4, 7, 1), (7, 8, 1), (9, 12, 1), (13, 16, 1)]
    >>> spans("One two. Six ten", words, size=4, overlap=0)
    [(0, 9), (9, 16)]
    """
    total = [0, *accumulate(cost for _, _, cost in pieces)]
    if total[-1] <= size:
        return [(0, len(text))]
    quality = [_quality(text, pieces, i) for i in range(len(pieces))]
    found: list[Span] = []
    first = 0
    while True:
        start = pieces[first][0] if first else 0
        limit = max(bisect_right(total, total[first] + size) - 1, first + 1)
        if limit >= len(pieces):
            return [*found, (start, len(text))]
        middle = max(bisect_right(total, total[first] + size // 2), first + 1)
        cut = max(range(min(middle, limit), limit + 1), key=lambda i: (quality[i], i))
        found.append((start, pieces[cut][0]))
        back = bisect_right(total, total[cut] - overlap - 1)
        first = max(range(max(back, first + 1), cut + 1), key=lambda i: (min(quality[i], 1), -i))


def _quality(text: str, pieces: Sequence[Piece], i: int) -> int:
    """How good it is to cut before piece i: 2 between sentences, 1 between words, 0 inside a word."""
    if i == 0:
        return 2
    before, gap = text[pieces[i - 1][1] - 1], text[pieces[i - 1][1] : pieces[i][0]]
    if before in _WIDE_STOPS or "\n" in gap or (gap and before in _STOPS):
        return 2
    return 1 if gap else 0


def token_pieces(words: Sequence[int | None], offsets: Sequence[Span], size: int) -> list[Piece]:
    """The words of a text from what its tokenizer says, each with the number of its tokens.

    A word of more than `size` tokens is cut by characters, each counted as the most that it can become.

    Parameters
    ----------
    words: the index of the word that each token belongs to.
    offsets: the characters (start, end) that each token covers.
    size: what a window may cost.

    >>> token_pieces([0, 0, 1], [(0, 3), (3, 5), (6, 9)], size=2)
    [(0, 5, 2), (6, 9, 1)]
    """
    pieces: list[Piece] = []
    last = None
    for word, (start, end) in zip(words, offsets, strict=True):
        if word is not None and word == last:
            pieces[-1] = (pieces[-1][0], end, pieces[-1][2] + 1)
        else:
            pieces.append((start, end, 1))
        last = word
    return [part for piece in pieces for part in _parts(piece, size)]


def _parts(piece: Piece, size: int) -> list[Piece]:
    start, end, cost = piece
    if cost <= size:
        return [piece]
    step = size // _MOST
    return [(at, min(at + step, end), step * _MOST) for at in range(start, end, step)]


def byte_pieces(text: str, size: int) -> list[Piece]:
    """The words of a text, each with its UTF-8 bytes: a bound on tokens where the tokenizer is not at hand.

    >>> byte_pieces("Zoë came.", size=100)
    [(0, 3, 5), (4, 8, 4), (8, 9, 1)]
    """
    words = [match.span() for match in _WORD.finditer(text)]
    bounds = [0, *(start for start, _ in words[1:]), len(text)]  # so that the spaces between words count too
    return [
        part
        for (start, end), since, until in zip(words, bounds, bounds[1:], strict=False)
        for part in _parts((start, end, len(text[since:until].encode())), size)
    ]
