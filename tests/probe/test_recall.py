"""The runner: what is counted, what is timed, and what is reported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import log2
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halflife.errors import InvalidInput
from halflife.llm.embedder import Embedder
from halflife.probe.benchmarks import locomo, recall
from halflife.probe.benchmarks.history import History, Question
from halflife.probe.benchmarks.systems import best_weight, systems
from tests.probe.conftest import Real, history

GOLD_FIRST = {"q0": ["a1", "b2"], "q1": ["a2", "b1"], "q2": ["a3", "a1", "b3"]}


class Scripted:
    """Ranks as it is told, then in the order of the history; remembers what was asked of it."""

    name = "scripted"
    setup = "by hand"

    def __init__(self, first: dict[str, list[str]] | None = None) -> None:
        self._first = first or {}
        self.depths: list[int] = []
        self.ingested: list[str] = []
        self.closed = 0

    def ingest(self, history: History) -> None:
        self.ingested.append(history.id)
        self._ids = [item.id for item in history.items]

    def search(self, question: Question, k: int) -> list[str]:
        self.depths.append(k)
        first = self._first.get(question.id.rpartition("/")[2], [])
        return list(dict.fromkeys([*first, *self._ids]))[:k]

    def close(self) -> None:
        self.closed += 1


def run(*systems: Any, histories: Sequence[History] = (history(),), **options: Any) -> recall.Result:
    return recall.run(histories, systems or [Scripted(GOLD_FIRST)], count_tokens=len, **options)


def test_the_measures_by_hand() -> None:
    result = run(ks=(2, 1))
    assert result.ks == (1, 2)
    scores = result.rows[0].scores
    # q0: a1 first. q1: b1 second. q2, two pieces of evidence: a3 first, then a1.
    assert scores["recall@1"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert scores["any@1"] == pytest.approx(2 / 3)
    assert scores["all@1"] == pytest.approx(1 / 3)
    assert scores["ndcg@1"] == pytest.approx(2 / 3)
    assert scores["recall@2"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert scores["any@2"] == 1.0
    assert scores["all@2"] == pytest.approx(2 / 3)
    assert scores["ndcg@2"] == pytest.approx((1 + 1 / log2(3) + 1 / (1 + 1 / log2(3))) / 3)
    texts = {item.id: len(item.text) for item in history().items}
    assert scores["tokens@1"] == pytest.approx((texts["a1"] + texts["a2"] + texts["a3"]) / 3)


def test_by_type_and_what_is_skipped() -> None:
    result = run(ks=(1,))
    assert result.questions == {"many": 1, "one": 2}
    assert result.skipped == 1
    assert {kind: scores["recall@1"] for kind, scores in result.rows[0].by_kind.items()} == {"many": 0.5, "one": 0.5}


def test_sessions_are_read_off_the_turns() -> None:
    scores = run(ks=(1, 2), level="session").rows[0].scores
    # q0: a before b. q1: a before b, which holds the evidence. q2: both hold it.
    assert scores["recall@1"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert scores["all@2"] == 1.0
    assert scores["ndcg@2"] == pytest.approx((1 + 1 / log2(3) + 1) / 3)
    length = {s: sum(len(i.text) for i in history().items if i.session == s) for s in "ab"}
    assert scores["tokens@1"] == pytest.approx(length["a"])


def test_more_turns_are_asked_for_until_there_are_sessions_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "TURNS_A_SESSION", 1)
    system = Scripted()  # the order of the history: three turns of a, then three of b
    scores = run(system, ks=(2,), level="session").rows[0].scores
    assert system.depths == [2, 4] * 3
    assert scores["recall@2"] == 1.0


def test_questions_without_evidence_and_their_histories_cost_nothing() -> None:
    bare = History("bare", history().items, history("bare").questions[3:])
    system = Scripted(GOLD_FIRST)
    result = run(system, histories=[history(), bare, history("g")])
    assert system.ingested == ["h", "g"]
    assert (result.histories, result.skipped, sum(result.questions.values())) == (2, 3, 6)
    with pytest.raises(InvalidInput, match="None of these questions has evidence by turn"):
        run(histories=[bare])


def test_a_system_is_closed_even_when_it_fails() -> None:
    class Failing(Scripted):
        def search(self, question: Question, k: int) -> list[str]:
            raise OSError("gone")

    system = Failing()
    with pytest.raises(OSError, match="gone"):
        run(system)
    assert system.closed == 1


def test_progress_counts_the_questions_of_all_systems() -> None:
    seen: list[tuple[int, int]] = []
    run(Scripted(), Scripted(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 6) for n in range(1, 7)]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"ks": ()}, "at least one k"), ({"ks": (0,)}, "at least 1"), ({"level": "word"}, "'turn' or 'session'")],
)
def test_what_cannot_be_asked(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        run(**options)


@given(st.permutations("abcdef"), st.sets(st.sampled_from("abcdefgh"), min_size=1), st.integers(1, 9))
def test_laws_of_the_measures(ranking: list[str], gold: set[str], k: int) -> None:
    found = recall.measures(ranking, gold, k)
    assert all(0.0 <= value <= 1.0 + 1e-12 for value in found.values())
    assert found["all"] <= found["recall"] <= found["any"]
    deeper = recall.measures(ranking, gold, k + 1)
    assert all(deeper[name] >= found[name] for name in ("recall", "any", "all"))
    best = sorted(ranking, key=lambda id: id not in gold)
    assert found["ndcg"] <= recall.measures(best, gold, k)["ndcg"] + 1e-12


def test_parts_are_disjoint_and_do_not_depend_on_the_order_of_the_file() -> None:
    histories = [History(f"h{i}", ()) for i in (3, 1, 4, 2, 0)]
    parts = {name: [h.id for h in recall.part(histories, name)] for name in ("tune", "test", "all")}
    assert parts == {"tune": ["h0", "h2", "h4"], "test": ["h1", "h3"], "all": ["h0", "h1", "h2", "h3", "h4"]}
    assert [h.id for h in recall.part(reversed(histories), "tune", limit=2)] == ["h0", "h2"]
    with pytest.raises(InvalidInput, match="'tune', 'test' or 'all'"):
        recall.part(histories, "dev")  # type: ignore[arg-type]


def test_tables_and_json() -> None:
    result = run(ks=(1,), settings={"benchmark": "toy"})
    heads, rows = result.table()
    assert heads[:6] == ["system", "recall@1", "any@1", "all@1", "ndcg@1", "tokens@1"]
    assert rows[0][:3] == ["scripted", "0.500", "0.667"]
    assert result.by_kind() == (["system", "all", "many (1)", "one (2)"], [["scripted", "0.500", "0.500", "0.500"]])
    page = result.markdown()
    assert "| scripted | 0.500 |" in page
    assert "- scripted: by hand" in page
    assert "- benchmark: toy" in page
    assert "3 questions of 1 histories, evidence by turn; 1 questions without evidence not counted." in page
    record = json.loads(json.dumps(result.to_dict()))
    assert record["rows"][0]["scores"]["recall@1"] == 0.5
    assert record["settings"] == {"benchmark": "toy"}


def test_a_slice_of_the_real_thing(real: Real, embedder: Embedder) -> None:
    """Halflife beats its parts on a real conversation, even with an embedder that knows no meaning."""
    first = next(locomo.read(min(real("locomo").glob("locomo*.json*"))))
    some = [History(first.id, first.items, first.questions[:60])]
    weight = best_weight(some, embedder, "turn", 10)
    result = recall.run(
        some, systems(["halflife", "bm25", "dense", "fusion"], embedder, weight), count_tokens=embedder.count_tokens
    )
    found = {row.system: row.scores["recall@10"] for row in result.rows}
    assert found["halflife"] > found["bm25"] > found["dense"]
    assert found["fusion"] >= max(found["bm25"], found["dense"])
