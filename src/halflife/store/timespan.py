"""Stretches of the calendar as pairs of seconds: from the first until just before the second.

Everything is UTC, and weeks begin on Monday. What falls outside the years 1 to 9999 is a ValueError or an
OverflowError, as in `datetime`.
"""

from __future__ import annotations

import math
from datetime import date, timedelta
from typing import TypeAlias

from halflife.decay.law import DAY
from halflife.store.timeparse import EPOCH

Span: TypeAlias = tuple[float, float]


def seconds_of(day: date) -> float:
    """The first instant of a day.

    >>> seconds_of(date(1970, 1, 2))
    86400.0
    """
    return (day.toordinal() - EPOCH.toordinal()) * DAY


def date_of(seconds: float) -> date:
    """The day that an instant falls on.

    >>> date_of(-0.5)
    datetime.date(1969, 12, 31)
    """
    return date.fromordinal(EPOCH.toordinal() + int(seconds // DAY))


def days(day: date, count: int = 1) -> Span:
    """So many days from a day on.

    >>> days(date(1970, 1, 1), 7)
    (0.0, 604800.0)
    """
    start = seconds_of(day)
    return start, start + count * DAY


def months(year: int, month: int, count: int = 1) -> Span:
    """So many months from a month on.

    >>> [str(date_of(end)) for end in months(1665, 12, 3)]
    ['1665-12-01', '1666-03-01']
    """
    start = date(year, month, 1)
    return seconds_of(start), seconds_of(month_shifted(start, count))


def month_shifted(day: date, count: int) -> date:
    """The first of the month `count` months from that of a day.

    >>> month_shifted(date(2023, 1, 31), -2)
    datetime.date(2022, 11, 1)
    """
    year, month = divmod(day.year * 12 + day.month - 1 + count, 12)
    return date(year, month + 1, 1)


def third_of(month: Span, which: int) -> Span:
    """Days 1 to 10 of a month (0), 11 to 20 (1), or the rest of it (2).

    >>> [str(date_of(end)) for end in third_of(months(2023, 2), 2)]
    ['2023-02-21', '2023-03-01']
    """
    start = month[0] + which * 10 * DAY
    return start, month[1] if which == 2 else start + 10 * DAY


def last_weekday(weekday: int, by: date) -> Span:
    """The last Monday (0) to Sunday (6) that is not after a day.

    >>> str(date_of(last_weekday(0, date(2023, 7, 14))[0]))
    '2023-07-10'
    """
    return days(by - timedelta((by.weekday() - weekday) % 7))


def unit_back(now: float, count: int, unit: str) -> Span:
    """The calendar hour, day, week, month or year, `count` before the one of now.

    >>> [str(date_of(end)) for end in unit_back(seconds_of(date(2023, 7, 14)), 1, "week")]
    ['2023-07-03', '2023-07-10']
    """
    today = date_of(now)
    if unit == "hour":
        start = (now // 3600 - count) * 3600
        return start, start + 3600
    if unit == "day":
        return days(today - timedelta(count))
    if unit == "week":
        return days(today - timedelta(today.weekday() + 7 * count), 7)
    if unit == "month":
        first = month_shifted(today, -count)
        return months(first.year, first.month)
    return months(today.year - count, 1, 12)


def counted_back(now: float, count: int, unit: str) -> Span:
    """From `count` units before now until the end of today (of this second, for hours).

    >>> [str(date_of(end)) for end in counted_back(seconds_of(date(2023, 3, 31)), 1, "month")]
    ['2023-02-28', '2023-04-01']
    """
    today = date_of(now)
    if unit == "hour":
        return now - count * 3600, math.floor(now) + 1.0
    end = days(today)[1]
    if unit in ("day", "week"):
        return seconds_of(today - timedelta(count * (7 if unit == "week" else 1))), end
    first = month_shifted(today, -count * (12 if unit == "year" else 1))
    last_day = (month_shifted(first, 1) - first).days
    return seconds_of(first.replace(day=min(today.day, last_day))), end
