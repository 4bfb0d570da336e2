"""The formulas that GRPO and PPO are made of, on tensors alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

EPSILON = 1e-6  # beside the standard deviation of a group


def group_advantages(rewards: Sequence[Sequence[float]]) -> tuple[list[list[float]], float]:
    """The advantage of each reward in its group, A = (r - mean) / (std + 1e-6), and the share of dead groups.

    A group whose rewards are all the same teaches nothing: its advantages are 0, and it is dead. Groups may have
    different sizes. The standard deviation is the population's.

    Source: arXiv 2402.03300, section 4.1.2 (outcome supervision).

    >>> group_advantages([[1.0, 0.0], [1.0, 1.0]])
    ([[0.999998000004, -0.999998000004], [0.0, 0.0]], 0.5)
    """
    advantages, dead = [], 0
    for group in rewards:
        if len(set(group)) < 2:
            dead += 1
            advantages.append([0.0] * len(group))
        else:
            mean = sum(group) / len(group)
            std = math.sqrt(sum((reward - mean) ** 2 for reward in group) / len(group))
            advantages.append([(reward - mean) / (std + EPSILON) for reward in group])
    return advantages, dead / max(len(rewards), 1)


def gae(rewards: Sequence[float], values: Sequence[float], gamma: float = 1.0, lam: float = 1.0) -> list[float]:
    """Generalised advantage estimates of one episode that ends after its last step.

    Parameters
    ----------
    rewards, values: one of each a step; `values` are the critic's before the step.
    gamma, lam: discount, and how far to look beyond the critic; 1 and 1 give return minus value.

    Source: Schulman et al., arXiv 1506.02438, equation 16.

    >>> gae([0.0, 1.0], [0.5, 0.25])
    [0.5, 0.75]
    """
    advantages: list[float] = []
    after, later = 0.0, 0.0
    for reward, value in zip(reversed(rewards), reversed(values), strict=True):
        later = reward + gamma * after - value + gamma * lam * later
        after = value
        advantages.append(later)
    return advantages[::-1]


def clipped(log_prob: Tensor, old: Tensor, advantage: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """The clipped objective min(ratio A, clip(ratio) A) of each element, and whether the clip held it back.

    Parameters
    ----------
    log_prob, old: of what was done, now and when it was done, [N, T].
    advantage: [N, T] or [N, 1].
    clip: how far the ratio may go from 1.

    Source: arXiv 1707.06347, equation 7.

    >>> gain, held = clipped(torch.log(torch.tensor([[1.5, 0.5]])), torch.zeros(1, 2), torch.ones(1, 1), 0.2)
    >>> [round(g, 6) for g in gain[0].tolist()], held[0].tolist()
    ([1.2, 0.5], [True, False])
    """
    ratio = torch.exp(log_prob - old)
    free, bound = ratio * advantage, torch.clamp(ratio, 1 - clip, 1 + clip) * advantage
    return torch.minimum(free, bound), bound < free


def kl_estimate(log_prob: Tensor, reference: Tensor) -> Tensor:
    """An estimate of KL(policy || reference) from samples of the policy that is never negative.

    exp(d) - d - 1 with d = log reference - log policy (Schulman's "k3"; arXiv 2402.03300, equation 4).

    >>> kl_estimate(torch.zeros(1), torch.zeros(1)).tolist()
    [0.0]
    """
    difference = reference - log_prob
    return torch.exp(difference) - difference - 1


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over all elements that count (`mask` [N, T], None: all of them), so long sequences weigh more.

    >>> masked_mean(torch.tensor([[1.0, 9.0]]), torch.tensor([[True, False]])).item()
    1.0
    """
    if mask is None:
        return values.mean()
    weight = mask.to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp(min=1.0)
