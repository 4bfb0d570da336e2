"""How the demo looks in a terminal: headings, aligned lines, and nothing else."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence

import click

from halflife.agent.hit import PART_NAMES, Hit
from halflife.cli.demo.run import Answer, Forgotten, Left
from halflife.cli.output import fancy, one_line, safe

WIDTH = 100
MARGIN = "  "


def width() -> int:
    """Columns to write on: those of the terminal, 100 at most."""
    return min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)


def style(text: str, **how: bool | str) -> str:
    """Bold, dim or coloured text, on a terminal that shows it."""
    return click.style(text, **how) if fancy() else text  # type: ignore[arg-type]


def heading(number: int, text: str) -> None:
    """A numbered heading with a rule."""
    title = f"{number}  {text} "
    click.echo("\n" + style(title, bold=True, fg="cyan") + style("─" * max(0, width() - len(title)), dim=True) + "\n")


def paragraph(text: str, indent: str = MARGIN, dim: bool = False) -> None:
    """Text wrapped at the width, under one indent."""
    for line in textwrap.wrap(safe(text), width() - len(indent), break_long_words=False):
        click.echo(indent + style(line, dim=True) if dim else indent + line)


def answers(found: Sequence[Answer]) -> None:
    """Questions, each with the best hits: date, score, the passage, and for the first one why."""
    for number, answer in enumerate(found):
        if number:
            click.echo()
        click.echo(
            MARGIN + style(answer.question.text, bold=True) + style(f"   {answer.question.how}".rstrip(), dim=True)
        )
        for rank, (hit, passage) in enumerate(answer.hits, start=1):
            right = rank == answer.rank
            head = f"{_day(hit):>17}  {hit.score:.2f}  "
            room = width() - len(MARGIN) - len(head)
            first, *more = textwrap.wrap(safe(passage), room) if rank == 1 else [one_line(passage, room)]
            click.echo(MARGIN + (style(head, bold=True, fg="green") if right else head) + first)
            for line in more:
                click.echo(MARGIN + " " * len(head) + line)
            if rank == 1:
                paragraph(why(hit), MARGIN + " " * len(head), dim=True)


def why(hit: Hit) -> str:
    """The reasons of a hit in words."""
    parts = [f"{PART_NAMES[name]} {value:.2f}" for name, value in hit.explain().parts.items() if value >= 0.005]
    return f"why: {' + '.join(parts)}; {hit.retention:.0%} of it is left"


def lefts(title: str, found: Iterable[Left]) -> None:
    """Memories with a bar for what is left of each."""
    click.echo(MARGIN + style(title, bold=True))
    for left in found:
        bar = "█" * round(10 * left.retention)
        times = f"recalled {left.recalls}×" if left.recalls else "never recalled"
        head = f"{_date(left.trace.at):>17}  {left.retention:4.0%}  {bar:<10}  {times:<14}  "
        room = width() - len(MARGIN) - len(head)
        click.echo(MARGIN + head + style(one_line(left.trace.text, room), dim=True))


def forgotten(found: Forgotten) -> None:
    """Before and after, and the report."""
    rows = (
        ("memories", f"{found.of:,}", f"{found.of - found.count:,}"),
        (f"“{found.name}” in the bytes of the files", f"{found.bytes_before:,}", f"{found.bytes_after:,}"),
        (f"hits of a search that hold “{found.name}”", f"{found.hits_before:,}", f"{found.hits_after:,}"),
    )
    space = max(len(name) for name, _, _ in rows) + 2
    click.echo(MARGIN + " " * space + style(f"{'before':>8}{'after':>8}", dim=True))
    for name, before, after in rows:
        click.echo(MARGIN + name.ljust(space) + f"{before:>8}" + style(f"{after:>8}", bold=True))
    click.echo()
    paragraph(str(found.report))


def _day(hit: Hit) -> str:
    return f"{hit.at.day} {hit.at:%B} {hit.at.year}"


def _date(seconds: float) -> str:
    from datetime import UTC, datetime, timedelta

    day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{day.day} {day:%B} {day.year}"
