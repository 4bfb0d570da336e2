"""A Closer Look at Rehearsal-Free Continual Learning (arXiv 2203.17269): distillation and anchors, in any sum.

Implemented: both forms of classification (sigmoid with distilled old targets, softmax over the new classes), and the
terms PredKD, FeatKD, L2 and EWC, each alone or together, over all parameters or the projections of self-attention
(`continual.terms`). L2 is active from the first task when it is anchored to a pre-trained start. Not implemented: the
paper's ImageNet-R runs with a ViT-B/16. No code of the paper is known; weights of its losses are not published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from halflife.continual.method import Batch, Method, fork, frozen
from halflife.continual.methods.regularised import EXPECTED
from halflife.continual.scenario import Experience
from halflife.continual.terms import BCE, Moment, SoftmaxCE, Term


@dataclass(eq=False, kw_only=True)
class RehearsalFree(Method):
    """`classification + sum of lam * term`, on the current task's examples alone.

    Parameters
    ----------
    classify: `BCE(distil)` or `SoftmaxCE(active)`. held: terms, such as `[L2Anchor(0.1)]`.

    >>> from halflife.continual import class_incremental, load, run
    >>> from halflife.continual.terms import L2Anchor
    >>> method = RehearsalFree(classify=BCE(), held=[L2Anchor(0.1)], lr=1e-3, optimizer="adam")
    >>> run(class_incremental(load("digits")), method, epochs=3, batch_size=16)["task_accuracy"][0] > 0.6
    True
    """

    classify: BCE | SoftmaxCE = field(default_factory=BCE)
    held: Sequence[Term] = ()

    needs_boundaries: ClassVar[bool] = True
    expected = EXPECTED

    def start(self) -> None:
        """There is no teacher in the first task."""
        self.teacher: nn.Module | None = None
        self.old: list[int] = []
        self.new: list[int] = []
        self.draws = fork(self, "fisher")
        self.distils = any(not hasattr(term, "which") for term in self.held) or getattr(self.classify, "distil", False)
        for term in self.held:
            term.begin(self.model)

    def before_task(self, task: Experience) -> None:
        """The classes of the task come into use."""
        self.old, self.new = self.old + self.new, list(task.classes)

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        z = self._features(self.model, batch.x)
        before = None if self.teacher is None else self._before(batch.x)
        moment = Moment(
            self.model, self.teacher, batch.x, z, self.model.head(z),  # type: ignore[operator]
            None if before is None else before[0], None if before is None else before[1], self.old, self.new,
        )  # fmt: skip
        loss = self.classify.loss(moment, batch.y)
        for term in self.held:
            value = term.value(moment) if term.lam else None
            if value is not None:
                loss = loss + term.lam * value
        return self.step(loss)

    def _features(self, model: nn.Module, x: Tensor) -> Tensor:
        found: Tensor = model.features(x)  # type: ignore[operator]
        return found

    @torch.no_grad()
    def _before(self, x: Tensor) -> tuple[Tensor, Tensor]:
        assert self.teacher is not None
        z = self._features(self.teacher, x)
        return z, self.teacher.head(z)  # type: ignore[operator]

    def after_task(self, task: Experience) -> None:
        """Anchors move to the parameters as they are; the network becomes its own teacher if one is asked."""
        for term in self.held:
            term.end(self.model, task.train, self.draws)
        if self.distils:
            self.teacher = frozen(self.model)

    def config(self) -> dict[str, Any]:
        """See `Learner`: the parts by their names."""
        parts = {"classify": repr(self.classify), "held": [repr(term) for term in self.held]}
        return super().config() | parts

    def state_dict(self) -> dict[str, Any]:
        """See `Learner`."""
        return super().state_dict() | {"parts": [term.state_dict() for term in self.held]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Learner`."""
        super().load_state_dict({name: value for name, value in state.items() if name != "parts"})
        for term, part in zip(self.held, state["parts"], strict=True):
            term.load_state_dict(part)
