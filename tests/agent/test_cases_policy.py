"""How cases are chosen: the network and its gradients, the soft policy, training, and the multi-step form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halflife.agent.cases_head import AdamW, Pairs, auc, clipped, gradients, initial, logits, sigmoid
from halflife.agent.cases_index import CaseTable
from halflife.agent.cases_kernel import KernelQ, Step, soft_td_target
from halflife.agent.cases_policy import NeuralCasePolicy, SimilarityPolicy, choose
from halflife.agent.cases_replay import ReplayBuffer
from halflife.errors import InvalidInput

numbers = st.floats(-5, 5, allow_nan=False)


def unit(rng, n, dim):
    vectors = rng.normal(size=(n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def lesson(n, seed=0, dim=6):
    """A case helps where its first component has the sign of the state's, if it was good itself."""
    rng = np.random.default_rng(seed)
    pairs = Pairs(unit(rng, n, dim), unit(rng, n, dim), rng.integers(2, size=n).astype(float))
    helps = (pairs.states[:, 0] * pairs.cases[:, 0] > 0) & (pairs.rewards == 1)
    return pairs, helps.astype(float)


@pytest.mark.parametrize("positive", [1.0, 3.0])
@pytest.mark.parametrize("dropped", [False, True])
def test_the_gradient_is_that_of_the_loss(positive, dropped):
    rng = np.random.default_rng(0)
    weights = {name: value.astype(np.float64) for name, value in initial(7, 5, rng).items()}
    features, targets = rng.normal(size=(11, 7)), rng.random(11)
    mask = rng.integers(2, size=(11, 5)) * 2.0 if dropped else None
    _, gradient = gradients(weights, features, targets, positive, mask)
    for name, value in weights.items():
        for place in np.ndindex(value.shape):
            ends = []
            for step in (1e-6, -2e-6):
                value[place] += step
                ends.append(gradients(weights, features, targets, positive, mask)[0])
            value[place] += 1e-6
            assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(gradient[name][place], abs=2e-6)


def test_a_loss_of_large_logits_is_finite():
    weights = {name: 1e4 * value for name, value in initial(3, 4, np.random.default_rng(0)).items()}
    loss, gradient = gradients(weights, np.ones((2, 3), np.float32) * 100, np.array([0.0, 1.0]))
    assert np.isfinite(loss)
    assert all(np.isfinite(value).all() for value in gradient.values())
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]


def test_adam_decays_matrices_and_no_biases():
    weights = {"w1": np.ones((1, 2), np.float32), "b1": np.ones(2, np.float32)}
    still = {name: np.zeros_like(value) for name, value in weights.items()}
    AdamW(weights, decay=0.5).step(still, rate=0.1)
    assert weights["w1"].tolist() == [[pytest.approx(0.95)] * 2]
    assert weights["b1"].tolist() == [1.0, 1.0]


def test_adam_takes_steps_of_the_rate_whatever_the_scale():
    for scale in (1e-3, 1e3):
        weights = {"b1": np.zeros(1, np.float32)}
        adam = AdamW(weights)
        for _ in range(3):
            adam.step({"b1": np.array([scale], np.float32)}, rate=0.1)
        assert weights["b1"][0] == pytest.approx(-0.3, rel=1e-3)


def test_a_long_gradient_is_cut_to_length():
    gradient = {"a": np.float32([3.0]), "b": np.float32([4.0])}
    assert [float(g[0]) for g in clipped(gradient, 1.0).values()] == pytest.approx([0.6, 0.8])
    assert clipped(gradient, 10.0) is gradient


@given(st.lists(st.tuples(numbers, st.booleans()), min_size=1, max_size=30))
def test_auc_is_the_share_of_pairs_in_order(rows):
    scores, labels = np.array([s for s, _ in rows]), np.array([y for _, y in rows])
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[labels] for b in scores[~labels]]
    found = auc(scores, labels)
    assert found == pytest.approx(np.mean(pairs)) if pairs else np.isnan(found)


def test_one_state_before_many_cases_is_the_same_as_pairs():
    pairs, _ = lesson(9)
    policy = NeuralCasePolicy(6, 4)
    table = CaseTable(np.arange(9), pairs.cases, pairs.rewards)
    repeated = Pairs(np.repeat(pairs.states[:1], 9, axis=0), pairs.cases, pairs.rewards)
    assert policy.score(pairs.states[0], table) == pytest.approx(policy.logits(repeated))


def test_an_unknown_reward_counts_as_one_half():
    pairs, _ = lesson(3)
    policy = NeuralCasePolicy(6, 4)
    unknown, half = (Pairs(pairs.states, pairs.cases, np.full(3, r)) for r in (np.nan, 0.5))
    assert policy.logits(unknown).tolist() == policy.logits(half).tolist()


@pytest.mark.parametrize(("features", "least"), [("compare", 0.9), ("concat", 0.65)])
def test_training_finds_what_helps(features, least):
    pairs, helps = lesson(3000)
    policy = NeuralCasePolicy(6, 32, features=features, seed=1)
    fitted = policy.fit(pairs, helps, epochs=10, rate=1e-2)
    fresh, wanted = lesson(1000, seed=9)
    assert auc(policy.logits(fresh), wanted > 0.5) > least  # concat does not see the reward
    assert fitted.auc > least
    assert fitted.weight == pytest.approx((helps == 0).sum() / helps.sum())


def test_single_steps_lower_the_loss():
    pairs, helps = lesson(256)
    policy = NeuralCasePolicy(6, 16)
    losses = [policy.update(pairs, helps, rate=1e-2) for _ in range(60)]
    assert losses[-1] < 0.8 * losses[0]


def test_training_on_one_label_has_no_auc_and_no_row_is_no_harm():
    pairs, _ = lesson(20)
    assert np.isnan(NeuralCasePolicy(6, 4).fit(pairs, np.ones(20)).auc)
    policy = NeuralCasePolicy(6, 4)
    before = policy.weights["w1"].copy()
    fitted = policy.fit(pairs.take(np.array([], dtype=np.int64)), np.ones(0))
    assert fitted.rows == 0
    assert np.array_equal(policy.weights["w1"], before)


def test_training_is_repeatable():
    pairs, helps = lesson(100)
    first, again = (NeuralCasePolicy(6, 8, seed=3) for _ in range(2))
    assert first.fit(pairs, helps) == again.fit(pairs, helps)
    assert np.array_equal(first.weights["w1"], again.weights["w1"])


def test_similarity_prefers_the_nearest():
    rng = np.random.default_rng(0)
    table = CaseTable(np.arange(50), unit(rng, 50, 8), np.ones(50))
    policy = SimilarityPolicy()
    best = choose(policy.score(table.vectors[7], table), 3)
    assert best[0] == 7
    assert policy.shown(np.array([-0.5, 0.5])).tolist() == [0.0, 0.5]


@given(st.lists(numbers, max_size=20), st.integers(1, 25))
def test_the_best_are_in_order_and_none_better_is_left_out(scores, k):
    scores = np.array(scores)
    rows = choose(scores, k)
    assert scores[rows].tolist() == sorted(scores.tolist(), reverse=True)[:k]


def test_the_soft_policy_draws_by_the_softmax():
    scores, alpha = np.array([0.0, 0.5, 1.0]), 0.5
    rng = np.random.default_rng(0)
    draws = [choose(scores, 1, "sample", alpha, rng)[0] for _ in range(6000)]
    wanted = np.exp(scores / alpha) / np.exp(scores / alpha).sum()
    assert np.bincount(draws, minlength=3) / 6000 == pytest.approx(wanted, abs=0.03)


def test_wrong_settings_are_refused():
    with pytest.raises(InvalidInput):
        choose(np.ones(3), 1, "best")
    with pytest.raises(InvalidInput):
        NeuralCasePolicy(3, 4, weights=initial(4, 4, np.random.default_rng(0)))
    with pytest.raises(InvalidInput):
        ReplayBuffer(0)
    with pytest.raises(InvalidInput):
        KernelQ(2, scale=0)


# -- the multi-step form ------------------------------------------------------------------------------------------


@given(st.lists(numbers, min_size=1, max_size=8), st.floats(0.05, 3), st.floats(0, 1))
def test_a_soft_target_lies_between_the_best_value_and_that_plus_the_entropy(scores, alpha, gamma):
    target = soft_td_target(1.0, scores, gamma, alpha)
    low = 1.0 + gamma * max(scores)
    assert low - 1e-9 <= target <= low + gamma * alpha * np.log(len(scores)) + 1e-9


def test_a_target_without_future_is_the_reward():
    assert soft_td_target(0.3, [], 0.9, 1.0) == 0.3
    assert soft_td_target(0.3, [5.0], 0.0, 1.0) == 0.3
    with pytest.raises(InvalidInput):
        soft_td_target(0.0, [], 0.9, 0.0)


def test_the_kernel_learns_which_component_matters():
    rng = np.random.default_rng(0)
    states = rng.random((60, 2))
    q = KernelQ(2, scale=2.0)
    steps = [Step(s, "a", float(s[0] > 0.5)) for s in states]
    for step in steps:
        q.add(step.state, step.case, step.reward)
    errors = q.fit(steps, 0.0, 1.0, rate=2.0, epochs=30)
    assert errors[-1] < 0.5 * errors[0]
    assert q.theta[0] > 4 * q.theta[1]


def test_the_kernel_follows_its_gradient():
    rng = np.random.default_rng(1)
    q = KernelQ(3)
    for state in rng.random((5, 3)):
        q.add(state, "a", float(rng.random()))
    state = rng.random(3)
    value, gradient = q._value(state, "a", q.theta)
    for d in range(3):
        ends = [q._value(state, "a", q.theta * np.exp(step * np.eye(3)[d]))[0] for step in (1e-6, -1e-6)]
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(gradient[d], abs=1e-6)
    assert q.value(state, "a") == value


def test_value_flows_back_from_a_later_step():
    q = KernelQ(1, scale=10.0)
    chain = [Step([0.0], "a", 0.0, [1.0]), Step([1.0], "b", 1.0)]
    for _ in range(3):
        for step in reversed(chain):
            following = [] if step.following is None else q.scores(step.following, ["a", "b"])
            q.add(step.state, step.case, soft_td_target(step.reward, following, 0.9, 0.01))
    assert q.value([0.0], "a") == pytest.approx(0.9, abs=0.05)
    assert q.fit(chain, 0.9, 0.01, epochs=2)
    q.drop("b")
    assert q.value([1.0], "b") == 0.0
    with pytest.raises(InvalidInput):
        q.value([0.0, 0.0], "a")


# -- replay -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 5), st.lists(st.integers(0, 9), max_size=20))
def test_the_buffer_keeps_the_latest_rows(capacity, cases):
    buffer = ReplayBuffer(capacity)
    for case in cases:
        buffer.add(0, case, 1.0)
    latest = cases[-capacity:]
    _, drawn, _ = buffer.sample(200, np.random.default_rng(0))
    assert len(buffer) == len(latest)
    assert set(drawn.tolist()) == set(latest)
    assert buffer.drop([3]) == latest.count(3)
    buffer.add(0, 99, 1.0)
    assert len(buffer) == min(len([c for c in latest if c != 3]) + 1, capacity)


def test_logits_have_one_number_a_row():
    assert logits(initial(4, 3, np.random.default_rng(0)), np.ones((5, 4), np.float32)).shape == (5,)
