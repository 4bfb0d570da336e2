"""The diary of Samuel Pepys, 1660 to 1669: 3,415 entries, shipped with the package.

The text is in the public domain; it comes from the edition of Standard Ebooks, which dedicates its work to the
public domain (CC0 1.0). Its dates are those of our calendar. England then kept the Old Style, ten days behind,
and so did Pepys: the fire of London broke out on his 2 September. The demo uses the dates that he wrote.
"""

from __future__ import annotations

import json
import lzma
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.resources import files
from typing import Any

OLD_STYLE = timedelta(days=10)
FIRE = date(1666, 9, 4)
SHARE_BEFORE = 0.839  # how much of a part of the diary lies before the fire


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
    # Two reflections on the year that is past have no date; they stand at the turn of the year.
    last = date(1660, 1, 11)
    for line in data.decode().splitlines():
        record = json.loads(line)
        last = date.fromisoformat(record["date"]) if record["date"] else last
        out.append(Entry(last - OLD_STYLE, record["text"]))
    return out


def around_the_fire(diary: list[Entry], count: int) -> list[Entry]:
    """`count` entries in a row, among them the days of the fire; 730 are the years 1665 and 1666.

    >>> part = around_the_fire(entries(), 730)
    >>> str(part[0].day), str(part[-1].day)
    ('1665-01-01', '1666-12-31')
    """
    fire = next(i for i, entry in enumerate(diary) if entry.day == FIRE)
    start = max(0, min(fire - int(SHARE_BEFORE * (count - 1)), len(diary) - count))
    return diary[start : start + count]
