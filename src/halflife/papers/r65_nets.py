"""The networks that stand for Memory-R1's manager while it is trained, and how they become weights for numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from halflife.agent.manager import ACTS, Candidate
from halflife.agent.manager_features import FACT_FEATURES, PAIR_FEATURES, Floats, touchable
from halflife.agent.manager_learned import LearnedManager, Network
from halflife.llm.embedder import Embedder
from halflife.papers.r65_dialogues import Dialogue, Turn
from halflife.papers.r65_manager import Decide, State, words_of
from halflife.rl import GRPO, PPO, CategoricalPolicy, Step, grpo, one_step, ppo
from halflife.rl.policy import Collate

HIDDEN = 64

RewardOf: TypeAlias = Callable[[State, int], float]
"""The reward of an action in a state, such as a `Judge`."""


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: tensors this small lose time to a second."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class PairNet(nn.Module):
    """`halflife.agent.manager_learned.Network` for PyTorch: the same layers under the same names."""

    def __init__(self, hidden: int = HIDDEN) -> None:
        super().__init__()
        p, f = len(PAIR_FEATURES), len(FACT_FEATURES)
        self.layers = nn.ModuleDict(
            {
                "in": nn.Linear(p + f, hidden),
                "act": nn.Linear(hidden, len(ACTS)),
                "pool": nn.Linear(hidden, 2, bias=False),
                "fact": nn.Linear(f, 2),
            }
        )

    def forward(self, of_fact: Tensor, of_pairs: Tensor, there: Tensor) -> Tensor:
        """Facts [N, F], pairs [N, M, P], which pairs there are [N, M] -> logits [N, 2 + 3 M]."""
        both = torch.cat([of_pairs, of_fact[:, None].expand(-1, of_pairs.shape[1], -1)], dim=-1)
        hidden = torch.relu(self.layers["in"](both)) * there[..., None]
        free = self.layers["pool"](hidden.amax(dim=1)) + self.layers["fact"](of_fact)
        return torch.cat([free, self.layers["act"](hidden).flatten(1)], dim=1)

    def weights(self) -> dict[str, Floats]:
        """For `Network`."""
        return {name.removeprefix("layers."): value.numpy().copy() for name, value in self.state_dict().items()}


class ValueNet(nn.Module):
    """The critic of PPO: what it sees is what the policy sees."""

    def __init__(self, collate: Collate, hidden: int = HIDDEN) -> None:
        super().__init__()
        p, f = len(PAIR_FEATURES), len(FACT_FEATURES)
        self.collate = collate
        self.pairs, self.out = nn.Linear(p + f, hidden), nn.Sequential(nn.Linear(hidden + f, hidden), nn.ReLU())
        self.value = nn.Linear(hidden, 1)

    def forward(self, rows: Sequence[int]) -> Tensor:
        """Values [N]."""
        (of_fact, of_pairs, there), _ = self.collate(rows)
        both = torch.cat([of_pairs, of_fact[:, None].expand(-1, of_pairs.shape[1], -1)], dim=-1)
        pooled = (torch.relu(self.pairs(both)) * there[..., None]).amax(dim=1)
        value: Tensor = self.value(self.out(torch.cat([pooled, of_fact], dim=1)))[:, 0]
        return value


def pairs_of(states: Sequence[State]) -> Collate:
    """Rows of these states -> the input of `PairNet`, and what is legal, as for `LearnedManager`."""
    most = max(1, max(len(state.candidates) for state in states))
    pairs = torch.zeros((len(states), most, len(PAIR_FEATURES)))
    there = torch.zeros((len(states), most), dtype=torch.bool)
    for i, state in enumerate(states):
        pairs[i, : len(state.of_pairs)] = torch.from_numpy(state.of_pairs)
        there[i, : len(state.of_pairs)] = torch.from_numpy(touchable(state.of_pairs))
    legal = torch.cat([torch.ones((len(states), 2), dtype=torch.bool), there.repeat_interleave(3, dim=1)], dim=1)
    facts = torch.from_numpy(np.stack([state.of_fact for state in states]))

    def collate(rows: Sequence[int]) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        at = torch.as_tensor(list(rows))
        return (facts[at], pairs[at], there[at]), legal[at]

    return collate


def words_in(states: Sequence[State]) -> Collate:
    """Rows of these states -> the input of the network that sees words, and which of its five actions are legal."""
    legal = torch.ones(len(states), 5, dtype=torch.bool)
    legal[:, 2:] = torch.tensor([bool(state.candidates) for state in states])[:, None]
    words = torch.from_numpy(np.stack([state.words for state in states]))

    def collate(rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        at = torch.as_tensor(list(rows))
        return words[at], legal[at]

    return collate


def pair_policy(seed: int, of: Sequence[State]) -> CategoricalPolicy:
    """A fresh policy over relations. Its states are the rows of `of`."""
    torch.manual_seed(seed)
    return CategoricalPolicy(PairNet(), pairs_of(of))


def words_policy(seed: int, of: Sequence[State]) -> CategoricalPolicy:
    """A fresh policy over words, which sees and touches the nearest entry only: one hidden layer, five logits."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(len(of[0].words), 128), nn.ReLU(), nn.Linear(128, 5))
    return CategoricalPolicy(net, words_in(of))


def train_grpo(policy: CategoricalPolicy, of: Sequence[State], judge: RewardOf, how: GRPO, seed: int) -> list[Step]:
    """GRPO on single decisions."""
    return grpo(policy, range(len(of)), one_step(lambda row, action: judge(of[row], action)), how, seed=seed)


def train_ppo(policy: CategoricalPolicy, of: Sequence[State], judge: RewardOf, how: PPO, seed: int) -> list[Step]:
    """PPO on the same, with a fresh critic."""
    torch.manual_seed(seed + 1)
    critic, rollout = ValueNet(policy.collate), one_step(lambda row, action: judge(of[row], action))
    return ppo(policy, critic, range(len(of)), rollout, how, seed=seed)


def manager_of(policy: CategoricalPolicy) -> LearnedManager:
    """A trained policy over relations, as the manager that ships: numpy, greedy."""
    net = policy.net
    assert isinstance(net, PairNet)
    return LearnedManager(Network(net.weights()))


def by_words(policy: CategoricalPolicy, embedder: Embedder) -> Decide:
    """The likeliest operation of a policy over words."""

    @torch.no_grad()
    def decide(of: Dialogue, turn: Turn, candidates: Sequence[Candidate], size: int) -> int:
        logits = policy.net(torch.from_numpy(words_of(turn.fact, candidates, size, embedder)))
        return int(logits[: 5 if candidates else 2].argmax())

    return decide
