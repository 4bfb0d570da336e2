"""The stretch of time that a question is about: "what did I eat last Monday" -> that Monday.

English, and dates in the numbers of Chinese, Japanese and Korean. A word that may be something else counts
only where it is a time: "in May" but not "may I", "in 1666" but not "1500 dollars". A date that can be read
in two ways (5/4/2023) is left alone.

Everything is UTC, weeks begin on Monday, seasons are those of the north by whole months, and a winter belongs
to the year in which it begins.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import zip_longest
from typing import TypeAlias

from halflife.decay.law import DAY
from halflife.store.timeparse import MONTHS, WEEKDAYS, month_number
from halflife.store.timespan import (
    Span,
    counted_back,
    date_of,
    days,
    last_weekday,
    months,
    seconds_of,
    third_of,
    unit_back,
)

Match: TypeAlias = re.Match[str]


@dataclass(frozen=True)
class TimeRange:
    """From `start` until just before `end`, in seconds since the epoch; an open side is infinite.

    `text` is the part of the question that says so.
    """

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class _Point:
    """One mention of a time.

    `latest(at)` is the last such time that began by `at`, whatever `at` if the mention is `fixed` (it has a
    year, or counts from now). A `weak` one is a time only after the prepositions of `_ADMITS[weak]`.
    """

    match: Match
    latest: Callable[[float], Span | None]
    fixed: bool = False
    weak: str = ""


# --- the words -----------------------------------------------------------------------------------------

_SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_COUNT = {word: i for i, word in enumerate(_WORDS, 1)} | {"a couple of": 2, "couple of": 2, "an": 1, "a": 1}
_PARTS = {"early": 0, "beginning": 0, "start": 0, "mid": 1, "middle": 1, "late": 2, "end": 2}

_MONTH = "(?:" + "|".join(f"{m[:3]}(?:{m[3:]})?" if m[3:] else m for m in MONTHS) + "|sept)"
_WEEKDAY = "(?:" + "|".join(WEEKDAYS) + ")"
_ON = rf"(?:{_WEEKDAY},?\s+(?:the\s+)?)?"
_SEASON = "(?:" + "|".join(_SEASONS) + ")"
_NUMBER = r"(?:\d{1,4}|" + "|".join(_COUNT).replace(" ", r"\s+") + ")"
_TH = "(?:st|nd|rd|th)"
_YEAR = r"[12]\d{3}"
_UNIT = "(?:hour|day|week|month|year)"

_POINT = re.compile(
    rf"""(?<![\w$€£¥#:])(?<!\d[.,])(?:
    (?P<ymd>(?P<ymd_y>{_YEAR})(?P<sep>[-/])(?P<ymd_m>\d\d?)(?P=sep)(?P<ymd_d>\d\d?))(?!\d)
  | (?P<ym>(?P<ym_y>{_YEAR})-(?P<ym_m>\d\d))(?!-?\d)
  | (?P<dmy>{_ON}(?P<dmy_d>\d\d?)(?P<dmy_th>{_TH})?(?:\s+of)?\s+(?P<dmy_m>{_MONTH})
      (?:\.?,?\s+(?P<dmy_y>{_YEAR}))?)\b
  | (?P<mdy>{_ON}(?P<mdy_m>{_MONTH})\.?\s+(?P<mdy_d>\d\d?)(?P<mdy_th>{_TH})?
      (?:,?\s+(?P<mdy_y>{_YEAR}))?)\b(?!:\d)
  | (?P<my>(?P<my_part>(?:early|mid|late)[\s-]+|(?:beginning|start|middle|end)\s+of\s+)?
      (?P<my_m>{_MONTH})(?:,?\s+(?:of\s+)?(?P<my_y>{_YEAR}))?)\b
  | (?P<decade>(?P<decade_y>[12]\d\d0)['’]?s)\b
  | (?P<year>{_YEAR})\b
  | (?P<season>(?P<season_n>{_SEASON})(?:\s+(?:of\s+)?(?P<season_y>{_YEAR}))?)\b
  | (?P<day>today|yesterday|(?:the\s+)?day\s+before\s+yesterday|last\s+night
      |this\s+(?:morning|afternoon|evening))\b
  | (?<!half\ )(?P<ago>(?P<ago_n>{_NUMBER})\s+(?P<ago_u>{_UNIT})s?\s+ago)\b
  | (?P<past>(?P<past_the>the\s+)?(?P<past_w>last|past)\s+(?:(?P<past_n>{_NUMBER})\s+)?
      (?P<past_u>{_UNIT})s?)\b
  | (?P<this>(?P<this_w>this|last|past)\s+(?:
      (?P<this_u>week|month|year)|(?P<this_d>{_WEEKDAY})|(?P<this_m>{_MONTH})|(?P<this_s>{_SEASON})))\b
  | (?P<weekday>{_WEEKDAY})\b
  )
  | (?<!\d)(?P<cjk>(?P<cjk_y>{_YEAR})\s?[年년]
      (?:\s?(?P<cjk_m>\d\d?)\s?[月월](?:\s?(?P<cjk_d>\d\d?)\s?[日号일])?)?)
    (?![前间間])
""",
    re.IGNORECASE | re.VERBOSE,
)
# Nothing is a time without one of these, and most questions have none.
_MENTION = re.compile(rf"\d{{4}}|{_MONTH}|{_SEASON}|day|ago\b|last|past|this|night")

_BEFORE = re.compile(
    r"""\b(since|before|prior\s+to|after|until|till|between|from|in|during|throughout|within|over|on|for)
    \s+(?:the\s+)?(?:year\s+|month\s+of\s+)?$""",
    re.IGNORECASE | re.VERBOSE,
)
_JOIN = re.compile(r"\s*(?:\b(and|to|until|till|through)\s+(?:the\s+)?|[-–—/]|\.\.)\s*", re.IGNORECASE)
# What follows a number that counts something.
_COUNTED = re.compile(
    r"""\s*[%°$€£¥]|[:.,]\d|[-/'’]\w
    |\s+(?!(?:was|is|has|does|this|his|its|us|as|always|perhaps|plus|versus|vs)\b)[a-z]{2,}s\b
    |\s+(?i:k|m|km|cm|mm|mi|k?g|mg|lb|ft|[mgk]b|hr|hp|k?cal|bce?|usd|eur|gbp|euro|yen|yuan|percent|people|men|women
      |children|feet|million|thousand|hundred|of|more|other|different)\b""",
    re.VERBOSE,
)
_VERB = re.compile(r"\s+(?:i|we|you|he|she|it|they|not|be|have|or\s+may)\b", re.IGNORECASE)

_OPEN = {"since", "before", "prior to", "after", "until", "till"}
_DURING = {"in", "during", "throughout"}
_ADMITS = {
    "month": _OPEN | _DURING,
    "year": _OPEN | _DURING | {"from"},
    "season": _OPEN | _DURING,
    "weekday": _OPEN | {"on", "from"},
    "date": _OPEN | {"on", "from"},  # a day and "may" or "march" in lower case
}


def time_range(query: str, now: float) -> TimeRange | None:
    """The time that a question is about, or None.

    The first time in it is taken. Two joined by "between ... and", "from ... to" or a dash are one range, and
    "since", "before", "after" and "until" leave a side open. "Two weeks ago" is the whole calendar week, as
    "last week" is; "in the last ten days" runs from the first of these days to the end of today.

    Parameters
    ----------
    query: the question.
    now: the present in seconds since the epoch. "Last week" counts from it, and a date without a year is the
        latest one that had begun by then.

    >>> from halflife.store.timeparse import format_time, parse_time
    >>> found = time_range("Where did I eat in May?", parse_time("2023-07-14"))
    >>> found.text, format_time(found.start), format_time(found.end)
    ('in May', '2023-05-01', '2023-06-01')
    >>> time_range("May I ask who paid 1500 dollars?", parse_time("2023-07-14"))
    """
    if not _MENTION.search(query.lower()):
        return None
    matches = list(_POINT.finditer(query))
    for match, following in zip_longest(matches, matches[1:]):
        if point := _read(match, now):
            found = (following and _joined(query, point, following, now)) or _single(query, point, now)
            if found:
                return found
    return None


# --- what stands around a mention ----------------------------------------------------------------------


def _preposition(query: str, start: int) -> tuple[str, int]:
    """The preposition before a mention, in lower case, and where it begins; "" if there is none."""
    match = _BEFORE.search(query[max(0, start - 30) : start])
    if match is None:
        return "", start
    return " ".join(match[1].lower().split()), max(0, start - 30) + match.start()


def _joined(query: str, first: _Point, following: Match, now: float) -> TimeRange | None:
    """Two mentions as the ends of one range."""
    join = _JOIN.fullmatch(query, first.match.end(), following.start())
    second = _read(following, now) if join else None
    if join is None or second is None or _counts_something(query, second):
        return None
    word, start = _preposition(query, first.match.start())
    if not _may_join(word, join[1], first, second):
        return None
    spans = _ends(first, second, now)
    if spans is None or spans[0][0] >= spans[1][1]:
        return None
    start = start if word in {"between", "from"} | _DURING else first.match.start()
    return TimeRange(spans[0][0], spans[1][1], query[start : following.end()])


def _may_join(before: str, join: str | None, first: _Point, second: _Point) -> bool:
    if join is not None and join.lower() == "and":
        return before == "between"
    return before in {"between", "from"} | _DURING or not (first.weak or second.weak)


def _ends(first: _Point, second: _Point, now: float) -> tuple[Span, Span] | None:
    """The spans of both, a year that one of them lacks taken from the other."""
    begin = first.latest(now)
    if begin is None:
        return None
    within_a_year = begin[0] + 365 * DAY - 1
    end = second.latest(min(now, within_a_year) if first.fixed else now)
    begin = first.latest(end[0]) if end else None
    return (begin, end) if begin and end else None


def _single(query: str, point: _Point, now: float) -> TimeRange | None:
    """One mention, open to one side after "since", "before" and their like."""
    match = point.match
    word, start = _preposition(query, match.start())
    if (point.weak and word not in _ADMITS[point.weak]) or _counts_something(query, point):
        return None
    if query[match.start() - 1 : match.start()] in {"-", "/"}:
        return None  # the tail of a longer number
    if word == "from" and point.weak and _JOIN.match(query, match.end()):
        return None  # "from 1500 to ...": half of a range that is not one of times
    span = point.latest(now)
    if match["past"] and match["past_the"] and word in _DURING | {"within", "over", "for"}:
        span = _rolling(match, now)
    if span is None:
        return None
    start = match.start() if word in {"between", "for"} else start
    return TimeRange(*_opened(span, word), query[start : match.end()])


def _opened(span: Span, word: str) -> Span:
    start, end = span
    before, until = (-math.inf, start), (-math.inf, end)
    sides = {"since": (start, math.inf), "after": (end, math.inf), "before": before, "prior to": before}
    return (sides | {"until": until, "till": until}).get(word, span)


def _counts_something(query: str, point: _Point) -> bool:
    """Whether what follows shows that the number counts things, or that "may" is a verb."""
    match, end = point.match, point.match.end()
    if match["year"] or match["mdy"] or (match["my_y"] and match["my_m"] in ("may", "march")):
        return bool(_COUNTED.match(query, end))
    if match["this_m"] in ("may", "march"):
        return match["this_w"].lower() == "this" or bool(_VERB.match(query, end))
    if match["past"] or match["this_u"]:
        return query[end : end + 4] == " of "  # "the last week of May" is not last week
    if point.weak == "month":
        return query[end : end + 2] in ("'s", "’s")  # "in April's car"
    return False


# --- what a mention means ------------------------------------------------------------------------------


def _read(match: Match, now: float) -> _Point | None:
    try:
        return _READERS[match.lastgroup or ""](match, now)
    except (ValueError, OverflowError):
        return None  # no such day, or a time before the year 1


def _numeric(match: Match, _now: float) -> _Point:
    """2023-05-04, 2023-05, 2023年5月4日, 2023."""
    kind = match.lastgroup or ""
    if kind == "year":
        return _fixed(match, months(int(match["year"]), 1, 12), weak="year")
    year, month, day = int(match[f"{kind}_y"]), match[f"{kind}_m"], kind != "ym" and match[f"{kind}_d"]
    if day:
        return _fixed(match, days(date(year, int(month), int(day))))
    return _fixed(match, months(year, int(month)) if month else months(year, 1, 12))


def _calendar_day(match: Match, _now: float) -> _Point:
    """4th of May 2023, May 4."""
    kind = match.lastgroup or ""
    name, day, year = match[f"{kind}_m"], int(match[f"{kind}_d"]), match[f"{kind}_y"]
    month = month_number(name) or 0
    if year:
        return _fixed(match, days(date(int(year), month, day)))
    date(2000, month, day)  # a day that no year has is no date
    weak = "date" if name in ("may", "march", "mar") and not match[f"{kind}_th"] else ""
    return _yearless(match, lambda y: days(date(y, month, day)), weak)


def _month(match: Match, _now: float) -> _Point:
    """May, early May, May 2023."""
    month, part = month_number(match["my_m"]) or 0, match["my_part"]
    third = _PARTS[part.replace("-", " ").split()[0].lower()] if part else None

    def of_year(year: int) -> Span:
        return third_of(months(year, month), third) if third is not None else months(year, month)

    if match["my_y"]:
        return _fixed(match, of_year(int(match["my_y"])))
    return _yearless(match, of_year, "" if part else "month")


def _season(match: Match, _now: float) -> _Point | None:
    """Summer, summer of 1665. "Fall" by itself is too often a verb."""
    name, year = match["season_n"].lower(), match["season_y"]
    if year:
        return _fixed(match, months(int(year), _SEASONS[name], 3))
    if name == "fall":
        return None
    return _yearless(match, lambda y: months(y, _SEASONS[name], 3), "season")


def _decade(match: Match, _now: float) -> _Point:
    """1660s; 1600s are the century."""
    year = int(match["decade_y"])
    return _fixed(match, months(year, 1, 12 * (10 if year % 100 else 100)))


def _near_day(match: Match, now: float) -> _Point:
    """Today, yesterday, last night."""
    text, today = match["day"].lower(), date_of(now)
    if text.endswith("night"):
        start = seconds_of(today)
        return _fixed(match, (start - 6 * 3600, start + 6 * 3600))
    back = 2 if "before" in text else 1 if text == "yesterday" else 0
    return _fixed(match, days(today - timedelta(back)))


def _ago(match: Match, now: float) -> _Point:
    """3 days ago, a month ago: the whole calendar unit."""
    return _fixed(match, unit_back(now, _count(match["ago_n"]), match["ago_u"].lower()))


def _past(match: Match, now: float) -> _Point | None:
    """Last week is the calendar's; the past week, and the last 3 weeks, are counted back from now."""
    if match["past_n"] or match["past_w"].lower() == "past":
        return _fixed(match, _rolling(match, now))
    unit = match["past_u"].lower()
    if unit in ("hour", "day") and not match["past_the"]:
        return None
    return _fixed(match, unit_back(now, 1, unit))


def _this(match: Match, now: float) -> _Point:
    """This week, last Monday, last May, this summer."""
    today, this = date_of(now), match["this_w"].lower() == "this"
    if match["this_u"]:
        return _fixed(match, unit_back(now, 0, match["this_u"].lower()))
    if match["this_d"]:
        day = WEEKDAYS.index(match["this_d"].lower())
        if this:
            return _fixed(match, days(today + timedelta(day - today.weekday())))
        return _fixed(match, last_weekday(day, today - timedelta(1)))
    name = (match["this_m"] or match["this_s"]).lower()
    month, count = (month_number(name) or 0, 1) if match["this_m"] else (_SEASONS[name], 3)
    spans = [months(year, month, count) for year in (today.year, today.year - 1, today.year - 2)]
    if this:
        return _fixed(match, next((s for s in spans if s[0] <= now < s[1]), spans[0]))
    return _fixed(match, next(s for s in spans if s[1] <= now))


def _weekday(match: Match, _now: float) -> _Point:
    day = WEEKDAYS.index(match["weekday"].lower())
    return _Point(match, lambda at: last_weekday(day, date_of(at)), weak="weekday")


def _count(number: str) -> int:
    return int(number) if number.isdecimal() else _COUNT[" ".join(number.lower().split())]


def _rolling(match: Match, now: float) -> Span:
    return counted_back(now, _count(match["past_n"] or "one"), match["past_u"].lower())


def _fixed(match: Match, span: Span, weak: str = "") -> _Point:
    return _Point(match, lambda _: span, fixed=True, weak=weak)


def _yearless(match: Match, of_year: Callable[[int], Span], weak: str) -> _Point:
    def latest(at: float) -> Span | None:
        year = date_of(at).year
        for candidate in range(year, max(year - 9, 0), -1):  # a 29 February is at most 8 years back
            try:
                span = of_year(candidate)
            except ValueError:
                continue
            if span[0] <= at:
                return span
        return None

    return _Point(match, latest, weak=weak)


_READERS: dict[str, Callable[[Match, float], _Point | None]] = {
    **dict.fromkeys(("ymd", "ym", "cjk", "year"), _numeric),
    **dict.fromkeys(("dmy", "mdy"), _calendar_day),
    "my": _month,
    "season": _season,
    "decade": _decade,
    "day": _near_day,
    "ago": _ago,
    "past": _past,
    "this": _this,
    "weekday": _weekday,
}
