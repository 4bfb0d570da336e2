"""Activation: exact, approximate, and with spacing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife.decay import DAY, ActR, Pavlik, State, exact_activation, hybrid_activation
from halflife.errors import InvalidInput


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1.0, 1e8), min_size=1, max_size=12), st.floats(0.1, 1.5))
def test_the_hybrid_is_exact_when_it_keeps_every_use(times: list[float], decay: float) -> None:
    ages = np.sort(times)
    assert hybrid_activation(ages, len(ages), ages[-1], decay) == pytest.approx(exact_activation(ages, decay))


@pytest.mark.parametrize("decay", [0.5, 0.8, 1.0])
def test_the_law_is_the_hybrid_with_one_age(decay: float) -> None:
    law = ActR(decay=decay)
    state = State(1.0, uses=np.array([1.0, 2.0, 9.0]), span=np.array([0.0, 50.0, 1e6]))
    expected = [hybrid_activation([300.0], n, 300.0 + s, decay) for n, s in ((1, 0), (2, 50.0), (9, 1e6))]
    assert law.activation(300.0, state) == pytest.approx(expected)


def test_the_hybrid_closes_the_standard_integral() -> None:
    """Petrov's equation 2 as printed, away from the cancellation that the code avoids."""
    ages, d, n = np.array([10.0, 70.0]), 0.5, 12
    oldest = 9000.0
    tail = (n - 2) * (oldest ** (1 - d) - ages[-1] ** (1 - d)) / ((1 - d) * (oldest - ages[-1]))
    assert hybrid_activation(ages, n, oldest, d) == pytest.approx(np.log((ages**-d).sum() + tail))


@pytest.mark.parametrize(("decay", "uses", "bound"), [(0.5, 20, 0.22), (0.5, 100, 0.08), (0.8, 20, 0.2)])
def test_the_error_of_one_age_is_small_at_random_times(decay: float, uses: int, bound: float) -> None:
    rng, errors = np.random.default_rng(0), []
    for _ in range(300):
        ages = np.sort(rng.uniform(1.0, 1e6, uses))
        errors.append(hybrid_activation(ages[:1], uses, ages[-1], decay) - exact_activation(ages, decay))
    assert np.abs(errors).mean() < bound


def test_a_tiny_span_counts_every_use_at_once() -> None:
    law = ActR()
    together = law.activation(1000.0, State(1.0, uses=3.0, span=1e-7))
    assert together == pytest.approx(np.log(3) - 0.5 * np.log(1000.0))
    assert law.activation(1000.0, State(1.0, uses=3.0, span=0.0)) == pytest.approx(together)


def test_wider_spacing_slightly_lowers_plain_activation() -> None:
    law = ActR()
    recall = [law.retention(30 * DAY, law.reinforce(law.initial(), lag * DAY)) for lag in (0.01, 1.0, 10.0)]
    assert recall[0] > recall[1] > recall[2]


def test_pavlik_is_plain_actr_without_its_scale() -> None:
    uses = np.array([0.0, 5.0, 900.0]) * DAY
    model = Pavlik(scale=0.0, intercept=0.4, clock=1.0)
    assert model.activation(uses, 1000 * DAY) == pytest.approx(exact_activation(1000 * DAY - uses, 0.4))


def test_pavlik_recomputed_by_hand() -> None:
    model, uses, at = Pavlik(), np.array([0.0, 2 * DAY, 5 * DAY]), 9 * DAY
    decays: list[float] = []
    for j, t in enumerate(uses):
        before = sum(max((t - u) * 0.025, 1.0) ** -d for u, d in zip(uses[:j], decays, strict=True))
        decays.append(0.217 * before + 0.1768)
    total = sum(((at - u) * 0.025) ** -d for u, d in zip(uses, decays, strict=True))
    assert model.activation(uses, at) == pytest.approx(np.log(total))
    assert model.recall(uses, at) == pytest.approx(1 / (1 + np.exp((-0.7042 - np.log(total)) / 0.2549)))
    many = model.activation(np.stack([uses, uses]), np.array([at, at]))
    assert many == pytest.approx([np.log(total)] * 2)


def test_pavlik_refuses_uses_out_of_order() -> None:
    for uses, at in ((np.array([2.0, 1.0]), 3.0), (np.array([1.0, 4.0]), 3.0), (np.array([]), 3.0)):
        with pytest.raises(InvalidInput, match="ascend"):
            Pavlik().activation(uses, at)
