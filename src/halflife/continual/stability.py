"""The stability gap: worst-case measures of a learner that is tested while it learns.

Continual evaluation for lifelong learning: Identifying the stability gap (De Lange, van de Ven, Tuytelaars 2023,
arXiv 2205.13452). Implemented: min-ACC, WC-ACC, windowed forgetting and plasticity, LCA, ACC and forgetting, each as an
object fed test by test and, the same numbers, from arrays; the gradients of the two losses are in `gradient_split`.
The accuracies come from `run(..., evaluate_every=1)`. The size of a gap and the recovery from it are this project's
own definitions. Not implemented: the paper's other tracks (loss of each task, drift of features).

Where the authors' code differs: it draws other examples for every test, so that each minimum is taken over noise as
well; here they are drawn once. Its windowed plasticity skips starts below the highest value before them, and so misses
rises; here every pair in the window counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from halflife.continual.evaluator import Point
from halflife.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class StreamingMetric:
    """A measure that is fed test by test, and can be asked at any time."""

    def update(self, step: int, task: int, accuracies: Mapping[int, float]) -> None:
        """Take one test: the update after which it was made, the task being learned, and task -> accuracy."""
        raise NotImplementedError

    def result(self) -> float | None:
        """Its value so far; None where it means nothing yet."""
        raise NotImplementedError


class Acc(StreamingMetric):
    """ACC: the mean of the last accuracies of the tasks so far, the one being learned included."""

    def __init__(self) -> None:
        self.last: dict[int, float] = {}

    def update(self, step: int, task: int, accuracies: Mapping[int, float]) -> None:
        """See `StreamingMetric`."""
        self.last |= {i: a for i, a in accuracies.items() if i <= task}

    def result(self) -> float | None:
        """See `StreamingMetric`."""
        return _mean(self.last)


class Forgetting(StreamingMetric):
    """FORG: the mean of what each old task has lost since its own last test while it was learned."""

    def __init__(self) -> None:
        self.learned: dict[int, float] = {}
        self.last: dict[int, float] = {}

    def update(self, step: int, task: int, accuracies: Mapping[int, float]) -> None:
        """See `StreamingMetric`."""
        self.learned |= {i: a for i, a in accuracies.items() if i == task}
        self.last |= {i: a for i, a in accuracies.items() if i < task}

    def result(self) -> float | None:
        """See `StreamingMetric`."""
        return _mean({i: self.learned[i] - a for i, a in self.last.items() if i in self.learned})


class MinAcc(StreamingMetric):
    """min-ACC: the mean over old tasks of the lowest accuracy since each was finished. None during the first task.

    >>> measure = MinAcc()
    >>> for step, task, found in [(1, 0, {0: 0.9}), (2, 1, {0: 0.2, 1: 0.5}), (3, 1, {0: 0.8, 1: 0.9})]:
    ...     measure.update(step, task, found)
    >>> measure.result()
    0.2
    """

    def __init__(self) -> None:
        self.lowest: dict[int, float] = {}

    def update(self, step: int, task: int, accuracies: Mapping[int, float]) -> None:
        """See `StreamingMetric`."""
        for i, a in accuracies.items():
            if i < task:
                self.lowest[i] = min(a, self.lowest.get(i, a))

    def result(self) -> float | None:
        """See `StreamingMetric`."""
        return _mean(self.lowest)


class WCAcc(StreamingMetric):
    """WC-ACC: `A(E_k) / k + (1 - 1/k) min-ACC`, what can be relied on of old tasks, and what the new one has now."""

    def __init__(self) -> None:
        self.old = MinAcc()
        self.now: float | None = None

    def update(self, step: int, task: int, accuracies: Mapping[int, float]) -> None:
        """See `StreamingMetric`."""
        self.old.update(step, task, accuracies)
        self.now = accuracies.get(task, self.now)

    def result(self) -> float | None:
        """See `StreamingMetric`."""
        return _worst_case(self.now, self.old.lowest)


class _Windowed(StreamingMetric):
    """The largest change between two of any `window` tests in a row, the mean over tasks."""

    sign = 1.0

    def __init__(self, window: int = 10) -> None:
        if window < 1:
            raise InvalidInput(f"A window of {window} tests is empty.", "Use 2 or more.")
        self.window = window
        self.largest: dict[int, float] = {}
        self._highs: dict[int, deque[tuple[int, float]]] = {}  # (number, value), values falling
        self._count: dict[int, int] = {}

    def update(self, step: int, task: int, accuracies: Mapping[int, float]) -> None:
        """See `StreamingMetric`. O(1) for each task, amortised."""
        for i, a in accuracies.items():
            value = self.sign * a
            number = self._count[i] = self._count.get(i, 0) + 1
            highs = self._highs.setdefault(i, deque())
            while highs and highs[-1][1] <= value:
                highs.pop()
            highs.append((number, value))
            if highs[0][0] <= number - self.window:
                highs.popleft()
            self.largest[i] = max(self.largest.get(i, 0.0), highs[0][1] - value)

    def result(self) -> float | None:
        """See `StreamingMetric`."""
        return _mean(self.largest)


class WindowedForgetting(_Windowed):
    """WF: the largest fall within `window` tests in a row, ever; the mean over tasks. It depends on how often it tests.

    >>> measure = WindowedForgetting(2)
    >>> for step, accuracy in enumerate([0.9, 0.7, 0.4, 0.8]):
    ...     measure.update(step, 0, {0: accuracy})
    >>> round(measure.result(), 6)
    0.3
    """


class WindowedPlasticity(_Windowed):
    """WP: the largest rise within `window` tests in a row, ever; the mean over tasks."""

    sign = -1.0


class LCA(StreamingMetric):
    """Learning curve area: the mean accuracy of a task in its first `beta` tests, over tasks that had so many."""

    def __init__(self, beta: int = 10) -> None:
        if beta < 1:
            raise InvalidInput(f"The first {beta} tests are none.", "Use at least 1.")
        self.beta = beta
        self.first: dict[int, list[float]] = {}

    def update(self, step: int, task: int, accuracies: Mapping[int, float]) -> None:
        """See `StreamingMetric`."""
        window = self.first.setdefault(task, [])
        if task in accuracies and len(window) < self.beta:
            window.append(accuracies[task])

    def result(self) -> float | None:
        """See `StreamingMetric`."""
        return _mean({i: float(np.mean(window)) for i, window in self.first.items() if len(window) == self.beta})


def feed(points: Iterable[Point], metrics: Sequence[StreamingMetric]) -> None:
    """Show the points of a run's curve to measures, in the order in which they were made.

    >>> from halflife.continual import ER, class_incremental, load, run
    >>> results = run(class_incremental(load("digits")), ER(lr=0.1), batch_size=32, evaluate_every=2)
    >>> worst, mean = WCAcc(), Acc()
    >>> feed(results.runs[0].curve, [worst, mean])
    >>> worst.result() <= mean.result()
    True
    """
    for (step, task), group in groupby(points, key=lambda point: (point.update, point.learning)):
        accuracies = {point.task: point.accuracy for point in group}
        for metric in metrics:
            metric.update(step, task, accuracies)


# -- arrays -----------------------------------------------------------------------------------------------------------


def metrics_from_curves(
    acc: ArrayLike, task_ends: Sequence[int], steps: Sequence[int] | None = None,
    windows: Sequence[int] = (10, 100), beta: int = 10,
) -> dict[str, float | None]:  # fmt: skip
    """Every measure from accuracies that were written down: the same numbers that the objects give.

    Parameters
    ----------
    acc: accuracies [T, K], a row for each test and a column for each task; NaN where a task was not tested.
    task_ends: the last update of each task, [K], counted from 1 over all.
    steps: the update of each row, [T]; None: 1 to T. windows: of WF and WP, in tests. beta: of LCA, in tests.

    Raises
    ------
    InvalidInput: shapes that do not fit, or a test after the end of the last task.

    >>> found = metrics_from_curves([[0.9, np.nan], [0.2, 0.5], [0.8, 0.9]], task_ends=[1, 3])
    >>> found["min_acc"], found["wc_acc"], round(found["acc"], 3)
    (0.2, 0.55, 0.85)
    """
    found = np.asarray(acc, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != len(task_ends) or (steps is not None and len(steps) != len(found)):
        raise InvalidInput(
            f"Accuracies {found.shape}, {len(task_ends)} tasks, {'all' if steps is None else len(steps)} steps.",
            "Give a row for each step and a column for each task.",
        )
    at = np.arange(1, len(found) + 1) if steps is None else np.asarray(steps)
    ends = np.asarray(task_ends)
    if (np.diff(ends) <= 0).any() or (np.diff(at) <= 0).any() or (len(at) and at[-1] > ends[-1]):
        raise InvalidInput(
            "Ends of tasks and steps must rise, and no step may come after the last end.",
            "Count updates from 1 over all tasks.",
        )
    return Curves(at, np.searchsorted(ends, at), found).metrics(windows, beta)


@dataclass(frozen=True)
class Gap:
    """What one switch of tasks did to one old task (this project's definition).

    Parameters
    ----------
    task, learning: the old task and the new one.
    before, lowest, after: accuracy on the old task at the last test before the switch, the lowest within the window
        after it, and at the last test of the new task.
    at: updates from the switch to the lowest.
    recovery: updates from the switch until, after the lowest, the accuracy was within the tolerance of `after`.
    """

    task: int
    learning: int
    before: float
    lowest: float
    after: float
    at: int
    recovery: int

    @property
    def size(self) -> float:
        """How far it fell."""
        return self.before - self.lowest

    @property
    def recovered(self) -> float:
        """How far it rose again while the new task was learned; without a gap, forgetting is all there is."""
        return self.after - self.lowest


@dataclass(frozen=True, eq=False)
class Curves:
    """Accuracies over the training as arrays.

    Parameters
    ----------
    steps: the update of each test, int [T]. learning: the task being learned then, int [T].
    acc: accuracies [T, K]; NaN where a task was not tested.
    """

    steps: NDArray[np.int64]
    learning: NDArray[np.int64]
    acc: NDArray[np.float64]

    @classmethod
    def of(cls, points: Sequence[Point]) -> Curves:
        """Those of a run's curve.

        Raises
        ------
        InvalidInput: there are no points.
        """
        if not points:
            raise InvalidInput("The run has no curve.", "Run with evaluate_every=1.")
        steps, rows = np.unique([point.update for point in points], return_inverse=True)
        learning = np.zeros(len(steps), dtype=np.int64)
        acc = np.full((len(steps), max(point.task for point in points) + 1), np.nan)
        for row, point in zip(rows, points, strict=True):
            learning[row] = point.learning
            acc[row, point.task] = point.accuracy
        return cls(steps, learning, acc)

    def at_ends(self) -> Curves:
        """The last test of each task alone: what is seen where tasks are tested at their ends."""
        last = np.append(self.learning[1:] != self.learning[:-1], True)
        return Curves(self.steps[last], self.learning[last], self.acc[last])

    def metrics(self, windows: Sequence[int] = (10, 100), beta: int = 10) -> dict[str, float | None]:
        """See `metrics_from_curves`."""
        known = ~np.isnan(self.acc)
        columns = {i: self.acc[known[:, i], i] for i in range(self.acc.shape[1])}
        when = {i: self.learning[known[:, i]] for i in columns}
        own = {i: a[when[i] == i] for i, a in columns.items()}
        old = {i: a[when[i] > i] for i, a in columns.items()}
        lowest = {i: float(a.min()) for i, a in old.items() if len(a)}
        current = [float(own[i][-1]) for i in sorted(set(self.learning.tolist())) if len(own.get(i, ()))]
        found = {
            "acc": _mean({i: float(a[when[i] >= i][-1]) for i, a in columns.items() if (when[i] >= i).any()}),
            "forgetting": _mean({i: float(own[i][-1] - a[-1]) for i, a in old.items() if len(own[i]) and len(a)}),
            "min_acc": _mean(lowest),
            "wc_acc": _worst_case(current[-1] if current else None, lowest),
            "lca": _mean({i: float(np.mean(a[:beta])) for i, a in own.items() if len(a) >= beta}),
        }
        for m in windows:
            found[f"wf{m}"] = _mean({i: _largest_fall(a, m) for i, a in columns.items() if len(a)})
            found[f"wp{m}"] = _mean({i: _largest_fall(-a, m) for i, a in columns.items() if len(a)})
        return found

    def gaps(self, window: int = 50, tolerance: float = 0.01) -> list[Gap]:
        """The gap of every old task at every switch, the lowest looked for within so many updates after it.

        A switch is counted from the last test before it, so test after every update.
        """
        found = []
        for k in sorted(set(self.learning.tolist()))[1:]:
            rows = np.flatnonzero(self.learning == k)
            start = rows[0] - 1
            since = self.steps[rows] - self.steps[start]
            for i in range(k):
                values, before = self.acc[rows, i], float(self.acc[start, i])
                if np.isnan(before) or np.isnan(values).any() or since[0] > window:
                    continue
                low = int(np.argmin(values[since <= window]))
                back = low + int(np.argmax(values[low:] >= values[-1] - tolerance))
                lowest, after = float(values[low]), float(values[-1])
                found.append(Gap(i, k, before, lowest, after, int(since[low]), int(since[back])))
        return found


def _largest_fall(values: NDArray[np.float64], window: int) -> float:
    padded = np.concatenate([np.full(window - 1, -np.inf), values])
    highs = np.lib.stride_tricks.sliding_window_view(padded, window).max(1)
    return float((highs - values).max())


def _mean(values: Mapping[int, float]) -> float | None:
    return float(np.mean([values[i] for i in sorted(values)])) if values else None


def _worst_case(current: float | None, lowest: Mapping[int, float]) -> float | None:
    if current is None:
        return None
    old = _mean(lowest)
    count = len(lowest) + 1
    return current if old is None else current / count + (1 - 1 / count) * old
