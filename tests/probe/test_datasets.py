"""Benchmarks by name, and what is said where their data is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from halflife.errors import InvalidInput
from halflife.probe.benchmarks import datasets
from tests.probe.conftest import Write
from tests.probe.test_locomo import sample


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(datasets.FOLDER, raising=False)


def test_a_path_that_is_given(write: Write) -> None:
    assert [history.id for history in datasets.load("locomo", write("mine.json", [sample()]))] == ["conv-1"]


def test_the_folder_that_the_environment_names(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("locomo/locomo5.json.gz", [sample(), sample()])
    write("locomo/msc_personas_all.json", {})
    monkeypatch.setenv(datasets.FOLDER, str(tmp_path))
    assert len(list(datasets.load("locomo"))) == 2
    write("locomo/locomo10.json", [sample()])
    assert len(list(datasets.load("locomo"))) == 1  # the whole set first


@pytest.mark.parametrize("name", datasets.DATASETS)
def test_data_that_is_not_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="It was not said where") as caught:
        datasets.load(name)
    assert "https://" in str(caught.value)
    monkeypatch.setenv(datasets.FOLDER, str(tmp_path))
    with pytest.raises(InvalidInput, match=f"has no data of {name}") as caught:
        datasets.load(name)
    assert "https://" in str(caught.value)
    with pytest.raises(InvalidInput, match="There is no "):
        datasets.load(name, tmp_path / "none.json")


def test_an_unknown_name() -> None:
    with pytest.raises(InvalidInput, match="There are locomo, longmemeval, beam, memdaily"):
        datasets.load("triviaqa")
