"""HPCR: Holistic Proxy-based Contrastive Replay for Online Continual Learning (arXiv 2309.15038).

Implemented: the proxy loss of PCR (arXiv 2304.04408), HPCR's sample pairs, its cyclic gradient temperature, and its
two distillation terms, each with a flag. Not implemented: several updates on one batch (1 in the paper's runs).

Where code and paper differ: the code leaves sample pairs off, so they are off here. The code's buffer cuts off
examples but not features when it is nearly full, so that they no longer belong together; here a row is one example.
Its period of 500 steps is not reached in a short task; here it is no longer than the task, unless it is set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from halflife.continual.buffer import Rows
from halflife.continual.method import Batch
from halflife.continual.methods.er import Replay
from halflife.continual.networks import CosineHead
from halflife.continual.proxies import CyclicGradientTemperature, Pairs, ProxyContrastiveLoss, pcd_loss, scd_loss
from halflife.continual.scenario import Experience
from halflife.errors import InvalidInput

PERIOD = 500  # steps


@dataclass(eq=False, kw_only=True)
class HPCR(Replay):
    """`k(t) L_PCR + alpha L_PCD + beta L_SCD`, on two views of each new and each replayed example.

    It needs a cosine head, whose temperature is that of all losses: `model="mlp-cosine"`.

    Parameters
    ----------
    sample_pairs: whether samples are compared with samples too, see `ProxyContrastiveLoss`.
    temperature: whether the loss is scaled by `k(t)`, which begins anew with every task.
    tau_lo, tau_hi: between these is the temperature of the gradient.
    period: steps of a cycle; None: 500, or as many as the task has if that is less.
    alpha: the weight of stored logits; 0.01 for CIFAR-10, 0.1 for CIFAR-100. beta: that of stored relations. Both begin
        with the second task (where tasks are told); 0 switches a term off, and nothing is stored for it.

    >>> from halflife.continual import class_incremental, load, run
    >>> data = class_incremental(load("digits"))
    >>> run(data, HPCR(capacity=100, lr=0.03), model="mlp-cosine", epochs=4, batch_size=16)["accuracy"][0] > 0.7
    True
    """

    sample_pairs: Pairs = "off"
    temperature: bool = True
    tau_lo: float = 0.05
    tau_hi: float = 0.16
    period: int | None = None
    alpha: float = 0.1
    beta: float = 0.5

    suggested_model: ClassVar[str] = "mlp-cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha < 0 or self.beta < 0:
            raise InvalidInput(f"alpha is {self.alpha}, beta is {self.beta}.", "Use numbers >= 0.")
        self._cycle(0.09, PERIOD)  # these raise what is wrong before a run
        ProxyContrastiveLoss(sample_pairs=self.sample_pairs)

    def start(self) -> None:
        """Make the buffer."""
        super().start()
        head = getattr(self.model, "head", None)
        if not isinstance(head, CosineHead):
            raise InvalidInput(
                f"{type(self).__name__} compares features with proxies, but the head is a {type(head).__name__}.",
                'Use a cosine head: model="mlp-cosine", or MLP(head="cosine").',
            )
        self.tau = head.tau
        self.t = 0  # steps within the task
        self.steps = PERIOD  # that it has, as far as is known

    def _cycle(self, tau: float, steps: int) -> CyclicGradientTemperature:
        period = min(PERIOD, steps) if self.period is None else self.period
        return CyclicGradientTemperature(tau, self.tau_lo, self.tau_hi, period)

    def before_task(self, task: Experience) -> None:
        """The cycle of the temperature begins anew."""
        self.t = 0
        self.steps = self.context.epochs * -(-len(task.train) // self.context.batch_size)

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        logits, z = self._forward(torch.cat([batch.raw, batch.x]))
        logged = {"loss": 0.0}  # the very first batch only fills the buffer
        if len(self.buffer):
            old = self.buffer.sample(self.minibatch or len(batch))
            old_logits, old_z = self._forward(torch.cat([old.x, self.augment(old.x)]))
            y = torch.cat([old.y, old.y, batch.y, batch.y])
            proxies: Tensor = self.model.head.weight  # type: ignore[union-attr, assignment]
            loss = ProxyContrastiveLoss(self.tau, self.sample_pairs)(torch.cat([old_z, z]), proxies, y, len(old))
            if self.temperature:
                loss = loss * self._cycle(self.tau, self.steps)(self.t)
            if batch.task != 0:
                loss = loss + self._distilled(old_logits, old_z, old, y)
            logged = self.step(loss)
        self.t += 1
        stored = self._stored(logits[: len(batch)], z[: len(batch)])
        self.buffer.add(x=batch.raw, y=batch.y, **stored)
        return logged

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.model.features(x)  # type: ignore[operator]
        return self.model.head(z), z  # type: ignore[operator]

    def _stored(self, logits: Tensor, z: Tensor) -> dict[str, Tensor]:
        """What the distillation needs, of examples that were not augmented; it is not refreshed later."""
        return ({"logits": logits} if self.alpha else {}) | ({"z": z} if self.beta else {})

    def _distilled(self, logits: Tensor, z: Tensor, old: Rows, y: Tensor) -> Tensor:
        total = torch.zeros((), device=z.device)
        if self.alpha:
            total = total + self.alpha * pcd_loss(logits, torch.cat([old.logits, old.logits]), y)
        if self.beta:
            total = total + self.beta * scd_loss(z, torch.cat([old.z, old.z]), self.tau)
        return total

    def grow(self, n_classes: int) -> None:
        """Make room for more classes: proxies, a new optimiser, and stored logits, which have no value for them."""
        self.model.head.grow(n_classes)  # type: ignore[union-attr, operator]
        self.optim = self.make_optimizer()
        state = self.buffer.state_dict()
        if "logits" in state["fields"]:
            kept = state["fields"]["logits"]
            state["fields"]["logits"] = F.pad(kept, (0, n_classes - kept.shape[1]), value=torch.nan)
            self.buffer.load_state_dict(state)


@dataclass(eq=False, kw_only=True)
class PCR(HPCR):
    """Proxy-based contrastive replay (Lin et al. 2023, arXiv 2304.04408): HPCR with the proxy loss alone.

    >>> PCR().temperature, PCR().alpha, PCR().beta
    (False, 0.0, 0.0)
    """

    temperature: bool = False
    alpha: float = 0.0
    beta: float = 0.0
