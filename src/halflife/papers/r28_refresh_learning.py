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
from typing import Any, Literal

import numpy as np
import torch

from halflife.continual import ER, MLP, Dataset, DERpp, class_incremental, load
from halflife.continual import run as train
from halflife.continual.method import Learner
from halflife.continual.methods.refresh import Refresh
from halflife.continual.metrics import Interval, interval
from halflife.continual.networks import Model
from halflife.continual.scenario import Scenario
from halflife.continual.tuning import changed, tune
from halflife.papers.r28_figures import ARMS, BASE, LEAK, LEVEL, NOISE, PLAIN, REFRESH, SAM, Found, figures
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
from halflife.papers.report import Claim, Report
from halflife.papers.run import Progress, Size
from halflife.papers.table import Table, spread

DECAY = 1e-4
DELTAS = (1e-5, 1e-4, 1e-3, 3e-3)
RADII = (1e-3, 1e-2)  # of the sharpness-aware step
RATES = (0.03, 0.1)
PAPER = {"DER++": "+1.7 points on S-CIFAR-10 with a buffer of 500 (recalled)", "ER": "improved (no figure known)"}


@dataclass(frozen=True)
class Amount:
    """The amount of one size.

    Parameters
    ----------
    data: made when asked for. hosts: the arms of each, `BASE` among them. seeds: reported.
    chosen_on: seeds on which settings are chosen; 0: lr and delta are the paper's. samples: examples for the Fisher.
    examples: for the sharpness.
    """

    data: Callable[[], Dataset]
    model: Model
    hosts: Mapping[str, Sequence[str]]
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
        lambda: load("digits").take(30, 15), MLP((24,), norm=True), {"DER++": (BASE, REFRESH, NOISE)}, 50, 1, 2, 1,
        batch_size=16, samples=50, examples=100,
    ),
    "cpu": Amount(
        lambda: halved(load("fashion-mnist").take(500, 200)), MLP((100, 100), norm=True),
        {"DER++": ARMS, "ER": ARMS}, 200, 2, 8, 3,
    ),
    "gpu": Amount(
        lambda: load("cifar10").take(500), "resnet18", {"DER++": (BASE, REFRESH, NOISE, SAM)}, 500, 3, 3, 0,
        device="cuda",
    ),
}  # fmt: skip


def run(size: Size, seed: int, progress: Progress) -> Report:
    """All arms of all hosts of a size, after the presets were compared with the methods."""
    amount = AMOUNTS[size]
    data = amount.data()
    seeds = tuple(range(seed, seed + amount.seeds))
    apart = equivalence(load("digits").take(12 if size == "smoke" else 40, 10), seed)
    work = [(host, arm) for host, arms in amount.hosts.items() for arm in ("settings", *arms)]

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
        tables=[_presets(apart), *(_arms(one) for one in found)],
        claims=[
            Claim(
                "largest relative difference between the loss of a preset and of its method",
                max(value for _, value in apart.values()), 1e-6, "<=", "equal, by derivation",
            ),
            *(claim for one in found for claim in _claims(one)),
        ],
        figures=figures(found),
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
    for arm in amount.hosts[host]:
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
        f"{amount.capacity}; alpha 0.1 and beta 0.5 of DER++. Refresh has the weight decay {DECAY:g} of the released "
        f"code, and so have all other arms (but `{PLAIN}`, where it is run): it is compared with `{BASE}`. {chosen} "
        "Accuracy is class-incremental, at the end, the mean of all tasks. Presets are compared while each method "
        "learns the digits, in double precision."
    )


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _presets(apart: Mapping[str, tuple[int, float]]) -> Table:
    rows = tuple((name, steps, f"{value:.1e}") for name, (steps, value) in apart.items())
    return Table("The unified objective against the methods", ("method", "steps", "largest relative difference"), rows)


def _arms(found: Found) -> Table:
    rows = []
    for arm, results in found.runs.items():
        gain = None if arm == BASE else _signed(found.gain(arm))
        told, lost = (interval(results[name]).mean for name in ("task_accuracy", "forgetting"))
        passes = results["forward_passes"][0] / found.runs[BASE]["forward_passes"][0]
        seconds = float(np.mean(results["seconds"]) / np.mean(found.runs[BASE]["seconds"]))
        rows.append(
            (arm, spread(results["accuracy"]), gain, told, lost, spread(found.sharp[arm], 2), f"{passes:.2f}",
             f"{seconds:.2f}")
        )  # fmt: skip
    chosen = ", ".join(f"{name} {value:g}" for name, value in found.chosen.items())
    columns = ("arm", "accuracy", f"over {BASE}, {LEVEL:.0%} interval", "task told", "forgetting", "sharpness",
               "forward passes, times", "seconds, times")  # fmt: skip
    return Table(f"{found.host} ({chosen})", columns, tuple(rows))


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
        f"`{LEAK}` is the same step with one more forward pass for the running statistics."
        if any(LEAK in one.runs for one in found)
        else "The arm without protected running statistics is run in the size `cpu` alone.",
        "Sharpness: by how much the loss on training examples of all classes rises, at most, when each tensor moves by "
        "up to 0.05 of its norm; five steps of ascent, so a lower bound.",
    ]
    if amount.device == "cpu":
        notes.append(
            "Smaller than the experiment that was planned: pictures of half the size, a network of two layers with "
            "batch norms instead of a CNN, 500 instead of 600 pictures a class and two epochs instead of three."
        )
    else:
        notes.append(
            "A small part of the paper's training: 500 of 5,000 pictures a class, 3 of 50 epochs, 3 seeds, DER++ "
            "alone, nothing chosen."
        )
    for one in found:
        over, beyond = one.gain(REFRESH), one.gain(REFRESH, NOISE)
        verdict = "an effect" if over.low > 0 and beyond.low > 0 else "no effect beyond chance and noise"
        notes.append(
            f"{one.host}: refresh over the host with the same decay {_signed(over)}, over noise {_signed(beyond)}: "
            f"{verdict} at this size."
            + (f" Weight decay alone: {_signed(one.gain(BASE, PLAIN))}." if PLAIN in one.runs else "")
        )
    return notes
