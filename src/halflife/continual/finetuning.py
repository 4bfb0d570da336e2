"""Fine-tuning of some groups of parameters on a buffer, while all others stay bit for bit what they are.

The step of FPF (arXiv 2304.04158); see `groups` for how groups are made and `methods.fpf` for when it is taken.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from halflife.continual.buffer import Buffer
from halflife.continual.groups import STATISTICS, Scheme, group_parameters, names_of
from halflife.continual.method import Method
from halflife.errors import Diverged, InvalidInput

Schedule: TypeAlias = Literal["cosine", "constant"]
SENSITIVE = ("norm", "norm statistics", "head")
"""What is fine-tuned unless told otherwise, as far as a model has it."""


@dataclass(frozen=True)
class Fit:
    """What one fine-tuning did: gradient steps, examples passed, parameters trained, FLOPs estimated, the last loss."""

    steps: int
    passes: int
    trained: int
    flops: int
    loss: float


def fpf(
    model: nn.Module, buffer: Buffer, groups: Iterable[str] | None = None, steps: int = 300, lr: float = 0.05, *,
    alpha: float = 0.0, batch_size: int = 32, schedule: Schedule = "cosine",
    scheme: Scheme = "type", augment: Callable[[Tensor], Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> Fit:  # fmt: skip
    """Fine-tune some groups of parameters on class-balanced batches of a buffer, with a fresh SGD. The rest stays.

    Parameters
    ----------
    groups: names of `group_parameters(model, scheme)`; None: those of `SENSITIVE` that the model has.
    steps, lr, batch_size: of the fine-tuning; batches are balanced over the classes that the buffer has.
    alpha: the weight of the MSE to the field `logits` of the buffer. schedule: of the learning rate, `cosine` to 0.
    augment: [B, ...] -> [B, ...]. generator: of the batches; None: that of the buffer.

    Raises
    ------
    InvalidInput: an unknown group, groups without a parameter, or alpha without logits. Diverged: the loss.

    >>> from halflife.continual import MLP
    >>> buffer = Buffer(8)
    >>> buffer.add(x=torch.rand(8, 1, 2, 2), y=torch.arange(8) % 2)
    >>> fpf(MLP((5,)).build((1, 2, 2), 2), buffer, ["head"], steps=3).trained
    12
    """
    if steps < 1 or batch_size < 2 or not lr > 0 or alpha < 0 or schedule not in ("cosine", "constant"):
        raise InvalidInput(
            f"{steps} steps of {batch_size} at {lr} ({schedule}), alpha {alpha}: they cannot train.",
            "Use at least 1 step, batches of 2, lr > 0, alpha >= 0, cosine or constant.",
        )
    known = group_parameters(model, scheme)
    names = names_of(known, [one for one in SENSITIVE if one in known] if groups is None else groups)
    if not len(buffer):
        warnings.warn("The buffer is empty: nothing was fine-tuned.", stacklevel=2)
        return Fit(0, 0, 0, 0, math.nan)
    if alpha and "logits" not in buffer.all().fields:
        raise InvalidInput("The buffer keeps no logits.", "Use alpha=0, or a method that keeps them, such as DERpp.")
    counter = FlopCounterMode(display=False)
    kept, buffer.generator = buffer.generator, generator or buffer.generator
    try:
        with thawed(model, names) as parameters, torch.enable_grad():
            if not parameters:
                raise InvalidInput("These groups hold no parameter.", "Add norm or head to the statistics.")
            optim = torch.optim.SGD(parameters, lr)
            for step in range(steps):
                if schedule == "cosine":
                    optim.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
                rows = buffer.balanced(batch_size)
                optim.zero_grad()
                with nullcontext() if step else counter:
                    logits = model(rows.x if augment is None else augment(rows.x))
                    loss = F.cross_entropy(logits, rows.y)
                    if alpha:
                        loss = loss + alpha * F.mse_loss(logits, rows.logits)
                    loss.backward()
                optim.step()
            trained, last = sum(p.numel() for p in parameters), float(loss.detach())
    finally:
        buffer.generator = kept
    if not math.isfinite(last):
        raise Diverged(f"The loss of the fine-tuning is {last}.", "Lower its learning rate or alpha.")
    return Fit(steps, steps * batch_size, trained, steps * counter.get_total_flops(), last)


@contextmanager
def thawed(model: nn.Module, names: Iterable[str]) -> Iterator[list[nn.Parameter]]:
    """Within, these parameters alone learn, and these running statistics alone move; then all is as it was.

    Every layer is in evaluation mode, but for the norm layers whose statistics are named.

    >>> from halflife.continual import MLP
    >>> model = MLP((5,)).build((1, 2, 2), 3)
    >>> with thawed(model, ["head.bias"]) as parameters:
    ...     len(parameters), model.training, model.head.weight.requires_grad
    (1, False, False)
    >>> model.training, model.head.weight.requires_grad
    (True, True)
    """
    wanted = set(names)
    flags = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        for path, module in model.named_modules():
            if f"{path}.{STATISTICS[0]}".lstrip(".") in wanted:
                module.training = True
        for name, p in model.named_parameters():
            p.requires_grad_(name in wanted)
            p.grad = None
        yield [p for p in model.parameters() if p.requires_grad]
    finally:
        for p, flag, grad in flags:
            p.requires_grad_(flag)
            p.grad = grad
        for module, mode in modes:
            module.training = mode


@contextmanager
def drawing(rng: torch.Generator, other: torch.Generator) -> Iterator[None]:
    """Within, a generator draws what another would; then it is where it was.

    >>> rng, other = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    >>> with drawing(rng, other):
    ...     drawn = torch.rand(3, generator=rng)
    >>> bool((drawn == torch.rand(3, generator=other)).all()), int(rng.initial_seed())
    (True, 1)
    """
    kept = rng.get_state()
    rng.set_state(other.get_state())
    try:
        yield
    finally:
        rng.set_state(kept)


@contextmanager
def answering(method: Method, model: nn.Module | None) -> Iterator[None]:
    """Within, a method has another network, so that its own rule of prediction is asked of that one."""
    kept = method.net
    method.net = kept if model is None else model
    try:
        yield
    finally:
        method.net = kept
