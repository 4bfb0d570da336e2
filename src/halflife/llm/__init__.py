"""Embedders and chat models behind two small protocols."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halflife.llm.embedder import Embedder, Vectors

if TYPE_CHECKING:
    from halflife.llm.callable import CallableEmbedder as CallableEmbedder
    from halflife.llm.hashing import HashEmbedder as HashEmbedder
    from halflife.llm.minilm import MiniLM as MiniLM
    from halflife.llm.openai import OpenAIEmbedder as OpenAIEmbedder
    from halflife.llm.sentence_transformers import SentenceTransformerEmbedder as SentenceTransformerEmbedder

# Loaded on first use: a program pays only for the embedder that it takes.
_LAZY = {
    "CallableEmbedder": "callable",
    "HashEmbedder": "hashing",
    "MiniLM": "minilm",
    "OpenAIEmbedder": "openai",
    "SentenceTransformerEmbedder": "sentence_transformers",
}

__all__ = ["Embedder", "Vectors", *_LAZY]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
