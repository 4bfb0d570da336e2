"""What the reproduction of SSD runs: requests to forget, every method on each, and the whole curve over alpha."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from halflife.continual import Dataset, load
from halflife.continual.examples import Examples, joined
from halflife.continual.networks import Model, resolve
from halflife.continual.seeds import derive, generator
from halflife.continual.transforms import Augment
from halflife.continual.unlearning import (
    LFSSD,
    SSD,
    UNSIR,
    Amnesiac,
    BadTeacher,
    Control,
    Finetune,
    FisherForgetting,
    Importances,
    Retrain,
    Searched,
    Training,
    Unlearned,
    Unlearner,
    UnlearningReport,
    measure,
    search,
    search_alpha,
    ssd_dampen,
    unlearn,
    unlearning_report,
    with_lr,
)
from halflife.continual.unlearning.report import accuracy

NONE, RETRAIN, CHOSEN, PAPER = "none", "retrain", "SSD", "SSD, alpha 10 and lambda 1"
EACH, BY_CLASS, OUTPUTS = "SSD, each example", "SSD, sorted by class", "LFSSD"
FORGET_ONLY, RANDOM = "control: I_Df alone", "control: random weights"
MIXED, SORTED, EXAMPLES = "mixed batches", "batches sorted by class", "each example"
RATES: Mapping[str, tuple[float, ...]] = {
    "finetune": (0.02, 0.05, 0.1, 0.2),
    "amnesiac": (1e-4, 1e-3, 3e-3, 1e-2),
    "bad teacher": (1e-4, 1e-3, 3e-3, 1e-2),
    "UNSIR": (1e-4, 1e-3, 3e-3, 1e-2),
}
TARGET = 0.05  # highest accuracy on the training examples to forget, half of what claim A allows


@dataclass(frozen=True)
class Amount:
    """How much is done in a size.

    Parameters
    ----------
    data, model, training: of the original model and of retraining. per_class: training and test examples of a class.
    seeds: how many. classes: forgotten one at a time. scattered: random examples that are forgotten.
    batch: of the importances for whole classes. alphas, lams: the grid. drop: bound of the loss in Acc(D_r).
    rates: learning rates tried for the methods that train. noise: sizes tried for Fisher forgetting, whose diagonal is
        estimated on `fisher` examples. samples: examples on which trials are judged, and on which importances of each
        example are measured for the curve; None: all.
    """

    data: str
    model: Model
    training: Training
    per_class: tuple[int, int] | None = None
    seeds: int = 3
    classes: tuple[int, ...] = (1, 4, 8)
    scattered: int = 100
    batch: int = 64
    alphas: tuple[float, ...] = (1, 2, 5, 10, 25, 50)
    lams: tuple[float, ...] = (0.1, 0.5, 1)
    drop: float = 0.05
    rates: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: RATES)
    noise: tuple[float, ...] = (1e-7, 1e-6, 3e-6, 1e-5)
    fisher: int = 200
    samples: int | None = None
    augment: Augment | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Row:
    """One method on one request.

    Parameters
    ----------
    report: what the model knows then. h: harmonic mean of the accuracy kept and the accuracy dropped. passes, seconds:
        that it took. searched: seconds of the search. setting: alpha or the learning rate, NaN if it was not searched.
        met: whether a setting that was tried forgets enough.
    """

    method: str
    report: UnlearningReport
    h: float
    passes: int
    seconds: float
    searched: float = 0.0
    setting: float = float("nan")
    met: bool = True


@dataclass(frozen=True)
class Point:
    """SSD at one alpha: accuracy on tests of what stays and of what goes, and the share of weights selected."""

    alpha: float
    retain: float
    forget: float
    selected: float


@dataclass(frozen=True)
class Asked:
    """A request, answered.

    Parameters
    ----------
    seed: of the run. forgotten: the class, or -1 for scattered examples. rows: the methods.
    curves: SSD over alpha, by the way importance was measured. ratios: log10 of I_Df / I_D where both are above 0.
    alpha: that SSD was used with.
    """

    seed: int
    forgotten: int
    rows: Sequence[Row]
    curves: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    ratios: Sequence[float] = ()
    alpha: float = float("nan")


@dataclass(frozen=True, eq=False)
class Trained:
    """A seed's original model, and what a request needs besides."""

    amount: Amount
    data: Dataset
    seed: int
    model: nn.Module
    fresh: Callable[[int], nn.Module]

    def does(self, method: str | Unlearner, forget: Examples, retain: Examples) -> Unlearned:
        """The method on a request."""
        return unlearn(method, self.model, forget, retain, seed=self.seed, fresh=self.fresh)

    def tells(self, model: nn.Module, forget: Examples, retain: Examples) -> UnlearningReport:
        """What a model knows, beside a network that was never trained."""
        teacher = self.fresh(derive(self.seed, "teacher"))
        return unlearning_report(model, retain, forget, self.data.test, teacher=teacher)


def prepared(amount: Amount) -> Dataset:
    """The data, on the device."""
    data = load(amount.data)
    if amount.per_class is not None:
        data = data.take(*amount.per_class)
    return replace(data, train=data.train.to(amount.device), test=data.test.to(amount.device))


def trained(amount: Amount, data: Dataset, seed: int) -> Trained:
    """The original model of a seed."""
    build = resolve(amount.model)

    def fresh(number: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            return build(data.shape, data.n_classes).to(amount.device)

    model = fresh(derive(seed, "original"))
    amount.training.fit(model, data.train, generator(seed, "original"))
    return Trained(amount, data, seed, model, fresh)


def forget_class(of: Trained, gone: int) -> Asked:
    """Forget one class by every method, each with the settings that the same search chose on training data."""
    amount, train = of.amount, of.data.train
    forget = train.of([gone])
    retain = train.of([c for c in range(of.data.n_classes) if c != gone])
    before = of.tells(of.model, forget, retain)

    def row(name: str, done: Unlearned, found: Searched | None = None) -> Row:
        report = of.tells(done.model, forget, retain)
        known = Row(name, report, report.h_mean(before), done.passes, done.seconds)
        if found is None:
            return known
        return replace(known, searched=found.seconds, setting=_setting(found.method), met=found.met)

    def alpha_of(like: SSD) -> Searched:
        return search_alpha(
            of.model, forget, retain, alphas=amount.alphas, lams=amount.lams, like=like, target=TARGET,
            samples=amount.samples, seed=of.seed,
        )  # fmt: skip

    rows = [row(NONE, of.does("none", forget, retain))]
    rows.append(row(RETRAIN, of.does(Retrain(training=amount.training), forget, retain)))
    for name, candidates in _candidates(amount).items():
        found = search(
            candidates, of.model, forget, retain, target=TARGET, samples=amount.samples, seed=of.seed, fresh=of.fresh
        )
        assert found.best.done is not None
        rows.append(row(name, found.best.done, found))
    chosen = alpha_of(SSD(batch_size=amount.batch))
    ways = {
        CHOSEN: chosen,
        BY_CLASS: alpha_of(SSD(batch_size=amount.batch, by_class=True)),
        OUTPUTS: alpha_of(LFSSD(batch_size=amount.batch)),
    }
    if amount.samples is None:
        ways[EACH] = alpha_of(SSD(per_sample=True))
    for name, found in ways.items():
        done = of.does(found.method, forget, retain)
        rows.append(row(name, done, found))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at a fixed alpha it may be that nothing is selected: the table says so
        rows.append(row(PAPER, of.does(SSD(batch_size=amount.batch), forget, retain)))
    rows.append(row(FORGET_ONLY, of.does(Control(by="forget", like=chosen.method), forget, retain)))
    rows.append(row(RANDOM, of.does(Control(by="random", like=chosen.method), forget, retain)))
    pairs = _importances(of, forget, retain)
    curves = {how: _curve(of, pair, gone) for how, pair in pairs.items()}
    return Asked(of.seed, gone, rows, curves, _ratios(*pairs[MIXED]), chosen.method.alpha)


def forget_scattered(of: Trained) -> Asked:
    """Forget random training examples, every method with the settings of the official code."""
    amount, train = of.amount, of.data.train
    mixed = train.shuffled(generator(of.seed, "scattered"))
    at = torch.arange(len(mixed), device=train.index.device)
    forget, retain = mixed.only(at[: amount.scattered]), mixed.only(at[amount.scattered :])
    methods: dict[str, str | Unlearner] = {
        NONE: "none", RETRAIN: Retrain(training=amount.training), "finetune": "finetune", "amnesiac": "amnesiac",
        "bad teacher": "bad-teacher", "Fisher forgetting": FisherForgetting(samples=amount.fisher), PAPER: "ssd",
        "SSD, alpha 25 and lambda 1": SSD(alpha=25), "LFSSD, alpha 10 and lambda 1": "lfssd",
    }  # fmt: skip
    rows = []
    for name, method in methods.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            done = of.does(method, forget, retain)
        rows.append(Row(name, of.tells(done.model, forget, retain), float("nan"), done.passes, done.seconds))
    return Asked(of.seed, -1, rows)


def _candidates(amount: Amount) -> Mapping[str, Sequence[Unlearner]]:
    """The methods that SSD is compared with, each in the settings that are tried."""
    of: dict[str, Finetune | Amnesiac | BadTeacher | UNSIR] = {
        "finetune": Finetune(), "amnesiac": Amnesiac(), "bad teacher": BadTeacher(), "UNSIR": UNSIR()
    }  # fmt: skip
    found: dict[str, Sequence[Unlearner]] = {
        name: [with_lr(method, lr) for lr in amount.rates[name]] for name, method in of.items()
    }
    return found | {"Fisher forgetting": [FisherForgetting(alpha=a, samples=amount.fisher) for a in amount.noise]}


def _setting(method: Unlearner) -> float:
    if isinstance(method, SSD | FisherForgetting):
        return method.alpha
    training = method.impair if isinstance(method, UNSIR) else method.training  # type: ignore[attr-defined]
    return float(training.lr)


def _importances(of: Trained, forget: Examples, retain: Examples) -> dict[str, tuple[Importances, Importances]]:
    """Of all data and of what goes, in each of three ways."""
    every = joined([retain, forget])
    rng = generator(of.seed, "each")
    some, gone = every.shuffled(rng, of.amount.samples), forget.shuffled(rng, of.amount.samples)
    batch = of.amount.batch
    of_gone = measure(of.model, forget, batch_size=batch, seed=of.seed)
    return {
        MIXED: (measure(of.model, every, batch_size=batch, seed=of.seed), of_gone),
        SORTED: (
            measure(of.model, every, batch_size=batch, by_class=True),
            measure(of.model, forget, batch_size=batch, by_class=True),
        ),
        EXAMPLES: (measure(of.model, some, per_sample=True), measure(of.model, gone, per_sample=True)),
    }


def _curve(of: Trained, pair: tuple[Importances, Importances], gone: int) -> list[Point]:
    tests = of.data.test.of([c for c in range(of.data.n_classes) if c != gone]), of.data.test.of([gone])
    points = []
    for alpha in of.amount.alphas:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            changed, what = ssd_dampen(of.model, *pair, alpha=alpha)
        points.append(Point(alpha, accuracy(changed, tests[0]), accuracy(changed, tests[1]), what.fraction))
    return points


def _ratios(every: Importances, gone: Importances) -> list[float]:
    a = torch.cat([value.flatten() for value in every.values.values()])
    b = torch.cat([value.flatten() for value in gone.values.values()])
    there = (a > 0) & (b > 0)
    return (b[there].double().log10() - a[there].double().log10()).tolist()
