"""SCoLe's reproduction: it runs end to end, the control sees as much as the arms, and claims say what was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from halflife.continual import Dataset  # noqa: E402
from halflife.continual.examples import Examples  # noqa: E402
from halflife.errors import ModelNotFound  # noqa: E402
from halflife.papers import r27_scole as r27  # noqa: E402
from tests.papers.smoke import reported  # noqa: E402


@pytest.fixture(scope="module")
def smoke():
    return reported(r27.run, 3)[0]


def test_it_runs_and_tests_every_claim(smoke, tmp_path):
    assert list(smoke.seeds) == [3, 4]
    assert [claim.name[0] for claim in smoke.claims] == ["A", "B", "B", "C", "D"]
    assert [claim.bound for claim in smoke.claims] == [0.5, 0.0, 0.02, 0.4, 0.0]
    assert all(np.isfinite(claim.measured) for claim in smoke.claims)
    assert [row[0] for row in smoke.tables[0].rows] == list(r27.ALL)
    smoke.write(tmp_path)
    assert len(list(tmp_path.rglob("*.svg"))) == 3


def test_the_control_sees_as_much_as_the_arms(smoke):
    passes = {row[0]: row[6] for row in smoke.tables[0].rows}
    assert passes[r27.IID] == passes[r27.SGD] == passes[r27.PLAIN]


def test_claims_say_what_was_measured(smoke):
    end = {row[0]: float(row[3].split()[0]) for row in smoke.tables[0].rows}
    begin = {row[0]: float(row[1].split()[0]) for row in smoke.tables[0].rows}
    measured = [claim.measured for claim in smoke.claims]
    assert measured[0] == pytest.approx(end[r27.SGD] - begin[r27.SGD], abs=2e-3)
    assert measured[1] == pytest.approx(end[r27.SGD] - end[r27.MOMENTUM], abs=2e-3)
    best = max(value for name, value in end.items() if name != r27.IID)
    assert measured[4] == pytest.approx(end[r27.IID] - best, abs=2e-3)


def test_running_means_are_shorter_at_the_beginning():
    np.testing.assert_allclose(r27._smooth(np.array([[1.0, 2.0, 3.0, 4.0]]), 2), [[1.0, 1.5, 2.5, 3.5]])


def test_the_larger_size_runs_the_same_code(monkeypatch):
    """On a few pictures of CIFAR-10's shape."""
    x, y = torch.rand(60, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 10
    data = Dataset("cifar10", Examples(x, y, torch.arange(40)), Examples(x, y, torch.arange(40, 60)), 10)
    amount = replace(r27.AMOUNTS["gpu"], tasks=40, every=5, model="cnn:4,8", seeds=1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    made = r27.report("gpu", 0, amount, data, lambda step, share: None)
    assert [claim.name[0] for claim in made.claims] == ["A", "D"]
    assert made.claims[0].bound == 0.15
    assert all(figure.svg() for figure in made.figures)


def test_without_its_data_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("HALFLIFE_DATA", str(tmp_path))
    with pytest.raises(ModelNotFound, match="cifar10"):
        r27.run("gpu", 0, lambda step, share: None)
