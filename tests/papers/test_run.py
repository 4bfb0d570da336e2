"""Running a reproduction from its slug, with a tiny one in the place of a paper's."""

from __future__ import annotations

import dataclasses
import json
import platform

import numpy as np
import pytest

import halflife
from halflife.errors import InvalidInput
from halflife.papers import Claim, Figure, Report, Table, paper, registry, reproduce


def tiny(size, seed, progress):
    """A reproduction in miniature: the mean of a few numbers."""
    if size == "gpu":
        raise InvalidInput("This paper has no gpu size.", "Use cpu.")
    values = np.random.default_rng(seed).random(5)
    progress("averaging", 1.0)
    return Report(
        paper=paper("titans"),
        size=size,
        seeds=(seed,),
        claim="Numbers have a mean.",
        setup="Five numbers.",
        tables=[Table("Numbers", ("i", "value"), list(enumerate(values)))],
        figures=[Figure("numbers", "Five numbers.", lambda axes: axes.plot(values), "five numbers")],
        claims=[Claim("mean", values.mean(), 0.0)],
        versions={"model": "none"},
    )


@pytest.fixture(autouse=True)
def _titans_is_available(monkeypatch):
    entry = dataclasses.replace(
        paper("titans"), status="available", component=f"{__name__}:tiny", reproduction=f"{__name__}:tiny"
    )
    monkeypatch.setattr(registry, "papers", lambda: (entry, paper_35))


paper_35 = paper(35)


def test_a_run_fills_in_what_the_reproduction_cannot_know():
    steps = []
    report = reproduce("titans", size="smoke", seed=3, progress=lambda step, share: steps.append((step, share)))
    assert steps == [("averaging", 1.0)]
    assert report.seed == 3
    assert report.seeds == (3,)
    assert report.seconds > 0
    assert report.machine
    assert report.versions["python"] == platform.python_version()
    assert report.versions["halflife"] == halflife.__version__
    assert report.versions["numpy"] == np.__version__
    assert report.versions["model"] == "none"


def test_nothing_is_written_unless_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reproduce("titans", size="smoke")
    assert list(tmp_path.iterdir()) == []
    reproduce(54, size="smoke", out="out")
    result = json.loads((tmp_path / "out" / "54-titans" / "smoke" / "result.json").read_text())
    assert result["claims"][0]["holds"] is True


def test_the_same_seed_gives_the_same_result():
    one, two, other = (reproduce("titans", size="smoke", seed=seed).to_dict() for seed in (0, 0, 1))
    assert one["table"] == two["table"] != other["table"]


def test_bad_requests_are_refused():
    with pytest.raises(InvalidInput, match="smoke, cpu, gpu"):
        reproduce("titans", size="huge")
    with pytest.raises(InvalidInput, match="seed"):
        reproduce("titans", seed=-1)
    with pytest.raises(InvalidInput, match="no gpu size"):
        reproduce("titans", size="gpu")


def test_a_planned_paper_cannot_be_run(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(InvalidInput, match="planned"):
        reproduce("titans")
