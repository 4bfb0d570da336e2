"""NAPA-VQ: Neighborhood Aware Prototype Augmentation with Vector Quantization (Malepathirana et al. 2023, 2308.09297).

No example is kept. Implemented: distance-based cross-entropy with code vectors, the neighbour graph and its loss, old
classes as mixtures of neighbouring prototypes, distillation of features, rotations as classes, the schedules. Not
implemented: CBAM attention. As in the code, pseudo-features update the graph too, and a partner may be a new class, by
the old network. Unlike it, prototypes are means over all examples, not augmented: it leaves out the last batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halflife.continual.method import Batch, Method, fork, frozen
from halflife.continual.neural_gas import CodebookClassifier, Edge, NeuralGasGraph, neighborhood_loss
from halflife.continual.prototypes import PrototypeMemory
from halflife.continual.scenario import Experience
from halflife.errors import InvalidInput


@dataclass(eq=False, kw_only=True)
class NAPAVQ(Method):
    """`CE + L_NA + L_NA(p) + pseudo_weight CE(p) + kd_weight |F - F_old|`, with pseudo-features p of old classes.

    The defaults are those of CIFAR-100 (512 features); few features need a smaller `code_lr`. Distillation is a norm
    over the whole batch: its strength grows with the root of batch size times width.

    Parameters
    ----------
    neighbour_loss: whether `L_NA` is used. rotations: each picture turned four times, each turn a class of its own.
    pseudo: mixed with a neighbour's prototype (`neighbour`), with noise as in PASS (`gaussian`), or `none`.
    kd_weight: 0 turns distillation off. pseudo_weight: of the pseudo-features.
    code_lr: of the code vectors (SGD). spread: they start as `N(0, spread^2)`. temperature: of the cross-entropy.
    later: both learning rates are multiplied by it after the first task.
    lr_every, code_every: epochs after which `lr` and `code_lr` fall to a tenth. k, eps: see `NeuralGasGraph`.

    >>> from halflife.continual import class_incremental, load, run
    >>> method = NAPAVQ(code_lr=2.0, k=5, lr=0.003)
    >>> run(class_incremental(load("digits").take(60), first=4), method, epochs=3)["accuracy"][0] > 0.5
    True
    """

    neighbour_loss: bool = True
    pseudo: Literal["neighbour", "gaussian", "none"] = "neighbour"
    rotations: bool = True
    kd_weight: float = 10.0
    pseudo_weight: float = 10.0
    code_lr: float = 5.0
    spread: float = 1.0
    temperature: float = 0.1
    later: float = 0.1
    lr_every: int = 45
    code_every: int = 20
    k: int = 15
    eps: float = 0.9
    lr: float = 1e-3
    weight_decay: float = 2e-4
    optimizer: Literal["sgd", "adam"] = "adam"
    needs_boundaries: ClassVar[bool] = True

    def start(self) -> None:
        """No class has a code vector yet."""
        if self.pseudo not in ("neighbour", "gaussian", "none"):
            raise InvalidInput(f"There are no pseudo-features {self.pseudo!r}.", "Use neighbour, gaussian or none.")
        self.turns, classes = 4 if self.rotations else 1, self.context.n_classes
        self.codes = CodebookClassifier(self.net.head.weight.shape[1]).to(self.context.device)  # type: ignore
        self.codes_rng = fork(self, "codes")
        self.graph = NeuralGasGraph(0, self.k, self.eps)
        self.prototypes = PrototypeMemory(self.turns * classes)
        self.first_row = torch.full((classes,), -1, device=self.context.device)  # of a class; its turns follow
        self.teacher: nn.Module | None = None
        self.old: list[int] = []
        self.radius, self.steps, self.per_epoch = 0.0, 0, 1

    def before_task(self, task: Experience) -> None:
        """New classes get code vectors, nodes and, from the old network, prototypes; the old vectors are fixed."""
        start, count = len(self.codes), len(task.classes) * self.turns
        self.codes.add_classes(count, self.codes_rng, self.spread)
        self.graph.grow(count)
        self.first_row[list(task.classes)] = torch.arange(start, start + count, self.turns).to(self.first_row)
        self.steps, self.per_epoch = 0, -(-len(task.train) // self.context.batch_size)
        if self.old:
            self.optim = self.make_optimizer()
            self._remember(task)

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        x, rows = self._turned(batch.x, batch.y)
        z = self.net.features(x)  # type: ignore[operator]
        loss = self._losses(z, rows)
        if self.teacher is not None and self.kd_weight:
            loss = loss + self.kd_weight * torch.dist(z, self.teacher.features(x))  # type: ignore[operator]
        if self.old and self.pseudo != "none":
            draw = self.rng, self.first_row[self.old]
            if self.pseudo == "neighbour":
                p, rows = self.prototypes.sample_augmented(len(batch), self.graph, *draw)
            else:
                p, rows = self.prototypes.sample_gaussian(len(batch), self.radius, *draw)
            loss = loss + self._losses(p, rows, self.pseudo_weight)
        return self.step(loss)

    def _losses(self, z: Tensor, rows: Tensor, weight: float = 1.0) -> Tensor:
        logits = self.codes.logits(z)
        edges = self.graph.update(-logits.detach())
        loss = weight * F.cross_entropy(logits / self.temperature, rows)
        return loss + neighborhood_loss(z, rows, self.codes.vectors, edges) if self.neighbour_loss else loss

    def update(self) -> None:
        """Adam moves the network, plain descent the code vectors of the task."""
        factor, epoch = self.later if self.old else 1.0, self.steps // self.per_epoch
        self.optim.param_groups[0]["lr"] = self.lr * factor * 0.1 ** (epoch // self.lr_every)
        super().update()
        self.codes.descend(self.code_lr * factor * 0.1 ** (epoch // self.code_every))
        self.steps += 1

    def after_task(self, task: Experience) -> None:
        """Prototypes by the network as it is now; it becomes the teacher."""
        self._remember(task)
        self.radius = self.radius or self.prototypes.radius()
        self.old, self.teacher = list(task.seen), frozen(self.net)

    @torch.no_grad()
    def _remember(self, task: Experience) -> None:
        self.prototypes.drop(self.first_row[list(task.classes)].cpu()[:, None] + torch.arange(self.turns))
        self.net.eval()
        for x, y in task.train.batches(512):
            turned, rows = self._turned(x, y)
            self.prototypes.add(self.net.features(turned), rows)  # type: ignore[operator]
        self.net.train()

    def _turned(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if self.rotations and (x.ndim != 4 or x.shape[2] != x.shape[3]):
            raise InvalidInput(f"Inputs of shape {tuple(x.shape[1:])} cannot be turned.", "Use rotations=False.")
        first, turns = self.first_row[y], range(self.turns)
        return torch.cat([x.rot90(q, (2, 3)) if q else x for q in turns]), torch.cat([first + q for q in turns])

    def confusable(self) -> list[Edge]:
        """Learned classes that are neighbours (as they are seen, not turned), the strongest first."""
        return self.graph.edge_list(self.first_row[self.old].tolist(), self.old)

    def logits(self, x: Tensor) -> Tensor:
        """The cosine to the code vector of each class, unturned, [B, C]; before the first task the network's own."""
        if not len(self.codes):
            return super().logits(x)
        cosines = self.codes.cosines(self.net.features(x))[:, self.first_row.clamp(min=0)]  # type: ignore[operator]
        return cosines.masked_fill(self.first_row < 0, -torch.inf)
