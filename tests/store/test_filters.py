"""A filter lets through what the same condition in Python lets through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife.decay import FSRS6
from halflife.errors import InvalidFilter
from halflife.store.draft import Draft
from halflife.store.filters import OPERATORS, parse
from halflife.store.protocol import Why
from halflife.store.sqlite import SqliteStore
from halflife.store.trace import Space, Trace

ANNA = Space.of(user_id="anna")
MISSING = object()
VALUES = [0, 1, -3, 2.5, True, "chat", "Chat", "ÉTÉ", "été", "", "10", None]


@pytest.fixture(scope="module")
def store() -> Iterator[SqliteStore]:
    with SqliteStore(law=FSRS6()) as store:
        drafts = [
            Draft(
                f"text {i} {'Été' if i % 3 else 'hiver'}", float(i % 5) * 1000,
                metadata={"k": value, "deep": {"er": i % 3}, "i": i} if i % 7 else {"i": i},
                session_id="s1" if i % 2 else None, role=["user", "assistant", None][i % 3], importance=(i % 4) / 4,
            )
            for i, value in enumerate(VALUES * 3)
        ]  # fmt: skip
        store.add(ANNA, drafts, Why("add"), 0.0)
        store.add(Space.of(user_id="bob"), drafts[:5], Why("add"), 0.0)
        yield store


def field_of(trace: Trace, name: str) -> Any:
    if name in ("session_id", "role", "importance", "at", "text"):
        return getattr(trace, name)
    value: Any = trace.metadata
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def holds(value: Any, operator: str, operand: Any) -> bool:
    match operator:
        case "eq":
            return value is None if operand is None else value is not None and value == operand
        case "ne":
            return value is not None if operand is None else value != operand
        case "in":
            return value is not None and value in operand
        case "nin":
            return value is None or value not in operand
        case "contains":
            return value is not None and operand in _text(value)
        case "icontains":
            return value is not None and operand.casefold() in _text(value).casefold()
    if value is None or isinstance(value, str) != isinstance(operand, str):
        return False
    return {"gt": value > operand, "gte": value >= operand, "lt": value < operand, "lte": value <= operand}[operator]


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def oracle(filters: Mapping[str, Any], trace: Trace) -> bool:
    results = []
    for key, value in filters.items():
        if key == "AND":
            results.append(all(oracle(part, trace) for part in value))
        elif key == "OR":
            results.append(any(oracle(part, trace) for part in value))
        elif key == "NOT":
            results.append(not any(oracle(part, trace) for part in ([value] if isinstance(value, Mapping) else value)))
        elif value == "*":
            results.append(field_of(trace, key) is not None)
        else:
            conditions = value if isinstance(value, Mapping) else {"in" if isinstance(value, list) else "eq": value}
            results.append(all(holds(field_of(trace, key), op, operand) for op, operand in conditions.items()))
    return all(results)


scalars = st.sampled_from([value for value in VALUES if value is not None])
strings = st.sampled_from(["chat", "CHAT", "été", "É", "", "1", "hiver"])


def conditions(name: str) -> st.SearchStrategy[Any]:
    values = scalars if name in ("k", "unknown") else {
        "session_id": st.sampled_from(["s1", "s2"]), "role": st.sampled_from(["user", "assistant"]),
        "importance": st.sampled_from([0.0, 0.25, 0.5, 1.0]), "at": st.sampled_from([0.0, 1000.0, 3500.0]),
        "text": strings, "deep.er": st.integers(0, 3), "i": st.integers(0, 40),
    }[name]  # fmt: skip
    compare = st.sampled_from(["gt", "gte", "lt", "lte"])
    single = st.one_of(
        st.builds(lambda op, v: {op: v}, st.sampled_from(["eq", "ne"]), st.one_of(values, st.none())),
        st.builds(lambda op, v: {op: v}, compare, values),
        st.builds(lambda op, v: {op: v}, st.sampled_from(["in", "nin"]), st.lists(values, min_size=1, max_size=3)),
    )
    if name in ("k", "text", "role", "session_id"):
        single |= st.builds(lambda op, v: {op: v}, st.sampled_from(["contains", "icontains"]), strings)
    both = st.builds(lambda a, b: {**a, **b}, single, single)
    return st.one_of(values, st.just("*"), st.lists(values, min_size=1, max_size=3), single, both)


FIELDS = ["k", "unknown", "session_id", "role", "importance", "at", "text", "deep.er", "i"]
leaves = st.sampled_from(FIELDS).flatmap(lambda name: conditions(name).map(lambda condition: {name: condition}))
filters_ = st.recursive(
    leaves,
    lambda parts: st.one_of(
        st.lists(parts, min_size=1, max_size=3).map(lambda p: {"AND": p}),
        st.lists(parts, min_size=1, max_size=3).map(lambda p: {"OR": p}),
        parts.map(lambda p: {"NOT": p}),
        st.builds(lambda a, b: {**a, **b}, parts, parts),
    ),
    max_leaves=5,
)


@settings(max_examples=200)
@given(filters=filters_)
def test_a_filter_is_the_same_condition_in_python(store: SqliteStore, filters: dict[str, Any]) -> None:
    found = {trace.id for trace in store.find(ANNA, parse(filters))}
    assert found == {trace.id for trace in store.iterate(ANNA) if oracle(filters, trace)}


def test_not_is_the_rest(store: SqliteStore) -> None:
    everything = {trace.id for trace in store.iterate(ANNA)}
    for filters in ({"k": {"gt": 0}}, {"k": "chat"}, {"unknown": 1}, {"role": {"in": ["user"]}}):
        some = {trace.id for trace in store.find(ANNA, parse(filters))}
        rest = {trace.id for trace in store.find(ANNA, parse({"NOT": filters}))}
        assert some | rest == everything
        assert not some & rest


def test_no_value_is_part_of_the_query(store: SqliteStore) -> None:
    """What looks like SQL or a wildcard is a value like any other."""
    for value in ("' OR 1=1 --", "%", "_", "chat' --", "*'"):
        assert store.find(ANNA, parse({"k": value})) == []
        assert store.find(ANNA, parse({"k": {"contains": value}})) == []
        assert store.find(ANNA, parse({f"k') OR 1=1 OR json_extract(trace.metadata, '{value}": "x"})) == []


@pytest.mark.parametrize("operator", ["like", "EQ", "$eq", "regex", ""])
def test_an_unknown_operator_is_named(operator: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse({"k": {operator: "x"}})
    assert all(known in str(caught.value) for known in OPERATORS)
