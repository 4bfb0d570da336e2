"""Filters: which traces of a space may be seen.

A filter is a mapping from a field to a value or to `{operator: value}`; several fields must all hold, and
`AND`, `OR`, `NOT` combine filters. Fields are those of a trace (`agent_id`, `session_id`, `role`, `kind`,
`layer`, `status`, `at`, `valid_from`, `valid_to`, `recorded_at`, `importance`, `text`, `id`, `system`) or a
key of its metadata (`channel`, or `address.city` for a nested one). Operators: `eq ne in nin gt gte lt lte
contains icontains`, and the value `"*"`: the field is there. An unknown operator is an error.

>>> parse({"session_id": "s1", "channel": {"in": ["chat", "mail"]}}).sql[0]
'(trace.session_id = ? AND json_extract(trace.metadata, ?) IN (?,?))'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from halflife.errors import InvalidFilter
from halflife.store.timeparse import parse_time

TIMES = frozenset(("at", "valid_from", "valid_to", "recorded_at", "retired_at", "last_used"))
COLUMNS = TIMES | frozenset(
    ("agent_id", "session_id", "role", "kind", "layer", "status", "importance", "text", "id", "system", "version")
)
ALIASES = {"run_id": "session_id", "created_at": "recorded_at"}
COMPARE = {"eq": "=", "ne": "IS NOT", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
OPERATORS = (*COMPARE, "in", "nin", "contains", "icontains")
COMBINE = {"AND": " AND ", "OR": " OR "}
SPACE_FIELDS = ("user_id",)

Sql = tuple[str, list[Any]]


@dataclass(frozen=True)
class Filter:
    """A checked filter as an SQL condition on `trace`. `by_id`: it lets through only traces that it names."""

    sql: Sql = ("1", [])
    empty: bool = True
    by_id: bool = False

    def __and__(self, other: Filter) -> Filter:
        if self.empty or other.empty:
            return other if self.empty else self
        (a, x), (b, y) = self.sql, other.sql
        return Filter((f"({a} AND {b})", [*x, *y]), empty=False, by_id=self.by_id or other.by_id)

    @property
    def space(self) -> str:
        """The column of the space, for the condition beside this one.

        SQLite would rather read a whole space than look up a few ids; a plus sign keeps it from using that index.
        """
        return "+trace.space" if self.by_id else "trace.space"


ALL = Filter()


def parse(filters: Mapping[str, Any] | None) -> Filter:
    """Check a filter and turn it into SQL. Raises `InvalidFilter`."""
    if not filters:
        return ALL
    return Filter(_group(filters), empty=False, by_id=_names(filters.get("id")))


def _names(value: Any) -> bool:
    """Whether a condition on the id is one or more ids."""
    if isinstance(value, Mapping):
        return "in" in value or "eq" in value
    return value is not None and value != "*"


def _group(filters: Any) -> Sql:
    if not isinstance(filters, Mapping) or not filters:
        raise InvalidFilter(f"A filter must be a non-empty mapping, not {filters!r}.")
    return _join(" AND ", [_item(key, value) for key, value in filters.items()])


def _item(key: str, value: Any) -> Sql:
    if key in COMBINE:
        return _join(COMBINE[key], [_group(part) for part in _list(value, key)])
    if key == "NOT":
        parts = value if isinstance(value, (list, tuple)) else [value]
        sql, args = _join(" OR ", [_group(part) for part in parts])
        return f"NOT coalesce({sql}, 0)", args
    return _field(key, value)


def _field(name: str, value: Any) -> Sql:
    if not isinstance(name, str) or not name:
        raise InvalidFilter(f"A filter's field must be a name, not {name!r}.")
    if name in SPACE_FIELDS:
        raise InvalidFilter(f"{name} selects whose memory is searched; it cannot be combined with AND, OR or NOT.")
    name = ALIASES.get(name, name)
    if name in COLUMNS:
        column: Sql = (f"trace.{name}", [])
        convert: Callable[[Any], Any] = parse_time if name in TIMES else _scalar
    else:
        if '"' in name:
            raise InvalidFilter(f"A filter cannot name the field {name!r}, which has a quotation mark.")
        path = "".join(f'."{part}"' for part in name.split("."))
        column, convert = ("json_extract(trace.metadata, ?)", ["$" + path]), _scalar
    if value == "*":
        return f"{column[0]} IS NOT NULL", column[1]
    if not isinstance(value, Mapping):
        value = {"in" if isinstance(value, (list, tuple, set)) else "eq": value}
    if not value:
        raise InvalidFilter(f"The filter on {name} is empty.")
    return _join(" AND ", [_compare(column, operator, operand, convert) for operator, operand in value.items()])


def _compare(column: Sql, operator: str, operand: Any, convert: Callable[[Any], Any]) -> Sql:
    sql, args = column
    if operator in COMPARE:
        if operand is None:
            if operator not in ("eq", "ne"):
                raise InvalidFilter(f"{operator} needs a value to compare with, not None.")
            return f"{sql} IS {'NOT ' if operator == 'ne' else ''}NULL", args
        comparison: Sql = (f"{sql} {COMPARE[operator]} ?", [*args, convert(operand)])
        if operator in ("eq", "ne") or not sql.startswith("json_extract"):
            return comparison
        # SQLite puts any text after any number; here they are not compared.
        same = f"(typeof({sql}) = 'text') = (typeof(?) = 'text')"
        return f"({comparison[0]} AND {same})", [*comparison[1], *args, convert(operand)]
    if operator in ("in", "nin"):
        values = [convert(item) for item in _list(operand, operator)]
        marks = ",".join("?" * len(values))
        if operator == "in":
            return f"{sql} IN ({marks})", [*args, *values]
        return f"({sql} IS NULL OR {sql} NOT IN ({marks}))", [*args, *args, *values]
    if operator in ("contains", "icontains"):
        if not isinstance(operand, str):
            raise InvalidFilter(f"{operator} needs a string, not {operand!r}.")
        if operator == "contains":
            return f"instr({sql}, ?) > 0", [*args, operand]
        return f"instr(fold({sql}), fold(?)) > 0", [*args, operand]
    raise InvalidFilter(f"Unknown operator {operator!r}.", f"Operators are {', '.join(OPERATORS)}, and '*'.")


def _scalar(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (str, int, float)):
        return value
    raise InvalidFilter(f"A filter compares with a string, number or boolean, not {value!r}.")


def _list(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, (list, tuple, set, frozenset)) or not value:
        raise InvalidFilter(f"{what} needs a non-empty list, not {value!r}.")
    return list(value)


def _join(glue: str, parts: Sequence[Sql]) -> Sql:
    if len(parts) == 1:
        return parts[0]
    return "(" + glue.join(sql for sql, _ in parts) + ")", [arg for _, args in parts for arg in args]
