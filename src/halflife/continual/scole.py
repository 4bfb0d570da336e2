"""SCoLe: Challenging Common Assumptions about Catastrophic Forgetting (Lesort et al. 2023, arXiv 2207.04543).

Very long sequences of tasks in which classes come again: does plain training gather knowledge although it forgets?

Implemented: the streams (uniform or rarer and rarer classes, all classes, two periods, half of the classes that never
return, a cycle with random changes, a share of the combinations), group masking, curves of accumulation and retention,
and replay of rare classes. Not implemented: random perturbations of pictures, probabilities that shrink with every
visit (a stream of which is not random access), and the head with rows of unit length.

Where code and paper differ: masks are copies here, not written into the logits; draws do not touch global generators;
a class that a cycle changes becomes one that is not in the task yet, so that all tasks have the same size; the second
of two periods takes what is left of an odd number of tasks. The part of a task that is held out for validation is drawn
anew for each task, so that over a long stream all of it was trained on: it is left out, and never used to choose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from halflife.continual.data import Dataset
from halflife.continual.distillation import masked
from halflife.continual.results import Results
from halflife.continual.scenario import Experience, Scenario, Stream
from halflife.continual.seeds import generator
from halflife.errors import InvalidInput

Mode: TypeAlias = Literal["uniform", "iid", "incremental", "forget_half", "cycle", "pairs"]
MOST_COMBINATIONS = 1_000_000  # of which a share can be drawn


def class_probabilities(n_classes: int, entropy_decrease: float = 0.0, seed: int = 0) -> Tensor:
    """How likely each class is to come: `p_c` proportional to `(1 - f c) ** s`, in an order drawn by a seed.

    Parameters
    ----------
    entropy_decrease: s; 0 is uniform, and rare classes are the rarer the larger it is. f is 0.05 up to 20 classes, and
        one over their number beyond (0.01 for 100).

    Returns
    -------
    float64 [n_classes], summing to 1.

    >>> class_probabilities(4, 0.0).tolist()
    [0.25, 0.25, 0.25, 0.25]
    >>> p = class_probabilities(10, 4.0)
    >>> round(float(p.max() / p.min()), 3) == round(0.55**-4, 3)
    True
    """
    if n_classes < 1 or not (0 <= entropy_decrease < math.inf):
        raise InvalidInput(f"{n_classes} classes with an entropy_decrease of {entropy_decrease}.", "Use s >= 0.")
    factor = 0.05 if n_classes <= 20 else 1 / n_classes
    weights = (1 - factor * torch.arange(n_classes, dtype=torch.float64)) ** entropy_decrease
    return (weights / weights.sum())[torch.randperm(n_classes, generator=generator(seed, "frequencies"))]


def scole(
    data: Dataset,
    tasks: int = 500,
    per_task: int = 2,
    *,
    mode: Mode = "uniform",
    entropy_decrease: float = 0.0,
    p: Sequence[float] | None = None,
    change: float = 1.0,
    share: float = 1.0,
    held_out: float = 0.1,
    by_class: bool = False,
) -> Scenario:
    """Tasks of a few classes each, drawn again and again; any class may be named from the start.

    A stream makes a task when it is asked for it, in any order, and takes no more room for more tasks.

    Parameters
    ----------
    tasks: how many. per_task: classes of each.
    mode: which classes come.
        `uniform`: drawn by their probabilities, none twice in a task.
        `iid`: all, in every task: what a curve of knowledge is read against.
        `incremental`: of one half of the classes in the first half of the tasks, of the other in the second.
        `forget_half`: after half of the tasks one half of the classes never returns.
        `cycle`: all combinations in turn, each class of them changed for another with the probability `change`.
        `pairs`: of a `share` of all combinations, drawn by the seed, any with the same probability.
    entropy_decrease: makes some classes rarer, see `class_probabilities`. p: probabilities of your own, [C].
    held_out: the share of a task's examples that is left out, drawn anew with every task.
    by_class: a test for each class, for curves of classes; otherwise one of all.

    Raises
    ------
    InvalidInput: there are fewer classes to draw from than a task has, or settings that do not go together.

    >>> from halflife.continual import load
    >>> stream = scole(load("digits"), tasks=2000).stream(seed=1)
    >>> len(stream), stream[1999].classes == stream[1999].classes, len(stream[7].classes)
    (2000, True, 2)
    """
    if mode not in get_args(Mode):
        raise InvalidInput(f"There is no mode {mode!r}.", f"Use one of {', '.join(get_args(Mode))}.")
    if tasks < 1 or per_task < 1 or not (0 <= held_out < 1 and 0 <= change <= 1 and 0 < share <= 1):
        raise InvalidInput(
            f"{tasks} tasks of {per_task} classes, change {change}, share {share}, held_out {held_out} make no stream.",
            "Use at least one task and class, and shares within 0 and 1.",
        )
    if (entropy_decrease or p is not None) and mode not in ("uniform", "incremental"):
        raise InvalidInput(f"Probabilities of classes mean nothing in mode {mode}.", "Use uniform or incremental.")
    if entropy_decrease and p is not None:
        raise InvalidInput("Both p and entropy_decrease say how likely a class is.", "Give one of them.")

    def build(data: Dataset, seed: int) -> Stream:
        count = data.n_classes
        everything = tuple(range(count))
        likely = class_probabilities(count, entropy_decrease, seed) if p is None else _probabilities(p, count)
        draw = _draws(mode, tasks, per_task, likely, change, share, seed)
        places = [(data.train.labels == c).nonzero()[:, 0] for c in everything]

        def make(t: int) -> Experience:
            rng = generator(seed, "scole", t)
            classes = tuple(sorted(draw(t, rng)))
            mine = torch.cat([places[c] for c in classes])
            kept = torch.randperm(len(mine), generator=rng)[: len(mine) - int(held_out * len(mine))]
            return Experience(t, data.train.only(mine[kept]), classes, everything)

        tests = tuple(data.test.of((c,)) for c in everything) if by_class else (data.test,)
        return Stream(
            count=tasks, make=make, tests=tests,
            test_classes=tuple((c,) for c in everything) if by_class else (everything,),
            n_classes=count, shape=data.shape, kind="stream",
        )  # fmt: skip

    config = {
        "tasks": tasks, "per_task": per_task, "mode": mode, "entropy_decrease": entropy_decrease,
        "p": None if p is None else [float(one) for one in p], "change": change, "share": share, "held_out": held_out,
        "by_class": by_class,
    }  # fmt: skip
    return Scenario(f"scole-{data.name}", "stream", data, config, build)


Draw: TypeAlias = Callable[[int, torch.Generator], Sequence[int]]
"""The classes of a task of a number, drawn from a generator of its own."""


def _probabilities(p: Sequence[float], n_classes: int) -> Tensor:
    found = torch.tensor([float(one) for one in p], dtype=torch.float64)
    if len(found) != n_classes or not bool(((found >= 0) & found.isfinite()).all()) or not found.sum() > 0:
        raise InvalidInput(f"p is {list(p)}.", f"Give {n_classes} numbers >= 0, one for each class.")
    return found / found.sum()


def _draws(mode: Mode, tasks: int, k: int, p: Tensor, change: float, share: float, seed: int) -> Draw:
    count = len(p)
    halves = (torch.arange(count) < count // 2, torch.arange(count) >= count // 2)
    if mode == "iid":
        return lambda t, rng: range(count)
    sources = {"incremental": [p * half for half in halves], "forget_half": [p, p * halves[0]]}.get(mode, [p])
    fewest = min(int((source > 0).sum()) for source in sources)
    if fewest < k:
        raise InvalidInput(
            f"Tasks of {k} classes cannot be drawn from {fewest} (mode {mode}).", "Use fewer classes per task."
        )
    if mode in ("cycle", "pairs"):
        return _combinations(mode, count, k, change, share, seed)
    # the second part of a stream begins with the task after `tasks / 2` where classes go, as in the authors' code
    border = tasks // 2 if mode == "incremental" else tasks // 2 + 1

    def draw(t: int, rng: torch.Generator) -> Sequence[int]:
        source = sources[len(sources) > 1 and t >= border]
        found: list[int] = torch.multinomial(source, k, generator=rng).tolist()
        return found

    return draw


def _combinations(mode: Mode, count: int, k: int, change: float, share: float, seed: int) -> Draw:
    total = math.comb(count, k)
    if mode == "pairs":
        if total > MOST_COMBINATIONS:
            raise InvalidInput(f"A share of {total} combinations cannot be drawn.", "Use fewer classes per task.")
        some = torch.randperm(total, generator=generator(seed, "combinations"))[: max(1, int(share * total))]
        return lambda t, rng: combination(int(some[torch.randint(0, len(some), (1,), generator=rng)]), count, k)

    def draw(t: int, rng: torch.Generator) -> Sequence[int]:
        classes = combination(t % total, count, k)
        for place, chance in enumerate(torch.rand(k, generator=rng).tolist()):
            others = [c for c in range(count) if c not in classes]
            if chance < change and others:
                classes[place] = others[int(torch.randint(0, len(others), (1,), generator=rng))]
        return classes

    return draw


def combination(number: int, n: int, k: int) -> list[int]:
    """The combination of a number, as `itertools.combinations(range(n), k)` would give it, without those before it.

    >>> [combination(i, 4, 2) for i in range(6)]
    [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    """
    found: list[int] = []
    for c in range(n):
        if len(found) == k:
            break
        with_c = math.comb(n - c - 1, k - len(found) - 1)
        if number < with_c:
            found.append(c)
        else:
            number -= with_c
    return found


# -- a loss -------------------------------------------------------------------------------------------------------


def group_mask_ce(logits: Tensor, y: Tensor, present: Sequence[int] | Tensor | None = None) -> Tensor:
    """Cross-entropy among the classes that are present: the others are not pushed down.

    Parameters
    ----------
    logits: [B, C]; they stay as they are. y: labels, int64 [B].
    present: the classes compared; None: the labels of the batch, whatever else the task has.

    Raises
    ------
    InvalidInput: a label is not among those present.

    >>> logits, y = torch.tensor([[1.0, 0.0, 5.0]]), torch.tensor([0])
    >>> float(group_mask_ce(logits, y)), round(float(group_mask_ce(logits, y, [0, 1])), 4)
    (0.0, 0.3133)
    """
    if present is None:
        return F.cross_entropy(masked(logits, y.unique()), y)
    kept = torch.as_tensor(present, device=y.device)
    if not bool(torch.isin(y, kept).all()):
        raise InvalidInput(f"Labels {y.unique().tolist()} are not all among {kept.tolist()}.", "Name them too.")
    return F.cross_entropy(masked(logits, kept), y)


# -- what is read off a long stream -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class KACurve:
    """Accumulation of knowledge over one run.

    Parameters
    ----------
    tasks: how many tasks had been trained on at each test, [n]; the first test is before training.
    accuracy: on the test of all classes, [n].
    classes: the same for each class, [n, C]; None where there is one test of all.
    shown: whether a task had a class, [tasks of the stream, C].
    """

    tasks: np.ndarray
    accuracy: np.ndarray
    classes: np.ndarray | None
    shown: np.ndarray

    @property
    def occurrences(self) -> np.ndarray:
        """How often each class had come at each test, [n, C]."""
        counts = np.vstack([np.zeros((1, self.shown.shape[1]), int), self.shown.cumsum(0)])
        found: np.ndarray = counts[self.tasks]
        return found

    def final(self, last: int = 50) -> float:
        """Mean accuracy over the tests within the last so many tasks."""
        return float(self.accuracy[self._last(last)].mean())

    def _last(self, last: int) -> np.ndarray:
        found: np.ndarray = self.tasks > self.tasks[-1] - last
        return found

    def by_class(self) -> np.ndarray:
        """`classes`, or an error that says how to get them."""
        if self.classes is None:
            raise InvalidInput("There is one test of all classes.", "Make the scenario with by_class=True.")
        return self.classes


def ka_curves(results: Results, scenario: Scenario) -> list[KACurve]:
    """The curve of each run of a scenario made by `scole`.

    >>> from halflife.continual import Naive, load, run
    >>> long = scole(load("digits").take(20, 10), tasks=30)
    >>> (curve,) = ka_curves(run(long, Naive(lr=0.1), batch_size=16, evaluate_tasks_every=10), long)
    >>> curve.tasks.tolist(), int(curve.occurrences[-1].sum())
    ([0, 10, 20, 30], 60)
    """
    made = []
    for run in results.runs:
        stream = scenario.stream(run.seed)
        shown = np.zeros((len(stream), stream.n_classes), bool)
        for t in range(len(stream)):
            shown[t, list(stream[t].classes)] = True
        sizes = np.array([len(test) for test in stream.tests])
        classes = run.seen if len(sizes) > 1 else None
        made.append(KACurve(np.array(run.after), run.seen @ sizes / sizes.sum(), classes, shown))
    return made


def ka_gain(curve: KACurve, first: int = 10, last: int = 50) -> float:
    """Mean accuracy over the last so many tasks, above that over the first so many."""
    begin = (curve.tasks > 0) & (curve.tasks <= first)
    if not begin.any():
        raise InvalidInput(f"There is no test within the first {first} tasks.", "Test more often.")
    return curve.final(last) - float(curve.accuracy[begin].mean())


def time_to(curve: KACurve, accuracy: float) -> int | None:
    """After how many tasks an accuracy was first reached; None: never."""
    reached = (curve.accuracy >= accuracy).nonzero()[0]
    return int(curve.tasks[reached[0]]) if len(reached) else None


def retention(
    curve: KACurve, of: int | None = None, start: int = 0, stop: int | None = None
) -> Mapping[int, tuple[float, int]]:
    """Accuracy of a class by how many tasks ago it was trained on: what is forgotten in between.

    Parameters
    ----------
    of: a class; None: all of them. start, stop: only tests after more than `start` and at most `stop` tasks: later on
        the network knows more.

    Returns
    -------
    Tasks since (0: in the very last one) -> mean accuracy, and of how many tests.
    """
    accuracies = curve.by_class()
    count, classes = curve.shown.shape
    latest = np.maximum.accumulate(np.where(curve.shown, np.arange(count)[:, None], -1))
    found: dict[int, list[float]] = {}
    for row, n in enumerate(curve.tasks):
        if not max(0, start) < n <= (count if stop is None else stop):
            continue
        for c in range(classes) if of is None else [of]:
            if latest[n - 1, c] >= 0:
                found.setdefault(int(n - 1 - latest[n - 1, c]), []).append(float(accuracies[row, c]))
    return {lag: (float(np.mean(values)), len(values)) for lag, values in sorted(found.items())}


def frequency_correlation(curve: KACurve, last: int = 50) -> float:
    """Spearman's correlation over classes of how often each came with its mean accuracy over the last tasks."""
    from scipy.stats import spearmanr

    accuracies = curve.by_class()[curve._last(last)].mean(0)
    return float(spearmanr(curve.shown.sum(0), accuracies).statistic)
