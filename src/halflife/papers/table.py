"""A small table: what a report prints and a result file keeps."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from halflife.errors import InvalidInput


@dataclass(frozen=True)
class Table:
    """Named columns and rows of text, numbers, booleans or None (nothing measured).

    Raises
    ------
    InvalidInput: a row has another length than the columns.

    >>> print(Table("Recall", ("method", "hit@6"), (("dense", 0.8857), ("random", None))).markdown())
    | method | hit@6 |
    |---|---:|
    | dense | 0.886 |
    | random | – |
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise InvalidInput(
                    f"Table {self.title!r} has {len(self.columns)} columns but a row of {len(row)}: {row!r}."
                )

    def markdown(self) -> str:
        """The table in Markdown, without its title; columns of numbers are right-aligned."""
        numeric = [
            any(_is_number(row[i]) for row in self.rows)
            and all(row[i] is None or _is_number(row[i]) for row in self.rows)
            for i in range(len(self.columns))
        ]
        lines = [
            _line(self.columns),
            "|" + "|".join("---:" if right else "---" for right in numeric) + "|",
            *(_line([show(cell) for cell in row]) for row in self.rows),
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The table as plain JSON data."""
        return plain({"title": self.title, "columns": self.columns, "rows": self.rows})  # type: ignore[no-any-return]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The mean over seeds and their standard deviation; of one value, the value.

    >>> spread([0.5, 0.7]), spread([0.25], 2)
    ('0.600 ± 0.141', '0.25')
    """
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def show(value: Any) -> str:
    """A cell as text: three significant digits of a float, and a dash for nothing.

    >>> show(0.28512), show(12345.6), show(7), show(float("nan")), show(True)
    ('0.285', '12,346', '7', '–', 'yes')
    """
    value = plain(value)
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def plain(value: Any) -> Any:
    """The value as JSON can hold it: numpy scalars and arrays unwrapped, what is not finite made None.

    >>> plain({"a": (1.0, float("nan"))})
    {'a': [1.0, None]}
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _is_number(value: Any) -> bool:
    value = plain(value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
