"""The time-aware query moves what is in range, and nothing else."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halflife.decay.law import DAY
from halflife.errors import InvalidInput
from halflife.probe.benchmarks.keyvalue import Value
from halflife.probe.benchmarks.timeaware import TimeAwareQuery, asked_range, event_index
from halflife.store.timeparse import format_time, parse_time

NOW = parse_time("2023-06-30T18:00")
days = st.integers(0, 40).map(lambda day: day * DAY + 3600.0)


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.lists(days, max_size=3), min_size=1),
    st.tuples(days, days).map(sorted),
    st.integers(0, 5),
    st.randoms(),
)
def test_it_is_a_stable_partition(events, bounds, slack, random):
    ranking = sorted(events)
    random.shuffle(ranking)
    start, end = (math.floor(bound / DAY) * DAY for bound in bounds)
    query = TimeAwareQuery(events, lambda *_: (start, end + DAY), slack_days=slack)
    ranked = query.rank("", NOW, ranking)
    first, last = start // DAY - slack, end // DAY + slack
    inside = [id for id in ranking if any(first <= at // DAY <= last for at in events[id])]
    assert ranked == inside + [id for id in ranking if id not in inside]


@given(st.permutations("abcdef"))
def test_without_a_range_nothing_moves(ranking):
    events = {id: [NOW - DAY] for id in "abc"}
    assert TimeAwareQuery(events, lambda *_: None).rank("", NOW, ranking) == ranking
    assert TimeAwareQuery(events, lambda _, now: (now, now + DAY)).rank("", NOW, ranking) == ranking
    assert TimeAwareQuery(events).rank("What was it last week?", None, ranking) == ranking
    assert TimeAwareQuery(events).rank("What is my profession?", NOW, ranking) == ranking


def test_open_ranges_and_what_has_no_time():
    events = {"old": [parse_time("2022-01-01")], "new": [parse_time("2023-06-20")]}
    query = TimeAwareQuery(events)
    assert query.rank("What did I buy since June 10?", NOW, ["none", "old", "new"]) == ["new", "none", "old"]
    assert query.rank("What did I buy before March 2023?", NOW, ["none", "new", "old"]) == ["old", "none", "new"]


def test_a_date_before_the_history_moves_nothing():
    events = {"a": [NOW - 3 * DAY], "b": [NOW - 9 * DAY]}
    assert TimeAwareQuery(events).rank("What did I eat in May 1999?", NOW, ["b", "a"]) == ["b", "a"]


def test_two_days_of_slack_on_both_sides():
    at = {day: parse_time(f"2023-04-{day:02d}") for day in range(1, 12)}
    query = TimeAwareQuery({str(day): [time] for day, time in at.items()})
    ranked = query.rank("Who came between April 5 and April 6?", NOW, [str(day) for day in at])
    assert ranked[:6] == ["3", "4", "5", "6", "7", "8"]
    assert asked_range("Who came between April 5 and April 6?", NOW) == (at[5], at[7])


def test_events_are_dated_by_session_and_by_what_was_said():
    said = "I was ill last Monday. What is rye? I have a beagle."
    one, none = Value("s_0", "s", "", parse_time("2023-05-03T10:00"), said), Value("t_0", "t", "", None, said)
    found = event_index([one, none])
    assert [format_time(at) for at in found["s_0"]] == ["2023-05-03", "2023-05-01"]
    assert found["t_0"] == ()


@pytest.mark.parametrize("slack", [-1, math.nan, math.inf])
def test_bad_slack_is_refused(slack):
    with pytest.raises(InvalidInput, match="slack_days"):
        TimeAwareQuery({}, slack_days=slack)
