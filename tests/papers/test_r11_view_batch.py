"""View-batch's reproduction: it runs end to end, all arms cost the same, and the probe leaves no trace."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from halflife.continual import ER, MLP, class_incremental, load, run  # noqa: E402
from halflife.continual.methods.view_batch import ViewBatch  # noqa: E402
from halflife.continual.transforms import Shift  # noqa: E402
from halflife.errors import ModelNotFound  # noqa: E402
from halflife.papers import r11_view_batch  # noqa: E402
from halflife.papers.r11_parts import Halves, Log, Probe, augmentations, halved  # noqa: E402
from halflife.papers.r11_view_batch import ARMS, SETTINGS, VIEWS, study  # noqa: E402
from halflife.papers.run import quiet  # noqa: E402
from tests.papers.smoke import reported  # noqa: E402


@pytest.fixture(scope="module")
def smoke():
    return reported(r11_view_batch.run, 0)


def test_the_schedule_is_the_paper_s(smoke):
    report, shares = smoke
    assert [claim.holds for claim in report.claims[:4]] == [True] * 4
    assert shares[0] < shares[-1] < 1
    plain, rested = report.tables[1].rows[0], report.tables[1].rows[-1]
    assert (plain[1], rested[1]) == (3, 12)
    assert (plain[4], rested[4]) == (1, VIEWS)
    assert plain[5] == VIEWS * rested[5]


def test_the_report_shows_every_arm_and_the_sweep(smoke):
    report, _ = smoke
    assert [row[0] for row in report.tables[0].rows] == list(ARMS.values())
    assert [row[0] for row in report.tables[2].rows] == [1, 2, 4]
    assert report.tables[2].rows[0][1] == report.tables[0].rows[0][2]  # V = 1 is the host
    text = report.markdown()
    assert "authors' rerun" in text
    assert all(figure.svg().startswith("<?xml") for figure in report.figures)


def test_the_gpu_path_in_miniature():
    tiny = replace(
        SETTINGS["gpu"], data="digits", per_class=8, tests=5, model=MLP((16,)), host=replace(SETTINGS["gpu"].host,
        capacity=20), batch_size=8, epochs=8, rates=(0.05,), seeds=1, device="cpu", flip=False,
    )  # fmt: skip
    report = study(tiny, "gpu", [3], quiet)
    assert [claim.holds for claim in report.claims[:4]] == [True] * 4
    assert [claim.bound for claim in report.claims[4:]] == [0.02, 0.03]
    assert [figure.name for figure in report.figures] == ["arms"]
    assert "ICaRL" in report.setup


def test_rates_are_chosen_by_one_procedure_and_reach_the_arms(monkeypatch):
    asked = []

    def choose(scenario, method, grid, *, seeds, **settings):
        asked.append((type(method).__name__, grid, list(seeds)))
        (name, rates), *_ = grid.items()
        return SimpleNamespace(settings={name: rates[len(asked) - 1]})

    monkeypatch.setattr(r11_view_batch, "tune", choose)
    tiny = replace(SETTINGS["smoke"], per_class=10, tests=2, batch_size=20, rates=(0.02, 0.3), seeds=1)
    report = study(replace(tiny, sweep=(), probes=0), "smoke", [0], quiet)
    seed = [r11_view_batch.TUNING]
    assert asked == [("ER", {"lr": (0.02, 0.3)}, seed), ("ViewBatch", {"method.lr": (0.02, 0.3)}, seed)]
    assert [row[1] for row in report.tables[0].rows] == [0.02, 0.02, 0.3, 0.3, 0.3]
    assert seed[0] in report.seeds


def test_missing_data_say_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HALFLIFE_DATA", str(tmp_path))
    with pytest.raises(ModelNotFound):
        r11_view_batch.run("gpu", 0, quiet)


# -- the parts -------------------------------------------------------------------------------------------------------


def test_the_probe_leaves_no_trace_in_the_training():
    scenario = class_incremental(load("digits").take(16, 5))
    method = ViewBatch(ER(capacity=20, lr=0.1), n_views=2, ssl_start_epoch=1)
    fit = {"epochs": 4, "batch_size": 8, "augment": Shift(1)}
    log = Log()
    probed = run(scenario, Probe(method, log, every=1, after=2), **fit)
    assert np.array_equal(run(scenario, method, **fit).runs[0].seen, probed.runs[0].seen)
    assert torch.cat(log.views).unique().tolist() == [2]
    assert torch.cat(log.visits).unique().tolist() == [2]
    assert torch.cat(log.gaps).double().mean() == 8  # V times the four steps of an epoch
    assert int(torch.cat(log.lags).min()) == 0
    assert int(torch.cat(log.lags).max()) <= 14


def test_losses_are_averaged_by_steps_since_the_last_visit():
    log = Log(lags=[torch.tensor([0, 1]), torch.tensor([2, 3, 5])], losses=[torch.tensor([1.0, 3.0]), torch.ones(3)])
    middles, means = log.curve(2)
    assert middles.tolist() == [0.5, 2.5, 4.5]
    assert means.tolist() == [2.0, 1.0, 1.0]


def test_augmentations_keep_pictures_and_halves_are_every_second():
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(6, 1, 14, 14)
    weak, strong = augmentations(14, flip=True)
    for change in (weak, strong, Halves(weak, strong)):
        changed = change(x, rng)
        assert changed.shape == x.shape
        assert float(changed.min()) >= 0
        assert float(changed.max()) <= 1
    found = Halves(lambda x, rng: x, lambda x, rng: x * 0)(x, rng)
    assert torch.equal(found[::2], x[::2])
    assert not found[1::2].any()


def test_halved_pictures_are_means_of_four():
    data = load("digits").take(3, 2)
    small = halved(data)
    x, y = data.train.all()
    assert torch.equal(small.train.all()[1], y)
    assert torch.allclose(small.train.all()[0][0, 0, 0, 0], x[0, 0, :2, :2].mean())
    assert len(small.test) == 20
