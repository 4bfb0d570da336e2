"""Makes an embedder or a chat model of a plain function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from halflife.errors import InvalidInput
from halflife.llm.chat import MAX_TOKENS, Completion, Message
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


class CallableChat:
    """A chat model of a plain function from a prompt to a text; a JSON schema is only told, not enforced.

    Parameters
    ----------
    fn: takes the messages as one text, and returns the answer.
    name: of the model; what a cache of answers goes by.

    Raises
    ------
    InvalidInput: from `complete`, when `fn` returns something else than a text.

    >>> CallableChat(str.upper, name="loud").complete([Message("user", "hello")]).text
    'HELLO'
    """

    def __init__(self, fn: Callable[[str], str], name: str = "") -> None:
        self.name = name or str(getattr(fn, "__qualname__", type(fn).__qualname__))
        self._fn = fn

    def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int = MAX_TOKENS,
    ) -> Completion:
        """What the function makes of the messages, which stand one after the other."""
        prompt = "\n\n".join(message.content for message in messages)
        text = self._fn(prompt)
        if not isinstance(text, str):
            raise InvalidInput(f"{self.name} answered with a {type(text).__name__}, not a text.")
        return Completion(text, word_count(prompt), word_count(text))
