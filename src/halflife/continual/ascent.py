"""Looking at the loss of a learner without letting it learn: for wrappers that move the parameters themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor

from halflife.continual.importance import trainable
from halflife.continual.method import Batch, Learner, Wrapper
from halflife.errors import InvalidInput


@contextmanager
def aside(learner: Learner) -> Iterator[None]:
    """What happens within leaves no trace in buffers of the network (running statistics) or in random generators.

    Only torch's own and the generator of the run are kept; one of a method's own goes on.
    """
    context = learner.context  # type: ignore[attr-defined]
    buffers = [(b, b.clone()) for b in learner.model.buffers()]
    state = context.generator.get_state()
    try:
        with torch.random.fork_rng(devices=[context.device] if context.device.type == "cuda" else []):
            yield
    finally:
        context.generator.set_state(state)
        with torch.no_grad():
            for b, kept in buffers:
                b.copy_(kept)


def batch_gradient(learner: Learner, batch: Batch) -> tuple[Tensor, ...]:
    """The gradient of the cross-entropy of a batch, for each trainable parameter in turn."""
    return _gradient(learner, F.cross_entropy(learner.model(batch.x), batch.y))


def host_gradient(learner: Wrapper, batch: Batch) -> tuple[Tensor, ...]:
    """The gradient of the loss on which the method within a wrapper would step now, terms of wrappers included.

    The method is asked for its step, which is stopped before anything moves: this is for methods that change nothing
    before `step` is called, as those of this package do.

    Raises
    ------
    InvalidInput: the method moves its parameters without `step`.
    """
    inner = learner.inner

    def stopped(loss: Tensor) -> NoReturn:
        raise _Asked(_gradient(learner, sum((term() for term in inner.terms), loss)))

    inner.step = stopped  # type: ignore[method-assign]
    try:
        learner.method.observe(batch)
    except _Asked as asked:
        return asked.gradient
    finally:
        del inner.step
    raise InvalidInput(f"{type(inner).__name__} does not take its steps by `step`.", "Use the loss of the batch.")


def _gradient(learner: Learner, loss: Tensor) -> tuple[Tensor, ...]:
    parameters = list(trainable(learner.model).values())
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)


class _Asked(Exception):
    """Carries a gradient out of a step that is not taken."""

    def __init__(self, gradient: tuple[Tensor, ...]) -> None:
        self.gradient = gradient
