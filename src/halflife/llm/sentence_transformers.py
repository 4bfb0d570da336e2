"""Any model of the sentence-transformers package as an embedder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from halflife.errors import InvalidInput, MissingExtra
from halflife.llm.checks import as_texts, as_unit
from halflife.llm.embedder import Vectors
from halflife.llm.windows import spans, token_pieces


class SentenceTransformerEmbedder:
    """A sentence-transformers model (this imports torch, and may download the model).

    Parameters
    ----------
    model: a model's name or directory, or a `SentenceTransformer` already made.
    batch_size: how many texts are run at once.
    options: passed to `SentenceTransformer` (device, revision, local_files_only, ...).

    Raises
    ------
    MissingExtra: sentence-transformers is not installed.
    """

    def __init__(self, model: Any, *, batch_size: int = 32, **options: Any) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise MissingExtra("sentence-transformers", "sentence-transformers") from None
        if isinstance(model, str):
            self.name, self._model = model, SentenceTransformer(model, **options)
        elif isinstance(model, SentenceTransformer):
            self.name, self._model = str(model.model_card_data.base_model or "sentence-transformer"), model
        else:
            raise InvalidInput(f"model must be a name or a SentenceTransformer, not a {type(model).__name__}.")
        self.batch_size = batch_size
        self.dim = len(self._model.encode([""])[0])

    @property
    def fingerprint(self) -> str:
        """`st:`, the model's name and the dimension."""
        return f"st:{self.name}/{self.dim}"

    def split(self, text: str) -> list[str]:
        """Windows of the model's own length, cut between sentences or words."""
        encoding = self._encode(text)
        special = self._model.tokenizer.num_special_tokens_to_add()
        size = (self._model.max_seq_length or self._model.tokenizer.model_max_length) - special
        pieces = token_pieces(encoding.word_ids(), encoding["offset_mapping"], size)
        return [text[a:b] for a, b in spans(text, pieces, size, overlap=size // 16)]

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors [len(texts), dim]."""
        found = as_texts(texts)
        vectors = self._model.encode(found, batch_size=self.batch_size, show_progress_bar=False) if found else []
        return as_unit(vectors, len(found), self.dim, self.name)

    def count_tokens(self, text: str) -> int:
        """The number of the model's tokens, without special ones."""
        return len(self._encode(text)["input_ids"])

    def _encode(self, text: str) -> Any:
        (checked,) = as_texts([text])
        return self._model.tokenizer(
            checked, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
        )
