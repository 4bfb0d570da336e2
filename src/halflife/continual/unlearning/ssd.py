"""SSD: Fast Machine Unlearning Without Retraining Through Selective Synaptic Dampening (Foster et al. 2023).

arXiv 2308.07707. Implemented: selection and dampening, importances from batches or from single examples, and LFSSD, the
form without labels (Foster et al. 2024, arXiv 2402.19308). Not implemented: the knobs of the official code that are
marked unused there (range of layers, forget threshold, difference of magnitudes), and its exponent and upper bound of
the factor, which are 1.

Where code and paper differ: the paper defines importance as the diagonal of the Fisher matrix, a mean over *examples*
of squared gradients; the code squares the gradient of each *batch*. Both are here; one alpha does not fit both. The
code's script for whole classes goes through the data class by class, so that nearly each batch has one class, while its
script for random examples mixes them. Here batches are mixed unless `by_class` is set.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from halflife.continual.examples import Examples
from halflife.continual.importance import ByName, trainable
from halflife.continual.unlearning.importances import Importances, fingerprint, measure
from halflife.continual.unlearning.request import Outcome, Request
from halflife.errors import InvalidInput


@dataclass(frozen=True)
class Layer:
    """What was done to one parameter tensor: entries selected of all, their mean factor, the L2 norm of the change."""

    name: str
    selected: int
    total: int
    mean_beta: float
    change: float

    @property
    def fraction(self) -> float:
        """Selected, of all."""
        return self.selected / self.total


@dataclass(frozen=True)
class Dampening:
    """What a dampening did.

    Parameters
    ----------
    layers: for each parameter tensor. selected, total: entries. mean_beta: mean factor of the selected, 1 if there are
        none. change: L2 norm of the change of all parameters.
    """

    layers: tuple[Layer, ...]

    @property
    def selected(self) -> int:
        """Entries that were dampened."""
        return sum(one.selected for one in self.layers)

    @property
    def total(self) -> int:
        """Entries that there are."""
        return sum(one.total for one in self.layers)

    @property
    def fraction(self) -> float:
        """Selected, of all."""
        return self.selected / self.total

    @property
    def mean_beta(self) -> float:
        """The mean factor of the selected entries."""
        return sum(one.mean_beta * one.selected for one in self.layers) / self.selected if self.selected else 1.0

    @property
    def change(self) -> float:
        """The L2 norm of the change."""
        return float(sum(one.change**2 for one in self.layers) ** 0.5)


def ssd_dampen(
    model: nn.Module,
    imp_all: Importances | Mapping[str, Tensor],
    imp_forget: Importances | Mapping[str, Tensor],
    alpha: float = 10.0,
    lam: float = 1.0,
    names: Collection[str] | None = None,
    inplace: bool = False,
) -> tuple[nn.Module, Dampening]:
    """Shrink the weights that matter out of proportion for what is to be forgotten (steps 4 and 5 of the method).

    `theta_i <- min(lam * I_D,i / I_Df,i, 1) * theta_i` where `I_Df,i > alpha * I_D,i`. Buffers are left alone.

    Parameters
    ----------
    imp_all, imp_forget: importances for all training data and for what is to be forgotten, of the shapes of the
        parameters: from `measure`, or plain tensors by name. alpha: a larger one selects fewer weights. lam: a smaller
        one shrinks them more.
    names: the parameters that may change; None: all. inplace: change the model itself instead of a copy.

    Returns
    -------
    The model and what was done to it. Where nothing is selected it is as before, with a warning.

    Raises
    ------
    InvalidInput: alpha <= 0, lam < 0, names or shapes that do not fit, importances of another state of the model or
        measured in two different ways. The model is then as it was.

    >>> from halflife.continual import MLP, load
    >>> data = load("digits")
    >>> model = MLP((16,)).build(data.shape, data.n_classes)
    >>> everything, eights = measure(model, data.train), measure(model, data.train.of([8]))
    >>> dampened, report = ssd_dampen(model, everything, eights, alpha=2.0)
    >>> 0 < report.fraction < 1, report.mean_beta < 0.5
    (True, True)
    """
    if not (0 < alpha < float("inf")) or not (0 <= lam < float("inf")):
        raise InvalidInput(f"alpha is {alpha} and lambda {lam}.", "Use alpha > 0 and lambda >= 0.")
    every, gone = _checked(model, imp_all, imp_forget)
    parameters = trainable(model)
    if unknown := sorted(set(names or ()) - set(parameters)):
        raise InvalidInput(f"There are no parameters {', '.join(unknown)}.", f"There are {', '.join(parameters)}.")
    changed = model if inplace else copy.deepcopy(model)
    layers = []
    with torch.no_grad():
        for name, p in trainable(changed).items():
            if names is not None and name not in names:
                continue
            chosen = gone[name] > alpha * every[name]
            beta = (lam * every[name][chosen] / gone[name][chosen]).clamp(max=1.0)
            old = p[chosen]
            p[chosen] = beta.to(p.dtype) * old
            change = float(torch.linalg.vector_norm((p[chosen] - old).double()))
            count = int(chosen.sum())
            layers.append(Layer(name, count, p.numel(), float(beta.double().mean()) if count else 1.0, change))
    report = Dampening(tuple(layers))
    if not report.selected:
        warnings.warn(
            f"No weight has more than {alpha} times the importance for what is to be forgotten: nothing was changed. "
            "Lower alpha. (With importances of single examples no ratio is above |D| / |D_f|.)",
            stacklevel=2,
        )
    return changed, report


def _checked(
    model: nn.Module, imp_all: Importances | Mapping[str, Tensor], imp_forget: Importances | Mapping[str, Tensor]
) -> tuple[ByName, ByName]:  # fmt: skip
    if isinstance(imp_all, Importances) and isinstance(imp_forget, Importances) and imp_all.how != imp_forget.how:
        raise InvalidInput(
            f"The importances were measured in two ways: {imp_all.how} and {imp_forget.how}.",
            "Measure both with the same batch size and settings: ratios mean nothing otherwise.",
        )
    parameters, mark = trainable(model), ""
    found = []
    for what, given in (("all data", imp_all), ("what is to be forgotten", imp_forget)):
        if isinstance(given, Importances):
            mark = mark or fingerprint(model)
            if given.fingerprint != mark:
                raise InvalidInput(
                    f"The importances for {what} belong to another state of the model.",
                    "Measure them anew; or use `carried_to(model)` if their drift is accepted.",
                )
        values = dict(given.values if isinstance(given, Importances) else given)
        shapes = {name: tuple(value.shape) for name, value in values.items()}
        wanted = {name: tuple(p.shape) for name, p in parameters.items()}
        if shapes != wanted:
            wrong = sorted(n for n in shapes.keys() | wanted.keys() if shapes.get(n) != wanted.get(n))
            raise InvalidInput(
                f"The importances for {what} do not fit the model in {', '.join(wrong)}.", "Measure them on this model."
            )
        values = {name: value.to(parameters[name].device) for name, value in values.items()}
        if not all(bool((torch.isfinite(value) & (value >= 0)).all()) for value in values.values()):
            raise InvalidInput(f"The importances for {what} are negative or not finite.", "Measure them anew.")
        found.append(values)
    return found[0], found[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class SSD:
    """Selective synaptic dampening, as an unlearning method. It takes no step of training.

    Parameters
    ----------
    alpha, lam: see `ssd_dampen`; the paper's are 10 and 1. Choose alpha with `search_alpha`: it does not carry over
        between networks, data, sizes of the forget set or ways to measure importance.
    batch_size, per_sample, by_class, label_free: how importance is measured, see `measure`.
    names: the parameters that may change; None: all.
    stored: importances for all data, measured after training; the data that stay are then not needed.

    >>> from halflife.continual import MLP, load
    >>> from halflife.continual.unlearning import unlearn
    >>> data = load("digits")
    >>> model = MLP((16,)).build(data.shape, data.n_classes)
    >>> done = unlearn(SSD(alpha=2.0), model, data.train.of([8]), data.train.of(range(8)))
    >>> done.details["dampening"].selected > 0
    True
    """

    alpha: float = 10.0
    lam: float = 1.0
    batch_size: int = 64
    per_sample: bool = False
    by_class: bool = False
    label_free: bool = False
    names: tuple[str, ...] | None = None
    stored: Importances | None = None

    def __call__(self, request: Request) -> Outcome:
        """See `Unlearner`."""
        every, gone, passes = self.importances(request)
        model, dampening = ssd_dampen(request.model, every, gone, self.alpha, self.lam, self.names, inplace=True)
        return Outcome(model, passes, {"dampening": dampening})

    def importances(self, request: Request) -> tuple[Importances, Importances, int]:
        """Those for all data (measured, unless they were stored) and for what goes; and the examples it took."""

        def of(examples: Examples) -> Importances:
            return measure(
                request.model, examples, batch_size=self.batch_size, per_sample=self.per_sample,
                by_class=self.by_class, label_free=self.label_free, seed=request.seed,
            )  # fmt: skip

        gone = of(request.forget)
        every = of(request.data) if self.stored is None else self.stored
        return every, gone, len(request.forget) + (len(request.data) if self.stored is None else 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class LFSSD(SSD):
    """SSD without labels: the importance of a weight is the mean of |d ||f(x)||^2 / d theta|.

    >>> LFSSD().label_free
    True
    """

    label_free: bool = True
