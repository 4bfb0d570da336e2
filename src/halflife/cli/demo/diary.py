"""The diary of Samuel Pepys, 1660 to 1669: 3,415 entries, shipped with the package.

The text is in the public domain; it comes from the edition of Standard Ebooks, which dedicates its work to the
public domain (CC0 1.0). Its dates are those of our calendar. England then kept the Old Style, ten days behind,
and so did Pepys: the fire of London broke out on his 2 September. The demo uses the dates that he wrote.
"""

from __future__ import annotations

import json
import lzma
import re
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.resources import files
from typing import Any

OLD_STYLE = timedelta(days=10)
FIRE = date(1666, 9, 4)
AFTER = 26  # days from the fire to the end of September


@dataclass(frozen=True)
class Entry:
    """A day of the diary. `day` is the date as Pepys wrote it (Old Style, the year beginning in January)."""

    day: date
    text: str

    def item(self) -> dict[str, Any]:
        """The entry as `Memory.add_many` takes it."""
        return {"text": self.text, "at": self.day.isoformat()}


def entries() -> list[Entry]:
    """All entries, in the order of the book.

    >>> diary = entries()
    >>> len(diary), str(diary[0].day), str(diary[-1].day)
    (3415, '1660-01-01', '1669-05-31')
    """
    data = lzma.decompress(files("halflife.cli.demo").joinpath("pepys.jsonl.xz").read_bytes())
    out: list[Entry] = []
    day = date(1660, 1, 1)
    for line in data.decode().splitlines():
        record = json.loads(line)
        if record["date"]:  # two reflections on a year that is past have none; they stand at its turn
            day = date.fromisoformat(record["date"]) - OLD_STYLE
            # Three dates of the edition do not agree with the day that Pepys wrote above the entry.
            day = day.replace(day=int(re.findall(r"\d+", record["heading"])[0]))
        out.append(Entry(day, record["text"]))
    return out


def two_summers(diary: list[Entry]) -> list[Entry]:
    """June to September of 1665, the year of the plague, and of 1666, the year of the fire.

    >>> part = two_summers(entries())
    >>> len(part), str(part[0].day), str(part[-1].day)
    (244, '1665-06-01', '1666-09-30')
    """
    return [entry for entry in diary if entry.day.year in (1665, 1666) and 6 <= entry.day.month <= 9]


def around_the_fire(diary: list[Entry], count: int) -> list[Entry]:
    """`count` entries in a row up to the days after the fire (and further, if there are not so many before).

    >>> part = around_the_fire(entries(), 40)
    >>> str(part[0].day), str(part[-1].day)
    ('1666-08-06', '1666-09-14')
    """
    fire = next(i for i, entry in enumerate(diary) if entry.day == FIRE)
    start = max(0, fire + 1 + min(AFTER, count // 4) - count)
    return diary[start : start + count]
