"""The pictures of A-MemGuard's reproduction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from halflife.papers.r16_attack import POISON, Read
from halflife.papers.r16_reinforcement import Arm, Rounds
from halflife.papers.report import Figure
from halflife.papers.style import FAINT, INK, PALETTE, label_ends

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMES: dict[Arm, str] = {"none": "no guard", "filter": "filter", "lessons": "filter and lessons"}


def cliff(curves: Mapping[str, Sequence[float]]) -> Figure:
    """Success of the attack by the number planted among the hits: label -> success at 0, 1, 2, ... planted."""

    def draw(axes: Axes) -> None:
        for values in curves.values():
            axes.plot(np.arange(len(values)), values, marker="o", markersize=4)
        axes.axvline(4, color=INK, linewidth=0.8, linestyle=(0, (4, 4)))
        axes.annotate("half of the hits", (4, 0.02), (4, 0), textcoords="offset points")
        axes.set_ylim(-0.02, 1.04)
        axes.set_xlabel("planted records among 8 hits")
        axes.set_ylabel("success of the attack")
        longest = max(map(len, curves.values()))
        label_ends(axes, longest - 1, {label: float(values[-1]) for label, values in curves.items()})

    return Figure(
        "cliff",
        "Success of the attack on an agent that imitates the nearest record, behind a guard by vote that trusts no "
        "tie. Up to two planted records of eight get nowhere; with four they tie or win, and from five on they are "
        "the consensus.",
        draw,
        "Success of the attack against the number of planted records among eight hits, for three memories",
        (7.5, 4.0),
    )


def rounds_figure(runs: Mapping[Arm, Sequence[Rounds]]) -> Figure:
    """Success among triggered rounds over time."""

    def draw(axes: Axes) -> None:
        ends = {}
        for arm, some in runs.items():
            x, y = _smooth(np.array([run.success for run in some]))
            axes.plot(x, y)
            ends[_NAMES[arm]] = float(y[-1])
        axes.set_ylim(0, None)
        axes.set_xlabel("round")
        axes.set_ylabel("success of the attack")
        label_ends(axes, float(x[-1]), ends)

    return Figure(
        "rounds",
        "An agent that stores what it does: success among the rounds with the trigger, in windows of 50 rounds, mean "
        "of all seeds.",
        draw,
        "Success of the attack by round for an agent without a guard, with a filter, and with lessons",
    )


def _smooth(success: NDArray[Any], window: int = 50) -> tuple[NDArray[Any], NDArray[Any]]:
    """The mean over seeds and a window of rounds, of shape [seeds, rounds], and where each window is centred."""
    starts = np.arange(0, success.shape[1] - window + 1, 5)
    return starts + window / 2, np.array([np.nanmean(success[:, start : start + window]) for start in starts])


def one_read(reads: Sequence[Read], embed: Callable[[Sequence[str]], NDArray[Any]]) -> Figure:
    """The paths of the first attacked read in which the honest hits agree the most, on their two main axes."""
    read = max(reads, key=lambda r: max(r.actions.count(action) for action in set(r.actions) - {POISON}))

    def draw(axes: Axes) -> None:
        vectors = np.asarray(embed(read.paths), dtype=float)
        centred = vectors - vectors.mean(axis=0)
        places = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
        for planted, color, marker in ((False, PALETTE[0], "o"), (True, PALETTE[1], "X")):
            rows = [i for i, action in enumerate(read.actions) if (action == POISON) == planted]
            axes.scatter(
                places[rows, 0],
                places[rows, 1],
                color=color,
                marker=marker,
                s=60,
                label="planted" if planted else "honest",
            )
        _name(axes, places, read)
        axes.legend(loc="best")
        axes.margins(0.15)
        axes.set_xlabel("first axis")
        axes.set_ylabel("second axis")

    return Figure(
        "one-read",
        "The reasoning paths of one attacked read, by the two main axes of their embeddings: the honest ones lie close "
        "together, the planted ones apart.",
        draw,
        "Eight paths as points: the planted ones lie apart from the honest ones",
        (7.5, 4.4),
    )


def _name(axes: Axes, places: NDArray[Any], read: Read) -> None:
    """Write the paths: the planted ones beside their points, the honest ones in a column with a line to each."""
    planted = np.array([action == POISON for action in read.actions])
    honest = sorted(np.flatnonzero(~planted).tolist(), key=lambda i: places[i, 1])
    column = places[honest, 0].min() - 0.15 * np.ptp(places[:, 0])
    heights = places[honest, 1].mean() + 0.09 * np.ptp(places[:, 1]) * (np.arange(len(honest)) - (len(honest) - 1) / 2)
    for i, height in zip(honest, heights, strict=True):
        axes.annotate(
            read.paths[i].replace("→", "->"), places[i], (column, height), fontsize=8, ha="right", va="center",
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.8, "shrinkB": 4, "relpos": (1.0, 0.5)},
        )  # fmt: skip
    for i in np.flatnonzero(planted).tolist():
        axes.annotate(
            read.paths[i].replace("→", "->"), places[i], (9, 0), textcoords="offset points", fontsize=8, va="center"
        )
