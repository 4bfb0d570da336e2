"""The embedder of a reproduction: MiniLM on two threads, or hashing for `smoke`, each text embedded once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from halflife.llm import HashEmbedder, MiniLM
from halflife.llm.embedder import Embedder, Vectors


class Cached:
    """An embedder that remembers the vectors of a run.

    >>> cached = Cached(HashEmbedder())
    >>> bool((cached.embed(["tea", "tea"])[0] == cached.embed(["tea"])[0]).all()), len(cached.known)
    (True, 1)
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.known: dict[str, Vectors] = {}
        self.fingerprint, self.dim = embedder.fingerprint, embedder.dim

    def split(self, text: str) -> list[str]:
        """The windows of a text."""
        return self.embedder.split(text)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors [len(texts), dim]."""
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            self.known.update(zip(new, self.embedder.embed(new), strict=True))
        return np.stack([self.known[text] for text in texts]) if texts else np.zeros((0, self.dim), np.float32)

    def count_tokens(self, text: str) -> int:
        """The length of a text in the model's tokens."""
        return self.embedder.count_tokens(text)


def cached_embedder(size: str) -> Cached:
    """What a reproduction of this size embeds with."""
    return Cached(HashEmbedder() if size == "smoke" else MiniLM(threads=2))
