"""Choosing the settings of an unlearning method on training data alone."""

from __future__ import annotations

import copy
import itertools
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from halflife.continual.examples import Examples
from halflife.continual.seeds import generator
from halflife.continual.unlearning.report import accuracy
from halflife.continual.unlearning.request import Request, Unlearner
from halflife.continual.unlearning.run import Unlearned, placed, unlearn
from halflife.continual.unlearning.ssd import SSD, ssd_dampen
from halflife.continual.unlearning.training import fresh_like
from halflife.errors import Diverged, InvalidInput

ALPHAS = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0)
LAMBDAS = (0.1, 0.5, 1.0)


@dataclass(frozen=True, eq=False)
class Trial:
    """A method that was tried.

    Parameters
    ----------
    retain, forget: its accuracy on the training examples that stay and that are to go.
    done: what it gave; None from `search_alpha`, which shares its measurements between trials.
    """

    method: Unlearner
    retain: float
    forget: float
    done: Unlearned | None = None


@dataclass(frozen=True, eq=False)
class Searched:
    """What a search found.

    Parameters
    ----------
    best: the one to use. met: whether it reaches the target; otherwise it is the one that forgets most.
    trials: all that were tried, in order. seconds: that the search took.
    """

    best: Trial
    met: bool
    trials: Sequence[Trial]
    seconds: float

    @property
    def method(self) -> Any:
        """The method to use, with its settings."""
        return self.best.method


def search(
    candidates: Iterable[Unlearner],
    model: nn.Module,
    forget: Examples,
    retain: Examples,
    *,
    target: float = 0.05,
    samples: int | None = None,
    seed: int = 0,
    **settings: Any,
) -> Searched:
    """Try methods, and take the one that keeps most of what stays among those that forget enough.

    Parameters
    ----------
    candidates: methods with their settings; those that diverge are left out.
    target: highest accuracy on the training examples that are to go. For random examples take the accuracy of a
        retrained model on them, or else that on held-out data; 0 would be far too low.
    samples: accuracies are measured on at most so many examples, drawn by `seed`; None: all.
    settings: of `unlearn`.

    Raises
    ------
    InvalidInput: there are no candidates. Diverged: all of them diverged.

    >>> from halflife.continual import MLP, load
    >>> from halflife.continual.unlearning import Finetune
    >>> data = load("digits")
    >>> model = MLP((16,)).build(data.shape, data.n_classes)
    >>> found = search([SSD(alpha=2.0), SSD(alpha=3.0)], model, data.train.of([8]), data.train.of(range(8)), target=1.0)
    >>> found.met, len(found.trials)
    (True, 2)
    """
    start = time.perf_counter()
    seen = _drawn(retain, forget, samples, seed)
    trials = []
    diverged = 0
    for candidate in candidates:
        try:
            done = unlearn(candidate, model, forget, retain, seed=seed, **settings)
        except Diverged:
            diverged += 1
            continue
        trials.append(Trial(candidate, accuracy(done.model, seen[0]), accuracy(done.model, seen[1]), done))
    if not trials and diverged:
        raise Diverged(f"All {diverged} candidates diverged.", "Lower their learning rates.")
    return _chosen(trials, target, start)


def search_alpha(
    model: nn.Module,
    forget: Examples,
    retain: Examples,
    *,
    alphas: Sequence[float] = ALPHAS,
    lams: Sequence[float] = LAMBDAS,
    like: SSD | None = None,
    target: float = 0.05,
    budget: int | None = None,
    samples: int | None = None,
    seed: int = 0,
) -> Searched:
    """Choose alpha and lambda of SSD: importances are measured once, and every pair of the grid is tried.

    Parameters
    ----------
    alphas, lams: the grid. like: an SSD whose other settings are used. target, samples: see `search`.
    budget: try at most so many pairs, the gentlest (largest alpha, then largest lambda) first.

    Raises
    ------
    InvalidInput: the grid is empty.

    >>> from halflife.continual import MLP, load
    >>> data = load("digits")
    >>> model = MLP((16,)).build(data.shape, data.n_classes)
    >>> found = search_alpha(model, data.train.of([8]), data.train.of(range(8)), alphas=[2.0], lams=[1.0], target=1.0)
    >>> found.method.alpha
    2.0
    """
    start = time.perf_counter()
    like = SSD() if like is None else like
    seen = _drawn(retain, forget, samples, seed)
    near, far = placed(forget, retain, next(model.parameters()).device)
    every, gone, _ = like.importances(Request(model, near, far, seed, partial(fresh_like, model)))
    trials = []
    for alpha, lam in itertools.islice(_gentlest_first(alphas, lams), budget):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where nothing is selected the accuracies say so
            changed = ssd_dampen(copy.deepcopy(model), every, gone, alpha, lam, like.names, inplace=True)[0]
        one = replace(like, alpha=alpha, lam=lam)
        trials.append(Trial(one, accuracy(changed, seen[0]), accuracy(changed, seen[1])))
    return _chosen(trials, target, start)


def _gentlest_first(alphas: Sequence[float], lams: Sequence[float]) -> Iterator[tuple[float, float]]:
    return itertools.product(sorted(alphas, reverse=True), sorted(lams, reverse=True))


def _drawn(retain: Examples, forget: Examples, samples: int | None, seed: int) -> tuple[Examples, Examples]:
    if samples is None:
        return retain, forget
    rng = generator(seed, "search")
    return retain.shuffled(rng, samples), forget.shuffled(rng, samples)


def _chosen(trials: Sequence[Trial], target: float, start: float) -> Searched:
    if not trials:
        raise InvalidInput("There is nothing to choose from.", "Give at least one candidate.")
    enough = [one for one in trials if one.forget <= target]
    if enough:
        best = max(enough, key=lambda one: one.retain)
    else:
        best = min(trials, key=lambda one: (one.forget, -one.retain))
    return Searched(best, bool(enough), trials, time.perf_counter() - start)
