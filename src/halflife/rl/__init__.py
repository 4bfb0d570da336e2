"""Reinforcement learning of small decisions from a reward alone: GRPO and PPO for any policy.

What a policy is (`policy`), how it acts in an environment (`rollout`), the two algorithms (`grpo`, `ppo`) and what
they have in common (`objective`, `update`). Nothing here knows of memories; everything needs PyTorch.

Sources: Schulman et al., "Proximal Policy Optimization Algorithms" (arXiv 1707.06347); Shao et al., "DeepSeekMath"
(arXiv 2402.03300), section 4, for GRPO.
"""

from halflife.errors import MissingExtra

try:
    import torch  # noqa: F401
except ImportError:
    raise MissingExtra("torch", "torch") from None

from halflife.rl.grpo import GRPO, grpo
from halflife.rl.objective import clipped, gae, group_advantages, kl_estimate
from halflife.rl.policy import BernoulliPolicy, CategoricalPolicy, Policy, Scores
from halflife.rl.ppo import PPO, Critic, ppo
from halflife.rl.rollout import Episode, Rollout, one_step
from halflife.rl.update import Step

__all__ = [
    "GRPO",
    "PPO",
    "BernoulliPolicy",
    "CategoricalPolicy",
    "Critic",
    "Episode",
    "Policy",
    "Rollout",
    "Scores",
    "Step",
    "clipped",
    "gae",
    "group_advantages",
    "grpo",
    "kl_estimate",
    "one_step",
    "ppo",
]
