"""`halflife papers` and `halflife reproduce`."""

from __future__ import annotations

from pathlib import Path

import click

from halflife.cli.options import common
from halflife.cli.output import emit, fancy, note, progress, say, table

OUT = "docs/reproductions"


@click.command()
@click.option("--kind", default="", metavar="NAME", help="Only this field, such as 'agent memory'.")
@click.option("--status", type=click.Choice(["available", "planned"]), help="Only these.")
@common
def papers(kind: str, status: str | None, as_json: bool) -> None:
    """List the 65 papers, and what can be run.

    \b
    Examples:
      halflife papers
      halflife papers --status available
      halflife papers --kind "agent memory" --json
    """
    from halflife.papers.registry import papers_table

    found = papers_table(kind, status or "")
    if as_json:
        for row in found.rows:
            emit(dict(zip(found.columns, row, strict=True)))
    else:
        # The longest column last, where it can wrap; a terminal is too narrow for a name beside its slug.
        columns = ["number", "slug", *([] if fancy() else ["name"]), "year", "status", "kind"]
        places = [found.columns.index(column) for column in columns]
        table(columns, [[str(row[i]) for i in places] for row in found.rows], right=("number", "year"))


@click.command()
@click.argument("slug")
@click.option("--size", type=click.Choice(["smoke", "cpu", "gpu"]), default="cpu", show_default=True, help="How large.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Where all randomness comes from."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=OUT, show_default=True, metavar="DIR",
              help="Where to write report.md, result.json and figures.")  # fmt: skip
@common
def reproduce(slug: str, size: str, seed: int, out: Path, as_json: bool) -> None:
    """Run the reproduction of a paper.

    SLUG is its slug or number; the report is written below --out. smoke takes seconds and shows that it runs;
    cpu takes at most 3 minutes on two cores, gpu at most 8 on one GPU.

    \b
    Examples:
      halflife reproduce memorybank
      halflife reproduce 19 --size smoke --out /tmp/reports
      halflife reproduce memorybank --seed 7 --json
    """
    from typing import cast

    from halflife.papers import reproduce as run
    from halflife.papers.report import summary
    from halflife.papers.run import Size

    with progress(slug) as tick:
        report = run(slug, cast(Size, size), seed, out, lambda step, share: tick(round(100 * share), 100))
    if as_json:
        emit(report.to_dict())
        return
    claims = report.claims_table()
    table(claims.columns, [[str(cell if cell is not None else "") for cell in row] for row in claims.rows])
    say(summary(report.claims))
    note(f"The report is in {Path(out) / report.paper.folder / size}.")
