"""What was measured of refresh learning around each method, and its pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from halflife.continual.metrics import Interval, interval, paired
from halflife.continual.results import Results
from halflife.papers.report import Figure
from halflife.papers.style import INK, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVEL = 0.9
PLAIN, BASE, REFRESH, NOISE, SAM, LEAK = (
    "host", "host + decay", "refresh", "noise", "sharpness-aware", "refresh, unprotected",
)  # fmt: skip
ARMS = (PLAIN, BASE, REFRESH, NOISE, SAM, LEAK)


@dataclass(frozen=True)
class Found:
    """What was measured of one host.

    Parameters
    ----------
    runs: arm -> its results. sharp: arm -> sharpness by seed. chosen: the settings. scores: delta -> accuracy on the
        held-out part, the mean of the seeds of the choice; None is the host with weight decay.
    """

    host: str
    runs: Mapping[str, Results]
    sharp: Mapping[str, Sequence[float]]
    chosen: Mapping[str, float]
    scores: Mapping[float | None, float]

    def gain(self, arm: str, over: str = BASE) -> Interval:
        """The mean difference of the accuracies of the same seeds, with its interval."""
        return paired(self.runs[arm]["accuracy"], self.runs[over]["accuracy"], LEVEL)

    def flatter(self, arm: str) -> Interval:
        """The same of the sharpness, over the host with weight decay."""
        return paired(self.sharp[arm], self.sharp[BASE], LEVEL)


def figures(found: Sequence[Found]) -> list[Figure]:
    """Differences of accuracy, sharpness, and accuracy by delta where it was chosen."""
    arms = [arm for arm in ARMS if any(arm in one.runs for one in found)]
    others = [arm for arm in arms if arm != BASE]
    scale = 0.55 * max(1, len(found) * 0.8)  # inches of an arm
    made = [
        Figure(
            "differences",
            "Accuracy minus that of the host with weight decay, a dot for each seed, with the mean and its "
            f"{LEVEL:.0%} interval. An arm helps where the interval lies to the right of the line.",
            lambda axes: _draw_differences(axes, found, others),
            "Dots: paired differences of accuracy for each arm and seed",
            (7.0, 0.9 + scale * len(others)),
        ),
        Figure(
            "sharpness",
            "How far the loss rises within 0.05 of the norm of each tensor, a dot for each seed, with the mean and its "
            "interval. Flatter minima lie to the left.",
            lambda axes: _draw_sharpness(axes, found, arms),
            "Dots: sharpness of the trained networks of each arm",
            (7.0, 0.9 + scale * len(arms)),
        ),
    ]
    if all(one.scores for one in found):
        made.append(
            Figure(
                "delta",
                "Accuracy on held-out training data by the length of the step, the mean of the seeds on which delta "
                "was chosen. Dashed: the host with weight decay, without refresh.",
                lambda axes: _draw_delta(axes, found),
                "Lines: accuracy against delta for each host",
                (7.0, 3.4),
            )
        )
    return made


def _draw_differences(axes: Axes, found: Sequence[Found], arms: Sequence[str]) -> None:
    axes.axvline(0, color=INK, linewidth=0.8)
    _dots(axes, found, arms, lambda one, arm: np.subtract(one.runs[arm]["accuracy"], one.runs[BASE]["accuracy"]))
    axes.set_xlabel(f"accuracy minus that of {BASE}")


def _draw_sharpness(axes: Axes, found: Sequence[Found], arms: Sequence[str]) -> None:
    _dots(axes, found, arms, lambda one, arm: np.asarray(one.sharp[arm]))
    axes.set_xlim(left=0)
    axes.set_xlabel("rise of the loss (nats)")


def _dots(axes: Axes, found: Sequence[Found], arms: Sequence[str], value: Callable[[Found, str], np.ndarray]) -> None:
    for i, one in enumerate(found):
        shift = 0.16 * (2 * i - len(found) + 1)
        axes.plot([], [], "D", color=PALETTE[i], markersize=6, label=one.host)
        for place, arm in enumerate(arms):
            if arm not in one.runs:
                continue
            values = value(one, arm)
            mean = interval(values, LEVEL)
            axes.plot([mean.low, mean.high], [place + shift] * 2, color=PALETTE[i], linewidth=1.4)
            axes.plot(values, np.full(len(values), place + shift), "o", color=PALETTE[i], alpha=0.4, markersize=6,
                      markeredgewidth=0)  # fmt: skip
            axes.plot(mean.mean, place + shift, "D", color=PALETTE[i], markersize=6)
    axes.set_yticks(range(len(arms)), list(arms))
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    if len(found) > 1:
        axes.figure.legend(loc="outside upper right", ncols=len(found))


def _draw_delta(axes: Axes, found: Sequence[Found]) -> None:
    for one, color in zip(found, PALETTE, strict=False):
        deltas = [delta for delta in one.scores if delta is not None]
        axes.plot(deltas, [one.scores[delta] for delta in deltas], "o-", color=color, label=one.host)
        axes.axhline(one.scores[None], color=color, linewidth=1.2, linestyle=(0, (4, 4)))
    axes.set_xscale("log")
    axes.set_xlabel("delta, as a share of the norm of each tensor")
    axes.set_ylabel("accuracy, held out")
    axes.legend()
