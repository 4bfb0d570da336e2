"""Disks that fail, fill up, or lose power: what was acknowledged is there, and what fails says so."""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path

import pytest

from tests.torture import faults
from tests.torture.tally import Tally
from tests.torture.test_crash import Expected

pytestmark = pytest.mark.skipif(bool(faults.why_not()), reason=faults.why_not())


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faults.compiled(tmp_path_factory.mktemp("faults"))


def heard(lines: list[str]) -> Expected:
    expected = Expected()
    for line in lines:
        expected.hear(line)
    return expected


def power(library: Path, folder: Path, tally: Tally, seed: int, steps: int, cuts: int) -> None:
    (folder / "live").mkdir()
    store, log = folder / "live" / "a.db", folder / "log"
    faults.write_under(library, store, seed, steps, log=log)
    rng = random.Random(seed)
    with tally.of("power cuts") as count, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a log that ends early is what a power cut leaves
        for moment, path, said in faults.power_cuts(log, store, folder / "cut", cuts, rng):
            expected = heard(said)
            count.cases += 1
            count.acknowledged += len(expected.text)
            try:
                if path.exists():
                    expected.check(path)
                else:
                    assert not expected.text
            except Exception as error:
                count.losses += 1
                raise AssertionError(f"seed {seed}, power cut after {moment} acts: {error}") from error


def test_power_cuts(library: Path, tmp_path: Path, tally: Tally) -> None:
    power(library, tmp_path, tally, seed=1, steps=50, cuts=12)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(100, 116))
def test_many_power_cuts(library: Path, tmp_path: Path, tally: Tally, seed: int) -> None:
    power(library, tmp_path, tally, seed, steps=150, cuts=50)


def failing(library: Path, folder: Path, tally: Tally, seed: int, steps: int) -> None:
    """A fault of a random kind at a random moment: clear errors, then the memory goes on and has lost nothing."""
    rng = random.Random(seed)
    kind = ("sync", "write", "full", "short")[seed % 4]
    fault = (kind, rng.randint(1, 400), rng.choice([1, 1, 2, 5, 40]))
    store = folder / "a.db"
    with tally.of("full disks" if kind in ("full", "short") else "failed syncs") as count:
        lines = faults.write_under(library, store, seed, steps, fault=fault)
        said = [json.loads(line) for line in lines]
        assert said[-1] == ["end"], fault
        failures = [line for line in said if line[0] == "fail"]
        count.cases += 1
        count.reported += bool(failures)
        for _, act, error in failures:
            assert "failed" in error or "full" in error or "NOT" in error or "log" in error, (fault, act, error)
        expected = heard(lines)
        count.acknowledged += len(expected.text)
        try:
            expected.check(store)
        except Exception as error:
            count.losses += 1
            raise AssertionError(f"seed {seed}, {fault}: {error}") from error


@pytest.mark.parametrize("seed", range(4))
def test_a_disk_that_fails(library: Path, tmp_path: Path, tally: Tally, seed: int) -> None:
    failing(library, tmp_path, tally, seed, steps=40)


@pytest.mark.torture
@pytest.mark.parametrize("part", range(20))
def test_many_disks_that_fail(library: Path, tmp_path: Path, tally: Tally, part: int) -> None:
    for seed in range(1000 + part * 6, 1006 + part * 6):
        (tmp_path / str(seed)).mkdir()
        failing(library, tmp_path / str(seed), tally, seed, steps=100)
