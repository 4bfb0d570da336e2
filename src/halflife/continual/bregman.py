"""One objective of which many continual-learning methods are cases: divergences of Bregman, and presets.

From "A Unified and General Framework for Continual Learning" (Wang et al., ICLR 2024, arXiv 2403.13249):

    L = CE(x, y) + alpha * D_Phi(h(x), z) + beta * D_Psi(theta, theta_old)

A divergence of Bregman is not symmetric, and one order does not fit all cases. With Phi the negative entropy and z a
one-hot label, `D(h, z)` is infinite; cross-entropy is `D(z, h)`. So ER and distillation take the target first, the
entropy bonus of CPR the output first, and with squared distances the order does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halflife.continual.importance import penalty, trainable
from halflife.errors import InvalidInput

Convex: TypeAlias = Callable[[Tensor], Tensor]
"""A strictly convex function of the last dimension: [..., d] -> [...]."""
Divergence: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(p [..., d], q [..., d]) -> [...]."""


@dataclass(frozen=True, eq=False)
class Quadratic:
    """`u^T A u / 2`, whose divergence is `(p - q)^T A (p - q) / 2`.

    Parameters
    ----------
    a: a diagonal [d], or a symmetric matrix [d, d].

    Raises
    ------
    InvalidInput: A is not symmetric, or has a negative eigenvalue: the function would not be convex.
    """

    a: Tensor

    def __post_init__(self) -> None:
        if self.a.ndim == 2 and not torch.allclose(self.a, self.a.T):
            raise InvalidInput("The matrix of a quadratic function is not symmetric.", "Use (A + A.T) / 2.")
        lowest = self.a.min() if self.a.ndim == 1 else torch.linalg.eigvalsh(self.a)[0]
        if float(lowest) < -1e-6 * float(self.a.abs().max()):
            raise InvalidInput(f"A has the eigenvalue {float(lowest):.3g}: the function is not convex.")

    def __call__(self, u: Tensor) -> Tensor:
        return 0.5 * (u * (self.a * u if self.a.ndim == 1 else u @ self.a)).sum(-1)


def gaussian(eta: Tensor) -> Tensor:
    """The log-partition function of independent Gaussians, in their natural parameters.

    Parameters
    ----------
    eta: [..., 2 d]: mean / variance, then -1 / (2 variance). Its divergence of (new, old) is KL(old, new).
    """
    linear, square = eta.chunk(2, -1)
    return (-linear.square() / (4 * square) - 0.5 * (-2 * square).log()).sum(-1)


def bregman(phi: Literal["sq", "negentropy"] | Convex) -> Divergence:
    """`D(p, q) = phi(p) - phi(q) - <grad phi(q), p - q>`: never negative, zero where p = q.

    Parameters
    ----------
    phi: `sq` is ||u||^2 (squared distance), `negentropy` is sum u log u (on distributions, KL(p, q); entries >= 0),
        `Quadratic(A)`, or any strictly convex function of your own, differentiated automatically.

    Returns
    -------
    A function of p and q, [..., d] each, that sums over the last dimension.

    Raises
    ------
    InvalidInput: there is no such function; p and q do not fit; a negative entry is given to `negentropy`.

    >>> p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    >>> round(float(bregman("negentropy")(p, q)), 4), float(bregman("sq")(p, q))
    (0.1438, 0.125)
    """
    if isinstance(phi, str) and phi not in ("sq", "negentropy"):
        raise InvalidInput(f"There is no convex function {phi!r}.", "Use sq, negentropy, Quadratic(A) or your own.")

    def divergence(p: Tensor, q: Tensor) -> Tensor:
        if p.shape[-1:] != q.shape[-1:]:
            raise InvalidInput(f"A divergence between {tuple(p.shape)} and {tuple(q.shape)} is not defined.")
        if phi == "sq":
            return (p - q).square().sum(-1)
        if phi == "negentropy":
            if bool((p < 0).any()) or bool((q < 0).any()):
                raise InvalidInput("The entropy of a negative number is not defined.", "Give probabilities.")
            return (torch.xlogy(p, p) - torch.xlogy(p, q) - p + q).sum(-1)
        if isinstance(phi, Quadratic):
            return phi(p - q)
        slope = torch.func.grad(lambda u: phi(u).sum())(q)
        apart: Tensor = phi(p) - phi(q) - (slope * (p - q)).sum(-1)
        return apart

    return divergence


# -- the two kinds of terms -------------------------------------------------------------------------------------------

Target: TypeAlias = Literal["labels", "logits", "uniform"]


@dataclass(frozen=True)
class OutputTerm:
    """`alpha * D_phi` between the outputs of the network and targets, the mean over examples.

    Parameters
    ----------
    alpha: its weight.
    phi: `sq` compares logits; `negentropy` compares softmax probabilities, without leaving logs.
    target: `labels` int64 [B], `logits` [B, C] (of an older network, or stored), or `uniform`, which are not given.
    first: of `negentropy`: `target` is KL(z, h), `output` is KL(h, z).
    temperature: softens both sides of `negentropy`. classes: only these outputs are compared; None: all.
    per_class: divide by the number of classes: the `mean` of a squared error is its sum over C.
    """

    alpha: float
    phi: Literal["sq", "negentropy"]
    target: Target
    first: Literal["target", "output"] = "target"
    temperature: float = 1.0
    classes: tuple[int, ...] | None = None
    per_class: bool = False

    def __post_init__(self) -> None:
        if self.alpha < 0:
            raise InvalidInput(f"The weight alpha is {self.alpha}.", "Use a number >= 0.")
        if self.phi == "sq" and self.target != "logits":
            raise InvalidInput(f"The squared distance of logits to {self.target} is not defined.", "Use negentropy.")
        if self.phi == "negentropy" and self.target == "labels" and self.first == "output":
            raise InvalidInput("KL(h, z) of a one-hot z is infinite.", "Use first='target'.")

    def __call__(self, logits: Tensor, z: Tensor | None) -> Tensor:
        """The term of logits [B, C] and the targets that it names."""
        if (z is None) != (self.target == "uniform"):
            raise InvalidInput(f"The targets are {self.target}, but {'none were' if z is None else 'some were'} given.")
        if self.classes is not None:
            logits = logits[:, self.classes]
            z = z[:, self.classes] if z is not None and self.target == "logits" else z
        found = self._squared(logits, z) if self.phi == "sq" else self._kl(logits / self.temperature, z)
        return self.alpha * (found / logits.shape[1] if self.per_class else found).mean()

    def _squared(self, logits: Tensor, z: Tensor | None) -> Tensor:
        assert z is not None
        return bregman("sq")(logits, z.detach())

    def _kl(self, logits: Tensor, z: Tensor | None) -> Tensor:
        log_h = logits.log_softmax(1)
        if z is not None and self.target == "labels":
            return F.nll_loss(log_h, z, reduction="none")  # the negative entropy of a one-hot z is 0
        log_z = torch.zeros_like(log_h) if z is None else z.detach() / self.temperature
        log_z = log_z.log_softmax(1)
        a, b = (log_h, log_z) if self.first == "target" else (log_z, log_h)
        return F.kl_div(a, b, reduction="none", log_target=True).sum(1)


@dataclass(frozen=True, eq=False)
class ParameterTerm:
    """`beta * D_psi(theta, theta_old)` with `psi = theta^T A theta / 2`.

    Parameters
    ----------
    beta: its weight. anchor: theta_old by name.
    a: the diagonal of A by name; None is the identity; or a matrix [P, P] over all parameters in a row.
    """

    beta: float
    anchor: Mapping[str, Tensor]
    a: Mapping[str, Tensor] | Tensor | None = None

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise InvalidInput(f"The weight beta is {self.beta}.", "Use a number >= 0.")

    def __call__(self, model: nn.Module) -> Tensor:
        """The term of a model's parameters now."""
        if not isinstance(self.a, Tensor):
            return self.beta * 0.5 * penalty(model, self.anchor, self.a)
        names = trainable(model)
        now, old = (torch.cat([of[name].flatten() for name in names]) for of in (names, self.anchor))
        return self.beta * bregman(Quadratic(self.a))(now, old)


Posterior: TypeAlias = Callable[[nn.Module], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class PosteriorTerm:
    """`beta * KL(posterior, old posterior)` of independent Gaussians: the divergence of `gaussian`, old first.

    Parameters
    ----------
    beta: its weight. posterior: model -> means [P] and log-variances [P]. old: those of the old posterior.
    """

    beta: float
    posterior: Posterior
    old: tuple[Tensor, Tensor]

    def __call__(self, model: nn.Module) -> Tensor:
        """The term of a model's posterior now."""
        mean, log_var = self.posterior(model)
        m, s = self.old
        away = (mean - m).square() / s.exp()
        return 0.5 * self.beta * (away + (log_var - s).exp() - 1 - (log_var - s)).sum()


# -- the objective ----------------------------------------------------------------------------------------------------

Given: TypeAlias = tuple[Tensor | None, Tensor | None]


@dataclass(frozen=True, eq=False)
class UnifiedObjective:
    """`new * CE(x, y)`, and any number of terms of outputs and of parameters.

    Parameters
    ----------
    outputs: alpha terms. parameters: beta terms. new: the weight of the new data; 1 in the paper.

    >>> from halflife.continual import MLP
    >>> model, x, y = MLP((8,)).build((1, 2, 2), 3), torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 2, 0])
    >>> stored = model(x).detach()
    >>> objective = UnifiedObjective.derpp(alpha=0.1, beta=0.5)
    >>> loss = objective(model, x, y, (x, stored), (x, y))
    >>> bool(torch.isclose(loss, 1.5 * torch.nn.functional.cross_entropy(model(x), y)))
    True
    """

    outputs: Sequence[OutputTerm] = ()
    parameters: Sequence[Callable[[nn.Module], Tensor]] = ()
    new: float = 1.0

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *given: Given) -> Tensor:
        """The loss.

        Parameters
        ----------
        x, y: new data. given: for each term of outputs its inputs (None: those of the new data) and its targets.
        """
        if len(given) != len(self.outputs):
            raise InvalidInput(f"There are {len(self.outputs)} terms of outputs, but {len(given)} were given targets.")
        logits = model(x)
        loss = self.new * F.cross_entropy(logits, y)
        for term, (inputs, z) in zip(self.outputs, given, strict=True):
            loss = loss + term(logits if inputs is None else model(inputs), z)
        for hold in self.parameters:
            loss = loss + hold(model)
        return loss

    @classmethod
    def er(cls, share: float = 0.5) -> UnifiedObjective:
        """ER: D of the negative entropy between one-hot labels of the buffer and outputs is cross-entropy.

        `share` is that of old examples in one mean over new and old, as `ER` takes it; the paper's form adds both with
        weight 1 and is twice that of equal halves. `ER` passes both through the network at once, which differs from
        one after the other under a batch norm.
        """
        return cls([OutputTerm(share, "negentropy", "labels")], new=1 - share)

    @classmethod
    def der(cls, alpha: float) -> UnifiedObjective:
        """DER: squared distance to stored logits, over the classes: without that its weight would be C times alpha."""
        return cls([OutputTerm(alpha, "sq", "logits", per_class=True)])

    @classmethod
    def derpp(cls, alpha: float, beta: float) -> UnifiedObjective:
        """DER++: `der`, then cross-entropy on a second draw."""
        return cls([*cls.der(alpha).outputs, OutputTerm(beta, "negentropy", "labels")])

    @classmethod
    def lwf(cls, alpha: float, temperature: float, classes: Sequence[int]) -> UnifiedObjective:
        """LwF: KL from the old network on new inputs. `LwF` has the teacher's entropy besides: no gradient."""
        term = OutputTerm(alpha, "negentropy", "logits", temperature=temperature, classes=tuple(classes))
        return cls([term])

    @classmethod
    def cpr(cls, alpha: float, parameters: Sequence[Callable[[nn.Module], Tensor]] = ()) -> UnifiedObjective:
        """CPR (Cha et al. 2021): KL from outputs to uniform, log C minus their entropy, beside any hold."""
        return cls([OutputTerm(alpha, "negentropy", "uniform", first="output")], parameters)

    @classmethod
    def l2(cls, lam: float, anchor: Mapping[str, Tensor]) -> UnifiedObjective:
        """L2: A is the identity; `lam * ||d||^2` is `2 lam` times the divergence."""
        return cls(parameters=[ParameterTerm(2 * lam, anchor)])

    @classmethod
    def ewc(
        cls, lam: float, held: Sequence[tuple[Mapping[str, Tensor], Mapping[str, Tensor]]]
    ) -> UnifiedObjective:  # fmt: skip
        """EWC: A is the diagonal Fisher, one pair of (anchor, Fisher) for each task, or one alone if online."""
        return cls(parameters=[ParameterTerm(lam, anchor, fisher) for anchor, fisher in held])

    @classmethod
    def si(cls, c: float, anchor: Mapping[str, Tensor], omega: Mapping[str, Tensor]) -> UnifiedObjective:
        """SI: A is its Omega; `c * Omega d^2` is `2 c` times the divergence."""
        return cls(parameters=[ParameterTerm(2 * c, anchor, omega)])

    @classmethod
    def mas(cls, lam: float, anchor: Mapping[str, Tensor], omega: Mapping[str, Tensor]) -> UnifiedObjective:
        """MAS: as SI, with the sensitivity of the outputs for Omega."""
        return cls.si(lam, anchor, omega)

    @classmethod
    def vcl(cls, beta: float, posterior: Posterior, old: tuple[Tensor, Tensor]) -> UnifiedObjective:
        """VCL: KL to the old posterior; the network is to draw its weights in `forward`."""
        return cls(parameters=[PosteriorTerm(beta, posterior, old)])

    @classmethod
    def natural(cls, beta: float, anchor: Mapping[str, Tensor], precision: Tensor) -> UnifiedObjective:
        """NCL and GPM: a full precision matrix [P, P] over all parameters; GPM's is the limit of a large one on the
        directions that old inputs use."""
        return cls(parameters=[ParameterTerm(beta, anchor, precision)])
