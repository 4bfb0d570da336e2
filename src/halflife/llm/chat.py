"""What Halflife asks of a language model that chats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

Role: TypeAlias = Literal["system", "user", "assistant"]
MAX_TOKENS = 512  # of an answer, unless said


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True)
class Completion:
    """What a model answered, and what that cost. `cached`: it was answered before, and cost nothing now."""

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: bool = False


@runtime_checkable
class ChatModel(Protocol):
    """A language model: messages in, a text out.

    `name` stands for everything that decides an answer but the messages: the model, its temperature, its seed. A
    cache of answers relies on it.
    """

    @property
    def name(self) -> str:
        """A stable name of the model and its settings."""
        ...

    def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int = MAX_TOKENS,
    ) -> Completion:
        """The answer to a conversation, of at most `max_tokens` tokens.

        `schema` is a JSON schema that the answer shall follow. A model that can be bound to it is; from any other,
        the answer may be of another form, and whoever asks must look.
        """
        ...
