"""Proximal policy optimisation with a learned critic.

Source: arXiv 1707.06347; the first of the two algorithms of Memory-R1 (arXiv 2508.19828), and that of MEM1.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from halflife.errors import InvalidInput
from halflife.rl.objective import gae
from halflife.rl.policy import Policy
from halflife.rl.rollout import Rollout, batches
from halflife.rl.update import Batch, Step, Surrogate, improve


class Critic(Protocol):
    """Foretells the reward that is still to come."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """What is trained."""
        ...

    def __call__(self, states: Sequence[Any]) -> Tensor:
        """A value for each state, [N]."""
        ...


@dataclass(frozen=True)
class PPO:
    """The settings of PPO.

    Parameters
    ----------
    updates, batch: how often the policy is updated, and the episodes drawn for each.
    clip, beta, entropy, epochs, minibatches, lr, max_norm: as for `GRPO`.
    critic_lr: learning rate of the critic's Adam.
    gamma, lam: of the advantage estimates (`gae`).
    whiten: give the advantages of an update mean 0 and standard deviation 1.
    """

    updates: int = 200
    batch: int = 256
    clip: float = 0.2
    beta: float = 0.001
    entropy: float = 0.0
    epochs: int = 2
    minibatches: int = 1
    lr: float = 1e-3
    critic_lr: float = 1e-3
    max_norm: float = 1.0
    gamma: float = 1.0
    lam: float = 1.0
    whiten: bool = True

    @property
    def surrogate(self) -> Surrogate:
        """What is shared with GRPO."""
        return Surrogate(self.clip, self.beta, self.entropy, self.epochs, self.minibatches, self.max_norm)


def ppo(
    policy: Policy,
    critic: Critic,
    starts: Sequence[Any],
    rollout: Rollout,
    how: PPO | None = None,
    *,
    reference: Policy | None = None,
    seed: int = 0,
    each: Callable[[Step], None] | None = None,
) -> list[Step]:
    """Train a policy and its critic in place. Parameters as for `grpo`.

    Errors
    ------
    InvalidInput: there are no starts, or no episode has a step.

    >>> _ = torch.manual_seed(0)
    >>> from halflife.rl import CategoricalPolicy, one_step
    >>> class Value(nn.Linear):
    ...     def forward(self, states):
    ...         return super().forward(torch.stack(states))[:, 0]
    >>> policy = CategoricalPolicy(nn.Linear(1, 2), lambda s: (torch.stack(s), torch.ones(len(s), 2) > 0))
    >>> win = one_step(lambda s, a: float(a == 1))
    >>> log = ppo(policy, Value(1, 1), [torch.ones(1)], win, PPO(updates=60, batch=32, lr=0.05, critic_lr=0.05))
    >>> log[-1].reward > 0.9, policy.greedy([torch.ones(1)])
    (True, [1])
    """
    how = how or PPO()
    if reference is None and how.beta:
        reference = copy.deepcopy(policy)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(
        [
            {"params": [p for p in policy.parameters() if p.requires_grad], "lr": how.lr},
            {"params": list(critic.parameters()), "lr": how.critic_lr},
        ]
    )
    log: list[Step] = []
    for update, chosen in enumerate(batches(len(starts), how.batch, how.updates, generator)):
        episodes = rollout(policy, [starts[i] for i in chosen], generator)
        states = [s for episode in episodes for s in episode.states]
        actions = [a for episode in episodes for a in episode.actions]
        if not states:
            raise InvalidInput("No episode had a step.", "A rollout takes one decision at least.")
        with torch.no_grad():
            values = critic(states).cpu()
        estimates: list[float] = []
        for episode in episodes:
            here = values[len(estimates) : len(estimates) + len(episode.states)].tolist()
            estimates += gae(episode.rewards, here, how.gamma, how.lam)
        advantages = torch.tensor(estimates)
        batch = Batch(states, actions, _whitened(advantages) if how.whiten else advantages)
        loss = _value_loss(critic, states, advantages + values)
        measured = improve(policy, reference, batch, how.surrogate, optimiser, generator, loss)
        reward = sum(episode.total for episode in episodes) / len(episodes)
        log.append(Step(update, reward, dead_groups=0.0, **measured))
        if each:
            each(log[-1])
    return log


def _value_loss(critic: Critic, states: Sequence[Any], returns: Tensor) -> Callable[[Sequence[int]], Tensor]:
    def loss(rows: Sequence[int]) -> Tensor:
        value = critic([states[i] for i in rows])
        return ((value - returns[list(rows)].to(value)) ** 2).mean()

    return loss


def _whitened(advantages: Tensor) -> Tensor:
    if len(advantages) < 2:
        return advantages
    return (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
