"""The record of one memory, and the boundary that it lives in."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from halflife.decay.law import State
from halflife.errors import InvalidInput

Kind: TypeAlias = Literal["text", "activation", "parameter"]
Status: TypeAlias = Literal["active", "archived", "merged", "retired"]

KINDS: tuple[Kind, ...] = ("text", "activation", "parameter")
STATUSES: tuple[Status, ...] = ("active", "archived", "merged", "retired")


@dataclass(frozen=True, order=True)
class Space:
    """The tenancy boundary: no recall ever crosses it.

    A user has one space, whatever agents and sessions wrote into it; an agent without a user has its own; and
    what belongs to neither lives in the default space.

    >>> str(Space.of(user_id="anna", agent_id="helper")), str(Space.of(agent_id="helper")), str(Space.of())
    ('user:anna', 'agent:helper', 'default')
    """

    name: str

    @classmethod
    def of(cls, user_id: str | None = None, agent_id: str | None = None) -> Space:
        """The space of a user, or else of an agent, or else the default one."""
        for kind, value in (("user", user_id), ("agent", agent_id)):
            if value is not None:
                if not isinstance(value, str) or not value.strip():
                    raise InvalidInput(f"{kind}_id must be a non-empty string, not {value!r}.")
                check_text(value, f"{kind}_id")
                return cls(f"{kind}:{value}")
        return cls("default")

    @property
    def user_id(self) -> str | None:
        return self.name[5:] if self.name.startswith("user:") else None

    def __str__(self) -> str:
        return self.name


def check_text(text: str, what: str) -> None:
    """Refuse what UTF-8 or a text column cannot hold."""
    if text.isascii() and "\x00" not in text:
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{what} has a lone surrogate at position {error.start}, which is not text.",
            "Decode the source with errors='replace' first.",
        ) from None
    if "\x00" in text:
        raise InvalidInput(f"{what} has a NUL character at position {text.index(chr(0))}.", "Remove it first.")


def new_ids(count: int, now: float | None = None) -> list[str]:
    """Time-ordered ids (UUID version 7): 48 bits of milliseconds, then random bits."""
    millis = f"{int((time.time() if now is None else now) * 1000) & 0xFFFF_FFFF_FFFF:012x}"
    head = f"{millis[:8]}-{millis[8:]}-7"
    random = os.urandom(10 * count).hex()
    return [
        f"{head}{r[:3]}-{'89ab'[int(r[3], 16) & 3]}{r[4:7]}-{r[7:19]}"
        for r in (random[start : start + 20] for start in range(0, 20 * count, 20))
    ]


@dataclass(frozen=True)
class Trace:
    """One memory. Immutable: a change makes a new version.

    Times are seconds since the Unix epoch (UTC), so dates before 1970 are negative.

    Parameters
    ----------
    id: time-ordered and unique in the store.
    space: the tenancy boundary.
    text: the content; empty for a trace whose content is its payload.
    kind: `text`, `activation` (a KV cache) or `parameter` (an adapter).
    at: when it was said or happened.
    valid_from, valid_to: when it was true in the world (None: open).
    recorded_at, retired_at: when the store learnt it, and when it stopped believing it.
    agent_id, session_id, role: who and where; they narrow a search but are no boundary.
    metadata: the user's own fields, JSON.
    importance: in [0, 1]; 0.5 unless said.
    layer: `short`, `mid` or `long`, or a system's own.
    state: what the decay law keeps; `last_used` is the time from which it counts.
    sources: ids of the traces that this one was derived from.
    system: the memory system that wrote it, empty for the engine itself.
    version: 1, 2, ...
    status: `active`, `archived` (faded, out of recall), `merged` (into another), `retired` (no longer believed).
    """

    id: str
    space: Space
    text: str
    at: float
    recorded_at: float
    kind: Kind = "text"
    valid_from: float | None = None
    valid_to: float | None = None
    retired_at: float | None = None
    agent_id: str | None = None
    session_id: str | None = None
    role: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    importance: float = 0.5
    layer: str = "short"
    state: State = field(default_factory=lambda: State(0.0))
    last_used: float = 0.0
    sources: tuple[str, ...] = ()
    system: str = ""
    version: int = 1
    status: Status = "active"
