"""What every embedder asks of its input and promises of its output."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from halflife.errors import InvalidInput
from halflife.llm.embedder import Vectors


def as_texts(texts: Iterable[str]) -> list[str]:
    """The texts as a list; refuses a single string and what is not Unicode text.

    >>> as_texts(("a", "b"))
    ['a', 'b']
    """
    if isinstance(texts, str):
        raise InvalidInput("embed() takes a list of texts, not one string.", "Write embed([text]).")
    found = list(texts)
    for i, text in enumerate(found):
        if not isinstance(text, str):
            raise InvalidInput(f"Text {i} is a {type(text).__name__}, not a string.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"Text {i} has a lone surrogate at position {error.start}, which is not text.",
                "Decode the source with errors='replace' first.",
            ) from None
    return found


def as_unit(vectors: Any, count: int, dim: int, source: str) -> Vectors:
    """Vectors of another's making as unit vectors [count, dim] float32; refuses a wrong shape, NaN and zero.

    >>> as_unit([[3.0, 4.0]], 1, 2, "mine")
    array([[0.6, 0.8]], dtype=float32)
    """
    try:
        found = np.asarray(vectors, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInput(f"{source} returned what is not an array of numbers.") from None
    if count == 0:
        return np.empty((0, dim), np.float32)
    if found.shape != (count, dim):
        raise InvalidInput(f"{source} returned vectors of shape {found.shape}, not {(count, dim)}.")
    if not np.isfinite(found).all():
        raise InvalidInput(f"{source} returned a vector with NaN or infinity.")
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    if not norms.all():
        raise InvalidInput(f"{source} returned a zero vector, which has no direction.")
    unit: Vectors = (found / norms).astype(np.float32)
    return unit
