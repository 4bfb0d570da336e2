"""The part of an update that GRPO and PPO share: the clipped objective on a flat batch, and what is logged of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from halflife.rl.objective import clipped, kl_estimate, masked_mean
from halflife.rl.policy import Policy


@dataclass(frozen=True)
class Step:
    """What one update showed.

    Parameters
    ----------
    update: its number, from 0.
    reward: mean total reward of the episodes drawn.
    kl: estimate of the divergence from the reference (from where training began, unless another is given).
    entropy: of the policy where it chose, in nats.
    clip_fraction: share of the parts of actions that the clip held back.
    dead_groups: share of the groups with one reward for all, which teach nothing; 0 for PPO, which has no groups.
    grad_norm: before it was cut to its limit.
    value_loss: mean squared error of the critic; 0 without one.
    """

    update: int
    reward: float
    kl: float
    entropy: float
    clip_fraction: float
    dead_groups: float
    grad_norm: float
    value_loss: float = 0.0


@dataclass(frozen=True)
class Batch:
    """Samples of one update: states, actions, and the advantage of each ([N])."""

    states: Sequence[Any]
    actions: Sequence[Any]
    advantages: Tensor


@dataclass(frozen=True)
class Surrogate:
    """How far a policy may go in one update.

    Parameters
    ----------
    clip: of the ratio. beta: weight of the divergence from the reference. entropy: weight of the entropy bonus.
    epochs: passes over the batch. minibatches: parts of it, a step each. max_norm: limit of the gradient.
    """

    clip: float
    beta: float
    entropy: float
    epochs: int
    minibatches: int
    max_norm: float


@torch.no_grad()
def log_probs_of(policy: Policy, batch: Batch) -> Tensor:
    """The log-probabilities of a batch without gradients, [N, T]."""
    return policy.score(batch.states, batch.actions).log_prob


def improve(
    policy: Policy,
    reference: Policy | None,
    batch: Batch,
    how: Surrogate,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    value_loss: Callable[[Sequence[int]], Tensor] | None = None,
) -> dict[str, float]:
    """Passes over a batch; returns the means of what is logged. `value_loss` is asked for rows and is added."""
    old = log_probs_of(policy, batch)
    far = old if reference is None else log_probs_of(reference, batch)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    logged: list[dict[str, float]] = []
    count = len(batch.states)
    for _ in range(how.epochs):
        order = torch.randperm(count, generator=generator)
        for rows in order.tensor_split(min(how.minibatches, count)):
            picked = rows.tolist()
            scores = policy.score([batch.states[i] for i in picked], [batch.actions[i] for i in picked])
            width = scores.log_prob.shape[1]  # padding beyond it belongs to other rows
            at = rows.to(old.device)
            advantage = batch.advantages[rows].to(scores.log_prob)[:, None]
            gain, held = clipped(scores.log_prob, old[at, :width], advantage, how.clip)
            kl = masked_mean(kl_estimate(scores.log_prob, far[at, :width]), scores.mask)
            entropy = masked_mean(scores.entropy, scores.mask)
            loss = -masked_mean(gain, scores.mask) + how.beta * kl - how.entropy * entropy
            critic = value_loss(picked) if value_loss else torch.zeros(())
            optimiser.zero_grad()
            (loss + critic.to(loss.device)).backward()
            norm = torch.nn.utils.clip_grad_norm_(parameters, how.max_norm)
            optimiser.step()
            logged.append(
                {
                    "kl": float(kl.detach()),
                    "entropy": float(entropy.detach()),
                    "clip_fraction": float(masked_mean(held.to(torch.float32), scores.mask)),
                    "grad_norm": float(norm),
                    "value_loss": float(critic.detach()),
                }
            )
    return {name: sum(one[name] for one in logged) / len(logged) for name in logged[0]}
