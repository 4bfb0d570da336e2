"""The table of what a run did stands between its marks, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

from tests.torture.tally import BEGIN, END, KINDS, Tally


def test_the_table_replaces_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "survival.md"
    page.write_text(f"before\n\n{BEGIN}\nan old table\n{END}\nafter\n")
    tally = Tally()
    with tally.of("cuts") as count:
        count.cases, count.named = 1200, 7
    for _ in range(2):
        tally.write(tmp_path)
    text = page.read_text()
    assert text.startswith(f"before\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "an old table" not in text
    assert text.count(f"| {KINDS['cuts']} | 1,200 | 0 | 0 | 0 | 7 | 0 | 0 |") == 1
    assert json.loads((tmp_path / "survival.json").read_text())["kinds"]["cuts"]["named"] == 7
