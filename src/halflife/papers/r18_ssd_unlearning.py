"""Reproduction of SSD (arXiv 2308.07707): forgetting a class, or some examples, without training.

Implemented: full-class forgetting on digits with a small MLP (`cpu`) and on CIFAR-10 with a narrow ResNet18 (`gpu`),
random forgetting on both; all the paper's baselines but NTK scrubbing, and two controls. Not implemented: the Vision
Transformer, CIFAR-20/100 with its sub-classes, and the faces. Where code and paper differ, see
`halflife.continual.unlearning.ssd`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from halflife.papers.registry import paper
from halflife.papers.report import Claim, Figure, Report
from halflife.papers.run import Progress, Size
from halflife.papers.style import INK, PALETTE
from halflife.papers.table import Table, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from halflife.papers.r18_parts import Amount, Asked, Row

MEASURES = (("retain", "Acc(D_r)"), ("forget", "Acc(D_f)"), ("mia", "MIA"))


def amount_of(size: Size) -> Amount:
    """How much is done in a size."""
    import torch

    from halflife.continual import MLP, ResNet18
    from halflife.continual.transforms import Compose, Flip, Shift
    from halflife.continual.unlearning import Training
    from halflife.papers.r18_parts import RATES, Amount

    digits = Training(epochs=60, lr=1e-3, optimizer="adam")
    if size == "gpu":
        training = Training(
            epochs=16, batch_size=512, lr=0.2, weight_decay=5e-4, milestones=(8, 11, 14), warmup=1,
            augment=Compose([Shift(4), Flip()]),
        )  # fmt: skip
        rates = {
            "finetune": (0.02, 0.1), "amnesiac": (1e-4, 1e-3), "bad teacher": (1e-4, 1e-3, 1e-2), "UNSIR": (1e-4, 1e-3),
        }  # fmt: skip
        return Amount(
            "cifar10", ResNet18(32), training, classes=(1,), batch=512, alphas=(1, 2, 5, 10, 25, 50, 100), drop=0.03,
            rates=rates, noise=(1e-7, 1e-6), fisher=500, samples=4096,
            device="cuda" if torch.cuda.is_available() else "cpu",
        )  # fmt: skip
    if size == "smoke":
        return Amount(
            "digits", MLP((64, 32)), replace(digits, epochs=8), per_class=(40, 20), seeds=1, classes=(4,), scattered=30,
            alphas=(5, 25), lams=(1,), rates=dict.fromkeys(RATES, (1e-3,)), noise=(1e-6,), fisher=20,
        )  # fmt: skip
    return Amount("digits", MLP((128, 64)), digits)


def run(size: Size, seed: int, progress: Progress) -> Report:
    """Every method on every request; then the claims."""
    return study(amount_of(size), size, seed, progress)


def study(amount: Amount, size: Size, seed: int, progress: Progress) -> Report:
    """The reproduction at some amount."""
    from halflife.papers import r18_parts as parts  # loads PyTorch

    data = parts.prepared(amount)
    seeds = tuple(range(seed, seed + amount.seeds))
    asked: list[Asked] = []
    scattered: list[Asked] = []
    steps = len(seeds) * (len(amount.classes) + 2)
    for number, one in enumerate(seeds):
        done = number * (len(amount.classes) + 2)
        progress(f"training, seed {one}", done / steps)
        of = parts.trained(amount, data, one)
        for place, gone in enumerate(amount.classes):
            progress(f"forgetting class {gone}, seed {one}", (done + 1 + place) / steps)
            asked.append(parts.forget_class(of, gone))
        progress(f"forgetting {amount.scattered} examples, seed {one}", (done + 1 + len(amount.classes)) / steps)
        scattered.append(parts.forget_scattered(of))
    return Report(
        paper=paper(18),
        size=size,
        seeds=seeds,
        claim=(
            "Dampening the weights whose Fisher importance for the data to forget is out of proportion to their "
            "importance for all data makes a network forget a class without training, at an accuracy competitive with "
            "methods that train, in a small part of their time."
        ),
        setup=_setup(amount),
        tables=[_classes_table(asked), _curve_table(asked), _scattered_table(scattered, amount)],
        claims=_claims(asked, amount),
        figures=_figures(asked),
        notes=_notes(asked, scattered, amount),
    )


def _setup(amount: Amount) -> str:
    training = amount.training
    return (
        f"{amount.data}, {amount.model!r}, {training.optimizer} for {training.epochs} epochs in batches of "
        f"{training.batch_size}. Classes {', '.join(map(str, amount.classes))} are forgotten one at a time, with "
        f"{amount.seeds} seeds. The settings of every method (alpha and lambda of SSD and LFSSD, the learning rate of "
        "those that train, the noise of Fisher forgetting) are chosen by one rule on each request's training data: the "
        "largest accuracy on the training examples that stay, with at most 0.05 on those that go. `Acc(D_r)` and "
        "`Acc(D_f)` are on test examples of the other classes and of the forgotten one. MIA is the share of the "
        "forgotten training examples that look like training examples by their entropy: the value to reach is that of "
        "the retrained model. ZRF is 1 minus the Jensen-Shannon divergence (bits) from an untrained network. H is the "
        "harmonic mean of the accuracy kept and the accuracy dropped. Passes are examples that went forward and back. "
        "Seconds of SSD contain both importances; `search` is the time that choosing the settings took. The controls "
        "dampen as many weights as SSD, by 0.1."
    )


# -- tables ---------------------------------------------------------------------------------------------------------


def _rows(asked: Sequence[Asked]) -> Mapping[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for one in asked:
        for row in one.rows:
            found.setdefault(row.method, []).append(row)
    return found


def _values(rows: Sequence[Row], measure: str) -> list[float]:
    return [float(getattr(row.report, measure)) for row in rows]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _classes_table(asked: Sequence[Asked]) -> Table:
    rows = []
    for name, of in _rows(asked).items():
        chosen = sorted({row.setting for row in of if not np.isnan(row.setting)})
        rows.append(
            (
                name, *(spread(_values(of, measure)) for measure, _ in MEASURES), spread(_values(of, "zrf")),
                _mean([row.h for row in of]), round(_mean([row.passes for row in of])),
                _mean([row.seconds for row in of]), _mean([row.searched for row in of]) or None,
                ", ".join(f"{value:g}" for value in chosen) or None,
            )
        )  # fmt: skip
    return Table(
        f"Forgetting a class (mean ± sd of {len(asked)} requests)",
        ("method", "Acc(D_r)", "Acc(D_f)", "MIA", "ZRF", "H", "passes", "seconds", "search", "alpha or lr chosen"),
        rows,
    )


def _curve_table(asked: Sequence[Asked]) -> Table:
    none = _rows(asked)["none"]
    kept = _mean(_values(none, "retain"))
    rows = []
    for how, points in _mean_curves(asked).items():
        rows += [(how, alpha, selected, retain - kept, forget) for alpha, retain, forget, selected in points]
    return Table(
        "SSD over alpha (lambda 1), by the way importance is measured (means)",
        ("importance", "alpha", "selected", "change of Acc(D_r)", "Acc(D_f)"),
        rows,
    )


def _mean_curves(asked: Sequence[Asked]) -> Mapping[str, list[tuple[float, float, float, float]]]:
    """By way: alpha, Acc(D_r), Acc(D_f), share selected."""
    found = {}
    for how in asked[0].curves:
        curves = [one.curves[how] for one in asked]
        found[how] = [
            (
                points[0].alpha, _mean([p.retain for p in points]), _mean([p.forget for p in points]),
                _mean([p.selected for p in points]),
            )
            for points in zip(*curves, strict=True)
        ]  # fmt: skip
    return found


def _scattered_table(scattered: Sequence[Asked], amount: Amount) -> Table:
    rows = [
        (
            name, *(spread(_values(of, measure)) for measure, _ in MEASURES), spread(_values(of, "zrf")),
            round(_mean([row.passes for row in of])), _mean([row.seconds for row in of]),
        )
        for name, of in _rows(scattered).items()
    ]  # fmt: skip
    return Table(
        f"Forgetting {amount.scattered} random examples (mean ± sd of {len(scattered)} seeds; settings of the code)",
        ("method", "Acc(D_r): all tests", "Acc(D_f): the examples", "MIA", "ZRF", "passes", "seconds"),
        rows,
    )


# -- claims ---------------------------------------------------------------------------------------------------------


def _claims(asked: Sequence[Asked], amount: Amount) -> list[Claim]:
    rows = _rows(asked)

    def mean(method: str, measure: str) -> float:
        return _mean(_values(rows[method], measure))

    control = "control: I_Df alone"
    seconds = {name: _mean([row.seconds for row in rows[name]]) for name in ("SSD", "retrain")}
    competitive = "competitive with retrain-based methods (abstract)"
    return [
        Claim("A: Acc(D_f) after SSD", mean("SSD", "forget"), 0.10, "<="),
        Claim("A: drop in Acc(D_r)", mean("none", "retain") - mean("SSD", "retain"), amount.drop, "<=", competitive),
        Claim("B: Acc(D_r) of SSD over the control by I_Df", mean("SSD", "retain") - mean(control, "retain"), 0.08),
        Claim("B: Acc(D_f) of SSD over the control by I_Df", mean("SSD", "forget") - mean(control, "forget"), 0, "<="),
        Claim("C: seconds of SSD over those of retraining", seconds["SSD"] / seconds["retrain"], 0.2, "<="),
    ]


def _notes(asked: Sequence[Asked], scattered: Sequence[Asked], amount: Amount) -> list[str]:
    rows, random = _rows(asked), _rows(scattered)

    def apart(of: Mapping[str, list[Row]], method: str, measure: str) -> float:
        pairs = zip(_values(of[method], measure), _values(of["retrain"], measure), strict=True)
        return _mean([abs(a - b) for a, b in pairs])

    mia = ", ".join(f"{name} {apart(rows, name, 'mia'):.3f}" for name in rows if name != "retrain")
    missed = {name: sum(not row.met for row in of) for name, of in rows.items()}
    told = ", ".join(f"{name} {count} of {len(asked)}" for name, count in missed.items() if count)
    alphas = ", ".join(f"{one.forgotten}: {one.alpha:g}" for one in asked)
    ssd, fixed = rows["SSD"], rows["SSD, alpha 10 and lambda 1"]
    searched = _mean([row.seconds + row.searched for row in ssd]) / _mean([row.seconds for row in rows["retrain"]])
    forgot = {name: _mean(_values(random[name], "forget")) for name in ("none", "retrain", fixed[0].method)}
    return [
        f"D, reported and not claimed: mean |MIA - MIA of retraining|: {mia}. A value below that of retraining is no "
        "success: the entropy then gives the forgotten class away.",
        f"Requests in which no setting that was tried forgot enough (the one that forgot most was taken): "
        f"{told or 'none'}.",
        f"alpha chosen for each class, seed by seed: {alphas}. At the paper's 10 Acc(D_r) is "
        f"{_mean(_values(fixed, 'retain')):.3f} and Acc(D_f) {_mean(_values(fixed, 'forget')):.3f}. alpha does not "
        "carry over between networks, classes, or ways to measure importance: search it for each request, on training "
        "data.",
        f"With the search, SSD took {searched:.3f} of the time of retraining.",
        "The official script for whole classes measures I_D on data that are sorted by class and not shuffled, so that "
        "nearly every batch has one class; its script for random examples mixes them. Sorted, no ratio is much above "
        "|D| / |D_f|, as for single examples, which is 10 with ten classes alike in size; mixed, there is no such "
        "bound. `SSD` here mixes, and so do the claims; the other ways are rows of their own, and the curve shows all.",
        f"Random examples: Acc(D_f) is {forgot['retrain']:.3f} after retraining, {forgot[fixed[0].method]:.3f} after "
        f"SSD at the paper's alpha, and {forgot['none']:.3f} before. The value to reach is that of retraining, not 0.",
        "`retrain` starts from fresh weights everywhere; the official code resets direct children only. ZRF is in bits "
        "and not divided by the number of classes; it does not compare with the paper's.",
        "Every baseline is searched over its learning rate (or noise) alone; epochs and the rest are those of the "
        f"official code. Fisher forgetting estimates its diagonal on {amount.fisher} examples. NTK scrubbing, the "
        "Vision Transformer, CIFAR-20/100 and the faces were not run.",
    ]


# -- figures --------------------------------------------------------------------------------------------------------


def _figures(asked: Sequence[Asked]) -> list[Figure]:
    rows = _rows(asked)
    return [
        Figure(
            "methods",
            "What stays (tests of the other classes), what is forgotten (tests of the forgotten class) and the "
            "membership attack, by method; bars are one standard deviation over the requests. Dashed: the retrained "
            "model, the value to reach.",
            lambda axes: _draw_methods(axes, rows),
            "Three panels of bars by unlearning method: retained accuracy, forgotten accuracy, membership attack",
            (9.0, 4.4),
        ),
        Figure(
            "alpha",
            f"Left: how much more each weight matters for the class to forget than for all data (class "
            f"{asked[0].forgotten}, seed {asked[0].seed}), with the alpha that was chosen and the paper's. Right: what "
            "stays against what is forgotten along alpha (written at the points), for three ways to measure "
            "importance; the upper left is the aim.",
            lambda axes: _draw_alpha(axes, asked),
            "Left a histogram of importance ratios, right trade-off curves over alpha",
            (9.0, 4.2),
        ),
    ]


def _draw_methods(axes: Axes, rows: Mapping[str, list[Row]]) -> None:
    figure: Any = axes.figure
    axes.remove()
    panels = figure.subplots(1, len(MEASURES), sharey=True)
    names = list(rows)
    places = np.arange(len(names))[::-1]
    colors = [PALETTE[0] if name == "SSD" else "#9A9A9A" for name in names]
    for panel, (measure, title) in zip(panels, MEASURES, strict=True):
        values = [_values(rows[name], measure) for name in names]
        errors = [float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for v in values]
        means = [_mean(v) for v in values]
        panel.barh(places, means, xerr=errors, color=colors, height=0.62, error_kw={"ecolor": INK, "elinewidth": 1.0})
        panel.axvline(means[names.index("retrain")], color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
        panel.set_title(title)
        panel.set_xlim(0, 1.05)
        panel.grid(visible=False)
        panel.tick_params(axis="y", length=0)
    panels[0].set_yticks(places, names)


def _draw_alpha(axes: Axes, asked: Sequence[Asked]) -> None:
    figure: Any = axes.figure
    axes.remove()
    left, right = figure.subplots(1, 2)
    first = asked[0]
    left.hist(first.ratios, bins=60, range=(-3, 3), color="#9A9A9A")
    cuts = {first.alpha: ("chosen", PALETTE[0])} | ({10.0: ("paper", PALETTE[1])} if first.alpha != 10 else {})
    top = 1.22 * left.get_ylim()[1]
    left.set_ylim(0, top)
    for place, (alpha, (what, color)) in enumerate(sorted(cuts.items())):
        before = place < len(cuts) - 1
        left.axvline(np.log10(alpha), color=color, linewidth=1.4)
        left.annotate(
            f"alpha {alpha:g}, {what}", (np.log10(alpha), 0.99 * top), (-4 if before else 4, 0),
            textcoords="offset points", color=color, va="top", ha="right" if before else "left", fontsize=9,
        )  # fmt: skip
    left.set_xlim(-3, 3)
    left.set_xlabel("log10 of I_Df / I_D")
    left.set_ylabel("weights")
    sides = (((4, -9), "left"), ((4, 4), "left"), ((-4, 4), "right"))  # labels of each curve
    for (how, points), color, (offset, side) in zip(_mean_curves(asked).items(), PALETTE, sides, strict=False):
        right.plot([p[2] for p in points], [p[1] for p in points], color=color, marker="o", markersize=4, label=how)
        for alphas, retain, forget in _together(points):
            right.annotate(
                alphas, (forget, retain), offset, textcoords="offset points", fontsize=7, color=color, ha=side
            )
    right.set_xlim(-0.05, 1.12)
    right.set_xlabel("Acc(D_f)")
    right.set_ylabel("Acc(D_r)")
    right.legend(loc="lower right", title="importance from")


def _together(points: Sequence[tuple[float, float, float, float]]) -> list[tuple[str, float, float]]:
    """Neighbours on a curve that cannot be told apart share a label."""
    groups: list[list[tuple[float, float, float, float]]] = []
    for point in points:
        if groups and max(abs(point[i] - groups[-1][0][i]) for i in (1, 2)) < 0.01:
            groups[-1].append(point)
        else:
            groups.append([point])
    return [
        (f"{of[0][0]:g}" + (f"–{of[-1][0]:g}" if len(of) > 1 else ""), of[0][1], of[0][2]) for of in groups
    ]  # fmt: skip
