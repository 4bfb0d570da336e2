"""Every number that is read off an accuracy matrix or off curves, and intervals over seeds.

`R` is the accuracy matrix: `R[i, j]` is the accuracy on the test of task j after training on i tasks; row 0 is before
training. Averages are over tasks, each with the same weight, however many examples it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

from halflife.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def _square(R: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(R, dtype=np.float64)
    if found.ndim != 2 or found.shape[0] != found.shape[1] + 1:
        raise InvalidInput(
            f"The matrix is {found.shape}: this measure needs one row before training and one after each task.",
            "It is defined for streams with one test for each experience.",
        )
    return found


def average_accuracy(R: ArrayLike, after: int = -1) -> float:
    """Mean accuracy on the tasks learned so far, after so many of them (all by default).

    >>> average_accuracy([[0, 0], [1, 0], [0.6, 0.8]])
    0.7
    """
    R = _square(R)
    after = R.shape[1] if after < 0 else after
    return float(R[after, :after].mean())


def average_incremental_accuracy(R: ArrayLike) -> float:
    """Mean over tasks of the average accuracy after each (iCaRL's measure)."""
    R = _square(R)
    return float(np.mean([average_accuracy(R, i) for i in range(1, len(R))]))


def learning_accuracy(R: ArrayLike) -> float:
    """Mean accuracy on each task right after it was learned: plasticity (MFT)."""
    R = _square(R)
    return float(np.diag(R[1:]).mean())


def backward_transfer(R: ArrayLike) -> float:
    """Mean change of a task's accuracy since it was learned; negative is forgetting. NaN with one task."""
    R = _square(R)
    return float(np.mean(R[-1, :-1] - np.diag(R[1:])[:-1])) if R.shape[1] > 1 else float("nan")


def forgetting(R: ArrayLike) -> float:
    """Mean drop of a task from its best accuracy before the last task (Chaudhry et al. 2018). NaN with one task."""
    R = _square(R)
    return float(np.mean(R[1:-1, :-1].max(0) - R[-1, :-1])) if R.shape[1] > 1 else float("nan")


def forward_transfer(R: ArrayLike) -> float:
    """Mean accuracy on a task just before it is learned, above that of the network before training.

    Of use where old outputs can answer a new task: in domain- and task-incremental streams.
    """
    R = _square(R)
    ahead = [R[j, j] - R[0, j] for j in range(1, R.shape[1])]
    return float(np.mean(ahead)) if ahead else float("nan")


def intransigence(R: ArrayLike, joint: ArrayLike) -> float:
    """Mean of what joint training reaches on each task beyond this run, right after the task was learned."""
    return float(np.mean(np.diag(_square(joint)[1:]) - np.diag(_square(R)[1:])))


def h_mean(kept: float, dropped: float) -> float:
    """Harmonic mean of the accuracy kept and the accuracy dropped on purpose (unlearning).

    >>> round(h_mean(0.9, 0.9), 3)
    0.9
    """
    return 2 * kept * dropped / (kept + dropped) if kept + dropped > 0 else 0.0


def matrix_metrics(R: ArrayLike, each: bool = True) -> dict[str, float]:
    """All measures of a matrix with one test for each experience; otherwise only the final accuracy and its mean.

    Parameters
    ----------
    each: whether there is a row after each experience; if not, a matrix may have the right shape by chance.

    >>> found = matrix_metrics([[0.1, 0.1], [1.0, 0.1], [0.6, 0.8]])
    >>> found["accuracy"], found["forgetting"], found["backward_transfer"]
    (0.7, 0.4, -0.4)
    """
    R = np.asarray(R, dtype=np.float64)
    if not each or R.shape[0] != R.shape[1] + 1:
        return {"accuracy": float(R[-1].mean()), "mean_accuracy": float(R[1:].mean())}
    return {
        "accuracy": average_accuracy(R),
        "average_incremental_accuracy": average_incremental_accuracy(R),
        "learning_accuracy": learning_accuracy(R),
        "backward_transfer": backward_transfer(R),
        "forgetting": forgetting(R),
        "forward_transfer": forward_transfer(R),
    }


class Interval(NamedTuple):
    """A mean, its confidence interval (Student's t over seeds) and its standard error."""

    mean: float
    low: float
    high: float
    error: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def interval(values: Sequence[float] | NDArray[np.float64], level: float = 0.95) -> Interval:
    """The mean over seeds with its interval; unbounded with one seed.

    >>> interval([0.5, 0.7]).mean
    0.6
    """
    found = np.asarray(values, dtype=np.float64)
    if not len(found):
        raise InvalidInput("There are no values to average.")
    mean = float(found.mean())
    if len(found) == 1:
        return Interval(mean, -np.inf, np.inf, np.inf)
    error = float(found.std(ddof=1) / np.sqrt(len(found)))
    half = float(stats.t.ppf(0.5 + level / 2, len(found) - 1)) * error
    return Interval(mean, mean - half, mean + half, error)


def paired(a: Sequence[float], b: Sequence[float], level: float = 0.95) -> Interval:
    """The mean of `a - b` over the seeds that both ran, with its interval.

    >>> paired([0.6, 0.7], [0.5, 0.6]).mean.__round__(6)
    0.1
    """
    if len(a) != len(b):
        raise InvalidInput(f"{len(a)} and {len(b)} seeds cannot be paired.", "Run both with the same seeds.")
    return interval(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64), level)


def by_lag(R: ArrayLike) -> Mapping[int, NDArray[np.float64]]:
    """Accuracies by how many tasks were learned since: the points of a retention curve. Lag 0 is right after."""
    R = _square(R)
    count = R.shape[1]
    return {lag: np.array([R[j + 1 + lag, j] for j in range(count - lag)]) for lag in range(count)}


def global_forgetting(R: ArrayLike, sizes: Sequence[int] | None = None) -> float:
    """The time-averaged drop of every task, weighed by its share of the classes seen (arXiv 2203.17269).

    `1/(N-1) sum_{i>=2} sum_{n<i} |T_n| / |T_{1:i}| (R[n,n] - R[i,n])`; not to be compared with `forgetting`.

    Parameters
    ----------
    sizes: classes of each task; None: all alike.

    >>> round(global_forgetting([[0, 0], [1.0, 0], [0.6, 0.8]]), 3)
    0.2
    """
    R = _square(R)
    count = R.shape[1]
    if count < 2:
        return float("nan")
    weights = np.ones(count) if sizes is None else np.asarray(sizes, dtype=np.float64)
    fallen = np.diag(R[1:]) - R[1:]  # [after task i, task n]
    drops = [(weights[:i] * fallen[i, :i]).sum() / weights[: i + 1].sum() for i in range(1, count)]
    return float(np.mean(drops))


def linear_cka(x: ArrayLike, y: ArrayLike) -> float:
    """How alike two sets of features of the same examples are, whatever their rotation and scale, in [0, 1].

    Parameters
    ----------
    x: [n, d]. y: [n, e]. Source: Kornblith et al. 2019, eq. 3 with a linear kernel.

    >>> z = np.random.default_rng(0).normal(size=(20, 3))
    >>> round(linear_cka(z, -2 * z[:, ::-1]), 6)
    1.0
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(a) != len(b):
        raise InvalidInput(f"{len(a)} and {len(b)} examples cannot be compared.", "Give features of the same ones.")
    a, b = a - a.mean(0), b - b.mean(0)
    return float(np.square(b.T @ a).sum() / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)))
