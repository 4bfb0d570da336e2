"""A chat model that answers by script: good, malformed, slow, refusing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from halflife.llm.chat import MAX_TOKENS, Completion, Message

Reply: TypeAlias = str | dict[str, Any] | list[Any] | BaseException | Callable[[Sequence[Message]], Any]


class Scripted:
    """Gives these replies one after the other; the last one again and again if `repeat`.

    A string is the answer itself, a mapping or list becomes JSON, an exception is raised, and a function is asked with
    the messages. `asked` holds the messages of every call, `prompts` the last message of each.
    """

    def __init__(self, replies: Sequence[Reply] | Reply, *, repeat: bool = False, name: str = "scripted") -> None:
        self.name, self.repeat = name, repeat
        single = isinstance(replies, (str, dict, BaseException)) or callable(replies)
        self.replies: list[Any] = [replies] if single else list(replies)
        self.asked: list[tuple[Message, ...]] = []
        self.schemas: list[Mapping[str, Any] | None] = []

    @property
    def prompts(self) -> list[str]:
        return [messages[-1].content for messages in self.asked]

    def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int = MAX_TOKENS,
    ) -> Completion:
        self.asked.append(tuple(messages))
        self.schemas.append(schema)
        assert self.replies, f"the script is over; asked for: {messages[-1].content[:200]}"
        reply = self.replies[0] if self.repeat and len(self.replies) == 1 else self.replies.pop(0)
        if callable(reply) and not isinstance(reply, type):
            reply = reply(messages)
        if isinstance(reply, BaseException):
            raise reply
        text = reply if isinstance(reply, str) else json.dumps(reply)
        return Completion(text, sum(len(m.content.split()) for m in messages), len(text.split()))


def obedient(messages: Sequence[Message]) -> str:
    """What of a prompt stands outside every fence: all that a model that follows only instructions would follow."""
    import re

    text = "\n".join(message.content for message in messages)
    return re.sub(r"<(\w+)>\n.*?\n</\1>", "", text, flags=re.DOTALL)
