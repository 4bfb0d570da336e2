"""The gradient of a step in two parts: what keeps the old, and what learns the new.

The explanation of the stability gap (arXiv 2205.13452, section 5): at a switch of tasks the gradient that keeps the old
is next to nothing, for the network sits where the old loss is least, and only the new one moves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from halflife.continual.importance import trainable
from halflife.continual.method import Batch, Wrapper
from halflife.errors import InvalidInput


@runtime_checkable
class TwoLosses(Protocol):
    """A method that can tell its two losses apart, as `WeightedER` can. All that it draws comes from its `rng`."""

    def losses(self, batch: Batch) -> tuple[Tensor | None, Tensor]:
        """The loss that keeps the old (None where there is nothing to keep), and the one that learns the new."""
        ...


@dataclass(eq=False)
class GradientSplit(Wrapper):
    """Logs the norms of the two gradients of each step: `stability_grad_norm` and `plasticity_grad_norm`.

    They are those of the very losses of the step, the same examples drawn; training goes on as if nothing had been
    measured. `run(..., evaluate_every=1)` keeps what is logged in `run.logged`. The passes and seconds of the run do
    count the measuring.

    Parameters
    ----------
    method: one with `losses`, see `TwoLosses`.

    Raises
    ------
    InvalidInput: the method does not tell its two losses apart.

    >>> from halflife.continual import class_incremental, load, run
    >>> from halflife.continual.methods.weighted_er import WeightedER
    >>> method = GradientSplit(WeightedER(capacity=100, lr=0.1))
    >>> results = run(class_incremental(load("digits"), 5), method, batch_size=64, evaluate_every=1)
    >>> sorted(results.runs[0].logged[-1])
    ['loss', 'plasticity_grad_norm', 'stability_grad_norm', 'update']
    """

    def __post_init__(self) -> None:
        if not isinstance(self.inner, TwoLosses):
            raise InvalidInput(
                f"{type(self.inner).__name__} does not tell its two losses apart.", "Give it a method `losses(batch)`."
            )

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        norms = self._norms(batch)
        return self.method.observe(batch) | norms

    def _norms(self, batch: Batch) -> dict[str, float]:
        assert isinstance(self.inner, TwoLosses)
        state = self.rng.get_state()
        kept = {name: buffer.clone() for name, buffer in self.model.named_buffers()}  # running means of normalisation
        parameters = list(trainable(self.model).values())
        with torch.random.fork_rng():
            stability, plasticity = self.inner.losses(batch)
            both = {"stability_grad_norm": stability, "plasticity_grad_norm": plasticity}
            norms = {name: _norm(loss, parameters) for name, loss in both.items()}
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                buffer.copy_(kept[name])
        self.rng.set_state(state)
        return norms


def _norm(loss: Tensor | None, parameters: Sequence[Tensor]) -> float:
    if loss is None:
        return 0.0
    grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    return float(torch.stack([g.square().sum() for g in grads]).sum().sqrt())
