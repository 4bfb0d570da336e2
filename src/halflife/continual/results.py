"""What runs gave: matrices, curves and measures over seeds, as tidy rows, tables and pictures."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from halflife.continual.evaluator import Point
from halflife.continual.files import replacing
from halflife.continual.metrics import Interval, interval, matrix_metrics
from halflife.errors import InvalidInput, MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Run:
    """One seed.

    Parameters
    ----------
    seed: of everything random. seen, told: accuracy matrices, [rows, tests], as in `Scores`; `told` may be empty.
    curve: accuracies between. updates: optimiser steps. seconds: of training, tests not counted.
    passes: examples that went through the network in training: `forward` in all, `backward` with gradients.
    buffer: examples and bytes held at the end. logged: what the learner logged at the moments of the curve.
    after: how many experiences had been learned at each row; empty: as many as the row's number.
    """

    seed: int
    seen: np.ndarray
    told: np.ndarray
    curve: Sequence[Point]
    updates: int
    seconds: float
    passes: Mapping[str, int]
    buffer: Mapping[str, int] = field(default_factory=dict)
    logged: Sequence[Mapping[str, float]] = ()
    after: Sequence[int] = ()

    def metrics(self) -> dict[str, float]:
        """Every measure of this run; those where the task is told begin with `task_`."""
        each = all(i == row for row, i in enumerate(self.after))
        found = matrix_metrics(self.seen, each)
        if self.told.size:
            found |= {f"task_{name}": value for name, value in matrix_metrics(self.told, each).items()}
        return found | {
            "seconds": self.seconds, "updates": float(self.updates), **{f"{k}_passes": float(v) for k, v in
            self.passes.items()}, **{f"buffer_{k}": float(v) for k, v in self.buffer.items()},
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Results:
    """Runs of one method on one scenario, one for each seed.

    Parameters
    ----------
    config: everything that was set, as plain data. runs: by seed.
    """

    config: Mapping[str, Any]
    runs: Sequence[Run]

    @property
    def name(self) -> str:
        """The method's name, wrappers around it."""
        return _named(self.config["learner"])

    @property
    def hash(self) -> str:
        """Twelve letters that stand for the whole configuration."""
        return config_hash(self.config)

    @property
    def seeds(self) -> list[int]:
        """In the order of the runs."""
        return [run.seed for run in self.runs]

    @cached_property
    def metrics(self) -> dict[str, list[float]]:
        """Measure -> its value for every seed."""
        each = [run.metrics() for run in self.runs]
        return {name: [one[name] for one in each] for name in each[0]}

    def __getitem__(self, metric: str) -> list[float]:
        if metric not in self.metrics:
            raise InvalidInput(f"There is no measure {metric!r}.", f"There are {', '.join(self.metrics)}.")
        return self.metrics[metric]

    def interval(self, metric: str, level: float = 0.95) -> Interval:
        """The mean over seeds with its confidence interval."""
        return interval(self[metric], level)

    def mean_matrix(self, told: bool = False) -> np.ndarray:
        """The accuracy matrix, averaged over seeds."""
        found: np.ndarray = np.stack([run.told if told else run.seen for run in self.runs]).mean(0)
        return found

    # -- tidy rows ----------------------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """One row for each number: config hash, method, scenario, seed, what it is, where in the run, its value."""
        base = {"config": self.hash, "method": self.name, "scenario": self.config["scenario"]["scenario"]}
        found: list[dict[str, Any]] = []

        def row(seed: int, metric: str, value: float, after: int | None = None, update: int | None = None,
                task: int | None = None) -> None:  # fmt: skip
            found.append({**base, "seed": seed, "metric": metric, "after": after, "update": update, "task": task,
                          "value": value})  # fmt: skip

        for run in self.runs:
            for name, value in run.metrics().items():
                row(run.seed, name, value)
            for name, R in (("R", run.seen), ("R_task", run.told)):
                for (i, j), value in np.ndenumerate(R):
                    row(run.seed, name, float(value), after=run.after[i] if run.after else i, task=j)
            for point in run.curve:
                row(run.seed, "curve", point.accuracy, after=point.learning, update=point.update, task=point.task)
            for one in run.logged:
                for name, value in one.items():
                    if name != "update":
                        row(run.seed, name, value, update=int(one["update"]))
        return found

    def write(self, path: str | Path) -> None:
        """Write the rows as `.csv` or `.parquet`, and the configuration beside them as `.json`: whole or not at all.

        Raises
        ------
        InvalidInput: another ending. MissingExtra: parquet needs pyarrow.
        """
        target = Path(path)
        writers: dict[str, Callable[[Path, list[dict[str, Any]]], None]] = {".csv": _csv, ".parquet": _parquet}
        if target.suffix not in writers:
            raise InvalidInput(f"{target.name} ends neither in .csv nor in .parquet.")
        with replacing(target) as part:
            writers[target.suffix](part, self.rows())
        with replacing(target.with_suffix(".json")) as part:
            part.write_text(json.dumps({"hash": self.hash, **self.config}, indent=1, default=str) + "\n")

    # -- pictures -----------------------------------------------------------------------------------------------------

    def plot_matrix(self, axes: Axes, told: bool = False) -> None:
        """Draw the mean accuracy matrix: a row after each task, a column for each test."""
        R = self.mean_matrix(told)
        axes.imshow(R, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        if R.size <= 200:
            for (i, j), value in np.ndenumerate(R):
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", color="white" if value < 0.6 else "black",
                          fontsize=8)  # fmt: skip
        axes.set(xlabel="test of task", ylabel="tasks learned", title=f"{self.name}: accuracy")
        axes.set_xticks(range(R.shape[1]), [str(j + 1) for j in range(R.shape[1])])
        axes.grid(False)

    def plot_curve(self, axes: Axes, task: int = 0) -> None:
        """Draw the accuracy on one task against updates, the mean and the standard deviation over seeds."""
        updates, values = self.curve(task)
        mean, sd = values.mean(0), values.std(0)
        axes.plot(updates, mean, label=self.name)
        axes.fill_between(updates, mean - sd, mean + sd, alpha=0.2, linewidth=0)
        axes.set(xlabel="updates", ylabel=f"accuracy on task {task + 1}", ylim=(0, 1.02))

    def curve(self, task: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The updates at which every seed was tested on one task [n], and the accuracies [seeds, n].

        Raises
        ------
        InvalidInput: the runs have no curve of that task.
        """
        per_seed = [{p.update: p.accuracy for p in run.curve if p.task == task} for run in self.runs]
        updates = sorted(set(per_seed[0]).intersection(*per_seed))
        if not updates:
            raise InvalidInput(f"There is no curve of task {task}.", "Run with evaluate_every=1.")
        return np.array(updates), np.array([[points[u] for u in updates] for points in per_seed])


def config_hash(config: Mapping[str, Any]) -> str:
    """Twelve letters that stand for a configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _named(learner: Mapping[str, Any]) -> str:
    inner = learner.get("method")  # of a wrapper
    return f"{learner['learner']}({_named(inner)})" if isinstance(inner, Mapping) else str(learner["learner"])


def _csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("pyarrow", "parquet") from None
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
