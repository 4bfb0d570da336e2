"""What a reproduction returns: tables, figures and claims, and how they are written to disk."""

from __future__ import annotations

import json
import operator
import re
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from halflife.errors import InvalidInput
from halflife.papers.registry import Paper
from halflife.papers.table import Table, plain, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOT = Path("docs/reproductions")
NOT_REPRODUCED = "**not reproduced**"

_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True)
class Claim:
    """A named inequality: what was measured against the bound that it should keep.

    Parameters
    ----------
    name: what is claimed, such as `hit@6 of dense retrieval`.
    measured: the value measured; NaN when it could not be, which never holds.
    bound: the bound, set before the run.
    relation: how `measured` should stand to `bound`.
    paper: the paper's own figure, in words; empty when it gives none.

    >>> claim = Claim("hit@6 of dense retrieval", 0.743, 0.80)
    >>> claim.holds, claim.bound_text
    (False, '>= 0.80')
    """

    name: str
    measured: float
    bound: float
    relation: Literal["<=", ">=", "<", ">"] = ">="
    paper: str = ""

    def __post_init__(self) -> None:
        if self.relation not in _RELATIONS:
            raise InvalidInput(
                f"Claim {self.name!r} has the relation {self.relation!r}.",
                f"Use one of {' '.join(_RELATIONS)}.",
            )

    @property
    def holds(self) -> bool:
        """Whether the inequality holds; never for NaN."""
        return bool(_RELATIONS[self.relation](self.measured, self.bound))

    @property
    def bound_text(self) -> str:
        """The bound with its relation, such as `>= 0.80`."""
        short = f"{self.bound:.2f}"
        return f"{self.relation} {short if float(short) == self.bound else f'{self.bound:g}'}"

    def to_dict(self) -> dict[str, Any]:
        """The claim as it stands in result.json."""
        return {
            "name": self.name,
            "measured": plain(float(self.measured)),
            "bound": self.bound_text,
            "paper": self.paper,
            "holds": self.holds,
        }


@dataclass(frozen=True)
class Figure:
    """A picture: what it shows, and how it is drawn.

    Parameters
    ----------
    name: its file name without the ending: lower-case letters, digits and hyphens.
    caption: one or two sentences, with what to see in it.
    draw: a function that draws on matplotlib axes, or the text of a finished SVG.
    alt: what a screen reader says in its place.
    size: width and height in inches, for a function.
    """

    name: str
    caption: str
    draw: Callable[[Axes], None] | str
    alt: str
    size: tuple[float, float] = (7.0, 4.0)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name):
            raise InvalidInput(
                f"Figure name {self.name!r} cannot be a file name.",
                "Use lower-case letters, digits and hyphens.",
            )

    def svg(self) -> str:
        """The picture as SVG text, the same for the same drawing."""
        if isinstance(self.draw, str):
            return self.draw
        from halflife.papers.style import render  # loads numpy, which listing papers does not need

        return render(self.draw, self.alt, self.size)


@dataclass(frozen=True)
class Report:
    """The outcome of one reproduction.

    A reproduction fills in what it did and found; `reproduce` adds seed, versions, seconds and machine.

    Parameters
    ----------
    paper: which paper.
    size: `smoke`, `cpu` or `gpu`.
    seeds: every seed that was used.
    claim: what the paper says, in one paragraph.
    setup: what was run here: data, baselines, measures.
    tables, figures, claims: the findings. Every claim that was tested is listed, whether or not it held.
    notes: what a reader must know: deviations, doubts, what was not run.
    seed: the seed the run was asked for; it repeats the run.
    versions: package -> version.
    seconds: how long the run took.
    machine: the machine it ran on, in words.
    """

    paper: Paper
    size: str
    seeds: Sequence[int]
    claim: str
    setup: str
    tables: Sequence[Table]
    claims: Sequence[Claim]
    figures: Sequence[Figure] = ()
    notes: Sequence[str] = ()
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    machine: str = ""

    def __post_init__(self) -> None:
        for what, names in (
            ("claims", [c.name for c in self.claims]),
            ("figures", [f.name for f in self.figures]),
        ):
            if len(set(names)) < len(names):
                raise InvalidInput(f"Two {what} of {self.paper.name} share a name: {', '.join(names)}.")

    def claims_table(self) -> Table:
        """The claims as a table: measured, bound, the paper's figure, and whether each was reproduced."""
        rows = tuple(
            (c.name, c.measured, c.bound_text, c.paper or None, "holds" if c.holds else NOT_REPRODUCED)
            for c in self.claims
        )
        return Table("Claims", ("claim", "measured", "bound", "paper", "outcome"), rows)

    def to_dict(self) -> dict[str, Any]:
        """The content of result.json: plain data without NaN."""
        return {
            "number": self.paper.number,
            "slug": self.paper.slug,
            "size": self.size,
            "seeds": [int(seed) for seed in self.seeds],
            "versions": dict(self.versions),
            "seconds": round(self.seconds, 2),
            "table": [table.to_dict() for table in self.tables],
            "claims": [claim.to_dict() for claim in self.claims],
        }

    def markdown(self) -> str:
        """The report as a page of Markdown; its figures lie beside it."""
        paper = self.paper
        parts = [f"# {paper.number:02d} · {paper.title}", _origin(paper), self.claim]
        if paper.definition == "project":
            parts.append(
                "Only the paper's abstract could be relied on. The mechanism is this project's own "
                "definition, made after it; this page does not reproduce the paper's results."
            )
        parts += ["## What was run", self.setup]
        parts += ["## Claims", self.claims_table().markdown(), summary(self.claims)]
        for table in self.tables:
            parts += [f"## {table.title}", table.markdown()]
        for figure in self.figures:
            parts += [f"![{_one_line(figure.alt)}]({figure.name}.svg)", f"*{_one_line(figure.caption)}*"]
        if self.notes:
            parts += ["## Notes", "\n".join(f"- {_one_line(note)}" for note in self.notes)]
        parts += ["## Repeat it", f"```\n{self.command}\n```", self._provenance()]
        return "\n\n".join(parts) + "\n"

    @property
    def command(self) -> str:
        """The command that repeats the run."""
        seed = f" --seed {self.seed}" if self.seed else ""
        return f"halflife reproduce {self.paper.slug} --size {self.size}{seed}"

    def write(self, root: str | Path = ROOT) -> Path:
        """Write report.md, result.json and the figures into `root/NN-slug/SIZE/`, all of them or none.

        An earlier result there is replaced as a whole: a reader never sees half of it.

        Returns
        -------
        The folder written.
        """
        content = {
            "report.md": self.markdown(),
            "result.json": json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
            **{f"{figure.name}.svg": figure.svg() for figure in self.figures},
        }
        target = Path(root) / self.paper.folder / self.size
        _replace_folder(target, content)
        return target

    def _provenance(self) -> str:
        seeds = ", ".join(str(seed) for seed in self.seeds)
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        machine = f" on {self.machine}" if self.machine else ""
        return f"Took {show(float(self.seconds))} s{machine}. Seeds: {seeds}. Versions: {versions}."


def summary(claims: Sequence[Claim]) -> str:
    """How many claims held, in a sentence.

    >>> summary([Claim("a", 1.0, 0.5), Claim("b", 0.0, 0.5)])
    '1 of 2 claims held; 1 was not reproduced.'
    """
    held = sum(claim.holds for claim in claims)
    failed = len(claims) - held
    end = f"; {failed} {'was' if failed == 1 else 'were'} not reproduced." if failed else "."
    return f"{held} of {len(claims)} claims held{end}"


def _origin(paper: Paper) -> str:
    link = f"[arXiv {paper.arxiv}]({paper.url})" if paper.arxiv else "no arXiv id"
    return f"{paper.name} · {link} · {paper.year} · {paper.kind}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _replace_folder(target: Path, content: Mapping[str, str]) -> None:
    """Write the files beside `target`, then swap the folders, putting the old one back should that fail."""
    target.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex[:8]
    fresh = target.with_name(f".{target.name}.new-{mark}")
    old = target.with_name(f".{target.name}.old-{mark}")
    try:
        fresh.mkdir()
        for name, text in content.items():
            (fresh / name).write_text(text, encoding="utf-8", newline="\n")
        if target.exists():
            target.rename(old)
        try:
            fresh.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
