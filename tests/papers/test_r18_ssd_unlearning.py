"""The reproduction of SSD runs end to end and says what it must."""

from __future__ import annotations

from dataclasses import replace

import pytest

from halflife.papers.r18_ssd_unlearning import amount_of, run, study
from tests.papers.smoke import reported

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def report():
    found, shares = reported(run, 1)
    assert shares[-1] < 1
    return found


def test_all_methods_and_claims_are_told(report):
    methods = [row[0] for row in report.tables[0].rows]
    assert methods[:2] == ["none", "retrain"]
    assert {"finetune", "amnesiac", "bad teacher", "UNSIR", "Fisher forgetting", "SSD", "LFSSD"} < set(methods)
    assert {"control: I_Df alone", "control: random weights"} < set(methods)
    assert [claim.name[0] for claim in report.claims] == ["A", "A", "B", "B", "C"]
    assert [claim.bound for claim in report.claims] == [0.10, 0.05, 0.08, 0, 0.2]
    assert report.seeds == (1,)
    assert report.notes[0].startswith("D, ")


def test_the_whole_curve_over_alpha_is_shown_for_three_ways_to_measure(report):
    ways = {row[0] for row in report.tables[1].rows}
    assert len(ways) == 3
    assert len(report.tables[1].rows) == 3 * len(amount_of("smoke").alphas)


def test_the_figures_are_drawn_and_the_page_written(report, tmp_path):
    pytest.importorskip("matplotlib")
    folder = report.write(tmp_path)
    assert {path.name for path in folder.iterdir()} == {"report.md", "result.json", "methods.svg", "alpha.svg"}
    assert "bad teacher" in (folder / "methods.svg").read_text()


def test_the_sizes_that_are_reported_keep_their_bounds_and_grid():
    cpu, gpu = amount_of("cpu"), amount_of("gpu")
    assert (cpu.seeds, cpu.classes, cpu.alphas, cpu.lams) == (3, (1, 4, 8), (1, 2, 5, 10, 25, 50), (0.1, 0.5, 1))
    assert (cpu.drop, gpu.drop, gpu.seeds, gpu.data) == (0.05, 0.03, 3, "cifar10")


def test_the_gpu_size_runs_on_little():
    from halflife.continual import CNN

    amount = amount_of("gpu")
    tiny = replace(
        amount, data="digits", model=CNN((4,), 8, norm=True), per_class=(6, 2), seeds=1, scattered=6,
        batch=16, training=replace(amount.training, epochs=1, batch_size=32, augment=None), alphas=(1, 5),
        lams=(1,), rates={name: rates[:1] for name, rates in amount.rates.items()}, noise=(1e-6,), fisher=2,
        samples=20, device="cpu",
    )  # fmt: skip
    found = study(tiny, "gpu", 0, lambda step, share: None)
    assert [claim.bound for claim in found.claims][1] == 0.03
    assert len(found.tables[2].rows) == 9
