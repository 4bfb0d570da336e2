"""Reading what other programs wrote: mem0's memories and chat logs, as drafts. Nothing here writes.

`read` looks at the first line that is not blank: JSON (a list, an object, or one value a line) holds memories or
messages; anything else is a log with one message a line, such as `2024-05-01 10:03 Anna: text`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from halflife.errors import HalflifeError, InvalidInput
from halflife.store.draft import RESERVED, Draft, metadata_json
from halflife.store.plain import loads
from halflife.store.timeparse import parse_time
from halflife.store.trace import Space

Line = tuple[str, str]  # where it stands ("line 3"), and the text

TIMES = ("timestamp", "at", "date", "created_at", "time")
SESSIONS = ("session_id", "session", "conversation_id", "run_id")
_DATE = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}(?:[ T]\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?"
_SPEAKER = r"(?P<who>[^\W\d_][^:\[\]]{0,59}?)\s*:(?:\s+|$)(?P<text>.*)"
_MESSAGE = re.compile(rf"(?:(?:\[(?P<boxed>{_DATE})\]|(?P<date>{_DATE}))[\s,:–-]*\s)?\s*{_SPEAKER}", re.DOTALL)
_TWO_WAYS = re.compile(r"\[?\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}\b")


@dataclass(frozen=True)
class Entry:
    """One memory to be: where it goes, what it says, where it stood in the file, and whether it had a time."""

    space: Space
    draft: Draft
    where: str
    dated: bool = True


@dataclass
class Reading:
    """What was read. `empty` counts messages without text; `note` says what was left out."""

    format: str
    entries: list[Entry] = field(default_factory=list)
    empty: int = 0
    note: str = ""


def numbered(lines: Iterable[str]) -> Iterator[Line]:
    """Lines that are not blank, with where they stand, without line ends and byte order mark."""
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, str):
            raise InvalidInput(f"line {number} is {type(line).__name__}, not text.", "Open the file as text (UTF-8).")
        line = line.rstrip("\r\n")
        line = line.removeprefix("\ufeff") if number == 1 else line
        if line.strip():
            yield f"line {number}", line


def read(lines: Sequence[Line], user_id: str | None, now: float) -> Reading:
    """The memories in a mem0 export or a chat log.

    Parameters
    ----------
    lines: as `numbered` gives them.
    user_id: whose they are; None for whom the file names.
    now: the time of messages that have none, with none before them.

    Errors
    ------
    InvalidInput: names the line.

    >>> [entry] = read([("line 1", "[2024-05-01 10:03] Anna: I moved to Lisbon.")], "anna", 0.0).entries
    >>> entry.draft.role, entry.draft.text, entry.draft.at
    ('Anna', 'I moved to Lisbon.', 1714557780.0)
    """
    first = lines[0][1].lstrip()
    if first[0] not in "[{" or _MESSAGE.fullmatch(first):
        return _read_log(lines, user_id, now)
    values = list(_values(lines))
    sample = next((value for _, value in values), None)
    if isinstance(sample, Mapping) and ("memory" in sample or "results" in sample):
        return _read_mem0(values, user_id, now)
    return _read_chat(values, user_id, now)


def at_line(where: str, error: HalflifeError) -> InvalidInput:
    """An error about a value, naming where the value stands."""
    return InvalidInput(f"{where}: {error.message}", f"{error.hint} Nothing was imported.".strip())


def broken(where: str, what: str, hint: str = "") -> InvalidInput:
    """A line that cannot be read."""
    return at_line(where, HalflifeError(what, hint))


# -- JSON -------------------------------------------------------------------------------------------------------


def _values(lines: Sequence[Line]) -> Iterator[tuple[str, Any]]:
    """The objects of a JSON document, or of one JSON value a line; lists are opened."""
    try:
        loads(lines[0][1])
    except ValueError:
        yield from _opened("", _document(lines))
        return
    for where, line in lines:
        yield from _opened(where, parse_json(where, line))


def _document(lines: Sequence[Line]) -> Any:
    try:
        return loads("\n".join(line for _, line in lines))
    except ValueError as error:
        where = lines[min(getattr(error, "lineno", 1), len(lines)) - 1][0]
        raise broken(where, f"this is not JSON ({error}).") from None


def parse_json(where: str, line: str) -> Any:
    """A line's JSON value. Raises `InvalidInput`."""
    try:
        return loads(line)
    except ValueError as error:
        raise broken(where, f"this is not JSON ({error}).") from None


def _opened(where: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, list):
        yield where or "the document", value
        return
    for number, item in enumerate(value, start=1):
        yield f"{where}, item {number}".removeprefix(", "), item


def _object(where: str, value: Any, keys: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise broken(where, f"expected an object with {keys}, not {json.dumps(value)[:40]}.")
    return {key: item for key, item in value.items() if item is not None}


def _take(fields: dict[str, Any], names: Sequence[str]) -> Any:
    """The first of these fields that is there, taken out."""
    for name in names:
        if name in fields:
            return fields.pop(name)
    return None


def _text_of(value: Any) -> Any:
    """The text of a message: a string, or OpenAI's list of parts."""
    if isinstance(value, list):
        parts = [part.get("text") or "" if isinstance(part, Mapping) else str(part) for part in value]
        if any(not isinstance(part, str) for part in parts):
            return value
        return "\n".join(part for part in parts if part)
    return "" if value is None else value


def _entry(
    where: str, fields: dict[str, Any], text: Any, at: float, dated: bool, user_id: str | None, id: str | None = None
) -> Entry:
    """An entry from a text and the other fields of an object; what is no field of ours becomes metadata."""
    owner, agent, role = (_name(where, fields, name) for name in ("user_id", "agent_id", "role"))
    session = _take(fields, SESSIONS)
    inner = fields.pop("metadata", {})
    if not isinstance(inner, Mapping):
        raise broken(where, "metadata must be an object.")
    metadata = {f"original_{key}" if key in RESERVED else key: value for key, value in {**fields, **inner}.items()}
    try:
        draft = Draft(
            text, at, role=role, agent_id=agent, session_id=None if session is None else str(session),
            metadata=metadata, id=id,
        )  # fmt: skip
        metadata_json(metadata)
        return Entry(Space.of(user_id if user_id is not None else owner, agent), draft, where, dated)
    except HalflifeError as error:
        raise at_line(where, error) from None


def _name(where: str, fields: dict[str, Any], name: str) -> str | None:
    value = fields.pop(name, None)
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise broken(where, f"{name} must be a string, not {value!r}.")


def _time(where: str, value: Any) -> float:
    try:
        return parse_time(value)
    except HalflifeError as error:
        raise at_line(where, error) from None


# -- mem0 -------------------------------------------------------------------------------------------------------


def _read_mem0(values: Iterable[tuple[str, Any]], user_id: str | None, now: float) -> Reading:
    """What `get_all` returns: an object with `results`, or these results themselves."""
    reading = Reading("mem0")
    relations = 0
    for where, value in values:
        if isinstance(value, Mapping) and "results" in value:
            if not isinstance(value["results"], list):
                raise broken(where, "results must be a list.")
            others = value.get("relations")
            relations += len(others) if isinstance(others, list) else 0
            items = [(f"{where}, item {i}", item) for i, item in enumerate(value["results"], start=1)]
        else:
            items = [(where, value)]
        reading.entries += [_mem0_entry(place, item, user_id, now) for place, item in items]
    if relations:
        reading.note = f"{relations} relations of mem0's graph were left out"
    return reading


def _mem0_entry(where: str, value: Any, user_id: str | None, now: float) -> Entry:
    fields = _object(where, value, "'memory'")
    if "memory" not in fields:
        raise broken(where, "a memory of mem0 has the key 'memory'.")
    text, id = fields.pop("memory"), fields.pop("id", None)
    said = _take(fields, ("created_at", "updated_at"))
    return _entry(
        where, fields, text, now if said is None else _time(where, said), said is not None, user_id, id and str(id)
    )


# -- chats ------------------------------------------------------------------------------------------------------


def _read_chat(values: Iterable[tuple[str, Any]], user_id: str | None, now: float) -> Reading:
    """Messages with `role` and `content`, alone or in objects with `messages`, each of which is a session."""
    reading = Reading("chat")
    last: float | None = None
    for number, (where, value) in enumerate(values, start=1):
        fields = _object(where, value, "'content' or 'messages'")
        if "messages" not in fields:
            last = _message(reading, where, fields, {}, last, user_id, now)
            continue
        if not isinstance(fields["messages"], list):
            raise broken(where, "messages must be a list.")
        session = _take(fields, (*SESSIONS, "id"))
        shared = {"session_id": f"session-{number}" if session is None else str(session)}
        shared |= {name: fields[name] for name in ("user_id", "agent_id") if name in fields}
        opened = _take(fields, TIMES)
        last = None if opened is None else _time(where, opened)
        for i, message in enumerate(fields["messages"], start=1):
            place = f"{where}, message {i}"
            last = _message(reading, place, _object(place, message, "'content'"), shared, last, user_id, now)
    return reading


def _message(
    reading: Reading, where: str, fields: dict[str, Any], shared: Mapping[str, Any], last: float | None,
    user_id: str | None, now: float,
) -> float | None:  # fmt: skip
    """Add one message; its time, or else the last one."""
    fields = {**shared, **fields}
    if not {"content", "text", "role"} & fields.keys():
        raise broken(where, "a message has the keys 'role' and 'content'.")
    text = _text_of(_take(fields, ("content", "text")))
    said = _take(fields, TIMES)
    at = last if said is None else _time(where, said)
    if text == "":
        reading.empty += 1
    else:
        moment = now if at is None else at
        reading.entries.append(_entry(where, fields, text, moment, said is not None, user_id))
    return at


def _read_log(lines: Sequence[Line], user_id: str | None, now: float) -> Reading:
    """One message a line; a line without a speaker goes on with the message before it."""
    messages: list[tuple[str, str, list[str], str | None]] = []
    for where, line in lines:
        found = _MESSAGE.fullmatch(line.strip())
        if found:
            messages.append((where, found["who"].strip(), [found["text"]], found["boxed"] or found["date"]))
        elif _TWO_WAYS.match(line.strip()):
            raise broken(
                where, f"the date in {line.strip()[:24]!r} can be read in two ways.", "Write it as 2024-05-31."
            )
        elif messages:
            messages[-1][2].append(line)
        else:
            raise broken(
                where,
                f"{line.strip()[:40]!r} is no message.",
                "Known: JSON, or lines such as 2024-05-01 10:03 Anna: text.",
            )
    reading = Reading("log")
    last: float | None = None
    for where, who, parts, said in messages:
        text = "\n".join(parts).strip()
        last = last if said is None else _time(where, _padded(said))
        if not text:
            reading.empty += 1
            continue
        at = now if last is None else last
        reading.entries.append(_entry(where, {"role": who}, text, at, said is not None, user_id))
    return reading


def _padded(date: str) -> str:
    """A date with two digits for month and day."""
    return re.sub(r"^(\d{4})[-/](\d{1,2})[-/](\d{1,2})", lambda m: f"{m[1]}-{int(m[2]):02}-{int(m[3]):02}", date)
