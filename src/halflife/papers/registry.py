"""The registry of papers: what is on the reading list, and where its code lives."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, cast

from halflife.errors import InvalidInput
from halflife.papers.table import Table

if TYPE_CHECKING:
    from halflife.papers.run import Reproduction


@dataclass(frozen=True)
class Paper:
    """One paper of the reading list.

    Parameters
    ----------
    number: its place on the list, 1 to 65.
    slug: its short, stable name in commands and folders, such as `memorybank`.
    name: what people call it, such as `MemoryBank`.
    title: the paper's full title.
    arxiv: its arXiv id, empty when it has none.
    year: the year it first appeared.
    kind: its field; several are joined by ` + `.
    status: `available` when component and reproduction exist, otherwise `planned`.
    definition: `project` when the mechanism is this project's own reading of an abstract, otherwise `paper`.
    component, reproduction: import paths `module:name`; empty while the paper is planned.
    """

    number: int
    slug: str
    name: str
    title: str
    arxiv: str
    year: int
    kind: str
    status: Literal["available", "planned"]
    definition: Literal["paper", "project"]
    component: str
    reproduction: str

    @property
    def folder(self) -> str:
        """The name of its folder of reproductions, such as `19-memorybank`."""
        return f"{self.number:02d}-{self.slug}"

    @property
    def url(self) -> str:
        """Where to read it; empty when it has no arXiv id."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else ""


@cache
def papers() -> tuple[Paper, ...]:
    """All papers of the reading list, by number.

    >>> len(papers())
    65
    """
    text = files("halflife.papers").joinpath("papers.toml").read_text(encoding="utf-8")
    return tuple(Paper(**entry) for entry in tomllib.loads(text)["paper"])


def paper(key: str | int) -> Paper:
    """The paper with this number, slug, folder name or short name.

    Parameters
    ----------
    key: `19`, `"19"`, `"memorybank"`, `"19-memorybank"` or `"MemoryBank"`; case does not matter.

    Raises
    ------
    InvalidInput: no paper is known by this key; the message names the nearest ones.

    >>> paper("35-think-in-memory").slug
    'think-in-memory'
    >>> paper("memorybnk")
    Traceback (most recent call last):
    halflife.errors.InvalidInput: There is no paper 'memorybnk'. Did you mean memorybank or memoryvla?
    """
    wanted = str(key).strip().casefold()
    number = int(wanted) if wanted.isdecimal() else None
    for entry in papers():
        if number == entry.number or wanted in (entry.slug, entry.folder, entry.name.casefold()):
            return entry
    near = get_close_matches(wanted, [entry.slug for entry in papers()], n=2, cutoff=0.6)
    hint = f"Did you mean {' or '.join(near)}?" if near else "Give a slug, or a number from 1 to 65."
    raise InvalidInput(f"There is no paper {key!r}.", hint)


def load(paper: Paper) -> Reproduction:
    """The reproduction of a paper, imported.

    Raises
    ------
    InvalidInput: the paper is planned and has no reproduction yet.
    """
    return cast("Reproduction", resolve(paper, "reproduction"))


def resolve(paper: Paper, what: Literal["component", "reproduction"]) -> Callable[..., Any]:
    """The component or the reproduction of a paper, imported from its path in the registry.

    Raises
    ------
    InvalidInput: the paper is planned and has none yet.
    """
    path: str = getattr(paper, what)
    if not path:
        there = ", ".join(entry.slug for entry in papers() if entry.status == "available")
        raise InvalidInput(f"{paper.name} ({paper.slug}) is planned: it has no {what} yet.", f"Available now: {there}.")
    module, _, name = path.partition(":")
    return cast("Callable[..., Any]", getattr(import_module(module), name))


def papers_table(kind: str = "", status: str = "") -> Table:
    """The reading list as a table.

    Parameters
    ----------
    kind: keep papers of this kind, such as `agent memory`; empty keeps all.
    status: `available` or `planned`; empty keeps both.

    Raises
    ------
    InvalidInput: no paper is of this kind or status; the message names those there are.

    >>> [row[:3] for row in papers_table(kind="agent memory").rows if row[1] == "memorybank"]
    [(19, 'memorybank', 'MemoryBank')]
    """
    kinds = sorted({part for entry in papers() for part in entry.kind.split(" + ")})
    if kind and kind not in kinds:
        raise InvalidInput(f"There is no kind {kind!r}.", f"Kinds: {', '.join(kinds)}.")
    if status not in ("", "available", "planned"):
        raise InvalidInput(f"There is no status {status!r}.", "Use available or planned.")
    rows = tuple(
        (entry.number, entry.slug, entry.name, entry.kind, entry.year, entry.status)
        for entry in papers()
        if (not kind or kind in entry.kind.split(" + ")) and status in ("", entry.status)
    )
    return Table("Papers", ("number", "slug", "name", "kind", "year", "status"), rows)
