"""Halflife and the baselines: what they store, how they rank, and the weight of fusion."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from halflife.errors import InvalidInput
from halflife.llm.embedder import Embedder
from halflife.llm.hashing import HashEmbedder
from halflife.probe.benchmarks import systems
from halflife.probe.benchmarks.history import History, Item, Question, Retriever
from halflife.probe.benchmarks.retrievers import (
    BM25,
    Dense,
    Fusion,
    Halflife,
    ReciprocalRank,
    fused,
    order,
    scaled,
    stored,
    tuned_weight,
)
from tests.probe.conftest import history

Make = Callable[[], Retriever]


@pytest.fixture(params=systems.OWN)
def system(request: pytest.FixtureRequest, embedder: Embedder) -> Retriever:
    [made] = systems.systems([request.param], embedder, weight=0.5)
    return made


def ask(text: str, kind: str = "") -> Question:
    return Question("q", text, 200_000.0, kind)


def test_every_system_finds_what_shares_words_with_the_question(system: Retriever) -> None:
    system.ingest(history())
    assert system.search(ask("Which dog did Ann adopt?"), 1) == ["a1"]
    found = system.search(ask("tax return"), 10)
    assert set(found[:2]) == {"b1", "b3"}
    assert len(found) == len(set(found)) == 6
    assert system.search(ask("tax return"), 3) == found[:3]
    system.close()


def test_a_new_history_is_a_new_memory(system: Retriever) -> None:
    system.ingest(history())
    system.ingest(History("other", (Item("z", "Zoe: My dog is called Tom."),)))
    assert system.search(ask("dog"), 10) == ["z"]
    system.close()
    system.close()


def test_blank_items_and_empty_histories(system: Retriever) -> None:
    items = (Item("1", " "), Item("2", "A cat."), Item("3", "\n"))
    system.ingest(History("h", items))
    assert system.search(ask("cat"), 10) == ["2"]
    system.ingest(History("empty", items[:1]))
    assert system.search(ask("cat"), 10) == []
    system.close()


def test_a_question_of_no_words_is_no_failure(system: Retriever) -> None:
    system.ingest(history())
    assert len(system.search(ask("?!"), 3)) == 3
    system.close()


def test_halflife_leaves_nothing_behind(embedder: Embedder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    system = Halflife(embedder)
    system.ingest(history())
    [folder] = tmp_path.iterdir()
    assert (folder / "memory.db").exists()
    system.search(ask("dog"), 3)
    system.close()
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_halflife_changes_nothing_by_looking(embedder: Embedder) -> None:
    system = Halflife(embedder)
    system.ingest(history())
    first = system.search(ask("Rex"), 6)
    assert [system.search(ask("Rex"), 6) for _ in range(3)] == [first] * 3
    system.close()


def test_what_was_said_twice_counts_as_both(embedder: Embedder) -> None:
    """One memory stands for both items; in a ranking it takes their two places."""
    items = (Item("1", "I like tea.", 0.0), Item("2", "It rains.", 1.0), Item("3", "I like tea.", 2.0))
    system = Halflife(embedder)
    system.ingest(History("h", items))
    assert system.search(ask("tea"), 3) == ["1", "3", "2"]
    assert system.search(ask("tea"), 1) == ["1"]
    system.close()


def test_bm25_stems_drops_stop_words_and_cuts_chinese() -> None:
    system = BM25()
    items = ("The dogs were running.", "What is the point of it?", "我的上司今年44岁。", "今年雨水很多。")
    system.ingest(History("h", tuple(Item(str(i), text) for i, text in enumerate(items))))
    assert np.flatnonzero(system.scores(ask("a dog runs"))).tolist() == [0]
    assert np.flatnonzero(system.scores(ask("is it of the"))).tolist() == []
    assert np.flatnonzero(system.scores(ask("上司多大？"))).tolist() == [2]


def test_dense_is_the_exact_cosine(embedder: Embedder) -> None:
    system = Dense(embedder)
    system.ingest(history())
    texts = [item.text for item in history().items]
    expected = embedder.embed(texts) @ embedder.embed(["Rex"])[0]
    assert np.allclose(system.scores(ask("Rex")), expected)
    assert system.search(ask("Rex"), 6) == [history().items[i].id for i in np.argsort(-expected, kind="stable")]


def test_fusion_at_its_ends_is_one_of_the_two(embedder: Embedder) -> None:
    for question in history().questions:
        for weight, alone in ((1.0, Dense(embedder)), (0.0, BM25())):
            both = Fusion(Dense(embedder), BM25(), weight)
            both.ingest(history())
            alone.ingest(history())
            assert both.search(question, 6) == alone.search(question, 6)


def test_reciprocal_rank_by_hand(embedder: Embedder) -> None:
    class Fixed:
        def __init__(self, *scores: float) -> None:
            self._scores = np.array(scores)

        def ingest(self, history: History) -> None: ...
        def scores(self, question: Question) -> np.ndarray:
            return self._scores

        def close(self) -> None: ...

    items = tuple(Item(str(i), "a") for i in range(4))
    system = ReciprocalRank(Fixed(0.9, 0.8, 0.7, 0.1), Fixed(0.0, 2.0, 3.0, 0.0))
    system.ingest(History("h", items))
    # 1: 1/62 + 1/62, 2: 1/63 + 1/61, 0: 1/61, 3: 1/64. Item 0 shares no word, so it has no rank by words.
    expected = {"1": 2 / 62, "2": 1 / 63 + 1 / 61, "0": 1 / 61, "3": 1 / 64}
    assert system.search(ask("a"), 4) == sorted(expected, key=lambda id: -expected[id])


@given(arrays(np.float64, st.integers(0, 8), elements=st.floats(-1e3, 1e3)))
def test_scaling_keeps_the_order(scores: np.ndarray) -> None:
    found = scaled(scores)
    assert found.shape == scores.shape
    assert ((found >= 0.0) & (found <= 1.0)).all()
    assert (np.diff(found[order(scores)]) <= 0.0).all()


def test_the_tuned_weight_is_the_best_of_the_grid(embedder: Embedder) -> None:
    histories = [history("a"), history("b")]

    def value(one: History, question: Question, ranking: list[str]) -> float:
        return float(np.mean([1.0 / (1 + ranking.index(id)) for id in question.gold]))

    done: list[int] = []
    weight = tuned_weight(histories, Dense(embedder), BM25(), value, lambda n, total: done.append(n))

    def total(weight: float) -> float:
        fusion = Fusion(Dense(embedder), BM25(), weight)
        fusion.ingest(histories[0])
        return sum(value(histories[0], q, fusion.search(q, 6)) for q in histories[0].questions if q.gold)

    totals = [total(w) for w in np.linspace(0.0, 1.0, 21)]
    assert total(weight) == pytest.approx(max(totals))
    assert done == [1, 2]


def test_small_parts() -> None:
    assert order(np.array([0.0, 1.0, 1.0])).tolist() == [1, 2, 0]
    assert fused(np.ones(2), np.zeros(2), 0.25).tolist() == [0.25, 0.25]
    assert [item.id for item in stored(History("h", (Item("1", "\t"), Item("2", "x"))))] == ["2"]


def test_systems_by_name() -> None:
    embedder = HashEmbedder(16)
    with pytest.raises(InvalidInput, match="There is no system 'faiss'"):
        systems.systems(["bm25", "faiss"], embedder)
    for names in ([], ["bm25", "bm25"]):
        with pytest.raises(InvalidInput, match="each system once"):
            systems.systems(names, embedder)
    with pytest.raises(InvalidInput, match="fusion needs the weight"):
        systems.systems(["fusion"], embedder)


def test_the_parts_of_halflifes_score(embedder: Embedder) -> None:
    by_meaning, by_words = systems.systems(["halflife:meaning", "halflife:words"], embedder)
    dense = Dense(embedder)
    for system in (by_meaning, by_words, dense):
        system.ingest(history())
    question = ask("Rex ate what?")
    assert by_meaning.search(question, 3) == dense.search(question, 3)
    assert by_words.search(question, 6)[0] == "b3"
    assert by_meaning.name == "halflife:meaning"
    for system in (by_meaning, by_words):
        system.close()
