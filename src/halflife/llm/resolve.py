"""From what a user writes to an embedder or a chat model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, get_args

from halflife.errors import InvalidInput
from halflife.llm.chat import ChatModel
from halflife.llm.embedder import Embedder

Spec: TypeAlias = Embedder | str | Callable[[list[str]], Any] | None

_FORMS = (
    "Write minilm, minilm:int8, hash, hash:DIM, openai:MODEL or st:MODEL, or pass an embedder or a function "
    "from texts to vectors."
)

_CHAT_FORMS = "Write openai:MODEL, local or local:PATH, or pass a chat model or a function from a prompt to a text."


def embedder(spec: Spec = None) -> Embedder:
    """The embedder that a spec names.

    Parameters
    ----------
    spec: None or `"minilm"` is MiniLM, `"minilm:int8"` its 8-bit form; `"hash"` or `"hash:512"` needs no
        model; `"openai:MODEL"` asks a server; `"st:MODEL"` uses sentence-transformers. An `Embedder` is
        returned as it is, and a function from texts to vectors is wrapped.

    Raises
    ------
    InvalidInput: nothing of the kind.
    ModelNotFound, MissingExtra: what it needs is not on this machine.

    >>> embedder("hash:64").fingerprint
    'hash-1/64'
    """
    if spec is None:
        spec = "minilm"
    if isinstance(spec, str):
        return _named(spec)
    if isinstance(spec, Embedder):
        return spec
    if callable(spec):
        from halflife.llm.callable import CallableEmbedder

        return CallableEmbedder(spec)
    raise InvalidInput(f"A {type(spec).__name__} is not an embedder.", _FORMS)


def _named(spec: str) -> Embedder:
    kind, _, rest = spec.partition(":")
    if kind == "minilm":
        from halflife.llm.minilm import MiniLM, Precision

        if rest in ("", *get_args(Precision)):
            return MiniLM(precision=rest or "fp32")  # type: ignore[arg-type]
    elif kind == "hash":
        from halflife.llm.hashing import HashEmbedder

        if not rest or rest.isdecimal():
            return HashEmbedder(int(rest)) if rest else HashEmbedder()
    elif kind == "openai" and rest:
        from halflife.llm.openai import OpenAIEmbedder

        return OpenAIEmbedder(rest)
    elif kind == "st" and rest:
        from halflife.llm.sentence_transformers import SentenceTransformerEmbedder

        return SentenceTransformerEmbedder(rest)
    raise InvalidInput(f"There is no embedder {spec!r}.", _FORMS)


def chat_model(spec: ChatModel | str | Callable[[str], str] | None = None) -> ChatModel | None:
    """The chat model that a spec names; None for None.

    Parameters
    ----------
    spec: `"openai:MODEL"` asks any server that speaks OpenAI's API (OPENAI_BASE_URL, OPENAI_API_KEY); `"local"` runs
        SmolLM2-135M-Instruct in the process, and `"local:PATH"` another model of a folder or a GGUF file. A
        `ChatModel` is returned as it is, and a function from a prompt to a text is wrapped.

    Raises
    ------
    InvalidInput: nothing of the kind.
    ModelNotFound, MissingExtra: what it needs is not on this machine.

    >>> from halflife.llm.chat import Message
    >>> chat_model(lambda prompt: "yes").complete([Message("user", "Is it so?")]).text
    'yes'
    """
    if spec is None:
        return None
    if isinstance(spec, str):
        kind, _, rest = spec.partition(":")
        if kind == "openai" and rest:
            from halflife.llm.openai_chat import OpenAIChat

            return OpenAIChat(rest)
        if kind == "local":
            from halflife.llm.local import LocalChat

            return LocalChat(rest or None)
        raise InvalidInput(f"There is no language model {spec!r}.", _CHAT_FORMS)
    if isinstance(spec, ChatModel):
        return spec
    if callable(spec):
        from halflife.llm.callable import CallableChat

        return CallableChat(spec)
    raise InvalidInput(f"A {type(spec).__name__} is not a language model.", _CHAT_FORMS)
