"""FPF and k-FPF: Does Continual Learning Equally Forget All Parameters? (Zhao et al. 2023, arXiv 2304.04158).

Implemented: fine-tuning of the groups of parameters that change most with the task (norm layers and the head, unless
told otherwise) on balanced batches of a small buffer: once after any method (`FPF`), or every so many updates in place
of replay (`KFPF`), with the logits of insertion (`alpha`) if wanted; `groups` measures and chooses the groups.
Not implemented: the head split by class. No code is known; 300 steps at 0.05 are this project's choice.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from halflife.continual.buffer import Buffer
from halflife.continual.finetuning import Schedule, answering, drawing, fpf, thawed
from halflife.continual.groups import Scheme, group_parameters, names_of
from halflife.continual.method import Batch, Wrapper, fork
from halflife.errors import InvalidInput


@dataclass(eq=False)
class FPF(Wrapper):
    """Any method, and `fpf` on its buffer once it has finished (on a reservoir of its own if it has none).

    Parameters
    ----------
    groups, scheme, steps, lr, alpha, batch_size, schedule: see `fpf`. capacity: of the reservoir.
    anytime: fine-tune a copy before every evaluation but the last too; the training is not touched.

    It counts examples in `passes` (`stream`, `fpf`, `anytime`, `stored` for logits); what `Run.passes` has beyond them
    is the replay of the method. `calls` and `flops` are those of the fine-tuning.

    >>> from halflife.continual import Naive, class_incremental, load, run
    >>> results = run(class_incremental(load("digits")), FPF(Naive(lr=0.1), capacity=100), batch_size=16)
    >>> results["accuracy"][0] > 0.5
    True
    """

    groups: Sequence[str] | None = None
    scheme: Scheme = "type"
    steps: int = 300
    lr: float = 0.05
    alpha: float = 0.0
    batch_size: int = 32
    schedule: Schedule = "cosine"
    capacity: int = 200
    anytime: bool = False

    def start(self) -> None:
        """Find an unknown group now, and make a reservoir for a method without a buffer."""
        if self.groups is not None:
            names_of(group_parameters(self.model, self.scheme), self.groups)
        self.own = None if hasattr(self.inner, "buffer") else Buffer(self.capacity, generator=fork(self, "buffer"))
        self.passes = dict.fromkeys(("stream", "fpf", "anytime", "stored"), 0)
        self.updates = self.calls = self.flops = 0
        self.finished, self.last = False, -1  # whether, and after which update the network was fine-tuned
        self.fitted: nn.Module | None = None

    @property
    def buffer(self) -> Buffer:
        """What is fine-tuned on."""
        return self.inner.buffer if self.own is None else self.own  # type: ignore[attr-defined]

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        self.fitted = None
        self.updates += 1
        self.passes["stream"] += len(batch)
        if self.own is not None:
            self._keep(self.own, batch)
        return self.method.observe(batch)

    def finish(self) -> None:
        """See `Learner`."""
        self.method.finish()
        if self.last != self.updates:
            self._fit(self.model, "fpf")
        self.finished = True

    def before_evaluation(self) -> None:
        """See `Learner`."""
        if self.anytime and not self.finished:
            self.fitted = copy.deepcopy(self.model).eval()
            self._fit(self.fitted, "anytime")
        with answering(self.inner, self.fitted):
            self.method.before_evaluation()

    def logits(self, x: Tensor) -> Tensor:
        """See `Learner`."""
        with answering(self.inner, self.fitted):
            return self.method.logits(x)

    def _keep(self, buffer: Buffer, batch: Batch) -> None:
        """Offer a batch to the reservoir; with `alpha`, those that it takes get the logits that the network gives."""
        if not self.alpha:
            return buffer.add(x=batch.raw, y=batch.y)
        empty = torch.zeros(len(batch), self.context.n_classes, device=batch.x.device)
        buffer.add(x=batch.raw, y=batch.y, logits=empty, update=torch.full_like(batch.y, self.updates))
        taken = buffer.rows((buffer.all().update == self.updates).nonzero()[:, 0].cpu())
        if len(taken):
            with thawed(self.model, ()), torch.no_grad():
                buffer.update(taken.slots, logits=self.model(taken.x))
            self.passes["stored"] += len(taken)
        return None

    def _fit(self, model: nn.Module, purpose: str) -> None:
        with drawing(self.rng, fork(self, f"{purpose} {self.updates}")):
            fit = fpf(model, self.buffer, self.groups, self.steps, self.lr, alpha=self.alpha, scheme=self.scheme,
                      batch_size=self.batch_size, schedule=self.schedule, augment=self.inner.augment,
                      generator=self.rng)  # fmt: skip
        if purpose == "fpf":
            self.calls, self.last = self.calls + 1, self.updates
        self.passes[purpose] += fit.passes
        self.flops += fit.flops


@dataclass(eq=False)
class KFPF(FPF):
    """No replay: `fpf` every so many updates, whatever the task, and at the end. With `Naive`, the paper's k-FPF-SGD.

    Parameters
    ----------
    every: updates between two fine-tunings; there are ceil(updates / every), the last at the end of the training.

    >>> from halflife.continual import Naive, class_incremental, load, run
    >>> method = KFPF(Naive(lr=0.1), capacity=100, every=20, steps=50, alpha=0.1)
    >>> run(class_incremental(load("digits")), method, batch_size=16)["accuracy"][0] > 0.4
    True
    """

    steps: int = 100
    every: int = 100

    def start(self) -> None:
        """See `FPF`."""
        if self.every < 1:
            raise InvalidInput(f"Fine-tuning every {self.every} updates.", "Use 1 or more.")
        super().start()

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        logged = super().observe(batch)
        if self.updates % self.every == 0:
            self._fit(self.model, "fpf")
        return logged
