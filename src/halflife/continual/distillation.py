"""Keeping a model's answers near those of an older one: the one home of distillation losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_targets(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """Cross-entropy between softened predictions, the mean over the batch (Hinton et al. 2015; Li & Hoiem 2016).

    Parameters
    ----------
    student, teacher: logits [B, C]; no gradient goes to the teacher.

    Its gradient vanishes where the two agree; it is the KL divergence plus the teacher's entropy.
    """
    target = (teacher.detach() / temperature).softmax(1)
    return -(target * (student / temperature).log_softmax(1)).sum(1).mean()


def sigmoid_targets(student: Tensor, teacher: Tensor) -> Tensor:
    """Binary cross-entropy with the teacher's sigmoids as targets, the mean over batch and classes (iCaRL; LwF.MC)."""
    return F.binary_cross_entropy_with_logits(student, teacher.detach().sigmoid())


def feature_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance between features [B, d], summed over them, the mean over the batch."""
    return (student - teacher.detach()).square().sum(1).mean()


def masked(logits: Tensor, classes: Tensor | list[int] | tuple[int, ...]) -> Tensor:
    """The logits with all other classes at minus infinity; a copy.

    >>> masked(torch.zeros(1, 3), [0, 2]).tolist()
    [[0.0, -inf, 0.0]]
    """
    kept = torch.as_tensor(classes, device=logits.device)
    mask = torch.full((logits.shape[1],), -torch.inf, device=logits.device, dtype=logits.dtype)
    mask[kept] = 0.0
    return logits + mask
