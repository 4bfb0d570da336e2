"""A-MemGuard, part C: records audited one by one, by how surprising their text is.

A stand-in for the perplexity filter: a model of characters given those before, fitted to clean records. What is more
surprising than 95 % of other clean records is refused.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

_ALPHABET = 96.0  # characters that could come next, for the first estimate


class Characters:
    """Characters given the four before them: estimates of growing context, mixed by how often the context was seen.

    Source: Witten and Bell, "The zero-frequency problem" (1991).

    >>> model = Characters(["the cat sat on the mat", "the dog sat on the log"])
    >>> model.surprise("the cat sat on the log") < model.surprise("xq zv jkw qqp")
    True
    """

    def __init__(self, texts: Sequence[str], order: int = 4) -> None:
        self.order = order
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.total: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        for text in texts:
            for context, character in self._contexts(text):
                if not self.pairs[context, character]:
                    self.kinds[context] += 1
                self.pairs[context, character] += 1
                self.total[context] += 1

    def _contexts(self, text: str) -> list[tuple[str, str]]:
        padded = "\n" * self.order + text
        return [(padded[i - n : i], padded[i]) for i in range(self.order, len(padded)) for n in range(self.order + 1)]

    def surprise(self, text: str) -> float:
        """Bits a character."""
        padded = "\n" * self.order + text
        bits = 0.0
        for i in range(self.order, len(padded)):
            probability = 1.0 / _ALPHABET
            for n in range(self.order + 1):
                context = padded[i - n : i]
                if total := self.total[context]:
                    kinds = self.kinds[context]
                    probability = (self.pairs[context, padded[i]] + kinds * probability) / (total + kinds)
            bits -= math.log2(probability)
        return bits / max(len(text), 1)


class Audit:
    """Refuses 5 % of clean records, and whatever else is as surprising.

    Parameters
    ----------
    clean: texts; the model is fitted to every second one, and the limit set on the others.
    percentile: of their surprise, above which a record is refused.
    """

    def __init__(self, clean: Sequence[str], percentile: float = 95.0) -> None:
        self.model = Characters(clean[::2])
        self.limit = float(np.percentile([self.model.surprise(text) for text in clean[1::2]], percentile))

    def missed(self, suspects: Sequence[str]) -> float:
        """The share of suspects that it lets through."""
        return float(np.mean([self.model.surprise(text) <= self.limit for text in suspects]))
