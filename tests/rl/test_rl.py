"""GRPO and PPO: the formulas against their definitions, and that training does what it says."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # the tensors here are tiny
from torch import nn  # noqa: E402

from halflife.errors import InvalidInput  # noqa: E402
from halflife.rl import (  # noqa: E402
    GRPO,
    PPO,
    BernoulliPolicy,
    CategoricalPolicy,
    Episode,
    clipped,
    gae,
    group_advantages,
    grpo,
    kl_estimate,
    one_step,
    ppo,
)
from halflife.rl.rollout import batches  # noqa: E402

REWARDS = st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=2, max_size=8)


class Value(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Linear(width, 1)

    def forward(self, states):
        return self.net(torch.stack(list(states)))[:, 0]


def categorical(width: int, actions: int, legal=None) -> CategoricalPolicy:
    torch.manual_seed(0)
    allowed = torch.ones(actions, dtype=torch.bool) if legal is None else torch.tensor(legal)
    return CategoricalPolicy(
        nn.Linear(width, actions), lambda s: (torch.stack(list(s)), allowed.expand(len(s), actions))
    )


STATES = list(torch.eye(3))


def right(state, action) -> float:
    return float(int(state.argmax()) == action)


# -- formulas -----------------------------------------------------------------------------------------------------


@given(st.lists(REWARDS, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_advantages_are_centred_scaled_and_zero_in_a_dead_group(groups):
    advantages, dead = group_advantages(groups)
    same = [len(set(group)) == 1 for group in groups]
    assert dead == pytest.approx(sum(same) / len(groups))
    for group, of, flat in zip(groups, advantages, same, strict=True):
        if flat:
            assert of == [0.0] * len(group)
        else:
            expected = (np.array(group) - np.mean(group)) / (np.std(group) + 1e-6)
            np.testing.assert_allclose(of, expected, rtol=1e-9, atol=1e-9)


@given(REWARDS, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_advantage_estimates_are_the_discounted_sum_of_temporal_differences(rewards, gamma, lam):
    values = [math.sin(i) for i in range(len(rewards))]
    delta = [r + gamma * v2 - v for r, v, v2 in zip(rewards, values, [*values[1:], 0.0], strict=True)]
    expected = [sum((gamma * lam) ** (j - i) * delta[j] for j in range(i, len(delta))) for i in range(len(delta))]
    np.testing.assert_allclose(gae(rewards, values, gamma, lam), expected, rtol=1e-9, atol=1e-9)


def test_the_clip_only_holds_back_what_would_gain():
    ratio = torch.tensor([[0.5, 1.0, 2.0]])
    for sign, held_back in ((1.0, [False, False, True]), (-1.0, [True, False, False])):
        gain, held = clipped(ratio.log(), torch.zeros(1, 3), torch.full((1, 1), sign), 0.2)
        assert held[0].tolist() == held_back
        assert bool((gain <= sign * ratio + 1e-6).all())


def test_the_estimate_of_the_divergence_is_that_of_the_distributions():
    torch.manual_seed(0)
    p, q = torch.tensor([0.7, 0.3]), torch.tensor([0.4, 0.6])
    drawn = torch.multinomial(p, 200_000, replacement=True)
    estimate = kl_estimate(p.log()[drawn], q.log()[drawn])
    assert bool((estimate >= 0).all())
    assert float(estimate.mean()) == pytest.approx(float((p * (p / q).log()).sum()), abs=0.01)


def test_every_start_comes_once_before_any_comes_twice():
    drawn = [i for batch in batches(5, 2, 5, torch.Generator().manual_seed(3)) for i in batch]
    assert sorted(drawn[:5]) == sorted(drawn[5:]) == [0, 1, 2, 3, 4]


# -- policies -----------------------------------------------------------------------------------------------------


def test_an_illegal_choice_is_never_made_and_has_no_gradient():
    policy = categorical(3, 4, legal=[True, False, True, False])
    actions = policy.sample(STATES * 100, torch.Generator().manual_seed(0))
    assert set(actions) == {0, 2}
    scores = policy.score(STATES, [0, 2, 0])
    (scores.log_prob.sum() + scores.entropy.sum()).backward()
    gradient = policy.net.bias.grad
    assert torch.isfinite(gradient).all()
    assert gradient[[1, 3]].tolist() == [0.0, 0.0]
    assert bool((scores.entropy <= math.log(2) + 1e-6).all())


def test_bits_are_scored_as_they_are_drawn():
    policy = BernoulliPolicy(
        nn.Identity(), lambda s: (torch.stack(list(s)), torch.tensor([[True, True, False]] * len(s)))
    )
    state = torch.tensor([1.0, -2.0, 9.0])
    drawn = torch.stack(policy.sample([state] * 4000, torch.Generator().manual_seed(0))).float().mean(0)
    np.testing.assert_allclose(drawn[:2], torch.sigmoid(state)[:2], atol=0.03)
    assert drawn[2] == 0  # not a candidate
    scores = policy.score([state], [torch.tensor([True, False, False])])
    np.testing.assert_allclose(
        scores.log_prob[0, :2].exp(), [torch.sigmoid(state)[0], torch.sigmoid(-state)[1]], rtol=1e-5
    )
    p = torch.sigmoid(state)
    np.testing.assert_allclose(scores.entropy[0], -(p * p.log() + (1 - p) * (1 - p).log()), rtol=1e-3, atol=1e-6)
    assert scores.mask is not None
    assert scores.mask[0].tolist() == [True, True, False]


# -- training -----------------------------------------------------------------------------------------------------


def test_grpo_learns_and_logs_what_happened():
    policy = categorical(3, 3)
    log = grpo(policy, STATES, one_step(right), GRPO(updates=80, batch=6, lr=0.05), seed=1)
    assert policy.greedy(STATES) == [0, 1, 2]
    assert [step.update for step in log] == list(range(80))
    assert log[-1].reward > 0.9 > log[0].reward
    assert log[-1].dead_groups > log[0].dead_groups  # a good policy leaves nothing to compare
    assert log[-1].entropy < log[0].entropy
    assert log[-1].kl > log[0].kl >= 0


def test_ppo_learns_with_a_critic():
    policy = categorical(3, 3)
    log = ppo(policy, Value(3), STATES, one_step(right), PPO(updates=80, batch=48, lr=0.05, critic_lr=0.05), seed=1)
    assert policy.greedy(STATES) == [0, 1, 2]
    assert log[-1].value_loss < log[0].value_loss
    assert {step.dead_groups for step in log} == {0.0}


def test_a_reward_that_is_always_the_same_moves_nothing_but_the_divergence_does():
    policy = categorical(3, 3)
    before = policy.net.weight.detach().clone()
    log = grpo(policy, STATES, one_step(lambda s, a: 1.0), GRPO(updates=3, batch=3))
    assert torch.allclose(policy.net.weight, before, atol=1e-4)
    assert {step.dead_groups for step in log} == {1.0}


def test_a_strong_pull_to_the_reference_keeps_the_policy_there():
    free, held = categorical(3, 3), categorical(3, 3)
    how = GRPO(updates=60, batch=6, lr=0.05)
    far = grpo(free, STATES, one_step(right), how)[-1].kl
    near = grpo(held, STATES, one_step(right), GRPO(updates=60, batch=6, lr=0.05, beta=10.0))[-1].kl
    assert near < far / 2


def test_a_seed_repeats_a_run_and_another_does_not():
    runs = [grpo(categorical(3, 3), STATES, one_step(right), GRPO(updates=5), seed=seed) for seed in (4, 4, 5)]
    assert runs[0] == runs[1] != runs[2]


def test_episodes_of_several_steps_share_their_total_or_are_compared_step_by_step():
    """Two decisions: the first is paid only through the second, the second not at all on its own."""

    def rollout(policy, starts, generator):
        episodes = []
        for start in starts:
            first, second = policy.sample([start, start], generator)
            episodes.append(Episode([start, start], [first, second], [0.0, float(first == second == 1)]))
        return episodes

    policy = categorical(1, 2)
    log = grpo(policy, [torch.ones(1)], rollout, GRPO(updates=80, batch=4, lr=0.05))
    assert log[-1].reward > 0.9
    per_step = grpo(categorical(1, 2), [torch.ones(1)], rollout, GRPO(updates=2, batch=4, per_step=True))
    assert per_step[0].dead_groups < 1.0


def test_mistakes_are_named():
    with pytest.raises(InvalidInput, match="nothing to be compared with"):
        GRPO(group=1)
    with pytest.raises(InvalidInput, match="0 starts"):
        grpo(categorical(1, 2), [], one_step(lambda s, a: 0.0))
    with pytest.raises(InvalidInput, match="one of each a step"):
        Episode([1], [], [])
    with pytest.raises(InvalidInput, match="No episode had a step"):
        ppo(categorical(1, 2), Value(1), [torch.ones(1)], lambda p, s, g: [Episode([], [], [])] * len(s))


def test_without_torch_the_package_says_what_to_install():
    code = "import sys; sys.modules['torch'] = None; import halflife.rl"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtra" in run.stderr
    assert "halflife[torch]" in run.stderr
