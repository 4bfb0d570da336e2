"""Choosing settings without a look at the tests."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from halflife.continual.method import Learner
from halflife.continual.results import Results
from halflife.continual.runner import Progress, run
from halflife.continual.scenario import Scenario
from halflife.errors import Diverged, InvalidInput


@dataclass(frozen=True, eq=False)
class Tuned:
    """What a search chose.

    Parameters
    ----------
    method: with the best settings. settings: those. scores: every combination and its score, in the order tried; None
        where the training diverged.
    """

    method: Learner
    settings: Mapping[str, Any]
    scores: Sequence[tuple[Mapping[str, Any], float | None]]


def tune(
    scenario: Scenario,
    method: Learner,
    grid: Mapping[str, Sequence[Any]],
    *,
    seeds: int | Iterable[int] = (9_999,),
    metric: str = "accuracy",
    fraction: float = 0.2,
    progress: Progress | None = None,
    **settings: Any,
) -> Tuned:
    """Try every combination of a grid on a validation split of the training data, and keep the best.

    Parameters
    ----------
    scenario: its tests are not touched: `fraction` of the training data takes their place.
    grid: setting -> values; `method.lr` reaches into a wrapper, `lr` is a setting of the method itself.
    seeds: of the search; take others than those that are reported. metric: the higher the better.
    settings: of `run`: model, epochs, batch_size and so on.

    Raises
    ------
    InvalidInput: the grid names a setting that there is not. Diverged: every combination diverged.

    >>> from halflife.continual import ER, class_incremental, load
    >>> found = tune(class_incremental(load("digits")), ER(capacity=50), {"lr": [1e-5, 0.1]})
    >>> found.method.lr
    0.1
    """
    trial = scenario.validation(fraction)
    scores: list[tuple[Mapping[str, Any], float | None]] = []
    for number, values in enumerate(itertools.product(*grid.values())):
        if progress is not None:
            progress("choosing settings", number / max(1, _count(grid)))
        chosen = dict(zip(grid, values, strict=True))
        try:
            results: Results | None = run(trial, changed(method, chosen), seeds, **settings)
        except Diverged:
            results = None
        scores.append((chosen, None if results is None else results.interval(metric).mean))
    finite = [(score, chosen) for chosen, score in scores if score is not None]
    if not finite:
        raise Diverged("Every combination of the grid diverged.", "Try lower learning rates.")
    best = max(finite, key=lambda pair: pair[0])[1]
    return Tuned(changed(method, best), best, scores)


def _count(grid: Mapping[str, Sequence[Any]]) -> int:
    count = 1
    for values in grid.values():
        count *= len(values)
    return count


def changed(learner: Learner, settings: Mapping[str, Any]) -> Learner:
    """A copy of a learner with other settings; `method.lr` is the `lr` of what is wrapped.

    >>> from halflife.continual import ER
    >>> changed(ER(lr=0.1), {"lr": 0.5}).lr
    0.5
    """
    own: dict[str, Any] = {}
    within: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        first, _, rest = name.partition(".")
        if not hasattr(learner, first):
            raise InvalidInput(f"{type(learner).__name__} has no setting {name!r}.")
        if rest:
            within.setdefault(first, {})[rest] = value
        else:
            own[first] = value
    for first, inner in within.items():
        own[first] = changed(getattr(learner, first), inner)
    return replace(copy.copy(learner), **own)  # type: ignore[type-var]
