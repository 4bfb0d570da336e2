"""What users hand in (strings, messages, mappings), as drafts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from halflife.errors import InvalidInput
from halflife.store.draft import Draft, check_content
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


def draft(item: Item, defaults: Mapping[str, Any], now: float, unit: Callable[[Any], Floats]) -> Draft:
    """One item with the defaults of the call, checked."""
    fields = dict(defaults)
    if isinstance(item, str):
        fields["text"] = item
    elif isinstance(item, Mapping):
        given = {ALIASES.get(key, key): value for key, value in item.items() if value is not None}
        unknown = sorted(given.keys() - FIELDS)
        if unknown:
            raise InvalidInput(
                f"A memory has no field {unknown[0]!r}.", f"Put it into metadata; the fields are {', '.join(sorted(FIELDS))}."
            )
        if "metadata" in given and fields.get("metadata"):
            given["metadata"] = {**fields["metadata"], **given["metadata"]}
        fields |= given
    else:
        raise InvalidInput(f"A memory is a string or a message, not {type(item).__name__}.")
    if "text" not in fields:
        raise InvalidInput("The message has no text (key 'text' or 'content').")
    check_content(fields["text"])
    vector = fields.pop("vector", None)
    if vector is not None:
        fields["vectors"] = _rows(vector, unit)
    fields["at"] = now if fields.get("at") is None else parse_time(fields["at"])
    for name in ("valid_from", "valid_to"):
        if fields.get(name) is not None:
            fields[name] = parse_time(fields[name])
    if "sources" in fields:
        fields["sources"] = tuple(fields["sources"])
    fields["metadata"] = fields.get("metadata") or {}
    return Draft(**fields)


def _rows(vector: Any, unit: Callable[[Any], Floats]) -> NDArray[np.float32]:
    array = np.asarray(vector, dtype=np.float32)
    rows = array if array.ndim == 2 else array.reshape(1, -1)
    return np.stack([unit(row) for row in rows])
