"""The `gpu` size of power-law environments (arXiv 2401.10393): power law and uniform by tasks, amount and width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from halflife.continual import Naive, load, permuted
from halflife.continual import run as train
from halflife.continual.rehearsal import rehearsed
from halflife.continual.results import Results
from halflife.papers.r44_arms import BATCH, CLAIM, POWER, SCHEDULES, gain
from halflife.papers.registry import paper
from halflife.papers.report import Claim, Figure, Report
from halflife.papers.run import Progress
from halflife.papers.style import heatmap
from halflife.papers.table import Table, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Surface:
    """The amount of the `gpu` size: numbers of tasks, shares of rehearsal, widths of the network."""

    data: str = "fashion-mnist"
    tasks: tuple[int, ...] = (20, 50)
    shares: tuple[float, ...] = (0.05, 0.1, 0.25, 1.0)
    widths: tuple[int, ...] = (100, 400, 1000)
    per_class: int = 100
    seeds: int = 3
    device: str = "cuda"


def surface(amount: Surface, seed: int, progress: Progress) -> Report:
    """Run all cells: every number of tasks with every amount at the middle width, and the other widths once."""
    seeds = range(seed, seed + amount.seeds)
    middle, share = sorted(amount.widths)[len(amount.widths) // 2], amount.shares[-2]
    cells = [(tasks, part, middle) for tasks in amount.tasks for part in amount.shares]
    cells += [(amount.tasks[0], share, width) for width in amount.widths if width != middle]
    found: dict[tuple[int, float, int], dict[str, Results]] = {}
    bare: dict[tuple[int, int], Results] = {}
    for number, (tasks, part, width) in enumerate(cells):
        progress(f"{tasks} tasks, R = {part:g} N, width {width}", number / len(cells))
        base = permuted(load(amount.data).take(amount.per_class, 50), tasks)
        budget = round(part * 10 * amount.per_class)
        settings: dict[str, Any] = {"model": f"mlp:{width},{width}", "batch_size": BATCH, "device": amount.device}
        learner = Naive(lr=0.05)
        if (tasks, width) not in bare:
            bare[tasks, width] = train(rehearsed(base, None, 0, passes=2), learner, seeds, **settings)
        found[tasks, part, width] = {"none": bare[tasks, width]} | {
            name: train(rehearsed(base, SCHEDULES[name], budget, passes=2), learner, seeds, **settings)
            for name in (POWER, "uniform")
        }
    rows = [
        (tasks, part, width, *(spread(one[name]["accuracy"]) for name in ("none", POWER, "uniform")),
         str(gain(one, "uniform")), float(np.mean([f for r in one.values() for f in r["seconds"]])))
        for (tasks, part, width), one in found.items()
    ]  # fmt: skip
    columns = ("tasks", "R / N", "width", "none", POWER, "uniform", "power law over uniform", "seconds a run")
    grid = np.array([[gain(found[t, part, middle], "uniform").mean for part in amount.shares] for t in amount.tasks])
    claims = []
    for tasks in amount.tasks:
        one = found[tasks, share, middle]
        claims += [
            Claim(f"Power law over no rehearsal, {tasks} tasks", gain(one, "none").mean, 0.03),
            Claim(f"Power law over uniform, {tasks} tasks", gain(one, "uniform").mean, -0.04),
        ]
    return Report(
        paper=paper(44),
        size="gpu",
        seeds=list(seeds),
        claim=CLAIM,
        setup=(
            f"Permuted {amount.data}, {', '.join(map(str, amount.tasks))} tasks of {10 * amount.per_class:,} examples "
            f"in two passes, batches of {BATCH}, SGD with learning rate 0.05, two layers of the width given; after "
            "each task R old examples in two passes. The claims are at "
            f"R = {share:g} N and width {middle}."
        ),
        tables=[Table("Tasks, amounts and widths", columns, rows)],
        claims=claims,
        figures=[
            Figure(
                "surface",
                "Accuracy of the power law minus that of uniform rehearsal, by the number of tasks and the amount "
                f"rehearsed (width {middle}).",
                lambda axes: _draw_surface(axes, grid, amount),
                "Map of the difference of power law and uniform",
                (6.5, 3.5),
            )
        ],
        notes=[
            "Only the abstract could be read: what is run is this project's own, see the cpu size.",
            "Where the sign favours uniform, the power law leaves the oldest tasks too little.",
            f"{amount.seeds} seeds instead of the 10 planned, and widths at one number of tasks, to keep in time.",
        ],
    )


def _draw_surface(axes: Axes, grid: np.ndarray, amount: Surface) -> None:
    reach = float(np.abs(grid).max()) or 1.0
    heatmap(axes, grid, "power law minus uniform", limits=(-reach, reach))
    for (i, j), value in np.ndenumerate(grid):
        axes.text(j, i, f"{value:+.3f}", ha="center", va="center", color="white" if value > reach / 2 else "#333333")
    axes.set_xticks(range(len(amount.shares)), [f"{part:g}" for part in amount.shares])
    axes.set_yticks(range(len(amount.tasks)), [str(tasks) for tasks in amount.tasks])
    axes.set(xlabel="rehearsed after each task / examples of a task", ylabel="tasks")
