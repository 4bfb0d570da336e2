"""What goes to the screen: JSON, tables, progress, and nothing that a stored text could do to a terminal."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console

Tick = Callable[[int, int], None]

# Control characters, and those that turn the direction of text or part its lines: a stored text may hold them.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_CARRIAGE = re.compile("\r\n?")


def safe(text: str) -> str:
    r"""The text with every control character but newline and tab written out.

    >>> print(safe("red \x1b[31m alert"))
    red \x1b[31m alert
    """
    return _UNSAFE.sub(_escape, _CARRIAGE.sub("\n", text))


def one_line(text: str, limit: int | None = None) -> str:
    """The text on one line, cut at a word to `limit` characters.

    >>> one_line("two\\nlines and a lot more", limit=12)
    'two lines…'
    """
    line = safe(" ".join(text.split()))
    if limit is None or len(line) <= limit:
        return line
    return (line[: limit - 1].rpartition(" ")[0] or line[: limit - 1]).rstrip(" ,;:") + "…"


def emit(record: Mapping[str, Any]) -> None:
    """One JSON object on a line of stdout."""
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    click.echo(json_safe(text))


def json_safe(text: str) -> str:
    """JSON that means the same and holds no control character of any kind."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def say(text: str = "") -> None:
    """A line for people on stdout."""
    click.echo(text)


def note(text: str) -> None:
    """A line for people on stderr."""
    click.echo(text, err=True)


def fancy(stream: TextIO | None = None) -> bool:
    """Whether to draw for a terminal: stdout is one, and neither NO_COLOR nor TERM=dumb speaks against it."""
    stream = stream or sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def console(stream: TextIO | None = None) -> Console:
    """A rich console on a stream, without guesses about what its text means."""
    from rich.console import Console

    return Console(file=stream or sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=False)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Rows under their heads: drawn for a terminal, otherwise aligned by spaces and never wrapped.

    `right` names the columns of numbers. Cells are made safe here; on a terminal a cell may have several lines,
    of which all but the first are dim.
    """
    cells = [[safe(cell) for cell in row] for row in rows]
    if fancy():
        _drawn(columns, cells, right)
    else:
        _plain(columns, [[" ".join(cell.split()) for cell in row] for row in cells], right)


def _drawn(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        last = name == columns[-1]
        drawn.add_column(name, justify="right" if name in right else "left", no_wrap=not last, overflow="fold")
    for row in rows:
        drawn.add_row(*(_first_bright(Text, cell) for cell in row))
    console().print(drawn)


def _first_bright(text: Any, cell: str) -> Any:
    first, newline, rest = cell.partition("\n")
    return text.assemble(first, newline, (rest, "dim"))


def _plain(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, *rows]:
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(columns, row, widths, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def fields(values: Mapping[str, str]) -> None:
    """Names and values, one pair a line."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        text = safe(value).replace("\n", "\n" + " " * (width + 2))
        click.echo(f"{click.style(name.ljust(width), dim=True) if fancy() else name.ljust(width)}  {text}")


@contextmanager
def progress(label: str) -> Iterator[Tick]:
    """A bar on stderr while work goes on, if stderr is a terminal; call it with (done, total)."""
    if not fancy(sys.stderr):
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    parts = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*parts, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
