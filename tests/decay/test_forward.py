"""Forward decay: the same weights as backward decay, without ever rescaling what is stored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife.decay import DAY, Aggregate, Exponential, ForwardDecay, State, priorities, sample
from halflife.errors import InvalidInput

ITEMS = st.lists(st.tuples(st.floats(0.0, 1e7), st.floats(-1e3, 1e3)), min_size=1, max_size=30)


@settings(max_examples=50, deadline=None)
@given(ITEMS)
def test_the_exponential_form_equals_backward_decay(items: list[tuple[float, float]]) -> None:
    times, values = np.array(items).T
    law, now = ForwardDecay(rate=0.3), 1.1e7
    backward = np.exp(-0.3 / DAY * (now - times))
    assert law.weight(times, now) == pytest.approx(backward, rel=1e-9)
    together = Aggregate(law).add(times, values)
    assert together.count(now) == pytest.approx(backward.sum(), rel=1e-9)
    assert together.sum(now) == pytest.approx((backward * values).sum(), rel=1e-9, abs=1e-9 * 1e3)


@pytest.mark.parametrize("g", ["exponential", "polynomial"])
@settings(max_examples=30, deadline=None)
@given(ITEMS, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(g: str, items: list[tuple[float, float]], random) -> None:
    law = ForwardDecay(rate=0.5, g=g)
    in_order, shuffled = Aggregate(law), Aggregate(law)
    for t, v in items:
        in_order = in_order.add(t, v)
    random.shuffle(items)
    for t, v in items:
        shuffled = shuffled.add(t, v)
    assert shuffled.count(2e7) == pytest.approx(in_order.count(2e7), rel=1e-9)
    assert shuffled.sum(2e7) == pytest.approx(in_order.sum(2e7), rel=1e-9, abs=1e-6)


def test_the_polynomial_form_weighs_by_fraction_of_the_age() -> None:
    law = ForwardDecay(rate=2.0, g="polynomial")
    for now in (10.0, 1e3, 1e9):
        assert law.weight(np.array([0.25, 0.5, 1.0]) * now, now) == pytest.approx([0.0625, 0.25, 1.0])
    late = ForwardDecay(rate=2.0, g="polynomial").weight(np.array([105.0]), 110.0, landmark=100.0)
    assert late == pytest.approx([0.25])


def test_a_century_of_stream_does_not_overflow() -> None:
    law, a = ForwardDecay(rate=10.0), Aggregate(ForwardDecay(rate=10.0))
    for year in range(100):
        a = a.add(year * 365 * DAY, float(year))
    assert law.log_g(99 * 365 * DAY) > 700  # g itself would be infinite
    assert a.count(99 * 365 * DAY) == pytest.approx(1.0)
    assert a.mean() == pytest.approx(99.0)


def test_as_a_law_it_is_the_weight_of_the_last_use() -> None:
    for law in (ForwardDecay(rate=0.2), ForwardDecay(rate=1.5, g="polynomial")):
        state = State(stability=5 * DAY)
        expected = law.weight(5 * DAY, 8 * DAY)
        assert law.retention(3 * DAY, state) == pytest.approx(expected)
        used = law.reinforce(state, 3 * DAY)
        assert law.retention(2 * DAY, used) == pytest.approx(law.weight(8 * DAY, 10 * DAY))
    exponential = Exponential().retention(3 * DAY, State(5 * DAY))
    assert ForwardDecay(rate=0.2).retention(3 * DAY, State(1.0)) == pytest.approx(exponential)


def test_what_cannot_be_aggregated_is_refused() -> None:
    a = Aggregate(ForwardDecay(), landmark=100.0)
    with pytest.raises(InvalidInput, match="Elapsed"):
        a.add(99.0)
    with pytest.raises(InvalidInput, match="finite"):
        a.add(101.0, float("nan"))
    with pytest.raises(InvalidInput, match="latest"):
        a.add(200.0).count(150.0)
    with pytest.raises(InvalidInput, match="nothing"):
        a.mean()
    assert a.count(500.0) == a.sum(500.0) == 0.0
    assert a.add(np.empty(0)) == a


def test_items_on_a_polynomial_landmark_weigh_nothing() -> None:
    a = Aggregate(ForwardDecay(rate=1.0, g="polynomial")).add(0.0, 5.0)
    assert a.count(10.0) == 0.0
    assert a.add(10.0, 3.0).mean() == 3.0


def test_samples_follow_the_decayed_weights() -> None:
    law, times = ForwardDecay(rate=1.0), np.arange(4) * DAY
    rng, drawn = np.random.default_rng(0), np.zeros(4)
    for _ in range(4000):
        drawn[sample(law, times, 1, rng)] += 1
    expected = law.weight(times, times[-1])
    assert drawn / 4000 == pytest.approx(expected / expected.sum(), abs=0.025)


def test_a_sample_does_not_depend_on_the_landmark_and_has_no_item_twice() -> None:
    law, times = ForwardDecay(rate=0.5), np.arange(50) * DAY
    early = sample(law, times, 20, np.random.default_rng(3), landmark=-1e9)
    late = sample(law, times, 20, np.random.default_rng(3))
    assert (early == late).all()
    assert len(set(early.tolist())) == 20
    assert np.isfinite(priorities(law, times, np.random.default_rng(0), landmark=-1e12)).all()
    with pytest.raises(InvalidInput, match="Cannot draw 51"):
        sample(law, times, 51, np.random.default_rng(0))
