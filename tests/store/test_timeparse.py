"""Times that users give, and the times that questions are about."""

from __future__ import annotations

import contextlib
import doctest
import math
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife.errors import InvalidInput
from halflife.store import timeparse, timerange, timespan
from halflife.store.timeparse import format_time, parse_time
from halflife.store.timerange import time_range

NOW = parse_time("2023-07-14T10:00")  # a Friday


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2023-05-30", "2023-05-30"),
        (" 2023-05-30 ", "2023-05-30"),
        ("1660-01-11", "1660-01-11"),
        ("0001-01-01", "0001-01-01"),
        ("9999-12-31T23:59:59", "9999-12-31T23:59:59Z"),
        ("2023-05-30T23:40", "2023-05-30T23:40:00Z"),
        ("2023-05-30 23:40:05", "2023-05-30T23:40:05Z"),
        ("2023-05-30T23:40:05.25Z", "2023-05-30T23:40:05.250000Z"),
        ("2023-05-30T23:40:00+02:00", "2023-05-30T21:40:00Z"),
        ("2023-05-30T23:40-0330", "2023-05-31T03:10:00Z"),
        ("2023/05/30 (Tue) 23:40", "2023-05-30T23:40:00Z"),
        ("2023/5/30", "2023-05-30"),
        ("1:56 pm on 8 May, 2023", "2023-05-08T13:56:00Z"),
        ("12:05 am on 8 September, 2023", "2023-09-08T00:05:00Z"),
        ("12:05 pm on 8 Sept 2023", "2023-09-08T12:05:00Z"),
        ("8 May, 2023", "2023-05-08"),
        (date(1666, 9, 2), "1666-09-02"),
        (datetime(1666, 9, 2, 1, 30), "1666-09-02T01:30:00Z"),
        (datetime(2023, 5, 30, 1, tzinfo=timezone(timedelta(hours=2))), "2023-05-29T23:00:00Z"),
        (0, "1970-01-01"),
        (-1.5, "1969-12-31T23:59:58.500000Z"),
        (np.int64(86_400), "1970-01-02"),
        (np.float32(86_400), "1970-01-02"),
    ],
)
def test_times_that_are_accepted(value, expected):
    assert format_time(parse_time(value)) == expected


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "no form"),
        ("yesterday", "no form"),
        ("5/4/2023", "no form"),
        ("2023-05", "no form"),
        ("1685490000", "no form"),
        ("2023-05-30T", "no form"),
        ("２０２３-05-30", "no form"),
        ("2023-02-29", "day"),
        ("2023-13-01", "month"),
        ("0000-01-01", "year"),
        ("2023-05-30T24:00", "hours"),
        ("2023-05-30T23:60", "minutes"),
        ("2023-05-30T23:00+99:00", "zone"),
        ("13:00 pm on 8 May, 2023", "am and pm"),
        ("8 Mayo, 2023", "month"),
        ("2023/05/30 (Mon) 23:40", "Tuesday"),
        ("0001-01-01T00:00+02:00", "years 1 to 9999"),
        (math.nan, "finite"),
        (-math.inf, "finite"),
        (1.7e12, "milliseconds"),
        (True, "not a time"),
        (b"2023-05-30", "bytes"),
        ([2023, 5, 30], "list"),
    ],
)
def test_times_that_are_refused_and_why(value, says):
    with pytest.raises(InvalidInput, match=says):
        parse_time(value)


def test_no_time_is_now():
    assert parse_time(None, now=5.0) == 5.0
    assert abs(parse_time(None) - datetime.now(UTC).timestamp()) < 60


def test_the_error_names_the_field():
    with pytest.raises(InvalidInput, match=r"^valid_from 'soon'"):
        parse_time("soon", what="valid_from")


def test_only_times_can_be_formatted():
    for seconds in (math.nan, math.inf, 1e15):
        with pytest.raises(InvalidInput):
            format_time(seconds)


@given(st.integers(-62_135_596_800, 253_402_300_799))
def test_what_is_formatted_is_parsed_back(seconds):
    assert parse_time(format_time(seconds)) == seconds


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_an_invalid_input(text):
    with contextlib.suppress(InvalidInput):
        assert math.isfinite(parse_time(text))


# A range is written "start end", with "-" for an open side.
FOUND = [
    # dates with their year
    ("what happened on 2023-05-04?", "on 2023-05-04", "2023-05-04 2023-05-05"),
    ("notes of 2023/5/4", "2023/5/4", "2023-05-04 2023-05-05"),
    ("in 2023-05", "in 2023-05", "2023-05-01 2023-06-01"),
    ("2023-05-04T10:00 meeting", "2023-05-04", "2023-05-04 2023-05-05"),
    ("What did he do in 1666?", "in 1666", "1666-01-01 1667-01-01"),
    ("In 1666 Pepys buried his cheese", "In 1666", "1666-01-01 1667-01-01"),
    ("in the year 1666 it burned", "in the year 1666", "1666-01-01 1667-01-01"),
    ("photos from 2019", "from 2019", "2019-01-01 2020-01-01"),
    ("in May 2023", "in May 2023", "2023-05-01 2023-06-01"),
    ("the May 2023 trip", "May 2023", "2023-05-01 2023-06-01"),
    ("May 2023 expenses?", "May 2023", "2023-05-01 2023-06-01"),
    ("on 4th May 2022", "on 4th May 2022", "2022-05-04 2022-05-05"),
    ("the 4th of May, 2022", "4th of May, 2022", "2022-05-04 2022-05-05"),
    ("May 4, 2023", "May 4, 2023", "2023-05-04 2023-05-05"),
    ("on September 2nd 1666", "on September 2nd 1666", "1666-09-02 1666-09-03"),
    ("on Sunday, 2 September 1666", "on Sunday, 2 September 1666", "1666-09-02 1666-09-03"),
    ("since Monday the 4th of May 2020", "since Monday the 4th of May 2020", "2020-05-04 -"),
    ("Sept. 2 1666", "Sept. 2 1666", "1666-09-02 1666-09-03"),
    ("in the summer of 1665", "in the summer of 1665", "1665-06-01 1665-09-01"),
    ("winter 1665", "winter 1665", "1665-12-01 1666-03-01"),
    ("fall 2022 classes", "fall 2022", "2022-09-01 2022-12-01"),
    ("in the 1660s", "in the 1660s", "1660-01-01 1670-01-01"),
    ("life in the 1600s", "in the 1600s", "1600-01-01 1700-01-01"),
    ("early May 2023", "early May 2023", "2023-05-01 2023-05-11"),
    ("2023年5月4日我做了什么", "2023年5月4日", "2023-05-04 2023-05-05"),
    ("我2023年5月去了哪里", "2023年5月", "2023-05-01 2023-06-01"),
    ("2022年の旅行", "2022年", "2022-01-01 2023-01-01"),
    ("2023년 5월 4일에", "2023년 5월 4일", "2023-05-04 2023-05-05"),
    # without a year: the latest that has begun
    ("in May", "in May", "2023-05-01 2023-06-01"),
    ("In May I went to Rome", "In May", "2023-05-01 2023-06-01"),
    ("during september", "during september", "2022-09-01 2022-10-01"),
    ("in July", "in July", "2023-07-01 2023-08-01"),
    ("who came on 4th May?", "on 4th May", "2023-05-04 2023-05-05"),
    ("on may 4", "on may 4", "2023-05-04 2023-05-05"),
    ("December 24", "December 24", "2022-12-24 2022-12-25"),
    ("on 29 February", "on 29 February", "2020-02-29 2020-03-01"),
    ("mid May", "mid May", "2023-05-11 2023-05-21"),
    ("in late-May", "in late-May", "2023-05-21 2023-06-01"),
    ("at the end of May", "end of May", "2023-05-21 2023-06-01"),
    ("in the winter", "in the winter", "2022-12-01 2023-03-01"),
    ("on Tuesday", "on Tuesday", "2023-07-11 2023-07-12"),
    ("on Friday", "on Friday", "2023-07-14 2023-07-15"),
    # counted from now
    ("what did I eat today", "today", "2023-07-14 2023-07-15"),
    ("yesterday's dinner", "yesterday", "2023-07-13 2023-07-14"),
    ("the day before yesterday", "the day before yesterday", "2023-07-12 2023-07-13"),
    ("last night", "last night", "2023-07-13T18:00:00Z 2023-07-14T06:00:00Z"),
    ("last week", "last week", "2023-07-03 2023-07-10"),
    ("this week", "this week", "2023-07-10 2023-07-17"),
    ("last month", "last month", "2023-06-01 2023-07-01"),
    ("this month", "this month", "2023-07-01 2023-08-01"),
    ("last year", "last year", "2022-01-01 2023-01-01"),
    ("this year", "this year", "2023-01-01 2024-01-01"),
    ("last Monday", "last Monday", "2023-07-10 2023-07-11"),
    ("last Friday", "last Friday", "2023-07-07 2023-07-08"),
    ("this Monday", "this Monday", "2023-07-10 2023-07-11"),
    ("last May", "last May", "2023-05-01 2023-06-01"),
    ("last July", "last July", "2022-07-01 2022-08-01"),
    ("last summer", "last summer", "2022-06-01 2022-09-01"),
    ("last spring", "last spring", "2023-03-01 2023-06-01"),
    ("last winter", "last winter", "2022-12-01 2023-03-01"),
    ("last fall", "last fall", "2022-09-01 2022-12-01"),
    ("this summer", "this summer", "2023-06-01 2023-09-01"),
    ("3 days ago", "3 days ago", "2023-07-11 2023-07-12"),
    ("two weeks ago", "two weeks ago", "2023-06-26 2023-07-03"),
    ("about a month ago", "a month ago", "2023-06-01 2023-07-01"),
    ("a couple of years ago", "a couple of years ago", "2021-01-01 2022-01-01"),
    ("2 hours ago", "2 hours ago", "2023-07-14T08:00:00Z 2023-07-14T09:00:00Z"),
    ("in the last 10 days", "in the last 10 days", "2023-07-04 2023-07-15"),
    ("over the past two weeks", "over the past two weeks", "2023-06-30 2023-07-15"),
    ("in the last month", "in the last month", "2023-06-14 2023-07-15"),
    ("the past year", "the past year", "2022-07-14 2023-07-15"),
    ("in the last 2 hours", "in the last 2 hours", "2023-07-14T08:00:00Z 2023-07-14T10:00:01Z"),
    # open, and from one to another
    ("since 2020", "since 2020", "2020-01-01 -"),
    ("since last week", "since last week", "2023-07-03 -"),
    ("before May 2023", "before May 2023", "- 2023-05-01"),
    ("after May 4", "after May 4", "2023-05-05 -"),
    ("until yesterday", "until yesterday", "- 2023-07-14"),
    ("prior to 2020?", "prior to 2020", "- 2020-01-01"),
    ("between 1665 and 1667", "between 1665 and 1667", "1665-01-01 1668-01-01"),
    ("in 1665-1667", "in 1665-1667", "1665-01-01 1668-01-01"),
    ("from May to June", "from May to June", "2023-05-01 2023-07-01"),
    ("from May to July 2022", "from May to July 2022", "2022-05-01 2022-08-01"),
    ("from November 2021 to February", "from November 2021 to February", "2021-11-01 2022-03-01"),
    ("from November to February", "from November to February", "2022-11-01 2023-03-01"),
    ("between May 4 and May 10", "between May 4 and May 10", "2023-05-04 2023-05-11"),
    ("2023-05-01 to 2023-05-10", "2023-05-01 to 2023-05-10", "2023-05-01 2023-05-11"),
    ("2023-05-01/2023-05-10", "2023-05-01/2023-05-10", "2023-05-01 2023-05-11"),
    ("from Monday to Wednesday", "from Monday to Wednesday", "2023-07-10 2023-07-13"),
    ("from last Monday until yesterday", "from last Monday until yesterday", "2023-07-10 2023-07-14"),
    ("May I see what we said in June?", "in June", "2023-06-01 2023-07-01"),
]


@pytest.mark.parametrize(("query", "text", "span"), FOUND)
def test_questions_about_a_time(query, text, span):
    found = time_range(query, NOW)
    assert found is not None
    ends = (format_time(end) if math.isfinite(end) else "-" for end in (found.start, found.end))
    assert (found.text, " ".join(ends)) == (text, span)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "What is my dog called?",
        "may I ask you something",
        "May I ask you something?",
        "it may be late, may it not?",
        "this may be wrong",
        "only 10 may enter",
        "may 4 people come along",
        "may 1500 people come along",
        "March on, soldiers",
        "they march 10 miles",
        "we march in step",
        "how long did the soldiers march",
        "my friend April",
        "Does April like June and August?",
        "with April and May at home",
        "April's birthday present",
        "wait a second",
        "the second one",
        "the sun in the sky",
        "who sat on the mat",
        "spring rolls and summer dresses",
        "did he fall in love in the fall",
        "hot springs near the winter palace",
        "1500 dollars",
        "it cost $1999",
        "in 1500 dollars",
        "a loan of 2000 euro",
        "lost in 2000 pieces",
        "between 1000 and 1500 dollars",
        "from 1500 to 2000 calories",
        "after 1500 m of climbing",
        "over 1800 followers",
        "room 1666",
        "my PIN is 2023",
        "call 555-2023 or +1 555 1999",
        "version 3.2023",
        "order 20230504 and 12345",
        "in 1999.50 of them",
        "5/4/2023",
        "2023-02-30",
        "on 31 June",
        "the last time we met",
        "the last day of the trip",
        "the last week of school",
        "in the past I smoked",
        "half a year ago",
        "I work on Sundays",
        "Monday is my favourite",
        "daydream believer",
        "long ago",
        "2000年前の話",
        "9999 years ago",
        "the sequel to Summer Wars",
        "Jan and Dec, the decorators",
        "marching mayors augment their octets",
    ],
)
def test_questions_about_no_time(query):
    assert time_range(query, NOW) is None


PIECES = """
in on since before after between and from to until the last past this early 3 4th ten a may May 2023 1666 31
Monday week months days ago summer fall 1660s 2023-05-04 2024-02-29 February yesterday of , - 2023年5月4日
dollars I what
"""


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES.split()), max_size=9).map(" ".join),
    st.integers(-62_135_596_800, 253_402_300_799),
)
def test_any_question_gives_a_range_in_order_or_none(query, now):
    found = time_range(query, now)
    if found:
        assert found.start < found.end
        assert found.text in query
        assert found.text.strip() == found.text != ""


@given(st.text(max_size=50))
def test_any_text_is_a_question(text):
    assert time_range(text, NOW) == time_range(text, NOW)


@given(st.dates(date(1000, 1, 1), date(2999, 12, 31)))
def test_every_way_to_write_a_date_means_that_day(day):
    month = timeparse.MONTHS[day.month - 1].capitalize()
    start = parse_time(day)
    for written in (
        day.isoformat(),
        f"{day.day} {month} {day.year}",
        f"the {day.day}th of {month[:3]}, {day.year}",
        f"{month} {day.day}, {day.year}",
        f"{day.year}年{day.month}月{day.day}日",
    ):
        found = time_range(f"what was on {written}?", NOW)
        assert found is not None
        assert (found.start, found.end) == (start, start + 86_400)


def test_long_questions_take_linear_time():
    for text in (
        "in May 1500 people " * 5000,
        "last " * 40_000,
        "1 " * 50_000,
        "early " * 30_000,
        " " * 100_000,
    ):
        time_range(text, NOW)


@pytest.mark.parametrize("module", [timeparse, timerange, timespan])
def test_the_examples_run(module):
    assert doctest.testmod(module).failed == 0
