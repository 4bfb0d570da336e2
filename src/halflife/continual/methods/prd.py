"""PRD: prototype-sample relation distillation (Asadi et al. 2023, arXiv 2303.14771), continual learning without replay.

Features are learned by a supervised contrastive loss, prototypes on detached features; the similarities of new samples
to old prototypes are held as they were. Paper and released code differ in the softmax of that relation, see
`relation_distillation`: the default is the paper's. Not implemented: the code's schedule of the learning rate, which
also overwrites that of the prototypes, and its longer first task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from halflife.continual.contrastive import SupConLoss, prototype_loss
from halflife.continual.distillation import relation_distillation
from halflife.continual.method import Batch, Method, fork, frozen
from halflife.continual.prototypes import PrototypeBank
from halflife.continual.scenario import Experience, Kind
from halflife.errors import InvalidInput


@dataclass(eq=False, kw_only=True)
class PRD(Method):
    """`L_SC + lambda_p L_P + lambda_d L_D` on two views of each sample; the nearest prototype by cosine is the answer.

    Parameters
    ----------
    lr, momentum, weight_decay: of the encoder and the projection. prototype_lr: of the prototypes, which have neither
        momentum nor decay; with few steps a task it has to be large, or the prototypes lag behind.
    tau: temperature of the contrastive loss. tau_d: of the distillation; of cosines about 0.1, with `classes` 1.
    lambda_p, lambda_d: weights of the prototype loss and of the distillation.
    axis: of its softmax: over the `samples` of a batch as in the paper (keep one size of batch), or over the `classes`
        of an old task as in the authors' code.
    projection: hidden and last width of the layers under the contrastive loss.

    The teacher is in training mode, as in the code: with batch normalisation it uses the statistics of the new batch.

    >>> from halflife.continual import class_incremental, load, run
    >>> from halflife.continual.transforms import Shift
    >>> settings = {"epochs": 4, "batch_size": 32, "augment": Shift(1)}
    >>> results = run(class_incremental(load("digits"), per_task=5), PRD(lr=0.02, momentum=0.9), **settings)
    >>> results["task_accuracy"][0] > 0.7
    True
    """

    prototype_lr: float = 0.5
    tau: float = 0.1
    tau_d: float = 0.1
    lambda_p: float = 2.0
    lambda_d: float = 0.3
    axis: Literal["samples", "classes"] = "samples"
    projection: tuple[int, int] = (512, 128)

    needs_boundaries: ClassVar[bool] = True
    expected: ClassVar[Mapping[Kind, str]] = {
        "class": "Prototypes of different tasks are never set against one another, so that classes of different tasks "
        "are confused. Look at the task-incremental figures, or use replay: ER, DERpp."
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        above = (self.prototype_lr, self.tau, self.tau_d)
        weights = (self.lambda_p, self.lambda_d)
        if not all(v > 0 and math.isfinite(v) for v in above) or not all(v >= 0 and math.isfinite(v) for v in weights):
            raise InvalidInput(
                f"prototype_lr, tau, tau_d {above}, lambda_p, lambda_d {weights}: they cannot train.",
                "Use the first three > 0, the weights >= 0.",
            )
        if self.axis not in ("samples", "classes"):
            raise InvalidInput(f"There is no axis {self.axis!r}.", "Use samples or classes.")

    def start(self) -> None:
        """Make the projection and an empty bank; there is no teacher in the first task."""
        width = int(self.model.head.weight.shape[1])  # type: ignore[union-attr, index]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(fork(self, "projection").initial_seed())
            hidden, last = self.projection
            layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, last))
        self.project = layers.to(self.context.device)
        self.optim.add_param_group({"params": list(self.project.parameters())})
        self.bank = PrototypeBank(width).to(self.context.device)
        self.old = PrototypeBank(width).to(self.context.device)
        self.teacher: nn.Module | None = None

    def before_task(self, task: Experience) -> None:
        """Prototypes for the classes that have none."""
        fresh = [c for c in task.classes if c not in self.bank.known]
        if fresh:
            self.bank.add_task(fresh, self.rng)

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        x = torch.cat([batch.x, self.augment(batch.raw)])
        h = self.model.features(x)  # type: ignore[operator]
        z = self.project(h).unflatten(0, (2, len(batch))).transpose(0, 1)
        rows = self.bank.rows(batch.y).repeat(2)
        loss = SupConLoss(self.tau)(z, batch.y) + self.lambda_p * prototype_loss(h, self.bank.matrix(), rows)
        if self.teacher is not None and self.lambda_d:
            loss = loss + self.lambda_d * self._relations(x, h)
        return self.step(loss)

    def _relations(self, x: Tensor, h: Tensor) -> Tensor:
        assert self.teacher is not None
        with torch.no_grad():
            before = self.teacher.train().features(x)  # type: ignore[operator]
        if self.axis == "samples":
            pairs = [(self.bank.matrix(len(self.old.weights)), self.old.matrix())]
        else:
            pairs = list(zip(self.bank.weights, self.old.weights, strict=False))
        terms = [relation_distillation(h, now, before, then, self.tau_d, self.axis) for now, then in pairs]
        return torch.stack(terms).sum()

    def update(self) -> None:
        """Move encoder and projection by the optimiser, the prototypes by plain gradient descent."""
        super().update()
        with torch.no_grad():
            for w in self.bank.parameters():
                if w.grad is not None:
                    w.sub_(w.grad, alpha=self.prototype_lr)
                    w.grad = None

    def after_task(self, task: Experience) -> None:
        """Keep encoder and prototypes as the teacher."""
        self.bank.mark()
        self.teacher = frozen(self.model)
        self.old.load_state_dict(self.bank.state_dict())

    def logits(self, x: Tensor) -> Tensor:
        """Cosines with the prototypes, [B, C]; -1 for classes without one."""
        found = torch.full((len(x), self.context.n_classes), -1.0, device=x.device)
        if self.bank.classes:
            found[:, self.bank.known] = self.bank.cosine(self.model.features(x))  # type: ignore[operator]
        return found

    @torch.no_grad()
    def predict(self, x: Tensor, task: int | None = None) -> Tensor:
        """Classes of inputs, int64 [B]: among those of one task of the bank, or among all, at any moment."""
        mode = self.model.training
        h = self.model.eval().features(x)  # type: ignore[operator]
        self.model.train(mode)
        classes = self.bank.known if task is None else self.bank.classes[task]
        return torch.tensor(classes, device=x.device)[self.bank.cosine(h, classes).argmax(1)]
