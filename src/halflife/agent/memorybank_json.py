"""MemoryBank's released JSON schema: one document a user, between it and drafts.

    {user: {"name": user,
            "history": {date: [{"query", "response", "memory_id", "memory_strength", "last_recall_date"}]},
            "summary": {date: {"content", "memory_id", "memory_strength", "last_recall_date"}},
            "personality": {date: text},
            "overall_history": text, "overall_personality": text}}

The released code makes a `memory_id` of user, date and number, joined by `_`, and splits it there again, which
names with a `_` break. Here ids are written for other readers and never read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias

from halflife.agent.memorybank_notes import OVERALL, ROLE, Kind, content, date_of, sides
from halflife.decay import DAY, State
from halflife.errors import InvalidInput
from halflife.store.draft import Draft
from halflife.store.timeparse import parse_time
from halflife.store.trace import Space, Trace

Document: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class ReadTurn:
    """A turn read from a document, and when it was last recalled."""

    draft: Draft
    last_used: float


@dataclass(frozen=True)
class ReadUser:
    """A document read: turns in order, and notes as (kind, date or nothing, text)."""

    name: str
    turns: tuple[ReadTurn, ...]
    notes: tuple[tuple[Kind, str, str], ...]

    @property
    def space(self) -> Space:
        return Space.of(self.name)


def turn(query: str, response: str, at: float, state: State | None = None) -> Draft:
    """A turn as it is stored: both sides in one text, and where the second begins.

    >>> turn("Hi.", "Hello!", 0.0).text, turn("", "Hello!", 0.0).role
    ('Hi.\\nHello!', 'assistant')
    """
    if not response.strip():
        return Draft(query, at, role="user", state=state)
    if not query.strip():
        return Draft(response, at, role="assistant", state=state)
    return Draft(f"{query}\n{response}", at, metadata={"response_at": len(query) + 1}, state=state)


def document(name: str, turns: Sequence[Trace], notes: Sequence[Trace], strength: Callable[[Trace], float]) -> Document:
    """The document of a user.

    Parameters
    ----------
    turns, notes: oldest first.
    strength: of a trace.
    """
    history: dict[str, list[Document]] = {}
    for trace in turns:
        day = history.setdefault(date_of(trace.at), [])
        query, response = sides(trace)
        day.append(
            {"query": query, "response": response, **_kept(trace, f"{name}_{date_of(trace.at)}_{len(day)}", strength)}
        )
    by_role = {
        role: {date_of(n.at): n for n in notes if n.role == role} for role in (*ROLE.values(), *OVERALL.values())
    }
    summaries = by_role[ROLE["summary"]].items()
    return {
        "name": name,
        "history": history,
        "summary": {
            day: {"content": content(n), **_kept(n, f"{name}_{day}_summary", strength)} for day, n in summaries
        },
        "personality": {day: content(n) for day, n in by_role[ROLE["portrait"]].items()},
        "overall_history": " ".join(n.text for n in by_role[OVERALL["summary"]].values()),
        "overall_personality": " ".join(n.text for n in by_role[OVERALL["portrait"]].values()),
    }


def _kept(trace: Trace, memory_id: str, strength: Callable[[Trace], float]) -> Document:
    return {
        "memory_id": memory_id,
        "memory_strength": round(strength(trace)),
        "last_recall_date": date_of(trace.last_used),
    }


def read_documents(data: Any, unit_days: float) -> list[ReadUser]:
    """Documents as drafts, checked as a whole before anything is stored.

    Parameters
    ----------
    unit_days: stability in days of a memory of strength 1.

    Raises
    ------
    InvalidInput: what is not of the schema, named by user and date.
    """
    return [_user(str(key).strip(), one, unit_days) for key, one in _mapping(data, "The data").items()]


def _user(name: str, data: Any, unit_days: float) -> ReadUser:
    one = _mapping(data, f"The document of {name!r}")
    turns = tuple(
        _turn(item, day, unit_days, f"{name}, {day}")
        for day, items in _mapping(one.get("history") or {}, f"The history of {name!r}").items()
        for item in _listed(items, f"{name}, {day}")
    )
    return ReadUser(name, turns, tuple(_notes(one, name)))


def _turn(item: Any, day: str, unit_days: float, where: str) -> ReadTurn:
    one = _mapping(item, where)
    query, response = one.get("query", ""), one.get("response", "")
    strength = one.get("memory_strength", 1)
    if not isinstance(query, str) or not isinstance(response, str) or not (query.strip() or response.strip()):
        raise InvalidInput(f"{where}: a turn needs a query or a response, as text.")
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 1 <= strength < float("inf"):
        raise InvalidInput(f"{where}: memory_strength is {strength!r}.", "It starts at 1 and grows.")
    at = _midnight(day, where)
    last = _midnight(one.get("last_recall_date") or day, where)
    return ReadTurn(turn(query, response, at, State(strength * unit_days * DAY, uses=float(strength))), max(last, at))


def _notes(one: Mapping[str, Any], name: str) -> Iterator[tuple[Kind, str, str]]:
    fields: tuple[tuple[str, Kind], ...] = (("summary", "summary"), ("personality", "portrait"))
    for field, kind in fields:
        for day, item in _mapping(one.get(field) or {}, f"{field} of {name!r}").items():
            _midnight(day, f"{name}, {field}")
            text = item.get("content", "") if isinstance(item, Mapping) else item
            if _text(text, f"{name}, {field} of {day}"):
                yield kind, day, text
    overalls: tuple[tuple[str, Kind], ...] = (("overall_history", "summary"), ("overall_personality", "portrait"))
    for field, kind in overalls:
        if _text(one.get(field) or "", f"{name}, {field}"):
            yield kind, "", one[field]


def _midnight(day: Any, where: str) -> float:
    try:
        return parse_time(date.fromisoformat(day).isoformat())
    except (TypeError, ValueError):
        raise InvalidInput(f"{where}: {day!r} is not a date.", "Write YYYY-MM-DD.") from None


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{what} is a {type(value).__name__}, not an object.")
    return value


def _listed(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise InvalidInput(f"{where}: the turns of a day are a list, not a {type(value).__name__}.")
    return value


def _text(value: Any, where: str) -> bool:
    if not isinstance(value, str):
        raise InvalidInput(f"{where} is a {type(value).__name__}, not a text.")
    return bool(value.strip())
