"""What the reproduction of FPF runs for one seed: hosts, fine-tunings of copies of them, and where they change."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halflife.continual import (
    CNN,
    ER,
    Dataset,
    DERpp,
    Evaluator,
    GDumb,
    Learner,
    Method,
    Naive,
    ResNet18,
    Results,
    Scenario,
    class_incremental,
    dataset,
    load,
    rotated,
    run,
)
from halflife.continual.finetuning import fpf
from halflife.continual.groups import Dynamics, group_parameters
from halflife.continual.methods.fpf import KFPF
from halflife.continual.networks import Architecture
from halflife.continual.seeds import generator
from halflife.continual.transforms import Augment, Compose, Flip, Shift
from halflife.papers.r22_learners import AtEnd, Keeper, Shelf, Still, Watched
from halflife.papers.run import Progress, Size, quiet

NORM = ("norm", "norm statistics")
CHOICES: Mapping[str, Sequence[str]] = {
    "norm + head": (*NORM, "head"), "head": ("head",), "norm": NORM, "hidden": ("first", "conv", "shortcut", "linear"),
    "convolutions": ("first", "conv", "shortcut"), "all": (*NORM, "head", "first", "conv", "shortcut", "linear"),
}  # fmt: skip
"""What an arm fine-tunes: groups, or the first word of groups, of `group_parameters`."""
ARMS: Mapping[str, Sequence[str]] = {"SGD": ("norm + head", "head", "all"), "ER": tuple(CHOICES),
                                     "DER++": ("norm + head", "all")}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What was chosen on the validation split: learning rates, and the weights of the logits.

    Parameters
    ----------
    sgd, er, derpp, gdumb: learning rates. alpha, beta: of DER++.
    fpf: learning rate of the fine-tuning after each host. frozen_norm: of the arms that train hidden layers and leave
    the norm layers as they are, which bear less. k_sgd, k_fpf: of k-FPF's two phases.
    kd: the weight of its logits.
    """

    sgd: float = 0.05
    er: float = 0.05
    derpp: float = 0.05
    gdumb: float = 0.05
    alpha: float = 0.1
    beta: float = 0.5
    fpf: Mapping[str, float] = field(default_factory=lambda: {"SGD": 0.05, "ER": 0.05, "DER++": 0.05})
    frozen_norm: float = 0.05
    k_sgd: float = 0.05
    k_fpf: float = 0.05
    kd: float = 0.1


CHOSEN = Setting(
    sgd=0.02, er=0.1, derpp=0.1, gdumb=0.1, alpha=0.3, beta=1.0, fpf={"SGD": 0.3, "ER": 0.1, "DER++": 0.3},
    frozen_norm=0.01, k_sgd=0.05, k_fpf=0.1, kd=0.3,
)  # fmt: skip
"""Of the cpu size, by `r22_choose`."""


@dataclass(frozen=True)
class Amount:
    """How much a size does.

    Parameters
    ----------
    data: its name. per_class, test_per_class: pictures. half: whether two by two pixels are averaged into one.
    model, epochs, batch_size, capacity: of every run. augment: of the training.
    steps: of FPF. curve: numbers of steps compared. ks: how often k-FPF fine-tunes. k_steps: for how many steps.
    angles: of the tasks of the domain-incremental stream, with `per_domain` pictures of a class each.
    points: tests along a run, for the curve. passes: of GDumb over its buffer. seeds: how many. device: where.
    workers: seeds at a time, each in a process of its own.
    """

    data: str
    per_class: int
    test_per_class: int
    half: bool
    model: Architecture
    epochs: int
    seeds: int
    steps: int = 300
    curve: Sequence[int] = (10, 30, 100)
    ks: Sequence[int] = (5, 10)
    k_steps: int = 50
    batch_size: int = 32
    capacity: int = 200
    angles: Sequence[float] = (0.0, 45.0, 90.0, 135.0, 180.0)
    points: int = 30
    passes: int = 63
    workers: int = 1
    augment: Augment | None = None
    setting: Setting = field(default_factory=Setting)
    device: str = "cpu"

    @property
    def updates(self) -> int:
        """Of a run over five tasks of two classes."""
        return 5 * self.epochs * -(-2 * self.per_class // self.batch_size)


AMOUNTS: Mapping[Size, Amount] = {
    "smoke": Amount("digits", 32, 10, False, CNN((4, 8), 16, norm=True), 2, 2, steps=8, curve=(3,), ks=(2,), k_steps=4,
                    capacity=60, points=4, passes=7),
    "cpu": Amount("fashion-mnist", 400, 200, True, CNN(norm=True), 3, 3, setting=CHOSEN, workers=2),
    "gpu": Amount("cifar10", 800, 1000, False, ResNet18(20), 5, 3, capacity=500, ks=(10,), k_steps=100,
                  augment=Compose([Shift(4), Flip()]), passes=31, device="cuda", workers=3),
}  # fmt: skip


# -- one seed ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arm:
    """What one arm reached.

    Parameters
    ----------
    accuracy: final, mean over tasks. stream, replay, extra: examples passed from the stream, from the buffer in
        training, and in fine-tuning. trained: share of the parameters that is fine-tuned. seconds: of training.
    flops: of the fine-tuning, estimated.
    """

    accuracy: float
    stream: int
    replay: int = 0
    extra: int = 0
    trained: float = 0.0
    seconds: float = 0.0
    flops: float = 0.0


@dataclass
class Outcome:
    """What one seed gave: arms by name, tables of changes by stream, accuracy by host and steps, and curves by arm.

    A curve is (update, mean accuracy on the tasks seen so far) of each test.
    """

    seed: int
    arms: dict[str, Arm] = field(default_factory=dict)
    dynamics: dict[str, list[Dynamics]] = field(default_factory=dict)
    steps: dict[str, dict[int, float]] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)


def streams(amount: Amount) -> tuple[Scenario, Scenario]:
    """The class-incremental stream, and the domain-incremental one of as many updates."""
    data = load(amount.data).take(amount.per_class, amount.test_per_class)
    if amount.half:
        data = halved(data)
    share = max(1, amount.per_class // len(amount.angles))
    return class_incremental(data), rotated(data.take(share), angles=amount.angles)


def halved(data: Dataset) -> Dataset:
    """Pictures of half the height and width: two by two pixels averaged."""

    def part(of: Any) -> tuple[Tensor, Tensor]:
        x, y = of.all()
        return F.avg_pool2d(x, 2), y

    return dataset(f"{data.name} halved", *part(data.train), *part(data.test), data.n_classes)


def outcomes(amount: Amount, seeds: Sequence[int], progress: Progress) -> list[Outcome]:
    """Everything for every seed, in this process or in some of their own."""
    if amount.workers == 1:
        return [measure(amount, seed, _part(progress, i, len(seeds))) for i, seed in enumerate(seeds)]
    spawn = get_context("spawn")
    with ProcessPoolExecutor(amount.workers, spawn, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        found = []
        progress(f"{len(seeds)} seeds", 0.0)
        for outcome in pool.map(measure, [amount] * len(seeds), seeds):
            found.append(outcome)
            progress(f"{len(seeds)} seeds", len(found) / len(seeds))
    return found


def _part(progress: Progress, index: int, count: int) -> Progress:
    return lambda step, share: progress(f"seed {index + 1} of {count}: {step}", (index + share) / count)


def measure(amount: Amount, seed: int, progress: Progress = quiet) -> Outcome:
    """Everything for one seed."""
    found = Outcome(seed)
    classes, domains = streams(amount)
    s = amount.setting
    seen = amount.epochs * len(classes.data.train)
    common = {"capacity": amount.capacity}
    hosts: dict[str, Method] = {
        "SGD": Keeper(lr=s.sgd, **common), "ER": ER(lr=s.er, **common),  # type: ignore[arg-type]
        "DER++": DERpp(lr=s.derpp, alpha=s.alpha, beta=s.beta, **common),  # type: ignore[arg-type]
    }  # fmt: skip
    every = max(1, amount.updates // amount.points)

    def tell(what: str) -> None:
        progress(what, len(found.arms) / (len(hosts) * 2 + sum(map(len, ARMS.values())) + len(amount.ks) + 4))

    for name, host in hosts.items():
        tell(name)
        shelf = Shelf()
        results = one_run(amount, classes, Watched(host, shelf), seed, every if name == "ER" else None)
        found.arms[name] = _arm(results, seen)
        if name == "ER":
            _curve(found, name, results)
        if name == "SGD":
            found.dynamics["class"] = shelf.dynamics
        fine_tune(amount, classes, name, shelf.learner, found)
    tell("controls")
    more = amount.batch_size + round(amount.steps * amount.batch_size / amount.updates)
    bigger = ER(lr=s.er, minibatch=more, capacity=amount.capacity)
    found.arms[f"ER, {more} replayed a step"] = _arm(one_run(amount, classes, bigger, seed), seen)
    gdumb = one_run(amount, classes, AtEnd(GDumb(lr=s.gdumb, capacity=amount.capacity, passes=amount.passes)), seed)
    found.arms["GDumb"] = _arm(gdumb, 0, extra=gdumb.runs[0].passes["forward"])
    for k, alpha in [*((k, 0.0) for k in amount.ks), (amount.ks[-1], s.kd)]:
        tell("k-FPF")
        name = f"k-FPF-SGD{' + KD' if alpha else ''}, k = {k}"
        results = one_run(amount, classes, k_fpf(amount, k, alpha), seed, every)
        found.arms[name] = _arm(results, seen, extra=k * amount.k_steps * amount.batch_size)
        _curve(found, name, results)
    tell("rotated pictures")
    shelf = Shelf()
    one_run(amount, domains, Watched(Naive(lr=s.sgd), shelf), seed)
    found.dynamics["domain"] = shelf.dynamics
    return found


def k_fpf(amount: Amount, k: int, alpha: float) -> KFPF:
    """k-FPF-SGD with so many fine-tunings in a run."""
    s = amount.setting
    return KFPF(Naive(lr=s.k_sgd), every=-(-amount.updates // k), steps=amount.k_steps, lr=s.k_fpf, alpha=alpha,
                batch_size=amount.batch_size, capacity=amount.capacity)  # fmt: skip


def one_run(amount: Amount, scenario: Scenario, method: Learner, seed: int, every: int | None = None) -> Results:
    """One seed of a method."""
    return run(
        scenario, method, [seed], model=amount.model.build, epochs=amount.epochs, batch_size=amount.batch_size,
        augment=amount.augment, evaluate_every=every, subset=200, device=amount.device,
    )  # fmt: skip


def _arm(results: Results, seen: int, extra: int = 0) -> Arm:
    one = results.runs[0]
    return Arm(results["accuracy"][0], seen, one.passes["forward"] - seen - extra, extra, seconds=one.seconds)


def _curve(found: Outcome, name: str, results: Results) -> None:
    at: dict[int, list[float]] = {}
    for point in results.runs[0].curve:
        at.setdefault(point.update, []).append(point.accuracy)
    at[results.runs[0].updates] = results["accuracy"]  # after the last fine-tuning
    found.curves[name] = [(update, sum(values) / len(values)) for update, values in at.items()]


def fine_tune(amount: Amount, scenario: Scenario, name: str, host: Method, found: Outcome) -> None:
    """Every fine-tuning of copies of a host that has finished, and the host's own step repeated as often."""
    base = found.arms[name]
    total = sum(p.numel() for p in host.model.parameters())

    def fitted(groups: Sequence[str], steps: int) -> Arm:
        model = copy.deepcopy(host.model)
        start = time.perf_counter()
        rate = amount.setting.frozen_norm if "first" in groups and "norm" not in groups else amount.setting.fpf[name]
        fit = fpf(model, host.buffer, groups, steps, rate, batch_size=amount.batch_size,  # type: ignore[attr-defined]
                  augment=host.augment, generator=generator(found.seed, "fpf"))  # fmt: skip
        seconds = base.seconds + time.perf_counter() - start
        accuracy = tested(scenario, model, found.seed, amount.device)
        return Arm(accuracy, base.stream, base.replay, fit.passes, fit.trained / total, seconds, float(fit.flops))

    done: list[list[str]] = []
    for what in ARMS[name]:
        groups = members(host.model, what)
        if groups not in done:  # a network without hidden linear layers has nothing but convolutions there
            found.arms[f"{name} + {what}"] = fitted(groups, amount.steps)
        done.append(groups)
    chosen = members(host.model, "norm + head")
    if name != "DER++":
        whole = {0: base.accuracy, amount.steps: found.arms[f"{name} + norm + head"].accuracy}
        found.steps[name] = dict(sorted((whole | {n: fitted(chosen, n).accuracy for n in amount.curve}).items()))
    if name == "ER":
        again = copy.deepcopy(host)
        start = time.perf_counter()
        for _ in range(amount.steps):
            old = again.buffer.sample(amount.batch_size)  # type: ignore[attr-defined]
            again.step(F.cross_entropy(again.model(again.augment(old.x)), old.y))
        seconds = base.seconds + time.perf_counter() - start
        extra = amount.steps * amount.batch_size
        accuracy = tested(scenario, again.model, found.seed, amount.device)
        found.arms["ER + its own steps"] = Arm(accuracy, base.stream, base.replay, extra, 1.0, seconds)


def members(model: nn.Module, what: str) -> list[str]:
    """The groups of a model that a choice names."""
    words = CHOICES[what]
    return [group for group in group_parameters(model) if group in words or (group.split()[0] in words
            and not group.startswith("norm"))]  # fmt: skip


def tested(scenario: Scenario, model: nn.Module, seed: int, device: str) -> float:
    """Final accuracy, as a run measures it."""
    stream = scenario.stream(seed)
    evaluator = Evaluator(stream, seed=seed, device=device)
    evaluator.after_task(Still(model), len(stream) - 1)
    return sum(evaluator.scores.seen[0]) / len(stream)
