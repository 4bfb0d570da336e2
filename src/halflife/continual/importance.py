"""How much each parameter matters for a set of examples: the one home of Fisher diagonals and their kin.

Every function returns tensors by the name of the parameter, so that a head may grow and old estimates still fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from halflife.errors import InvalidInput

ByName: TypeAlias = dict[str, Tensor]
Batches: TypeAlias = Iterable[tuple[Tensor, Tensor]]
Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def importance(
    model: nn.Module,
    batches: Batches,
    loss: Loss = F.cross_entropy,
    *,
    per_sample: bool = False,
    reduce: Literal["square", "abs"] = "square",
    labels: Literal["true", "sampled", "predicted"] = "true",
    generator: torch.Generator | None = None,
) -> ByName:
    """The mean of the squared (or absolute) gradients of a loss: with cross-entropy, the diagonal of the Fisher matrix.

    Parameters
    ----------
    batches: (x, y) pairs. loss: (logits [B, C], y [B]) -> scalar, the mean over the batch.
    per_sample: whether the gradient of every example is squared (the definition) or that of every batch, which is
        smaller the larger the batch: use one size of batch for all sets that are compared.
    labels: `true` ones (the empirical Fisher), `sampled` from the model's predictions (the Fisher), or `predicted`.
    generator: for `sampled`.

    The model is in evaluation mode meanwhile, and is left as it was, gradients included.

    Raises
    ------
    InvalidInput: there are no examples.
    """
    names = trainable(model)
    total = {name: torch.zeros_like(p) for name, p in names.items()}
    weight = 0
    mode, kept = model.training, {name: p.grad for name, p in names.items()}
    model.eval()
    try:
        for x, y in batches:
            if labels != "true":
                y = _asked(model, x, labels, generator)
            for name, value in (_each if per_sample else _whole)(model, names, x, y, loss, reduce).items():
                total[name] += value
            weight += len(y) if per_sample else 1
    finally:
        model.train(mode)
        for name, p in names.items():
            p.grad = kept[name]
    if not weight:
        raise InvalidInput("There are no examples to estimate importance from.")
    return {name: value / weight for name, value in total.items()}


@torch.no_grad()
def _asked(model: nn.Module, x: Tensor, labels: str, generator: torch.Generator | None) -> Tensor:
    logits = model(x)
    if labels == "predicted":
        return logits.argmax(1)  # type: ignore[no-any-return]
    drawn = torch.multinomial(logits.softmax(1).cpu(), 1, generator=generator)[:, 0]
    return drawn.to(x.device)


def _whole(
    model: nn.Module, names: Mapping[str, nn.Parameter], x: Tensor, y: Tensor, loss: Loss, reduce: str
) -> ByName:  # fmt: skip
    grads = torch.autograd.grad(loss(model(x), y), list(names.values()), allow_unused=True, materialize_grads=True)
    return {name: g.square() if reduce == "square" else g.abs() for name, g in zip(names, grads, strict=True)}


def _each(
    model: nn.Module, names: Mapping[str, nn.Parameter], x: Tensor, y: Tensor, loss: Loss, reduce: str
) -> ByName:  # fmt: skip
    parameters = {name: p.detach() for name, p in names.items()}
    buffers = dict(model.named_buffers())

    def one(parameters: ByName, x: Tensor, y: Tensor) -> Tensor:
        return loss(functional_call(model, {**parameters, **buffers}, (x[None],)), y[None])

    grads = vmap(grad(one), in_dims=(None, 0, 0))(parameters, x, y)
    return {name: (g.square() if reduce == "square" else g.abs()).sum(0) for name, g in grads.items()}


def output_sensitivity(model: nn.Module, batches: Batches) -> ByName:
    """MAS: the mean over examples of |d ||f(x)||^2 / d theta| (Aljundi et al. 2018, eq. 2); labels are not used."""
    return importance(model, batches, lambda logits, _: logits.square().sum(), per_sample=True, reduce="abs")


def penalty(model: nn.Module, anchor: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None = None) -> Tensor:
    """`sum_k w_k (theta_k - anchor_k)^2`, over the parameters (and rows of a head that grew) that the anchor has.

    Parameters
    ----------
    anchor: parameters by name. weights: of the same names; None weighs all alike.
    """
    total = torch.zeros(())
    for name, p in trainable(model).items():
        if name in anchor:
            old = anchor[name]
            d = (p[tuple(slice(n) for n in old.shape)] - old).square()
            total = total.to(d) + ((d * weights[name]).sum() if weights is not None else d.sum())
    return total


def snapshot(model: nn.Module) -> ByName:
    """A copy of the parameters that learn, by name."""
    return {name: p.detach().clone() for name, p in trainable(model).items()}
