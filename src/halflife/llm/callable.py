"""Makes an embedder of a plain function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from halflife.errors import InvalidInput
from halflife.llm.checks import as_texts, as_unit
from halflife.llm.embedder import Vectors
from halflife.llm.hashing import word_count


class CallableEmbedder:
    """Wraps `fn(list of texts) -> vectors`, checking what it returns.

    Parameters
    ----------
    fn: takes a list of n texts and returns n vectors: an array [n, dim] or nested lists.
    dim: length of a vector; None asks `fn` for one vector to find out.
    name: of the vector space, part of the fingerprint. Change it when the function's vectors change.

    Raises
    ------
    InvalidInput: from `embed`, when `fn` returns another shape, NaN, infinity or a zero vector.

    >>> embedder = CallableEmbedder(lambda texts: [[len(text), 1.0] for text in texts], dim=2, name="lengths")
    >>> embedder.fingerprint, embedder.embed(["abc"]).round(2).tolist()
    ('lengths/2', [[0.949999988079071, 0.3199999928474426]])
    """

    def __init__(self, fn: Callable[[list[str]], Any], dim: int | None = None, name: str = "") -> None:
        if not callable(fn):
            raise InvalidInput(f"fn must be a function from texts to vectors, not a {type(fn).__name__}.")
        self.name = name or str(getattr(fn, "__qualname__", type(fn).__qualname__))
        self._fn = fn
        self.dim = dim or self._ask_dim()

    @property
    def fingerprint(self) -> str:
        """The name and the dimension."""
        return f"{self.name}/{self.dim}"

    def split(self, text: str) -> list[str]:
        """The text itself: what the function cannot see whole, it must cut itself."""
        return as_texts([text])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors [len(texts), dim]."""
        found = as_texts(texts)
        vectors = self._fn(found) if found else []
        return as_unit(vectors, len(found), self.dim, f"The embedding function {self.name}")

    def count_tokens(self, text: str) -> int:
        """The number of words and signs."""
        return word_count(text)

    def _ask_dim(self) -> int:
        shape = np.shape(self._fn(["How long is a vector?"]))
        if len(shape) != 2 or shape[0] != 1 or shape[1] == 0:
            raise InvalidInput(f"{self.name} returned the shape {shape} for one text, not (1, dim).")
        return int(shape[1])
