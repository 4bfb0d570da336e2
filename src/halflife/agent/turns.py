"""Messages as turns: what one side said, and what the other answered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from halflife.store.trace import Trace

Turn: TypeAlias = tuple[Trace | None, Trace | None]


def turns_of(messages: Iterable[Trace]) -> list[Turn]:
    """Pairs of query and response, oldest first; one side is None where only the other was said.

    `messages` are in the order in which they were written, which decides between messages of one time. A message of
    the role `assistant` answers the message before it in its session, if that has no answer yet.
    """
    turns: list[Turn] = []
    for message in sorted(messages, key=lambda m: (m.session_id or "", m.at)):
        if message.role != "assistant":
            turns.append((message, None))
            continue
        query, response = turns[-1] if turns else (None, None)
        if query is not None and response is None and query.session_id == message.session_id:
            turns[-1] = (query, message)
        else:
            turns.append((None, message))
    return sorted(turns, key=lambda turn: min(side.at for side in turn if side))
