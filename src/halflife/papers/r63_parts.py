"""The parts of Memento's reproduction: what is run, measured and drawn in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from halflife.agent.cases_head import auc
from halflife.agent.cases_index import CaseTable
from halflife.agent.cases_mdp import Online
from halflife.papers.r63_rows import SPLITS, Rows, by_similarity, head
from halflife.papers.r63_world import ARMS, SKILL, Arm, Lived, Tasks, live, tasks
from halflife.papers.report import Claim, Figure
from halflife.papers.style import PALETTE, bars, label_ends
from halflife.papers.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats: TypeAlias = NDArray[np.float64]
Parts: TypeAlias = tuple[list[Table], list[Claim], list[Figure]]
Tell: TypeAlias = Callable[[str, float], None]

ITERATIONS = 5
KS = (1, 2, 4, 8)
AHEAD = 300  # fresh tasks on which a learned value is looked at
POINTS = 1500
PAPER: dict[Arm, str] = {
    "none": "78.65 to 84.47 % (recalled)",
    "non-parametric": "79.84 to 84.85 % (recalled)",
    "parametric": "80.46 to 85.44 % (recalled)",
}


@dataclass(frozen=True)
class Scale:
    """How much is run.

    Parameters
    ----------
    seeds: of part A. tasks: an iteration. online: the training of the learned policy.
    few: seeds of what is run beside it.
    """

    seeds: tuple[int, ...]
    tasks: int
    online: Online
    few: int

    @property
    def total(self) -> int:
        """Tasks of a run."""
        return ITERATIONS * self.tasks

    def world(self, seed: int, even: bool = False) -> Tasks:
        """The tasks of a run, and fresh ones after them."""
        return tasks(self.total + AHEAD, seed, even)


def run_arm(scale: Scale, arm: Arm, seeds: Sequence[int], even: bool = False, **options: Any) -> Floats:
    """The accuracy of an arm by seed and iteration, shape [seeds, 5]."""
    worlds = (scale.world(seed, even).first(scale.total) for seed in seeds)
    lived = [live(world, arm, seed, online=scale.online, **options) for world, seed in zip(worlds, seeds, strict=True)]
    return np.stack([one.by_iteration(ITERATIONS) for one in lived])


# -- A: five iterations of tasks ----------------------------------------------------------------------------------


def learning(scale: Scale, tell: Tell) -> tuple[Parts, dict[Arm, Floats]]:
    """Accuracy by iteration without memory, with similarity, and with a learned choice."""
    curves: dict[Arm, Floats] = {}
    looked: list[Looked] = []
    for i, arm in enumerate(ARMS):
        tell(f"A: {arm}", i / len(ARMS))
        worlds = [scale.world(seed) for seed in scale.seeds]
        lived = [
            live(world.first(scale.total), arm, seed, online=scale.online)
            for world, seed in zip(worlds, scale.seeds, strict=True)
        ]
        curves[arm] = np.stack([one.by_iteration(ITERATIONS) for one in lived])
        if arm == "parametric":
            looked = [look(one, world) for one, world in zip(lived, worlds, strict=True)]
    return (_learning_tables(curves, looked), _learning_claims(curves), _learning_figures(curves, looked[0])), curves


def _learning_claims(curves: Mapping[Arm, Floats]) -> list[Claim]:
    first, last = ({arm: float(curve[:, i].mean()) for arm, curve in curves.items()} for i in (0, -1))
    similar: Arm = "non-parametric"
    learned: Arm = "parametric"
    over_none, over_similar = last[similar] - last["none"], last[learned] - last[similar]
    return [
        Claim("A: similarity over no memory, iteration 5", over_none, 0.08, paper="0.4 points (recalled)"),
        Claim("A: learned choice over similarity, iteration 5", over_similar, 0.03, paper="0.6 points (recalled)"),
        Claim("A: similarity, iteration 5 over 1", last[similar] - first[similar], 0.05, ">", "5.0 points (recalled)"),
        Claim(
            "A: learned choice, iteration 5 over 1", last[learned] - first[learned], 0.05, ">", "5.0 points (recalled)"
        ),
    ]


def _learning_tables(curves: Mapping[Arm, Floats], looked: Sequence[Looked]) -> list[Table]:
    numbers = (str(i) for i in range(1, ITERATIONS + 1))
    areas = {
        "similarity, among all cases": [one.similar for one in looked],
        "learned value, among all cases": [one.learned for one in looked],
        "similarity, among good cases": [one.similar_good for one in looked],
        "learned value, among good cases": [one.learned_good for one in looked],
    }
    return [
        Table(
            f"A: accuracy by iteration (mean of {len(looked)} seeds, K = 1)",
            ("memory", *numbers, "sd at 5", "paper, 1 to 5"),
            [(arm, *curve.mean(axis=0), float(curve[:, -1].std()), PAPER[arm]) for arm, curve in curves.items()],
        ),
        Table(
            "A: after the last iteration, telling cases that help a fresh task from others (area under the curve)",
            ("by", "mean", "sd"),
            [(name, float(np.mean(values)), float(np.std(values))) for name, values in areas.items()],
        ),
    ]


def _learning_figures(curves: Mapping[Arm, Floats], one: Looked) -> list[Figure]:
    return [
        Figure(
            "learning",
            "Accuracy by iteration, with one case in view; bands are one standard deviation over the seeds.",
            lambda axes: _draw_curves(axes, curves),
            "Accuracy over five iterations without memory, with similarity, and with a learned choice of cases",
        ),
        Figure(
            "value-by-skill",
            "What the learned policy thinks of good cases for fresh tasks, by how far apart their skills are: what it "
            "should see. The line is the mean. One seed.",
            lambda axes: _draw_value(axes, one.skill, one.value, "distance of the skill parts"),
            "Scatter of the learned value against the distance of skills",
        ),
        Figure(
            "value-by-topic",
            "The same by how far apart their topics are, which says nothing about the right plan.",
            lambda axes: _draw_value(axes, one.topic, one.value, "distance of the topic parts"),
            "Scatter of the learned value against the distance of topics",
        ),
    ]


@dataclass(frozen=True)
class Looked:
    """How well a learned value knows which cases help fresh tasks, beside similarity: areas under the curve.

    Parameters
    ----------
    similar, learned: among all cases. similar_good, learned_good: among those that had succeeded.
    skill, topic, value: of some pairs of a fresh task and a good case: distances, and the learned value (a logit).
    """

    similar: float
    learned: float
    similar_good: float
    learned_good: float
    skill: Floats
    topic: Floats
    value: Floats


def look(lived: Lived, world: Tasks) -> Looked:
    """Weigh all cases of a run for the tasks that come after it in its world.

    A case helps if it succeeded and has the same class.
    """
    assert lived.policy is not None
    count = len(lived.rewards)
    cases = CaseTable(np.arange(count), world.vectors[:count], lived.rewards)
    ahead = world.vectors[count:]
    learned = np.stack([lived.policy.score(state, cases) for state in ahead])
    similar = (ahead @ cases.vectors.T).astype(np.float64)
    good = np.broadcast_to(lived.rewards == 1, learned.shape)
    helps = good & (world.skills[count:, None] == world.skills[None, :count])
    picked = np.random.default_rng(0).permutation(np.flatnonzero(good.ravel()))[:POINTS]
    state, case = np.unravel_index(picked, good.shape)
    apart = ahead[state] - cases.vectors[case]
    return Looked(
        auc(similar.ravel(), helps.ravel()),
        auc(learned.ravel(), helps.ravel()),
        auc(similar[good], helps[good]),
        auc(learned[good], helps[good]),
        np.linalg.norm(apart[:, :SKILL], axis=1).astype(np.float64),
        np.linalg.norm(apart[:, SKILL:], axis=1).astype(np.float64),
        learned.ravel()[picked],
    )


def beside(scale: Scale, curves: Mapping[Arm, Floats], tell: Tell) -> Table:
    """What else was tried with part A: no claim rests on it."""
    seeds = scale.seeds[: scale.few]
    tell("A: other settings", 0.0)
    greedy = run_arm(scale, "parametric", seeds, how="greedy")
    tell("A: skill as long as topic", 0.3)
    even = {arm: run_arm(scale, arm, seeds, even=True) for arm in ARMS[1:]}
    rows = [
        ("as above", "non-parametric", curves["non-parametric"][: len(seeds)]),
        ("as above", "parametric", curves["parametric"][: len(seeds)]),
        ("the best case, not a drawn one", "parametric", greedy),
        ("skill about as long as topic", "non-parametric", even["non-parametric"]),
        ("skill about as long as topic", "parametric", even["parametric"]),
    ]
    return Table(
        f"A: other settings (mean of {len(seeds)} seeds; no claim)",
        ("setting", "memory", "1", str(ITERATIONS), f"sd at {ITERATIONS}"),
        [(what, arm, found[:, 0].mean(), found[:, -1].mean(), found[:, -1].std()) for what, arm, found in rows],
    )


# -- C: how many cases --------------------------------------------------------------------------------------------


def sweep(scale: Scale, curves: Mapping[Arm, Floats], tell: Tell) -> Parts:
    """Accuracy at the last iteration by the number of cases in view."""
    seeds = scale.seeds[: scale.few]
    found: dict[Arm, list[Floats]] = {}
    for i, arm in enumerate(ARMS[1:]):
        found[arm] = [curves[arm][: len(seeds)]]
        for j, k in enumerate(KS[1:]):
            tell(f"C: K = {k}, {arm}", (3 * i + j) / 6)
            found[arm].append(run_arm(scale, arm, seeds, k=k))
    last = {arm: [float(one[:, -1].mean()) for one in runs] for arm, runs in found.items()}
    without = float(curves["none"][: len(seeds), -1].mean())
    table = Table(
        f"C: accuracy at iteration 5 by the number of cases in view (mean of {len(seeds)} seeds)",
        ("memory", *(f"K = {k}" for k in KS)),
        [("none", *[without] * len(KS)), *((arm, *values) for arm, values in last.items())],
    )
    claims = [
        Claim(f"C: K = 1 over K = 8, {name}", last[arm][0] - last[arm][-1], 0.0, ">", "a small K is best (4)")
        for arm, name in zip(ARMS[1:], ("similarity", "learned choice"), strict=True)
    ]
    figure = Figure(
        "cases-in-view",
        "Accuracy at iteration 5 by K. With several cases in view the model follows any of the good ones, and a policy "
        "cannot tell which of them was followed.",
        lambda axes: _draw_sweep(axes, {"none": [without] * len(KS), **last}),
        "Accuracy by the number of cases in view",
        (7.0, 3.2),
    )
    return [table], claims, [figure]


# -- B: the released rows -----------------------------------------------------------------------------------------


def released(rows: Rows, seeds: Sequence[int], tell: Tell) -> Parts:
    """What the released rows teach, by how they are split."""
    methods: dict[str, Callable[[Any, int], float]] = {
        "query and case": lambda by, seed: head(rows, by, seed),
        "query alone": lambda by, seed: head(rows, by, seed, cases=False),
        "cosine, untrained": lambda by, seed: by_similarity(rows, by, seed),
    }
    found: dict[tuple[str, str], Floats] = {}
    for i, (name, measure) in enumerate(methods.items()):
        for by in SPLITS:
            tell(f"B: {name}, split by {by}", i / len(methods))
            found[name, by] = np.array([measure(by, seed) for seed in seeds])
    mean = {key: float(values.mean()) for key, values in found.items()}
    table = Table(
        f"B: area under the curve on rows kept apart ({len(rows.truth):,} rows; mean of {len(seeds)} splits)",
        ("the head sees", "split by row", "sd", "split by query", "sd "),
        [
            (name, *(value for by in SPLITS for value in (mean[name, by], float(found[name, by].std()))))
            for name in methods
        ],
    )
    gap = mean["query and case", "row"] - mean["query and case", "query"]
    claims = [Claim("B: area under the curve, split by row over split by query", gap, 0.05)]
    labels = [f"{name}, by {by}" for name in methods for by in SPLITS]
    values, errors = [mean[key] for key in found], [float(v.std()) for v in found.values()]
    figure = Figure(
        "released-rows",
        "What a head learns from the released rows. Split by row it looks good, since the same query is on both sides "
        "and all rows of a query have one label; on new queries it is hardly better than chance.",
        lambda axes: _draw_released(axes, labels, values, errors),
        "Bars of the area under the curve by what the head sees and how the rows are split",
        (7.0, 3.0),
    )
    return [table], claims, [figure]


# -- drawing ------------------------------------------------------------------------------------------------------


def _draw_curves(axes: Axes, curves: Mapping[Arm, Floats]) -> None:
    x = np.arange(1, ITERATIONS + 1)
    for (_, curve), color in zip(curves.items(), PALETTE, strict=False):
        mean, sd = curve.mean(axis=0), curve.std(axis=0)
        axes.plot(x, mean, color=color, marker="o", markersize=4)
        axes.fill_between(x, mean - sd, mean + sd, color=color, alpha=0.18, linewidth=0)
    axes.set_xticks(x)
    axes.set_xlabel("iteration")
    axes.set_ylabel("accuracy")
    label_ends(axes, float(ITERATIONS), {arm: float(curve[:, -1].mean()) for arm, curve in curves.items()})


def _draw_value(axes: Axes, distance: Floats, value: Floats, what: str) -> None:
    axes.scatter(distance, value, s=6, color=PALETTE[0], alpha=0.25, linewidths=0)
    edges = np.quantile(distance, np.linspace(0, 1, 11))
    groups = np.clip(np.searchsorted(edges, distance, side="right") - 1, 0, 9)
    there = [g for g in range(10) if (groups == g).any()]
    means = [(distance[groups == g].mean(), value[groups == g].mean()) for g in there]
    axes.plot(*zip(*means, strict=True), color=PALETTE[1])
    axes.set_xlabel(what)
    axes.set_ylabel("learned value (logit)")


def _draw_sweep(axes: Axes, last: Mapping[Arm, Sequence[float]]) -> None:
    x = np.arange(len(KS))
    for (_, values), color in zip(last.items(), PALETTE, strict=False):
        axes.plot(x, values, color=color, marker="o", markersize=4)
    axes.set_xticks(x, [str(k) for k in KS])
    axes.set_xlabel("cases in view, K")
    axes.set_ylabel("accuracy at iteration 5")
    label_ends(axes, float(x[-1]), {arm: values[-1] for arm, values in last.items()})


def _draw_released(axes: Axes, labels: Sequence[str], values: Sequence[float], errors: Sequence[float]) -> None:
    bars(axes, labels, values, errors=errors, highlight=labels[:2])
    axes.axvline(0.5, color="#333333", linewidth=0.8, linestyle=(0, (4, 4)))
    axes.set_xlabel("area under the curve; the dashed line is chance")
