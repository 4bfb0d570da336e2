"""Running a reproduction: one call from a slug to a report."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, get_args

import halflife
from halflife.errors import InvalidInput
from halflife.papers.registry import load, paper
from halflife.papers.report import Report

Size: TypeAlias = Literal["smoke", "cpu", "gpu"]
SIZES: tuple[Size, ...] = get_args(Size)

Progress: TypeAlias = Callable[[str, float], None]
"""Called with what is being done and the share of the run that is done, in [0, 1]."""

# Named in a report only when the run used them.
_OPTIONAL = ("onnxruntime", "usearch", "scipy", "matplotlib", "torch")


class Reproduction(Protocol):
    """What the reproduction of a paper looks like: a function `run(size, seed, progress) -> Report`.

    Parameters
    ----------
    size: `smoke` (seconds: shows that everything runs, its claims mean nothing), `cpu` (at most 3 minutes on
        two cores) or `gpu` (at most 8 minutes on one GPU). A size that the paper does not have raises
        `InvalidInput`.
    seed: where all randomness of the run comes from; `report.seeds` lists every seed derived from it.
    progress: to be called now and then with what is being done and the share that is done.

    The report's seed, versions, seconds and machine are filled in by `reproduce`. Bounds of claims are fixed
    in the code before a run, and every claim that is tested goes into the report.
    """

    def __call__(self, size: Size, seed: int, progress: Progress) -> Report: ...


def quiet(step: str, share: float) -> None:
    """A progress callback that says nothing."""


def reproduce(
    slug: str | int,
    size: Size = "cpu",
    seed: int = 0,
    out: str | Path | None = None,
    progress: Progress = quiet,
) -> Report:
    """Run the reproduction of a paper.

    Parameters
    ----------
    slug: the paper's slug or number.
    size: `smoke`, `cpu` or `gpu`.
    seed: a number >= 0.
    out: the root under which to write `NN-slug/SIZE/`; None writes nothing.
    progress: called with what is being done and the share that is done.

    Raises
    ------
    InvalidInput: there is no such paper or size, or the paper is planned.
    MissingExtra: the reproduction, or drawing its figures, needs an optional dependency.
    """
    if size not in SIZES:
        raise InvalidInput(f"There is no size {size!r}.", f"Use one of {', '.join(SIZES)}.")
    if seed < 0:
        raise InvalidInput(f"The seed is {seed}.", "Use a number >= 0.")
    run = load(paper(slug))
    start = time.perf_counter()
    report = run(size, seed, progress)
    report = replace(
        report,
        seed=seed,
        seconds=time.perf_counter() - start,
        versions={**versions(), **report.versions},
        machine=report.machine or machine(),
    )
    if out is not None:
        report.write(out)
    return report


def versions() -> dict[str, str]:
    """The versions that a result depends on: Python, the platform, and the packages loaded."""
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "halflife": halflife.__version__,
        "numpy": version("numpy"),
    }
    for name in _OPTIONAL:
        if name in sys.modules:
            try:
                found[name] = version(name)
            except PackageNotFoundError:  # a module of that name that was not installed as a package
                continue
    return found


def machine() -> str:
    """This machine in words."""
    return f"{os.cpu_count()} cores, {platform.machine()}"
