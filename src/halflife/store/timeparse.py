"""Times as users give them -> seconds since the Unix epoch (UTC), and back.

Years 1 to 9999, so that a diary of 1660 has its dates: they are negative. A time without a zone is UTC. Month
names are English. Nothing is guessed: what could be read in two ways is refused.
"""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, date, datetime, timedelta
from numbers import Real

from halflife.errors import InvalidInput

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_FIRST = (datetime(1, 1, 1, tzinfo=UTC) - EPOCH).total_seconds()
_END = (datetime(9999, 12, 31, tzinfo=UTC) - EPOCH).total_seconds() + 86_400
_ACCEPTED = (
    "Accepted: 2023-05-30, 2023-05-30T23:40:00+02:00, 2023/05/30 (Tue) 23:40, 1:56 pm on 8 May, 2023, "
    "a datetime or date, or seconds since 1970."
)

_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
_ZONE = r"(?P<zone>Z|[+-]\d{2}:?\d{2}(?::\d{2})?)"
_ISO = rf"(?P<year>\d{{4}})-(?P<month>\d{{2}})-(?P<day>\d{{2}})(?:[T ]{_CLOCK}\ ?{_ZONE}?)?"
_SLASHED = (
    r"(?P<year>\d{4})/(?P<month>\d{1,2})/(?P<day>\d{1,2})"
    rf"(?:\ ?\((?P<weekday>[a-z]{{3,9}})\))?(?:\ {_CLOCK}\ ?{_ZONE}?)?"
)
_SPOKEN = (
    rf"(?:{_CLOCK}\ ?(?P<half>am|pm)?\ on\ )?"
    r"(?P<day>\d{1,2})\ (?P<month_name>[a-z]{3,9}),?\ (?P<year>\d{4})"
)
_FORMS = tuple(re.compile(form, re.IGNORECASE | re.ASCII) for form in (_ISO, _SLASHED, _SPOKEN))


def parse_time(
    value: str | datetime | date | float | None, *, now: float | None = None, what: str = "The time"
) -> float:
    """Seconds since the epoch (UTC) of a time given by a user.

    Parameters
    ----------
    value: ISO 8601 (`2023-05-30`, `2023-05-30T23:40:00+02:00`), `2023/05/30 (Tue) 23:40`,
        `1:56 pm on 8 May, 2023`, a datetime, a date, or seconds since the epoch. A time without a zone is
        UTC; a date is its first instant. None is now.
    now: the present in seconds, the clock's if not given.
    what: names the value in errors.

    Errors
    ------
    InvalidInput: anything else, NaN, or a time outside the years 1 to 9999.

    >>> parse_time("1660-01-11"), parse_time("1970-01-02T01:00+01:00"), parse_time("1:56 pm on 8 May, 2023")
    (-9781776000.0, 86400.0, 1683554160.0)
    """
    if value is None:
        return time.time() if now is None else now
    if isinstance(value, bool):
        raise InvalidInput(f"{what} {value!r} is not a time.", _ACCEPTED)
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return _checked((moment - EPOCH).total_seconds(), value, what)
    if isinstance(value, date):
        return float((value.toordinal() - EPOCH.toordinal()) * 86_400)
    if isinstance(value, Real):
        return _checked(float(value), value, what)
    if isinstance(value, str):
        return _checked(_parse_text(value.strip(), what), value, what)
    raise InvalidInput(f"{what} is a {type(value).__name__}, not a time.", _ACCEPTED)


def format_time(seconds: float) -> str:
    """ISO 8601 in UTC: the date alone at midnight, else to the second (or to the microsecond if it has any).

    Parameters
    ----------
    seconds: since the epoch, in the years 1 to 9999.

    Errors
    ------
    InvalidInput: NaN, or outside these years.

    >>> format_time(-9781776000.0), format_time(1683554160.5)
    ('1660-01-11', '2023-05-08T13:56:00.500000Z')
    """
    moment = EPOCH + timedelta(seconds=_checked(float(seconds), seconds, "The time"))
    if moment.timetz() == EPOCH.timetz():
        return moment.date().isoformat()
    return moment.isoformat().replace("+00:00", "Z")


def month_number(name: str) -> int | None:
    """1 to 12 for an English month or its usual abbreviation, in any case.

    >>> month_number("Sept"), month_number("may"), month_number("mayor")
    (9, 5, None)
    """
    name = name.lower()
    for number, month in enumerate(MONTHS, start=1):
        if name in (month, month[:3]) or (name == "sept" and number == 9):
            return number
    return None


def _checked(seconds: float, value: object, what: str) -> float:
    if not math.isfinite(seconds):
        raise InvalidInput(f"{what} {value!r} is not finite.", _ACCEPTED)
    if not _FIRST <= seconds < _END:
        hint = "Divide milliseconds by 1000." if isinstance(value, Real) else ""
        raise InvalidInput(f"{what} {value!r} is outside the years 1 to 9999.", hint)
    return seconds


def _parse_text(text: str, what: str) -> float:
    match = next(filter(None, (form.fullmatch(text) for form in _FORMS)), None)
    if match is None:
        raise InvalidInput(f"{what} {text[:80]!r} has no form that is known.", _ACCEPTED)
    try:
        return _read(match.groupdict())
    except ValueError as error:
        raise InvalidInput(f"{what} {text!r} cannot be: {error}.", _ACCEPTED) from None


def _read(part: dict[str, str | None]) -> float:
    """Seconds from the named parts of a form. ValueError says what cannot be."""
    day = date(int(part["year"] or 0), _month(part), int(part["day"] or 0))
    weekday = part.get("weekday")
    if weekday and not WEEKDAYS[day.weekday()].startswith(weekday.lower()):
        raise ValueError(f"{day} is a {WEEKDAYS[day.weekday()].capitalize()}, not {weekday!r}")
    hour, minute, second = (int(part[name] or 0) for name in ("hour", "minute", "second"))
    hour = _hour(hour, part.get("half"))
    if minute > 59 or second > 59:
        raise ValueError("minutes and seconds end at 59")
    days = day.toordinal() - EPOCH.toordinal()
    fraction = float(f"0.{part['fraction'] or 0}")
    return days * 86_400 + hour * 3600 + minute * 60 + second + fraction - _offset(part.get("zone"))


def _month(part: dict[str, str | None]) -> int:
    if name := part.get("month_name"):
        number = month_number(name)
        if number is None:
            raise ValueError(f"{name!r} is not a month")
        return number
    return int(part["month"] or 0)


def _hour(hour: int, half: str | None) -> int:
    if half is None:
        if hour > 23:
            raise ValueError("hours end at 23")
        return hour
    if not 1 <= hour <= 12:
        raise ValueError("am and pm need an hour from 1 to 12")
    return hour % 12 + (12 if half.lower() == "pm" else 0)


def _offset(zone: str | None) -> float:
    if zone is None or zone in "Zz":
        return 0.0
    hours, minutes, seconds = (int(zone.replace(":", "").ljust(7, "0")[i : i + 2]) for i in (1, 3, 5))
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError(f"{zone} is not a zone")
    return (-1 if zone[0] == "-" else 1) * (hours * 3600 + minutes * 60 + seconds)
