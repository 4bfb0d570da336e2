"""Rows of numbers in ascending order: what is in them, and where."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def find(ascending: NDArray[Any], wanted: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where each of some numbers stands in an ascending row, and whether it is there; if not, its place means nothing.

    Give both the same dtype: a search through another converts the whole row.

    >>> at, there = find(np.array([2, 5, 9]), np.array([9, 4, 2]))
    >>> at[there].tolist(), there.tolist()
    ([2, 0], [True, False, True])
    """
    if not len(ascending):
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=np.bool_)
    at = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return at, np.asarray(ascending[at] == wanted)


def among(wanted: NDArray[Any], ascending: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of some numbers are in an ascending row."""
    return find(ascending, wanted)[1]


def distinct(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The distinct ones, ascending. (`np.unique` hashes, which is slower.)

    >>> distinct(np.array([3, 1, 3])).tolist()
    [1, 3]
    """
    numbers = np.sort(numbers)
    first = np.ones(len(numbers), dtype=np.bool_)
    np.not_equal(numbers[1:], numbers[:-1], out=first[1:])
    return numbers[first]
