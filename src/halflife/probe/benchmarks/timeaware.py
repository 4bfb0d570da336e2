"""LongMemEval's time-aware query: what happened in the time asked about comes first, and nothing is lost.

Wu et al., "LongMemEval" (arXiv 2410.10813), section 5.4. There a language model dates the events of a session and the
time of a question; here both are read by rule (`halflife.store.timerange`), and either can be replaced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from halflife.decay.law import DAY
from halflife.errors import InvalidInput
from halflife.probe.benchmarks.expansions import sentences
from halflife.probe.benchmarks.keyvalue import Value
from halflife.store.timerange import time_range

RangeFunction: TypeAlias = Callable[[str, float], tuple[float, float] | None]
"""From a question and when it is asked to the time that it asks about: its start and its end (exclusive), or None."""


def asked_range(question: str, asked_at: float) -> tuple[float, float] | None:
    """The time a question is about, by rule; a side left open is infinite."""
    found = time_range(question, asked_at)
    return (found.start, found.end) if found else None


class TimeAwareQuery:
    """Puts what happened in the time asked about before the rest of a ranking; drops nothing.

    Parameters
    ----------
    events: id -> the times (Unix seconds) of what happened there, such as `event_index` gives.
    range_fn: the time a question is about.
    slack_days: the range is widened by so many days on both sides.

    Errors
    ------
    InvalidInput: `slack_days` is negative or not finite.

    >>> from halflife.store.timeparse import parse_time
    >>> query = TimeAwareQuery({"a": [parse_time("2023-04-03")], "b": [parse_time("2023-05-20")], "c": []})
    >>> query.rank("Who came to visit me on April 5?", parse_time("2023-06-30"), ["b", "c", "a"])
    ['a', 'b', 'c']
    >>> query.rank("What is my profession?", parse_time("2023-06-30"), ["b", "c", "a"])
    ['b', 'c', 'a']
    """

    def __init__(
        self, events: Mapping[str, Sequence[float]], range_fn: RangeFunction = asked_range, slack_days: float = 2.0
    ) -> None:
        if not (math.isfinite(slack_days) and slack_days >= 0):
            raise InvalidInput(f"slack_days is {slack_days}.", "Use a finite number >= 0.")
        self.events, self.range_fn, self.slack_days = events, range_fn, slack_days

    def rank(self, question: str, asked_at: float | None, ranking: Sequence[str]) -> list[str]:
        """The ranking with what lies in the range first, the order kept within both parts.

        It stays as it is if the question has no time, or one that begins on the day on which it is asked.

        Parameters
        ----------
        question: its text. asked_at: when it is asked (Unix seconds); None, which tells no time, changes nothing.
        ranking: ids, best first; an id without events is in no range.
        """
        found = self.range_fn(question, asked_at) if asked_at is not None else None
        if found is None or asked_at is None or _day(found[0]) == _day(asked_at):
            return list(ranking)
        start, end = _day(found[0]) - self.slack_days * DAY, found[1] + self.slack_days * DAY
        return sorted(ranking, key=lambda id: not any(start <= _day(at) < end for at in self.events.get(id, ())))


def event_index(values: Iterable[Value]) -> dict[str, tuple[float, ...]]:
    """Id -> the days of its events: when it was said, and what the user's sentences date ("last Monday").

    >>> from halflife.store.timeparse import format_time, parse_time
    >>> said = "I ran a race yesterday. Is it far?"
    >>> [format_time(at) for at in event_index([Value("s", "s", said, parse_time("2023-05-03"), said)])["s"]]
    ['2023-05-03', '2023-05-02']
    """
    found: dict[str, dict[float, None]] = {}
    for value in values:
        days = found.setdefault(value.source, {})
        if value.at is not None:
            days |= dict.fromkeys((_day(value.at), *_dated(value.said, value.at)))
    return {source: tuple(days) for source, days in found.items()}


def _dated(said: str, at: float) -> list[float]:
    """The days on which the times of a text begin; open ones name no day."""
    ranges = (time_range(sentence, at) for sentence in sentences(said))
    return [_day(one.start) for one in ranges if one and math.isfinite(one.start)]


def _day(at: float) -> float:
    """The first instant (UTC) of its day."""
    return at if math.isinf(at) else math.floor(at / DAY) * DAY
