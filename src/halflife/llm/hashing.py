"""An embedder without a model: words and their letters, hashed into a vector.

Weinberger et al., "Feature Hashing for Large Scale Multitask Learning" (arXiv 0902.2206), section 2.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from halflife.errors import InvalidInput
from halflife.llm.checks import as_texts, as_unit
from halflife.llm.embedder import Vectors

_WORD = re.compile(r"\w+|[^\w\s]")
_LENGTHS = (3, 4)
_LETTERS = 0.3  # weight of an n-gram of letters beside a word's 1


class HashEmbedder:
    """Deterministic vectors from word and letter n-gram counts: for tests, and where no model can be had.

    It is weak: it sees shared words and spellings, and knows no meaning ("cat" and "kitten" are as far apart
    as any two words). It needs nothing installed, starts at once, and gives the same vectors everywhere.

    Parameters
    ----------
    dim: length of a vector, at least 8.

    >>> run, ran, tax = HashEmbedder().embed(["Running in the park", "runs in the park", "Tax is due"])
    >>> bool(run @ ran > run @ tax)
    True
    """

    def __init__(self, dim: int = 256) -> None:
        if dim < 8:
            raise InvalidInput(f"dim must be at least 8, not {dim}.")
        self.dim = dim

    @property
    def fingerprint(self) -> str:
        """`hash-1/` and the dimension; the number changes if the features ever do."""
        return f"hash-1/{self.dim}"

    def split(self, text: str) -> list[str]:
        """The text itself: a text of any length is seen whole."""
        return as_texts([text])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors [len(texts), dim]. A text without any word has a vector of its own."""
        vectors = np.zeros((len(texts), self.dim), np.float64)
        for vector, text in zip(vectors, as_texts(texts), strict=True):
            for feature, weight in _features(text):
                place, sign = _hash(feature)
                vector[place % self.dim] += sign * weight
            if not vector.any():  # no features, or all of them cancelled
                vector[_hash("")[0] % self.dim] = 1.0
        return as_unit(vectors, len(texts), self.dim, self.fingerprint)

    def count_tokens(self, text: str) -> int:
        """The number of words and signs."""
        return word_count(text)


def word_count(text: str) -> int:
    """The number of words and signs: an estimate of tokens where there is no tokenizer.

    >>> word_count("Don't panic!")
    5
    """
    return len(_WORD.findall(text))


def _features(text: str) -> Iterator[tuple[str, float]]:
    """Each feature and its weight; a count is damped, so that one repeated word does not drown the rest."""
    words = Counter(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))
    for word, count in words.items():
        damped = 1.0 + float(np.log(count))
        yield word, damped
        padded = f"<{word}>"
        for n in _LENGTHS:
            for i in range(len(padded) - n + 1):
                yield f"{n}:{padded[i : i + n]}", _LETTERS * damped


@lru_cache(maxsize=1 << 16)
def _hash(feature: str) -> tuple[int, int]:
    value = int.from_bytes(blake2b(feature.encode(), digest_size=8).digest(), "little")
    return value >> 1, 1 if value & 1 else -1
