"""What users hand in (strings, messages, mappings), as drafts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from halflife.errors import InvalidInput
from halflife.store.draft import Draft
from halflife.store.timeparse import parse_time
from halflife.store.vectors import Floats

Item: TypeAlias = str | Mapping[str, Any]
Content: TypeAlias = Item | Sequence[Item]

# Names under which other systems know our fields.
ALIASES = {"content": "text", "memory": "text", "run_id": "session_id", "timestamp": "at", "created_at": "at"}
FIELDS = frozenset(
    "text at role agent_id session_id metadata importance layer kind valid_from valid_to sources vector id".split()
)


def as_items(content: Content) -> list[Item]:
    """One item or many, as a list. Raises `InvalidInput` for anything else."""
    if isinstance(content, (str, Mapping)):
        return [content]
    if isinstance(content, Iterable) and not isinstance(content, (bytes, bytearray)):
        items = list(content)
        if items:
            return items
        raise InvalidInput("There is nothing to remember: the list is empty.")
    raise InvalidInput(f"A memory is a string, a message or a list of them, not {type(content).__name__}.")


def drafts(
    items: Sequence[Item], defaults: Mapping[str, Any], now: float, units: Callable[[Sequence[Any]], list[Floats]]
) -> list[Draft]:
    """Items with the defaults of the call, checked. `units` turns the vectors given into rows of unit vectors."""
    fields = [_fields(item, defaults, now) for item in items]
    vectors = {i: one.pop("vector") for i, one in enumerate(fields) if "vector" in one}
    made = [Draft(**one) for one in fields]
    if vectors:
        for i, rows in zip(vectors, units(list(vectors.values())), strict=True):
            made[i].vectors = rows
    return made


def _fields(item: Item, defaults: Mapping[str, Any], now: float) -> dict[str, Any]:
    """One item as the fields of a draft."""
    if isinstance(item, str):
        fields = {**defaults, "text": item}
    elif isinstance(item, Mapping):
        fields = {**defaults, **_named(item)}
        if "metadata" in defaults and fields["metadata"] is not defaults["metadata"]:
            if not all(isinstance(given, Mapping) for given in (defaults["metadata"], fields["metadata"])):
                raise InvalidInput("metadata must be a mapping with string keys.")
            fields["metadata"] = {**defaults["metadata"], **fields["metadata"]}
    else:
        raise InvalidInput(f"A memory is a string or a message, not {type(item).__name__}.")
    if "text" not in fields:
        raise InvalidInput("The message has no text (key 'text' or 'content').")
    fields["at"] = parse_time(fields["at"]) if "at" in fields else now
    if "valid_from" in fields:
        fields["valid_from"] = parse_time(fields["valid_from"])
    if "valid_to" in fields:
        fields["valid_to"] = parse_time(fields["valid_to"])
    if "sources" in fields:
        fields["sources"] = tuple(fields["sources"])
    return fields


def _named(item: Mapping[str, Any]) -> dict[str, Any]:
    given = {ALIASES.get(key, key): value for key, value in item.items() if value is not None}
    if not given.keys() <= FIELDS:
        raise InvalidInput(
            f"A memory has no field {min(given.keys() - FIELDS)!r}.",
            f"Put it into metadata; the fields are {', '.join(sorted(FIELDS))}.",
        )
    return given
