"""`unlearn(method, model, forget, retain)`: one call for every method."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from halflife.continual.examples import Examples
from halflife.continual.unlearning.baselines import UNSIR, Amnesiac, BadTeacher, Finetune, Nothing, Retrain
from halflife.continual.unlearning.perturbing import Control, FisherForgetting
from halflife.continual.unlearning.request import Request, Unlearner
from halflife.continual.unlearning.ssd import LFSSD, SSD
from halflife.continual.unlearning.training import Fresh, fresh_like
from halflife.errors import InvalidInput

METHODS: Mapping[str, Callable[..., Unlearner]] = {
    "none": Nothing,
    "retrain": Retrain,
    "finetune": Finetune,
    "amnesiac": Amnesiac,
    "bad-teacher": BadTeacher,
    "unsir": UNSIR,
    "fisher": FisherForgetting,
    "ssd": SSD,
    "lfssd": LFSSD,
    "forget-only": partial(Control, by="forget"),
    "random": partial(Control, by="random"),
}
"""The methods by name; the last two are controls."""


@dataclass(frozen=True, eq=False)
class Unlearned:
    """What `unlearn` gives back.

    Parameters
    ----------
    model: the one that has forgotten. method: what made it. seconds: of wall-clock time.
    passes: how many examples went forward and back through a network. details: what the method says besides.
    """

    model: nn.Module
    method: Unlearner
    seconds: float
    passes: int
    details: Mapping[str, Any]


def unlearn(
    method: str | Unlearner,
    model: nn.Module,
    forget: Examples,
    retain: Examples | None = None,
    *,
    seed: int = 0,
    fresh: Fresh | None = None,
    **settings: Any,
) -> Unlearned:
    """Make a model forget some of its training examples. The model that is given stays as it is.

    Parameters
    ----------
    method: one of `METHODS`, with `settings`, or a method with its settings. model: gives logits [B, C].
    forget: the training examples that are to go. retain: all others; SSD with stored importances does without.
    seed: where all draws come from.
    fresh: makes a network of the same kind with new weights, for methods that need one; None resets a copy.

    Raises
    ------
    InvalidInput: there is no such method or setting, `forget` is empty, or an example is to go and to stay.

    >>> from halflife.continual import MLP, load
    >>> data = load("digits")
    >>> model = MLP((16,)).build(data.shape, data.n_classes)
    >>> done = unlearn("ssd", model, data.train.of([8]), data.train.of([0, 1, 2, 3, 4, 5, 6, 7, 9]), alpha=2.0)
    >>> done.passes == len(data.train) + len(data.train.of([8]))
    True
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise InvalidInput(f"There is no unlearning method {method!r}.", f"Use one of {', '.join(METHODS)}.")
        try:
            method = METHODS[method](**settings)
        except TypeError as error:
            raise InvalidInput(f"{method} does not have these settings: {error}.", "See its docstring.") from None
    elif settings:
        raise InvalidInput(f"{type(method).__name__} has its settings already.", "Give them when it is made.")
    if not len(forget):
        raise InvalidInput("There is nothing to forget.", "Give at least one example.")
    device = next(model.parameters()).device
    forget, retain = placed(forget, retain, device)
    request = Request(copy.deepcopy(model), forget, retain, seed, _on(fresh or partial(fresh_like, model), device))
    start = _now(device)
    outcome = method(request)
    seconds = _now(device) - start
    return Unlearned(outcome.model.train(model.training), method, seconds, outcome.passes, outcome.details)


def placed(forget: Examples, retain: Examples | None, device: torch.device) -> tuple[Examples, Examples | None]:
    """Both on the device of the model, over the same data if they were."""
    moved = forget.to(device)
    if retain is None:
        return moved, None
    if not len(retain):
        raise InvalidInput("Nothing stays.", "Train a new model instead.")
    if forget.x is not retain.x:
        return moved, retain.to(device)
    if forget.view is None and retain.view is None and (both := int(torch.isin(forget.index, retain.index).sum())):
        raise InvalidInput(f"{both} examples are both to be forgotten and to stay.", "Take them out of retain.")
    return moved, replace(retain, x=moved.x, y=moved.y).to(device)


def _on(fresh: Fresh, device: torch.device) -> Fresh:
    return lambda seed: fresh(seed).to(device)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
