"""The measures, against hand-made matrices and their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halflife.continual import metrics as m
from halflife.errors import InvalidInput

R = np.array([[0.1, 0.2, 0.3], [0.9, 0.3, 0.1], [0.5, 0.8, 0.2], [0.7, 0.6, 1.0]])
matrices = st.integers(2, 6).flatmap(
    lambda n: st.lists(st.lists(st.floats(0, 1), min_size=n, max_size=n), min_size=n + 1, max_size=n + 1)
)


def test_by_hand():
    found = m.matrix_metrics(R)
    assert found["accuracy"] == pytest.approx((0.7 + 0.6 + 1.0) / 3)
    assert found["average_incremental_accuracy"] == pytest.approx((0.9 + 0.65 + 0.7666666) / 3)
    assert found["learning_accuracy"] == pytest.approx(0.9)
    assert found["backward_transfer"] == pytest.approx((0.7 - 0.9 + 0.6 - 0.8) / 2)
    assert found["forgetting"] == pytest.approx((0.9 - 0.7 + 0.8 - 0.6) / 2)
    assert found["forward_transfer"] == pytest.approx((0.3 - 0.2 + 0.2 - 0.3) / 2)
    assert m.intransigence(R, np.where(R > 0, 1.0, 0)) == pytest.approx(0.1)
    assert {lag: list(v) for lag, v in m.by_lag(R).items()} == {0: [0.9, 0.8, 1.0], 1: [0.5, 0.6], 2: [0.7]}


@given(matrices)
def test_laws(rows):
    found = m.matrix_metrics(rows)
    assert found["forgetting"] >= -found["backward_transfer"] - 1e-9  # the best is at least the first
    assert 0 <= found["average_incremental_accuracy"] <= 1
    assert -1 <= found["forward_transfer"] <= 1


def test_forgetting_takes_the_maximum_before_the_last_row():
    assert m.forgetting([[0, 0], [0.5, 0], [0.9, 1.0]]) == pytest.approx(-0.4)


def test_one_task_has_nothing_to_forget():
    found = m.matrix_metrics([[0.1], [0.9]])
    assert found["accuracy"] == 0.9
    assert np.isnan(found["forgetting"])


def test_a_single_test_of_all_gives_accuracies_alone():
    found = m.matrix_metrics([[0.1], [0.5], [0.7]])
    assert found == {"accuracy": 0.7, "mean_accuracy": pytest.approx(0.6)}
    with pytest.raises(InvalidInput, match="one row before"):
        m.forgetting([[0.1], [0.5], [0.7]])


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8))
def test_an_interval_holds_its_mean(values):
    found = m.interval(values)
    assert found.low <= found.mean + 1e-12
    assert found.mean <= found.high + 1e-12
    wide = m.interval(values, 0.99)
    assert wide.low <= found.low + 1e-12


def test_intervals_are_students():
    found = m.interval([1.0, 2.0, 3.0, 4.0])
    assert found.error == pytest.approx(0.6454972)
    assert found.high - found.mean == pytest.approx(3.182446 * 0.6454972, rel=1e-5)
    assert m.interval([0.5]).low == -np.inf
    with pytest.raises(InvalidInput, match="same seeds"):
        m.paired([1.0], [1.0, 2.0])
    with pytest.raises(InvalidInput, match="no values"):
        m.interval([])
