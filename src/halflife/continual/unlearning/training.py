"""Ordinary training, as unlearning methods need it: on labels of their choice, and from fresh weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halflife.continual.examples import Examples
from halflife.continual.seeds import derive
from halflife.continual.transforms import Augment
from halflife.errors import Diverged, InvalidInput

Fresh: TypeAlias = Callable[[int], nn.Module]
"""Makes a network with new weights, drawn from the seed that it is given."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a network is trained.

    Parameters
    ----------
    epochs, batch_size, lr, weight_decay: as usual. optimizer: `sgd` (with `momentum`) or `adam`.
    milestones: epochs before which the learning rate is multiplied by `factor`.
    warmup: epochs over which it rises in a straight line. augment: a random change of the inputs (see `transforms`).
    """

    epochs: int = 20
    batch_size: int = 64
    lr: float = 0.1
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    milestones: tuple[int, ...] = ()
    factor: float = 0.2
    warmup: int = 0
    augment: Augment | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not self.lr > 0 or self.optimizer not in ("sgd", "adam"):
            raise InvalidInput(
                f"{self.epochs} epochs of {self.optimizer} with batches of {self.batch_size} at lr {self.lr} are no "
                "training.",
                "Use sgd or adam, and numbers above 0.",
            )

    def fit(self, model: nn.Module, examples: Examples, rng: torch.Generator, targets: Tensor | None = None) -> int:
        """Train a model in place, with cross-entropy. Returns how many examples went through it.

        Parameters
        ----------
        rng: of the order and the augmentation.
        targets: what to answer in place of the labels, one for each example: classes [n], or probabilities [n, C].

        Raises
        ------
        Diverged: the loss is no longer a finite number. InvalidInput: there are no examples.

        >>> from halflife.continual import MLP, load
        >>> data = load("digits")
        >>> model = MLP((32,)).build(data.shape, data.n_classes)
        >>> Training(epochs=2).fit(model, data.train, torch.Generator().manual_seed(0)) == 2 * len(data.train)
        True
        """
        if not len(examples):
            raise InvalidInput("There are no examples to train on.")
        targets = examples.labels if targets is None else targets
        optim = self._optimizer(model)
        mode = model.training
        model.train()
        steps = -(-len(examples) // self.batch_size)
        try:
            for epoch in range(self.epochs):
                order = torch.randperm(len(examples), generator=rng).to(examples.index.device)
                for step, at in enumerate(order.split(self.batch_size)):
                    x = examples.batch(at)[0]
                    loss = F.cross_entropy(model(x if self.augment is None else self.augment(x, rng)), targets[at])
                    optim.zero_grad()
                    loss.backward()
                    optim.param_groups[0]["lr"] = self.lr * self._share(epoch + step / steps + 1 / steps)
                    optim.step()
                if not bool(torch.isfinite(loss.detach())):
                    raise Diverged(f"The loss is {float(loss.detach())} after epoch {epoch + 1}.", "Lower the lr.")
        finally:
            model.train(mode)
            model.zero_grad(set_to_none=True)
        return self.epochs * len(examples)

    def _optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        parameters = [p for p in model.parameters() if p.requires_grad]
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)

    def _share(self, done: float) -> float:
        """Of the learning rate, after so many epochs, counting the step that is being made."""
        if done <= self.warmup:
            return done / self.warmup
        passed = sum(done > one for one in self.milestones)
        return float(self.factor**passed)


def fresh_like(model: nn.Module, seed: int) -> nn.Module:
    """A network of the same kind with new weights everywhere, at every depth.

    Resetting only the direct children of a network, as some published code does, leaves most of it trained.

    Raises
    ------
    InvalidInput: a part has weights and no `reset_parameters`.

    >>> old = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 1))
    >>> new = fresh_like(old, seed=0)
    >>> any(bool(torch.equal(a, b)) for a, b in zip(old.parameters(), new.parameters()))
    False
    """
    device = next(model.parameters()).device
    new = copy.deepcopy(model).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        for name, module in new.named_modules():
            if not any(True for _ in module.parameters(recurse=False)):
                continue
            reset = getattr(module, "reset_parameters", None)
            if not callable(reset):
                raise InvalidInput(
                    f"{name or 'The model'} ({type(module).__name__}) has weights that cannot be drawn anew.",
                    "Give fresh=, a function of a seed that makes a new network.",
                )
            reset()
    return new.to(device)
