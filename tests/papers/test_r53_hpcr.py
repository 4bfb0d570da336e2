"""HPCR's reproduction: it runs end to end, its arms are what they are called, and confusions are counted rightly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from halflife.continual import Dataset, class_incremental, load, online  # noqa: E402
from halflife.continual import run as train  # noqa: E402
from halflife.continual.examples import Examples  # noqa: E402
from halflife.continual.methods.er import ER  # noqa: E402
from halflife.errors import ModelNotFound  # noqa: E402
from halflife.papers import r53_hpcr as r53  # noqa: E402
from tests.papers.smoke import reported  # noqa: E402


@pytest.fixture(scope="module")
def smoke():
    return reported(r53.run, 3)[0]


def test_it_runs_and_tests_every_claim(smoke, tmp_path):
    assert list(smoke.seeds) == [3, 4]
    assert [claim.bound for claim in smoke.claims] == [0.03, 0.0, 0.02, 0.0, -0.01, 0.0, 0.0]
    assert all(np.isfinite(claim.measured) for claim in smoke.claims)
    arms = [row[0] for row in smoke.tables[0].rows]
    assert arms == [*r53.ALL, r53.JOINT]
    smoke.write(tmp_path)
    assert len(list(tmp_path.rglob("*.svg"))) == 3


def test_arms_that_are_compared_have_the_same_passes(smoke):
    passes = {row[0]: row[5] for row in smoke.tables[0].rows}
    assert passes[r53.ER_VIEWS] == passes[r53.PCR_ARM] == passes[r53.HPCR_ARM] == 2 * passes[r53.ER_ARM]


def test_claims_say_what_was_measured(smoke):
    rows = {row[0]: row for row in smoke.tables[0].rows}
    accuracy = {name: float(row[1].split()[0]) for name, row in rows.items()}
    over = next(claim for claim in smoke.claims if claim.name == "accuracy of PCR over ER")
    assert over.measured == pytest.approx(accuracy["PCR"] - accuracy["ER"], abs=2e-3)


def test_predictions_are_those_of_the_last_tests():
    data = load("digits").take(20, 10)
    kept = r53.Predictions()
    stream = online(class_incremental(data))
    found = train(stream, r53.Watched(ER(capacity=20), kept), 2, model="mlp:16")
    for run, seed, answers in zip(found.runs, (0, 1), kept.of_seed, strict=True):
        said = torch.cat(answers)
        true = torch.cat([test.labels for test in stream.stream(seed).tests])
        assert float((said == true).double().mean()) == pytest.approx(run.seen[-1].mean())


def test_the_larger_size_runs_the_same_code(monkeypatch):
    """On a few pictures of CIFAR-10's shape."""
    x, y = torch.rand(60, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 10
    data = Dataset("cifar10", Examples(x, y, torch.arange(40)), Examples(x, y, torch.arange(40, 60)), 10)
    amount = replace(r53.AMOUNTS["gpu"], seeds=1, model="resnet18:2", cosine="resnet18-cosine:2", epochs=1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    made = r53.report("gpu", 0, amount, data, lambda step, share: None)
    assert made.claims[-1].name == "HPCR is above PCR"
    assert [row[0] for row in made.tables[0].rows] == [*r53.DRAWN, r53.JOINT]


def test_without_its_data_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("HALFLIFE_DATA", str(tmp_path))
    with pytest.raises(ModelNotFound, match="cifar10"):
        r53.run("gpu", 0, lambda step, share: None)
