"""Learning features by comparison: what belongs together is drawn together. The one home of contrastive losses."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from halflife.errors import InvalidInput


@dataclass(frozen=True)
class SupConLoss:
    """Supervised contrastive loss: views of one class attract, all others repel (Khosla et al. 2020, eq. 2).

    For each of the `n * views` anchors `-1/|P| sum_{p in P} log(exp(z.z_p / tau) / sum_{a != self} exp(z.z_a / tau))`,
    P being the other views of the same label; the mean over all anchors times `tau / base_tau`. An anchor without any
    other view of its label counts as 0.

    Parameters
    ----------
    tau: temperature. base_tau: that at which the loss is not rescaled.

    Raises
    ------
    InvalidInput: a temperature is not positive, or the shapes do not fit.

    >>> z = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[-1.0, 0.0], [-1.0, 0.0]]])
    >>> loss = SupConLoss(tau=0.07)
    >>> bool(loss(z, torch.tensor([0, 1])) < 1e-4), round(float(loss(z, torch.tensor([0, 0]))), 2)
    (True, 19.05)
    """

    tau: float = 0.1
    base_tau: float = 0.07

    def __post_init__(self) -> None:
        if not all(value > 0 and math.isfinite(value) for value in (self.tau, self.base_tau)):
            raise InvalidInput(f"The temperatures are {self.tau} and {self.base_tau}.", "Use numbers above 0.")

    def __call__(self, z: Tensor, y: Tensor) -> Tensor:
        """The loss of projections [n, views, m], brought to unit length here, with labels [n]."""
        if z.ndim != 3 or y.shape != z.shape[:1]:
            raise InvalidInput(
                f"Projections {tuple(z.shape)} do not fit labels {tuple(y.shape)}.", "Give [n, views, m] and [n]."
            )
        flat = F.normalize(z.flatten(0, 1), dim=1)
        labels = y.repeat_interleave(z.shape[1])
        itself = torch.eye(len(flat), dtype=torch.bool, device=z.device)
        positive = (labels[:, None] == labels) & ~itself
        scores = (flat @ flat.T / self.tau).masked_fill(itself, torch.finfo(z.dtype).min)
        surprise = scores.logsumexp(1, keepdim=True) - scores
        each = torch.where(positive, surprise, 0.0).sum(1) / positive.sum(1).clamp(min=1)
        return each.mean() * (self.tau / self.base_tau)


def prototype_loss(h: Tensor, W: Tensor, y: Tensor) -> Tensor:
    """`mean_i 1 - cos(h_i, W[y_i])`: it draws each prototype to the features of its class (PRD, L_P).

    No gradient goes to the features, and prototypes of other classes are not pushed away.

    Parameters
    ----------
    h: features [n, d]. W: prototypes [C, d]. y: the row of W for each feature, int64 [n].

    >>> h = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    >>> float(prototype_loss(h, torch.eye(2), torch.tensor([0, 0])))
    0.5
    """
    return (1 - F.cosine_similarity(h.detach(), W[y], dim=1)).mean()
