"""Reproduction of SCoLe (arXiv 2207.04543): plain training gathers knowledge over hundreds of tasks, and forgets.

Run here: curves of accumulation of SGD at two learning rates with and without group masking, with momentum, of Adam, of
an iid control with as many updates, of a stream with rare classes with and without frequency replay, and of ER; and
what is forgotten in between. Not run: the other kinds of streams, and the paper's networks (ResNet-20 and larger). The
streams, and where code and paper differ: see `halflife.continual.scole`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from halflife.continual import Dataset, Scenario, load
from halflife.continual import run as train
from halflife.continual.method import Learner
from halflife.continual.methods.er import ER
from halflife.continual.methods.frequency_replay import FrequencyReplay
from halflife.continual.methods.group_masking import GroupMasking
from halflife.continual.methods.naive import Naive
from halflife.continual.metrics import interval
from halflife.continual.results import Results
from halflife.continual.scole import KACurve, frequency_correlation, ka_curves, ka_gain, retention, scole, time_to
from halflife.papers.registry import paper
from halflife.papers.report import Claim, Figure, Report
from halflife.papers.run import Progress, Size
from halflife.papers.style import PALETTE, heatmap, label_ends
from halflife.papers.table import Table, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PER_TASK = 2
SGD, SLOW, PLAIN, PLAIN_SLOW = "SGD 0.05, masked", "SGD 0.01, masked", "SGD 0.05", "SGD 0.01"
MOMENTUM, MOMENTUM_FAIR = "momentum 0.9, 0.05, masked", "momentum 0.9, 0.005, masked"
ADAM, ER_ARM, IID = "Adam 0.001, masked", "ER 0.05, 200 examples", "iid control"
RARE, RARE_REPLAY = "SGD 0.05, masked, rare classes", "the same with frequency replay"
CLIP = 10.0
MOST_LAG = 20  # tasks; beyond there are few tests


@dataclass(frozen=True)
class Amount:
    """What a size runs."""

    data: str
    per_class: int | None
    test_per_class: int | None
    tasks: int
    every: int  # tasks between tests
    seeds: int
    model: str
    batch: int
    arms: tuple[str, ...]
    gain: float  # bound of claim A

    @property
    def first(self) -> int:
        """Of how many tasks a curve's beginning is made."""
        return max(10, self.every)

    @property
    def last(self) -> int:
        """Of how many its end."""
        return min(50, self.tasks // 4)


ALL = (SGD, SLOW, PLAIN, PLAIN_SLOW, MOMENTUM, MOMENTUM_FAIR, ADAM, ER_ARM, RARE, RARE_REPLAY, IID)
AMOUNTS: Mapping[Size, Amount] = {
    "smoke": Amount("digits", 20, 10, 20, 2, 2, "mlp:32", 16, ALL, 0.5),
    "cpu": Amount("digits", None, None, 400, 1, 5, "mlp:100,50", 32, ALL, 0.5),
    "gpu": Amount("cifar10", 500, 200, 1000, 10, 2, "cnn:32,64,128,256", 64, (SGD, PLAIN, ER_ARM, IID), 0.15),
}


def run(size: Size, seed: int, progress: Progress) -> Report:
    """Every arm on the same streams."""
    amount = AMOUNTS[size]
    data = load(amount.data)
    if amount.per_class is not None:
        data = data.take(amount.per_class, amount.test_per_class)
    return report(size, seed, amount, data, progress)


def report(size: Size, seed: int, amount: Amount, data: Dataset, progress: Progress) -> Report:
    """The same on given data."""
    seeds = tuple(range(seed, seed + amount.seeds))
    arms = [_Arm(name, amount, data) for name in amount.arms]
    for number, arm in enumerate(arms):
        arm.run(seeds, lambda step, share, arm=arm, number=number: progress(  # type: ignore[misc]
            f"{arm.name}: {step}", (number + share) / len(arms)))  # fmt: skip
    found = {arm.name: arm for arm in arms}
    return Report(
        paper=paper(27),
        size=size,
        seeds=seeds,
        claim=(
            "On sequences of hundreds of tasks in which classes come again, plain SGD accumulates knowledge although "
            "it forgets between tasks. Momentum lowers the accumulation, frequent classes are learned first, and "
            "training on all classes at once stays better."
        ),
        setup=(
            f"{data.name}, {data.n_classes} classes, {len(data.train)} training pictures; {amount.tasks} tasks of "
            f"{PER_TASK} classes drawn uniformly, one epoch each in batches of {amount.batch}, a tenth of each task's "
            f"pictures left out; {amount.model}. Momentum 0 unless named, gradients cut to norm {CLIP:g}. Tested on "
            f"all classes after every {'task' if amount.every == 1 else f'{amount.every} tasks'}, unmasked. The iid "
            f"control (lr 0.05) has all classes in every task and a {data.n_classes // PER_TASK}th of the tasks: it "
            "sees as many examples. `rare classes` is a stream with entropy_decrease 4."
        ),
        tables=[_table(arms, amount)],
        claims=_claims(found, amount),
        figures=_figures(found, amount, data.n_classes),
        notes=_notes(found, amount, size),
    )


# -- an arm -------------------------------------------------------------------------------------------------------


class _Arm:
    """A learner on its stream: results, and a curve for each seed."""

    results: Results
    curves: list[KACurve]

    def __init__(self, name: str, amount: Amount, data: Dataset) -> None:
        self.name, self.amount = name, amount
        self.scale = data.n_classes // PER_TASK if name == IID else 1  # tasks of the others that one here stands for
        self.scenario = self._scenario(data)

    def _scenario(self, data: Dataset) -> Scenario:
        if self.name == IID:
            return scole(data, self.amount.tasks // self.scale, PER_TASK, mode="iid", by_class=True)
        rare = 4.0 if self.name in (RARE, RARE_REPLAY) else 0.0
        return scole(data, self.amount.tasks, PER_TASK, entropy_decrease=rare, by_class=True)

    def learner(self) -> Learner:
        """As the arm's name says."""
        made: Mapping[str, Learner] = {
            SGD: GroupMasking(lr=0.05, clip=CLIP),
            SLOW: GroupMasking(lr=0.01, clip=CLIP),
            PLAIN: Naive(lr=0.05, clip=CLIP),
            PLAIN_SLOW: Naive(lr=0.01, clip=CLIP),
            MOMENTUM: GroupMasking(lr=0.05, momentum=0.9, clip=CLIP),
            MOMENTUM_FAIR: GroupMasking(lr=0.005, momentum=0.9, clip=CLIP),
            ADAM: GroupMasking(lr=0.001, optimizer="adam", clip=CLIP),
            ER_ARM: ER(lr=0.05, capacity=200, clip=CLIP),
            RARE: GroupMasking(lr=0.05, clip=CLIP),
            RARE_REPLAY: FrequencyReplay(GroupMasking(lr=0.05, clip=CLIP)),
            IID: Naive(lr=0.05, clip=CLIP),
        }
        return made[self.name]

    def run(self, seeds: Sequence[int], progress: Progress) -> None:
        """Train with each seed."""
        self.results = train(
            self.scenario, self.learner(), seeds, model=self.amount.model, batch_size=self.amount.batch,
            evaluate_tasks_every=max(1, self.amount.every // self.scale), progress=progress,
            device="cuda" if torch.cuda.is_available() else "cpu",
        )  # fmt: skip
        self.curves = ka_curves(self.results, self.scenario)

    def begin(self) -> list[float]:
        """Mean accuracy at the beginning of each curve."""
        return [end - gain for end, gain in zip(self.final(), self.gain(), strict=True)]

    def gain(self) -> list[float]:
        """What each curve gained."""
        first = max(1, self.amount.first // self.scale)
        return [ka_gain(curve, first, max(1, self.amount.last // self.scale)) for curve in self.curves]

    def final(self) -> list[float]:
        """Mean accuracy at the end of each curve."""
        return [curve.final(max(1, self.amount.last // self.scale)) for curve in self.curves]

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """After how many tasks of the other arms [n], and accuracies [seeds, n]."""
        return self.curves[0].tasks * self.scale, np.array([curve.accuracy for curve in self.curves])


# -- tables, claims, figures --------------------------------------------------------------------------------------


def _table(arms: Sequence[_Arm], amount: Amount) -> Table:
    rows = []
    for arm in arms:
        x, accuracies = arm.curve()
        middle = accuracies[:, np.abs(x - amount.tasks / 2) <= amount.last / 2].mean(1)
        reached = [time_to(curve, 0.5) for curve in arm.curves]
        times = [t * arm.scale for t in reached if t is not None]
        rows.append((
            arm.name, spread(arm.begin()), spread(middle.tolist()), spread(arm.final()),
            f"{np.median(times):.0f}" if len(times) == len(reached) else "not by every seed",
            int(np.mean(arm.results["updates"])), int(np.mean(arm.results["forward_passes"])),
            int(np.mean(arm.results["backward_passes"])), float(np.mean(arm.results["seconds"])),
        ))  # fmt: skip
    return Table(
        f"Accuracy on all classes: the first {amount.first} tasks, {amount.last} around the middle, and the last "
        f"{amount.last} (mean ± sd of {amount.seeds} seeds)",
        ("arm", "first", "middle", "last", "tasks until 0.5", "updates", "forward", "backward", "seconds of training"),
        rows,
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _claims(found: Mapping[str, _Arm], amount: Amount) -> list[Claim]:
    best = max((arm for name, arm in found.items() if name != IID), key=lambda arm: _mean(arm.final()))
    claims = [
        Claim("A: what masked SGD gains from the first tasks to the last", _mean(found[SGD].gain()), amount.gain,
              paper="rises steadily over hundreds of tasks"),
    ]  # fmt: skip
    if MOMENTUM in found:
        end = _mean(found[SGD].final())
        lowers = "momentum lowers accumulation"
        claims += [
            Claim("B: momentum 0 over momentum 0.9, same lr", end - _mean(found[MOMENTUM].final()), 0.0, ">", lowers),
            Claim("B: momentum 0 over momentum 0.9 at a tenth of the lr", end - _mean(found[MOMENTUM_FAIR].final()),
                  0.02, paper=lowers),
        ]  # fmt: skip
    if RARE in found:
        rho = _mean([frequency_correlation(curve, amount.last) for curve in found[RARE].curves])
        claims.append(Claim("C: rank correlation of a class's frequency with its accuracy, rare classes", rho, 0.4, ">",
                            "frequent classes are learned first"))  # fmt: skip
    over = _mean(found[IID].final()) - _mean(best.final())
    return [*claims, Claim("D: the iid control over the best other arm", over, 0.0, ">")]


def _pooled(curves: Sequence[KACurve], start: int, stop: int | None = None) -> Mapping[int, float]:
    """Retention over all seeds, weighted by tests."""
    sums: dict[int, list[float]] = {}
    for curve in curves:
        for lag, (accuracy, count) in retention(curve, start=start, stop=stop).items():
            pair = sums.setdefault(lag, [0.0, 0.0])
            pair[0] += accuracy * count
            pair[1] += count
    return {lag: total / count for lag, (total, count) in sorted(sums.items()) if count >= 5 and lag <= MOST_LAG}


def _decay(arm: _Arm, amount: Amount) -> str:
    kept = _pooled(arm.curves, amount.tasks // 2)
    return " and ".join(f"{kept[lag]:.2f} when trained on {lag} tasks ago" for lag in (min(kept), max(kept)))


def _notes(found: Mapping[str, _Arm], amount: Amount, size: Size) -> list[str]:
    masked = interval([a - b for a, b in zip(found[SGD].final(), found[PLAIN].final(), strict=True)])
    notes = [
        f"Group masking at lr 0.05 changes the end of the curve by {masked} (with its 95% interval). This was "
        "reported, not claimed.",
        "Forgetting, as accuracy on a class in the second half of the tasks: "
        f"{_decay(found[PLAIN], amount)}; with masking {_decay(found[SGD], amount)}.",
        "Read a curve against chance "
        f"(0.1) and the iid control, which saw as many examples ({_mean(found[IID].final()):.3f} at its end).",
        "Learning rates are those of the calibrated experiment, not tuned: no arm is claimed to be the best. Momentum "
        "multiplies a step by about ten, so that only the comparison at a tenth of the learning rate is fair.",
    ]
    if RARE in found:
        uniform = _mean([frequency_correlation(curve, amount.last) for curve in found[SGD].curves])
        replay = interval([a - b for a, b in zip(found[RARE_REPLAY].final(), found[RARE].final(), strict=True)])
        notes += [
            f"Of uniform classes the rank correlation of claim C is {uniform:.2f}.",
            f"Frequency replay changes the end of the curve with rare classes by {replay}, at its cost in passes. Its "
            "range of frequencies (0.01 to 0.1) is the paper's.",
        ]
    if size == "gpu":
        notes.append(
            "500 of 5,000 pictures of a class and a plain convolutional network: a ResNet-20 on more would take longer "
            "than a run here may; batch normalisation, which sees two classes at a time, is left out with it."
        )
    return notes


def _figures(found: Mapping[str, _Arm], amount: Amount, classes: int) -> list[Figure]:
    drawn = [name for name in (IID, SGD, PLAIN, ER_ARM, SLOW, MOMENTUM_FAIR, MOMENTUM) if name in found]
    return [
        Figure(
            "accumulation",
            "Accuracy on all classes against tasks, each of two classes: mean of the seeds over twenty tests, and ± "
            "sd. The dashed line is chance.",
            lambda axes: _draw_curves(axes, [found[name] for name in drawn], 1 / classes),
            "Accuracy on all classes over tasks, by arm",
            (7.4, 4.4),
        ),
        Figure(
            "classes",
            "Accuracy on each class over the tasks, SGD with masking, one seed: dark is known, and light stripes "
            "after dark ones are what was forgotten for a while.",
            lambda axes: _draw_classes(axes, found[SGD].curves[0]),
            "Heat map of accuracy by class and task",
            (7.4, 3.4),
        ),
        Figure(
            "retention",
            "Accuracy on a class by how many tasks ago it was last trained on (0: in the task just over), in the first "
            "and in the second half of the tasks, for SGD at lr 0.05 with and without masking.",
            lambda axes: _draw_retention(axes, {"masked": found[SGD], "plain": found[PLAIN]}, amount),
            "Accuracy on a class by tasks since it was trained on",
            (7.0, 3.6),
        ),
    ]


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Running means over the last axis, shorter at the beginning."""
    sums = np.concatenate([np.zeros((len(values), 1)), values.cumsum(1)], axis=1)
    end = np.arange(1, values.shape[1] + 1)
    start = np.maximum(0, end - width)
    found: np.ndarray = (sums[:, end] - sums[:, start]) / (end - start)
    return found


def _draw_curves(axes: Axes, arms: Sequence[_Arm], chance: float) -> None:
    ends: dict[str, float] = {}
    most = 0
    for arm, color in zip(arms, PALETTE, strict=False):
        x, values = arm.curve()
        values = _smooth(values, max(1, 20 // arm.scale))
        mean, sd = values.mean(0), values.std(0)
        axes.plot(x, mean, color=color, linewidth=1.6)
        axes.fill_between(x, mean - sd, mean + sd, color=color, alpha=0.15, linewidth=0)
        ends[arm.name], most = float(mean[-1]), max(most, int(x[-1]))
    axes.axhline(chance, color="#333333", linewidth=1.0, linestyle=(0, (4, 4)))
    axes.set(xlabel="tasks", ylabel="accuracy on all classes", ylim=(0, 1.02))
    label_ends(axes, most, ends)


def _draw_classes(axes: Axes, curve: KACurve) -> None:
    step = max(1, len(curve.tasks) // 200)
    heatmap(axes, curve.by_class()[::step].T, "accuracy", (0, int(curve.tasks[-1]), -0.5, curve.shown.shape[1] - 0.5))
    axes.set(xlabel="tasks", ylabel="class")
    axes.set_yticks(range(curve.shown.shape[1]))


def _draw_retention(axes: Axes, arms: Mapping[str, _Arm], amount: Amount) -> None:
    half = amount.tasks // 2
    ends: dict[str, float] = {}
    most = 0
    for (arm, which), color in zip(itertools.product(arms, ("first half", "second half")), PALETTE, strict=False):
        start, stop = (0, half) if which == "first half" else (half, amount.tasks)
        kept = _pooled(arms[arm].curves, start, stop)
        axes.plot(list(kept), list(kept.values()), color=color, marker="o", markersize=3)
        ends[f"{arm}, {which}"], most = list(kept.values())[-1], max(most, *kept)
    axes.set_xticks(range(0, most + 1, 5))
    axes.set(xlabel="tasks since the class was trained on", ylabel="accuracy on it", ylim=(0, 1.02))
    label_ends(axes, most, ends)
