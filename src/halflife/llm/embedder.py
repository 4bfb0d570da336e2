"""What Halflife asks of an embedder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into unit vectors.

    `fingerprint` names the vector space: a store remembers it, and refuses an embedder with another one. Two
    embedders whose vectors can be compared have the same fingerprint; anything else must differ.
    """

    @property
    def fingerprint(self) -> str:
        """A stable name of the vector space, such as `all-MiniLM-L6-v2/53aa5117`."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    def split(self, text: str) -> list[str]:
        """The windows in which a text is embedded: one if it is short, more if the model cannot see it whole."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of shape [len(texts), dim], float32, in the order of the texts."""
        ...

    def count_tokens(self, text: str) -> int:
        """The length of a text in the model's tokens (or the best estimate there is)."""
        ...
