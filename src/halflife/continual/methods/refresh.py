"""Refresh learning: unlearn a little on the batch, then learn it (Wang et al., ICLR 2024, arXiv 2403.13249).

Implemented: the paper's step (`langevin`) and that of the released code (`relative`), around any method. The paper
ascends the whole loss before each step of the method; the code ascends the cross-entropy of the batch alone, after it.
`loss` and `when` choose. Not implemented: Fisher matrices that are not diagonal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from halflife.continual.ascent import aside, batch_gradient, host_gradient
from halflife.continual.importance import ByName, importance, trainable
from halflife.continual.method import Batch, Wrapper, fork
from halflife.continual.scenario import Experience
from halflife.errors import Diverged, InvalidInput

# damping, fisher, noise
DEFAULTS = {"relative": (1.0, 1e-3, 1e-3), "langevin": (1e-3, 1.0, 1.0)}


@dataclass(eq=False)
class Refresh(Wrapper):
    """Before each step of a method, `steps` steps up a loss. With P = 1 / (damping + fisher * F), per parameter:

    `relative`: `theta += delta * P * (|theta| g / |g| + noise * N(0, 1))`, norms by tensor (the released code);
    `langevin`: `theta += delta * P * g + noise * sqrt(2 delta P) * N(0, 1)` (the paper).

    Parameters
    ----------
    method: what learns. delta: length of a step; 0 is the method alone. steps: J. mode: see above.
    damping, fisher, noise: see above; None: 1, 0.001, 0.001 for `relative`, and 0.001, 1, 1 for `langevin`, whose
        noise outgrows the rest unless delta is far smaller: the paper's inverse of F has no damping.
    tau: `F <- tau * F + F_new` at the end of a task. samples: examples for F_new; None takes all.
    loss: g is of the cross-entropy of the `batch`, or of the whole loss of the `host`.
    when: `before` the method's step, or `after` it, as in the released code.

    F weights squared gradients by the probability of the true label. Before a first task has ended, F is zero:
    `relative` steps without it, `langevin` waits. A tensor moves by noise alone in `relative` if its norm
    is zero, or its gradient is rounding: where a shadow network would not move for an SGD step with lr 0.01.
    The steps leave buffers of the network (running statistics), its random draws and the method's as they were.

    >>> from halflife.continual import ER, class_incremental, load, run
    >>> method = Refresh(ER(capacity=100, lr=0.1), delta=1e-4)
    >>> run(class_incremental(load("digits")), method, epochs=2, batch_size=16)["accuracy"][0] > 0.5
    True
    """

    delta: float = 1e-5
    steps: int = 1
    mode: Literal["relative", "langevin"] = "relative"
    damping: float | None = None
    fisher: float | None = None
    noise: float | None = None
    tau: float = 1e-5
    samples: int | None = 1000
    loss: Literal["batch", "host"] = "batch"
    when: Literal["before", "after"] = "before"

    def __post_init__(self) -> None:
        if not (self.delta >= 0 and math.isfinite(self.delta)) or self.steps < 1:
            raise InvalidInput(f"delta {self.delta} and {self.steps} steps cannot be made.", "Use delta >= 0.")
        if self.mode not in DEFAULTS or self.loss not in ("batch", "host") or self.when not in ("before", "after"):
            raise InvalidInput(
                f"mode {self.mode!r}, loss {self.loss!r}, when {self.when!r}: one of them there is not.",
                "mode: relative, langevin; loss: batch, host; when: before, after.",
            )

    def start(self) -> None:
        """No Fisher yet."""
        given = (self.damping, self.fisher, self.noise)
        self.scales = tuple(b if a is None else a for a, b in zip(given, DEFAULTS[self.mode], strict=True))
        if min(self.scales) < 0 or not self.scales[0] + self.scales[1]:
            raise InvalidInput(f"damping, fisher and noise {self.scales} are no scales.", "Use numbers >= 0.")
        if self.mode == "langevin" and not (self.context.boundaries and self.scales[1]):
            raise InvalidInput(
                "The mode langevin needs a Fisher: fisher > 0, and a stream that tells where a task ends.",
                "Use mode='relative', which goes without.",
            )
        self.held: ByName = {}
        self.examples = fork(self, "fisher")
        self.draws = torch.Generator(self.context.device).manual_seed(fork(self, "refresh").initial_seed())

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        if self.when == "before":
            self.unlearn(batch)
        logged = self.method.observe(batch)
        if self.when == "after":
            self.unlearn(batch)
        return logged

    def after_task(self, task: Experience) -> None:
        """Estimate the Fisher of the task."""
        self.method.after_task(task)
        if self.delta and self.scales[1]:
            examples = task.train.shuffled(self.examples, self.samples)
            new = importance(self.model, examples.batches(32), confident, per_sample=True)
            old = {name: self._padded(name, f) for name, f in new.items()}
            self.held = {name: self.tau * old[name] + f for name, f in new.items()}

    @torch.no_grad()
    def unlearn(self, batch: Batch) -> None:
        """Move the parameters up."""
        if not self.delta or (self.mode == "langevin" and not self.held):
            return
        names = trainable(self.model)
        for _ in range(self.steps):
            with torch.enable_grad(), aside(self):
                found = self.gradient(batch)
            moves = [self.move(name, p, g) for (name, p), g in zip(names.items(), found, strict=True)]
            if not bool(torch.isfinite(torch.stack([move.sum() for move in moves])).all()):
                raise Diverged("The step of Refresh is not finite.", "Lower delta, or raise damping.")
            for p, move in zip(names.values(), moves, strict=True):
                p.add_(move)

    def gradient(self, batch: Batch) -> tuple[Tensor, ...]:
        """Of the loss that is ascended, for each trainable parameter."""
        return batch_gradient(self, batch) if self.loss == "batch" else host_gradient(self, batch)

    def move(self, name: str, p: Tensor, g: Tensor) -> Tensor:
        """What is added to a parameter whose gradient is g."""
        damping, fisher, noise = self.scales
        P = 1 / (damping + fisher * self._padded(name, p)) if self.held else torch.full_like(p, 1 / damping)
        z = torch.randn(p.shape, generator=self.draws, device=p.device, dtype=p.dtype)
        if self.mode == "langevin":
            return self.delta * P * g + noise * (2 * self.delta * P).sqrt() * z
        length = g.norm()
        resolved = length > 100 * torch.finfo(p.dtype).eps * p.norm()  # or else it is rounding, such as under a norm
        up = torch.where(resolved, p.norm() / length * g, torch.zeros_like(g))
        return self.delta * P * (up + noise * z)

    def _padded(self, name: str, like: Tensor) -> Tensor:
        """The Fisher of a parameter, zero for rows that came later."""
        full = torch.zeros_like(like)
        if name in self.held:
            full[tuple(slice(n) for n in self.held[name].shape)] = self.held[name]
        return full


def confident(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of one example, scaled so that its squared gradient is weighted by the probability of the label."""
    loss = F.cross_entropy(logits, y)
    return (-loss / 2).exp().detach() * loss
