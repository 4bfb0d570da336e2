"""What a run of the torture tests did, counted by kind, and written down where the documentation shows it.

Only `make torture` writes it down (it names the folder in `HALFLIFE_SURVIVAL`): no number of the table is typed.
"""

from __future__ import annotations

import json
import platform
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

KINDS = {
    "kills": "process killed while it writes",
    "cuts": "file truncated, overwritten, or with flipped bits",
    "power cuts": "power cut: unsynced writes lost or reordered",
    "failed syncs": "fsync or write fails, or writes short",
    "full disks": "disk or quota full",
    "races": "processes write, read, sleep and forget at once",
    "histories": "random operations against a dictionary with a history",
}
BEGIN, END = "<!-- torture: written by `make torture` -->", "<!-- end of torture -->"


@dataclass
class Count:
    """What came of one kind of case.

    Parameters
    ----------
    cases: how many. acknowledged: memories that had to be there, over all cases.
    reported: cases in which damage was named. repaired: of those, the ones whose rest was healthy afterwards.
    named: memories that were lost and reported as such.
    losses: acknowledged memories that were missing without a word. corruptions: contents that were wrong without
        a word, and errors without an explanation.
    """

    cases: int = 0
    acknowledged: int = 0
    reported: int = 0
    repaired: int = 0
    named: int = 0
    losses: int = 0
    corruptions: int = 0
    seconds: float = 0.0


class Tally:
    """The counts of a run."""

    def __init__(self) -> None:
        self.counts: dict[str, Count] = {}

    @contextmanager
    def of(self, kind: str) -> Iterator[Count]:
        """The count of a kind, with the time spent on it."""
        count = self.counts.setdefault(kind, Count())
        started = time.perf_counter()
        try:
            yield count
        finally:
            count.seconds += time.perf_counter() - started

    def to_dict(self) -> dict[str, Any]:
        """Plain data: when, on what, and the counts."""
        return {
            "date": time.strftime("%Y-%m-%d"),
            "versions": versions(),
            "kinds": {kind: asdict(self.counts[kind]) for kind in KINDS if kind in self.counts},
        }

    def write(self, folder: Path) -> None:
        """Write `survival.json`, and the table into `survival.md` between its marks."""
        data = self.to_dict()
        (folder / "survival.json").write_text(json.dumps(data, indent=2) + "\n")
        page = folder / "survival.md"
        text = page.read_text()
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        page.write_text(f"{before}{BEGIN}\n{table(data)}\n{END}{after}")


def versions() -> dict[str, str]:
    """What the run ran on."""
    return {
        "halflife": version("halflife"),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "usearch": version("usearch"),
        "system": f"{platform.system()} {platform.machine()}",
    }


def table(data: dict[str, Any]) -> str:
    """The counts as Markdown."""
    head = "cases acknowledged reported repaired named losses corruptions seconds".split()
    lines = [
        "| kind | cases | acknowledged memories | damage reported | repaired | lost and named | **lost silently** | "
        "**wrong silently** | seconds |",
        "|---|" + "---:|" * len(head),
    ]
    for kind, count in data["kinds"].items():
        cells = [f"{count[name]:,.0f}" for name in head]
        lines.append(f"| {KINDS[kind]} | {' | '.join(cells)} |")
    on = ", ".join(f"{name} {value}" for name, value in data["versions"].items())
    return "\n".join(["", *lines, "", f"Run on {data['date']} with {on}.", ""])
