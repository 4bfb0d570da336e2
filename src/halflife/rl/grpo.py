"""Group relative policy optimisation: advantages from a group of tries, and no critic.

Source: arXiv 2402.03300, section 4.1; Memory-R1 (arXiv 2508.19828) trains both of its agents with it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from halflife.errors import InvalidInput
from halflife.rl.objective import group_advantages
from halflife.rl.policy import Policy
from halflife.rl.rollout import Episode, Rollout, batches
from halflife.rl.update import Batch, Step, Surrogate, improve


@dataclass(frozen=True)
class GRPO:
    """The settings of GRPO.

    Parameters
    ----------
    updates: how often the policy is updated.
    batch: starts an update.
    group: tries a start (G).
    clip: how far the ratio of probabilities may go from 1 (epsilon).
    beta: weight of the divergence from the reference.
    entropy: weight of the entropy bonus.
    epochs, minibatches: passes over what was drawn, and the parts of a pass.
    lr: learning rate of Adam.
    max_norm: limit of the gradient's norm.
    per_step: normalise the rewards of the single steps of all tries of a start together, as Mem-alpha does; else the
        total rewards of its tries, each the advantage of all its steps.
    """

    updates: int = 200
    batch: int = 32
    group: int = 8
    clip: float = 0.2
    beta: float = 0.001
    entropy: float = 0.0
    epochs: int = 2
    minibatches: int = 1
    lr: float = 1e-3
    max_norm: float = 1.0
    per_step: bool = False

    def __post_init__(self) -> None:
        if self.group < 2:
            raise InvalidInput(f"A group of {self.group} has nothing to be compared with.", "Use 2 or more.")

    @property
    def surrogate(self) -> Surrogate:
        """What is shared with PPO."""
        return Surrogate(self.clip, self.beta, self.entropy, self.epochs, self.minibatches, self.max_norm)


def grpo(
    policy: Policy,
    starts: Sequence[Any],
    rollout: Rollout,
    how: GRPO | None = None,
    *,
    reference: Policy | None = None,
    seed: int = 0,
    each: Callable[[Step], None] | None = None,
) -> list[Step]:
    """Train a policy in place.

    Parameters
    ----------
    policy: what is trained.
    starts: where episodes begin; each update takes `how.batch` of them and tries each `how.group` times.
    rollout: plays the episodes; `one_step(reward)` for single decisions.
    how: the settings.
    reference: what the policy should stay near; a copy of the policy as it is now unless given.
    seed: of all draws here; the policy's own initialisation is the caller's.
    each: called with the log of each update.

    Errors
    ------
    InvalidInput: there are no starts.

    Returns
    -------
    The log, a `Step` an update.

    >>> _ = torch.manual_seed(0)
    >>> from halflife.rl import CategoricalPolicy, one_step
    >>> net = torch.nn.Linear(1, 2)
    >>> policy = CategoricalPolicy(net, lambda s: (torch.stack(s), torch.ones(len(s), 2) > 0))
    >>> log = grpo(policy, [torch.ones(1)], one_step(lambda s, a: float(a == 1)), GRPO(updates=60, batch=4, lr=0.05))
    >>> log[-1].reward > 0.9, policy.greedy([torch.ones(1)])
    (True, [1])
    """
    how = how or GRPO()
    if reference is None and how.beta:
        reference = copy.deepcopy(policy)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam([p for p in policy.parameters() if p.requires_grad], lr=how.lr)
    log: list[Step] = []
    for update, chosen in enumerate(batches(len(starts), how.batch, how.updates, generator)):
        tries = [starts[i] for i in chosen for _ in range(how.group)]
        episodes = rollout(policy, tries, generator)
        groups = [episodes[i : i + how.group] for i in range(0, len(episodes), how.group)]
        batch, dead = _batch(groups, how.per_step)
        # A batch that teaches nothing is still scored, so that the log goes on.
        measured = improve(policy, reference, batch, how.surrogate, optimiser, generator)
        reward = sum(episode.total for episode in episodes) / len(episodes)
        log.append(Step(update, reward, dead_groups=dead, **measured))
        if each:
            each(log[-1])
    return log


def _batch(groups: Sequence[Sequence[Episode]], per_step: bool) -> tuple[Batch, float]:
    """All steps of all tries, with the advantage of each, and the share of dead groups."""
    if per_step:
        rewards = [[r for episode in group for r in episode.rewards] for group in groups]
        advantages, dead = group_advantages(rewards)
        flat = [a for group in advantages for a in group]
    else:
        advantages, dead = group_advantages([[episode.total for episode in group] for group in groups])
        flat = [
            a
            for group, of in zip(groups, advantages, strict=True)
            for episode, a in zip(group, of, strict=True)
            for _ in episode.states
        ]
    states = [s for group in groups for episode in group for s in episode.states]
    actions = [a for group in groups for episode in group for a in episode.actions]
    if not states:
        raise InvalidInput("No episode had a step.", "A rollout takes one decision at least.")
    return Batch(states, actions, torch.tensor(flat)), dead
