"""The index of committed reproductions, for the documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from halflife.errors import InvalidInput
from halflife.papers.registry import paper
from halflife.papers.report import ROOT
from halflife.papers.table import Table


def results(root: str | Path = ROOT) -> list[tuple[Path, dict[str, Any]]]:
    """Every result under `root`, by number and size, each with its folder.

    Raises
    ------
    InvalidInput: a result.json is not one.
    """
    found = []
    for file in sorted(Path(root).glob("[0-9][0-9]-*/[!.]*/result.json")):
        try:
            found.append((file.parent, json.loads(file.read_text(encoding="utf-8"))))
        except ValueError as error:
            raise InvalidInput(f"{file} is not a result: {error}.", "Run the reproduction again.") from None
    return found


def gallery(root: str | Path = ROOT) -> str:
    """All reproductions under `root` as a Markdown table, then what was not reproduced, claim by claim.

    Links are relative to `root`, so that the text can stand in `root/index.md`.
    """
    rows, failed = [], []
    for folder, result in results(root):
        entry = paper(result["number"])
        link = f"{folder.relative_to(root).as_posix()}/report.md"
        held = [claim["holds"] for claim in result["claims"]]
        rows.append((f"[{entry.number:02d} {entry.name}]({link})", result["size"], sum(held), len(held) - sum(held)))
        failed += [
            f"- {entry.name} ({result['size']}): {claim['name']}: measured {claim['measured']}, bound {claim['bound']}"
            for claim in result["claims"]
            if not claim["holds"]
        ]
    if not rows:
        return "No reproduction has been committed yet.\n"
    table = Table("Reproductions", ("paper", "size", "claims held", "not reproduced"), rows)
    parts = [table.markdown()]
    if failed:
        parts += ["### Not reproduced", "\n".join(failed)]
    return "\n\n".join(parts) + "\n"


def page(root: str | Path = ROOT) -> str:
    """The whole index page, `root/index.md`."""
    intro = "Each paper's effect, shown by one command at a size that fits a laptop. A claim that fails is listed."
    return f"# Gallery of reproductions\n\n{intro} [How to read a report](../papers.md).\n\n{gallery(root)}"


if __name__ == "__main__":
    (Path(ROOT) / "index.md").write_text(page(), encoding="utf-8")
