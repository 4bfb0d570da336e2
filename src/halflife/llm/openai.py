"""Embeddings from the OpenAI API, or from any server that speaks it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from halflife.errors import HalflifeError, InvalidInput, MissingExtra
from halflife.llm.checks import as_texts, as_unit
from halflife.llm.embedder import Vectors
from halflife.llm.hashing import word_count
from halflife.llm.windows import byte_pieces, spans

_DIMS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}


class OpenAIEmbedder:
    """An embedding model behind the OpenAI API. Every text embedded is sent to that server.

    Parameters
    ----------
    model: its name on the server. With the dimension it is the fingerprint, so it must mean one model.
    base_url: the server; by default OPENAI_BASE_URL, or else OpenAI's own.
    api_key: by default OPENAI_API_KEY; a server named by URL may need none.
    dim: shortens the vectors of models that allow it; None is the model's own (the server may be asked).
    window: UTF-8 bytes of a window. A token has at least one byte, so 8000 fits a limit of 8191 tokens.
    batch_size: texts in one request.
    timeout: seconds for one request.
    retries: how often a request is repeated after a failure that may pass.

    Raises
    ------
    MissingExtra: the `openai` package is not installed.
    HalflifeError: from `embed`, when the server cannot be reached or refuses.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        dim: int | None = None,
        *,
        window: int = 8000,
        batch_size: int = 128,
        timeout: float = 30.0,
        retries: int = 3,
    ) -> None:
        if window < 16 or batch_size < 1:
            raise InvalidInput("window must be at least 16 and batch_size at least 1.")
        try:
            import openai
        except ImportError:
            raise MissingExtra("openai", "openai") from None
        url = base_url or os.environ.get("OPENAI_BASE_URL")
        key = api_key or os.environ.get("OPENAI_API_KEY") or ("none" if url else None)
        if key is None:
            raise InvalidInput("There is no API key for OpenAI.", "Set OPENAI_API_KEY, or pass api_key.")
        self.model = model
        self.window = window
        self.batch_size = batch_size
        self._asked_dim = dim
        self._failure = openai.OpenAIError
        self._client = openai.OpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=retries)

    @cached_property
    def dim(self) -> int:
        """Length of a vector; asks the server once if neither you nor this module knows it."""
        return self._asked_dim or _DIMS.get(self.model) or len(self._request(["dimension"])[0])

    @property
    def fingerprint(self) -> str:
        """`openai:`, the model's name and the dimension."""
        return f"openai:{self.model}/{self.dim}"

    def split(self, text: str) -> list[str]:
        """Windows of at most `window` bytes, cut between sentences or words, overlapping a little."""
        (checked,) = as_texts([text])
        pieces = byte_pieces(checked, self.window)
        return [checked[a:b] for a, b in spans(checked, pieces, self.window, overlap=self.window // 16)]

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors [len(texts), dim]."""
        found = as_texts(texts)
        vectors: list[list[float]] = []
        for start in range(0, len(found), self.batch_size):
            vectors += self._request(found[start : start + self.batch_size])
        return as_unit(vectors, len(found), self.dim, f"The model {self.model}")

    def count_tokens(self, text: str) -> int:
        """An estimate: the number of words and signs."""
        return word_count(text)

    def _request(self, texts: list[str]) -> list[list[float]]:
        options: dict[str, Any] = {} if self._asked_dim is None else {"dimensions": self._asked_dim}
        try:
            reply = self._client.embeddings.create(
                model=self.model,
                input=[text or " " for text in texts],  # the API refuses an empty text
                encoding_format="float",
                **options,
            )
        except self._failure as error:
            raise HalflifeError(
                f"{self._client.base_url} did not embed {len(texts)} texts with {self.model}: {error}",
                "Check the address, the key and the model's name; nothing was stored.",
            ) from error
        return [item.embedding for item in sorted(reply.data, key=lambda item: item.index)]
