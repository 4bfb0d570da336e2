"""Reproduction of refresh learning (arXiv 2403.13249): is it more than weight decay and noise?

Run: presets of the unified objective against nine methods, step by step; refresh around DER++ and ER, beside weight
decay alone, noise of the same length, a sharpness-aware step, and refresh that counts its batch in the running
statistics. Refresh is the step of the released code (relative, of the batch's cross-entropy) but before the method's
step, as in the paper; the code takes it after. Not run: the paper's CIFAR-100 and Tiny-ImageNet, its 50 and 100
epochs, and CPR; the step of the paper's formula (langevin) is in the component, and is tested there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from halflife.continual import ER, MLP, Dataset, DERpp, class_incremental, load
from halflife.continual import run as train
from halflife.continual.method import Learner
from halflife.continual.methods.refresh import Refresh
from halflife.continual.metrics import Interval, interval, paired
from halflife.continual.networks import Model
from halflife.continual.results import Results
from halflife.continual.scenario import Scenario
from halflife.continual.tuning import changed, tune
from halflife.papers.r28_parts import (
    Ledger,
    Noise,
    SharpnessAware,
    Shelved,
    Unprotected,
    equivalence,
    halved,
    sharpness,
)
from halflife.papers.registry import paper
from halflife.papers.report import Claim, Figure, Report
from halflife.papers.run import Progress, Size
from halflife.papers.style import INK, PALETTE
from halflife.papers.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DECAY = 1e-4
DELTAS = (1e-5, 1e-4, 1e-3, 3e-3)
RADII = (1e-3, 1e-2)  # of the sharpness-aware step
RATES = (0.03, 0.1)
LEVEL = 0.9
PLAIN, BASE, REFRESH, NOISE, SAM, LEAK = (
    "host", "host + decay", "refresh", "noise", "sharpness-aware", "refresh, unprotected",
)  # fmt: skip
ARMS = (PLAIN, BASE, REFRESH, NOISE, SAM, LEAK)
PAPER = {"DER++": "+1.7 points on S-CIFAR-10 with a buffer of 500 (recalled)", "ER": "improved (no figure known)"}


@dataclass(frozen=True)
class Amount:
    """The amount of one size.

    Parameters
    ----------
    data: made when asked for. seeds: reported. chosen_on: seeds on which settings are chosen; 0: lr and delta are the
        paper's. samples: examples for the Fisher. examples: for the sharpness.
    """

    data: Callable[[], Dataset]
    model: Model
    hosts: Sequence[str]
    arms: Sequence[str]
    capacity: int
    epochs: int
    seeds: int
    chosen_on: int
    batch_size: int = 32
    samples: int = 200
    examples: int = 500
    device: Literal["cpu", "cuda"] = "cpu"


AMOUNTS: Mapping[Size, Amount] = {
    "smoke": Amount(
        lambda: load("digits").take(30, 15), MLP((24,), norm=True), ("DER++",), (BASE, REFRESH, NOISE), 50, 1, 2, 1,
        batch_size=16, samples=50, examples=100,
    ),
    "cpu": Amount(
        lambda: halved(load("fashion-mnist").take(600, 200)), MLP((100, 100), norm=True), ("DER++", "ER"), ARMS, 200, 2,
        8, 3,
    ),
    "gpu": Amount(
        lambda: load("cifar10").take(500), "resnet18", ("DER++",), (BASE, REFRESH, NOISE, SAM), 500, 3, 3, 0,
        device="cuda",
    ),
}  # fmt: skip


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


def run(size: Size, seed: int, progress: Progress) -> Report:
    """All arms of all hosts of a size, after the presets were compared with the methods."""
    amount = AMOUNTS[size]
    data = amount.data()
    seeds = tuple(range(seed, seed + amount.seeds))
    apart = equivalence(load("digits").take(12 if size == "smoke" else 40, 10), seed)
    work = [(host, arm) for host in amount.hosts for arm in ("settings", *amount.arms)]

    def tell(host: str, arm: str) -> None:
        progress(f"{host}: {arm}", work.index((host, arm)) / len(work))

    found = [_host(host, data, amount, seeds, tell) for host in amount.hosts]
    return Report(
        paper=paper(28),
        size=size,
        seeds=seeds,
        claim=(
            "One objective, cross-entropy with divergences of Bregman for outputs and parameters, has regularisation, "
            "replay and distillation as cases. A small step up the loss before each training step (unlearn, then "
            "relearn) improves any of them: DER++ on class-incremental CIFAR-10 by about 1.7 points."
        ),
        setup=_setup(amount, data),
        tables=[_presets(apart), *(_arms(one, amount.arms) for one in found)],
        claims=[
            Claim(
                "largest relative difference between the loss of a preset and of its method",
                max(value for _, value in apart.values()), 1e-6, "<=", "equal, by derivation",
            ),
            *(claim for one in found for claim in _claims(one)),
        ],
        figures=_figures(found, amount.arms),
        notes=_notes(amount, found),
    )  # fmt: skip


# -- training ---------------------------------------------------------------------------------------------------------


def _host(
    host: str, data: Dataset, amount: Amount, seeds: Sequence[int], tell: Callable[[str, str], None]
) -> Found:  # fmt: skip
    scenario = class_incremental(data)
    base = {"DER++": DERpp, "ER": ER}[host](capacity=amount.capacity, lr=RATES[0], weight_decay=DECAY)
    tell(host, "settings")
    base, chosen, scores = _settings(base, scenario, amount)
    arms = {
        PLAIN: replace(base, weight_decay=0.0),
        BASE: base,
        REFRESH: Refresh(base, delta=chosen["delta"], samples=amount.samples),
        NOISE: Noise(base, delta=chosen["delta"], samples=amount.samples),
        SAM: SharpnessAware(base, delta=chosen["radius"], noise=0.0, fisher=0.0),
        LEAK: Unprotected(base, delta=chosen["delta"], samples=amount.samples),
    }
    rows = torch.linspace(0, len(data.train) - 1, amount.examples).long()
    x, y = (part.to(amount.device) for part in data.train.only(rows).all())
    runs, sharp = {}, {}
    for arm in amount.arms:
        tell(host, arm)
        shelf = Ledger()
        runs[arm] = train(scenario, Shelved(arms[arm], shelf), seeds, **_given(amount))
        sharp[arm] = [sharpness(model, x, y) for model in shelf.values]
    return Found(host, runs, sharp, chosen, scores)


def _given(amount: Amount) -> dict[str, Any]:
    """What all runs of a size have in common."""
    return {
        "model": amount.model, "epochs": amount.epochs, "batch_size": amount.batch_size, "device": amount.device
    }  # fmt: skip


def _settings(
    base: DERpp | ER, scenario: Scenario, amount: Amount
) -> tuple[DERpp | ER, dict[str, float], dict[float | None, float]]:  # fmt: skip
    """The rate of the host, then the length of each kind of step, each on a held-out part of the training data."""
    if not amount.chosen_on:
        return base, {"lr": base.lr, "delta": DELTAS[0], "radius": RADII[1]}, {}
    options = {"seeds": range(9000, 9000 + amount.chosen_on), **_given(amount)}

    def choose(method: Learner, name: str, values: Sequence[float]) -> tuple[float, dict[float | None, float]]:
        tuned = tune(scenario, method, {name: values}, **options)
        scores = {one[name]: score for one, score in tuned.scores if score is not None}
        return float(tuned.settings[name]), dict(scores)

    lr, by_rate = choose(base, "lr", RATES)
    tuned = changed(base, {"lr": lr})
    assert isinstance(tuned, (DERpp, ER))
    delta, scores = choose(Refresh(tuned, samples=amount.samples), "delta", DELTAS)
    radius, _ = choose(SharpnessAware(tuned, noise=0.0, fisher=0.0), "delta", RADII)
    return tuned, {"lr": lr, "delta": delta, "radius": radius}, {None: by_rate[lr], **scores}


# -- words and tables -------------------------------------------------------------------------------------------------


def _setup(amount: Amount, data: Dataset) -> str:
    chosen = (
        f"The rate of the host ({_listed(RATES)}), delta of refresh ({_listed(DELTAS)}) and the radius of the "
        f"sharpness-aware step ({_listed(RADII)}) were chosen on a fifth of "
        f"the training data, on {amount.chosen_on} seeds that are not reported; noise has the delta of refresh."
        if amount.chosen_on
        else f"Nothing was chosen: lr {RATES[0]} and delta {DELTAS[0]:g} are the paper's, the radius is {RADII[1]:g}."
    )
    return (
        f"{data.name}, {len(data.train)} pictures of {' x '.join(map(str, data.shape))}, two new classes with each "
        f"task; {amount.model}, SGD, batches of {amount.batch_size}, {amount.epochs} epochs a task, a buffer of "
        f"{amount.capacity}; alpha 0.1 and beta 0.5 of DER++. All arms but `{PLAIN}` have the weight decay {DECAY:g} "
        f"of the released code, so that refresh is compared with `{BASE}`. {chosen} Accuracy is class-incremental, at "
        "the end, the mean of all tasks. Presets are compared while each method learns the digits, in double precision."
    )


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _presets(apart: Mapping[str, tuple[int, float]]) -> Table:
    rows = tuple((name, steps, f"{value:.1e}") for name, (steps, value) in apart.items())
    return Table("The unified objective against the methods", ("method", "steps", "largest relative difference"), rows)


def _arms(found: Found, arms: Sequence[str]) -> Table:
    rows = []
    for arm in arms:
        results = found.runs[arm]
        gain = None if arm == BASE else _signed(found.gain(arm))
        told, lost = (interval(results[name]).mean for name in ("task_accuracy", "forgetting"))
        passes = results["forward_passes"][0] / found.runs[BASE]["forward_passes"][0]
        seconds = float(np.mean(results["seconds"]) / np.mean(found.runs[BASE]["seconds"]))
        rows.append(
            (arm, _spread(results["accuracy"]), gain, told, lost, _spread(found.sharp[arm], 2), f"{passes:.2f}",
             f"{seconds:.2f}")
        )  # fmt: skip
    chosen = ", ".join(f"{name} {value:g}" for name, value in found.chosen.items())
    columns = ("arm", "accuracy", f"over {BASE}, {LEVEL:.0%} interval", "task told", "forgetting", "sharpness",
               "forward passes, times", "seconds, times")  # fmt: skip
    return Table(f"{found.host} ({chosen})", columns, tuple(rows))


def _spread(values: Sequence[float], digits: int = 3) -> str:
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def _signed(gain: Interval) -> str:
    return f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"


def _claims(found: Found) -> list[Claim]:
    host, gain = found.host, found.gain(REFRESH)
    claims = [
        Claim(f"{host}: accuracy of refresh over the host with the same decay", gain.mean, 0.0, paper=PAPER[host]),
        Claim(f"{host}: the lower end of its {LEVEL:.0%} interval", gain.low, 0.0, ">"),
        Claim(f"{host}: accuracy of refresh over noise of the same length", found.gain(REFRESH, NOISE).mean, 0.0, ">"),
        Claim(
            f"{host}: sharpness of refresh over the host's, the upper end of the {LEVEL:.0%} interval",
            found.flatter(REFRESH).high, 0.0, "<", "refresh seeks flat minima (theory)",
        ),
    ]  # fmt: skip
    if host == "DER++":
        passes = found.runs[REFRESH]["forward_passes"][0] / found.runs[BASE]["forward_passes"][0]
        claims.append(Claim("DER++: forward passes of refresh over the host's", passes, 1.5, "<="))
    return claims


def _notes(amount: Amount, found: Sequence[Found]) -> list[str]:
    notes = [
        "The paper's formula writes D(h, z) for all cases. With the negative entropy and a one-hot z that is infinite; "
        "cross-entropy and distillation are D(z, h), so presets say which comes first. ER here is one mean over new "
        "and old examples, half of the paper's sum, and one pass through a batch norm, where two would differ; the "
        "preset of LwF leaves out the teacher's entropy, which has no gradient.",
        "Paper and released code differ: the paper ascends the whole loss by F^-1 with Langevin noise, before the "
        "step; the code ascends the batch's cross-entropy, each tensor by delta times its norm, divided by "
        "1 + 0.001 F, with noise of 0.001 delta, after the step, and adds weight decay 1e-4 that its baselines lack.",
        "The code's F is of single examples in training mode and keeps 1e-5 of the last; here it is in evaluation mode "
        f"on {amount.samples} examples of each task. Under 1 / (1 + 0.001 F) it hardly matters.",
        "A bias under a batch norm has no gradient but rounding, which a step scaled to the norm of the tensor would "
        "blow up; the component takes such a gradient for zero, as the code's shadow network in effect does.",
        "`" + LEAK + "` is the same step with one more forward pass for the running statistics."
        if LEAK in amount.arms
        else "The arm without protected running statistics is run in the size `cpu` alone.",
        "Sharpness: by how much the loss on training examples of all classes rises, at most, when each tensor moves by "
        "up to 0.05 of its norm; five steps of ascent, so a lower bound.",
    ]
    for one in found:
        over, beyond = one.gain(REFRESH), one.gain(REFRESH, NOISE)
        verdict = "an effect" if over.low > 0 and beyond.low > 0 else "no effect beyond chance and noise"
        notes.append(
            f"{one.host}: refresh over the host with the same decay {_signed(over)}, over noise {_signed(beyond)}: "
            f"{verdict} at this size."
            + (f" Weight decay alone: {_signed(one.gain(BASE, PLAIN))}." if PLAIN in one.runs else "")
        )
    return notes


# -- figures ----------------------------------------------------------------------------------------------------------


def _figures(found: Sequence[Found], arms: Sequence[str]) -> list[Figure]:
    others = [arm for arm in arms if arm != BASE]
    figures = [
        Figure(
            "differences",
            "Accuracy minus that of the host with weight decay, a dot for each seed, with the mean and its "
            f"{LEVEL:.0%} interval. An arm helps where the interval lies to the right of the line.",
            lambda axes: _draw_differences(axes, found, others),
            "Dots: paired differences of accuracy for each arm and seed",
            (7.0, 0.9 + 0.55 * len(others) * max(1, len(found) * 0.8)),
        ),
        Figure(
            "sharpness",
            "How far the loss rises within 0.05 of the norm of each tensor, a dot for each seed, with the mean and its "
            "interval. Flatter minima lie to the left.",
            lambda axes: _draw_sharpness(axes, found, arms),
            "Dots: sharpness of the trained networks of each arm",
            (7.0, 0.9 + 0.55 * len(arms) * max(1, len(found) * 0.8)),
        ),
    ]
    if all(one.scores for one in found):
        figures.append(
            Figure(
                "delta",
                "Accuracy on held-out training data by the length of the step, the mean of the seeds on which delta "
                "was chosen. Dashed: the host with weight decay, without refresh.",
                lambda axes: _draw_delta(axes, found),
                "Lines: accuracy against delta for each host",
                (7.0, 3.4),
            )
        )
    return figures


def _draw_differences(axes: Axes, found: Sequence[Found], arms: Sequence[str]) -> None:
    axes.axvline(0, color=INK, linewidth=0.8)
    _dots(axes, found, arms, lambda one, arm: np.subtract(one.runs[arm]["accuracy"], one.runs[BASE]["accuracy"]))
    axes.set_xlabel(f"accuracy minus that of {BASE}")


def _draw_sharpness(axes: Axes, found: Sequence[Found], arms: Sequence[str]) -> None:
    _dots(axes, found, arms, lambda one, arm: np.asarray(one.sharp[arm]))
    axes.set_xscale("log")
    axes.set_xlabel("rise of the loss (nats)")


def _dots(axes: Axes, found: Sequence[Found], arms: Sequence[str], value: Callable[[Found, str], np.ndarray]) -> None:
    for i, one in enumerate(found):
        shift = 0.16 * (2 * i - len(found) + 1)
        for place, arm in enumerate(arms):
            values = value(one, arm)
            mean = interval(values, LEVEL)
            axes.plot(values, np.full(len(values), place + shift), "o", color=PALETTE[i], alpha=0.35, markersize=5,
                      markeredgewidth=0)  # fmt: skip
            axes.plot([mean.low, mean.high], [place + shift] * 2, color=PALETTE[i], linewidth=2.2)
            axes.plot(mean.mean, place + shift, "D", color=PALETTE[i], markersize=6, label=None if place else one.host)
    axes.set_yticks(range(len(arms)), list(arms))
    axes.invert_yaxis()
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
