"""The fast ranking is the definition: the same traces in the same order with the same scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from halflife import Memory
from halflife.decay import FSRS6
from halflife.decay.law import State
from halflife.store.candidates import Nearest
from halflife.store.draft import Draft
from halflife.store.erase import erase
from halflife.store.filters import parse
from halflife.store.protocol import Why
from halflife.store.recall import Question, Scored, Weights, brute_force, rank
from halflife.store.rows import floats
from halflife.store.sessions import Sessions
from halflife.store.sqlite import SqliteStore
from halflife.store.text import query_ids
from halflife.store.trace import Space
from halflife.store.vectors import Approximate
from halflife.store.working_set import WorkingSet, allowed_slots

DIM = 6
DAY = 86_400.0
ANNA, BOB = Space.of(user_id="anna"), Space.of(user_id="bob")
WORDS = "tea coffee lisbon train garden music rain dog letter bread".split()
WHY = Why("test")


def near(rng: np.random.Generator, windows: int) -> np.ndarray:
    """Unit vectors, coarse enough that some are equal."""
    rows = rng.integers(-2, 3, size=(windows, DIM)).astype(np.float32) + np.float32(0.25)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def random_drafts(rng: np.random.Generator, count: int, start: int = 0, windows: int = 3) -> list[Draft]:
    return [
        Draft(
            " ".join([*rng.choice(WORDS, size=rng.integers(1, 4)), f"n{start + i}" if rng.random() < 0.8 else "same"]),
            float(rng.integers(0, 300)) * DAY,
            near(rng, int(rng.integers(1, windows + 1))) if rng.random() < 0.9 else None,
            session_id=str(rng.choice(["s1", "s2", "s3"])) if rng.random() < 0.7 else None,
            role=str(rng.choice(["user", "Anna"])) if rng.random() < 0.7 else None,
            importance=float(rng.choice([0.0, 0.5, 0.5, 1.0])),
            metadata={"i": start + i},
            state=State(float(rng.choice([0.5, 10, 300])) * DAY, 5.0, float(rng.integers(1, 6))),
        )
        for i in range(count)
    ]


def random_store(rng: np.random.Generator, count: int, path: str | Path = ":memory:", windows: int = 3) -> SqliteStore:
    store = SqliteStore(path, law=FSRS6(), synchronous="OFF")
    store.bind("test", DIM)
    ids = [added.id for added in store.add(ANNA, random_drafts(rng, count, 0, windows), WHY, 0.0)]
    store.add(BOB, random_drafts(rng, 5), WHY, 0.0)
    random_links(rng, store, ids)
    return store


def random_links(rng: np.random.Generator, store: SqliteStore, ids: Sequence[str]) -> None:
    pairs = [(*rng.choice(ids, size=2).tolist(), float(rng.choice([0.3, 1.0]))) for _ in range(len(ids) // 4)]
    store.link(pairs, "similar", WHY, 0.0)


def random_changes(rng: np.random.Generator, store: SqliteStore, start: int) -> None:
    ids = [trace.id for trace in store.iterate(ANNA)]
    for id in rng.choice(ids, size=min(4, len(ids)), replace=False).tolist():
        match int(rng.integers(5)):
            case 0:
                store.update(id, {"text": f"tea {id}", "importance": 1.0}, near(rng, 1), WHY, 0.0)
            case 1:
                store.set_status([id], "archived", WHY, 0.0)
            case 2:
                erase(store, [id], WHY, 0.0)
            case 3:
                store.reinforce([id], float(rng.integers(0, 400)) * DAY)
            case _:
                store.update(id, {"at": float(rng.integers(0, 300)) * DAY, "session_id": "s2"}, None, WHY, 0.0)
    store.add(ANNA, random_drafts(rng, 3, start), WHY, 0.0)


def random_question(rng: np.random.Generator, work: WorkingSet) -> tuple[Question, float, int]:
    words = " ".join(rng.choice(WORDS, size=rng.integers(1, 4)))
    bounds = np.sort(rng.integers(0, 300, size=2)) * DAY
    allowed = None
    if rng.random() < 0.3:
        allowed = allowed_slots(work, work.store.match(ANNA, parse({"i": {"lt": int(rng.integers(1, 100))}})))
    question = Question(
        near(rng, 1)[0] if rng.random() < 0.85 else None,
        query_ids(words) if rng.random() < 0.8 else None,
        (float(bounds[0]), float(bounds[1])) if rng.random() < 0.2 else None,
        allowed,
        tuple(code for code in work.roles.values() if rng.random() < 0.4),
    )
    return question, float(rng.integers(-10, 1000)) * DAY, int(rng.choice([1, 2, 5, 20, 200]))


def check(found: Sequence[Scored], wanted: Sequence[Scored], work: WorkingSet) -> None:
    assert [int(work.n[s.slot]) for s in found] == [int(work.n[s.slot]) for s in wanted]
    for a, b in zip(found, wanted, strict=True):
        assert a.score == pytest.approx(b.score, rel=1e-5)
        assert a.parts == pytest.approx(b.parts, rel=1e-4, abs=1e-6)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), count=st.sampled_from([1, 8, 70, 300]), fading=st.sampled_from([0.0, 0.2, 1.0]))
def test_rank_is_brute_force(seed: int, count: int, fading: float) -> None:
    rng = np.random.default_rng(seed)
    weights = Weights(fading=fading)
    with random_store(rng, count) as store:
        work = WorkingSet(store, ANNA, DIM)
        for step in range(4):
            work.refresh()
            for _ in range(6):
                question, now, k = random_question(rng, work)
                check(rank(work, question, k, now, weights), brute_force(work, question, k, now, weights), work)
            random_changes(rng, store, 1000 * (step + 1))


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_another_connection_writes_is_ranked(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("store") / "a.db"
    with random_store(rng, 40, path) as store, SqliteStore(path, law=FSRS6(), synchronous="OFF") as other:
        work = WorkingSet(store, ANNA, DIM)
        for step in range(4):
            work.refresh()
            fresh = WorkingSet(store, ANNA, DIM)
            fresh.refresh()
            question, now, k = random_question(rng, fresh)
            asked = Question(question.vector, question.terms, question.period)
            alike(rank(work, asked, k, now), work, brute_force(fresh, asked, k, now), fresh)
            random_changes(rng, other, 1000 * (step + 1))


def alike(found: Sequence[Scored], mine: WorkingSet, wanted: Sequence[Scored], theirs: WorkingSet) -> None:
    """The same traces with the same scores, but for rounding: another order of sums may part what is equal."""
    noise = 1e-5
    a = {int(mine.n[s.slot]): s.score for s in found if s.score > noise}
    b = {int(theirs.n[s.slot]): s.score for s in wanted if s.score > noise}
    assert len(a) == len(b)
    assert list(a.values()) == pytest.approx(list(b.values()), rel=noise, abs=noise)
    last = min(b.values(), default=0.0)
    for one, other in ((a, b), (b, a)):
        for n, score in one.items():
            assert n in other or score <= last + noise
            assert score == pytest.approx(other.get(n, score), rel=noise, abs=noise)


class Flat:
    """What `Approximate` asks of an index, answered exactly."""

    def __init__(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        self.keys, self.vectors = keys, vectors

    def search(self, query: np.ndarray, count: int) -> Any:
        similarity = self.vectors @ query
        best = np.argsort(-similarity, kind="stable")[:count]
        return SimpleNamespace(keys=self.keys[best].astype(np.uint64), distances=1.0 - similarity[best])

    def get(self, keys: np.ndarray) -> list[np.ndarray | None]:
        return [self.vectors[self.keys == key] if (self.keys == key).any() else None for key in keys]

    def __len__(self) -> int:
        return len(self.keys)


def flat_index(store: SqliteStore) -> Approximate:
    data = store.vector_bytes(store.match(ANNA, parse({"status": "active"})))
    windows = {n: floats(blob).reshape(-1, DIM) for n, blob in data.items()}
    keys = np.repeat(list(windows), [len(rows) for rows in windows.values()])
    return Approximate(Flat(keys, np.concatenate(list(windows.values()))), store.last_op(), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("windows", [1, 3])
@pytest.mark.parametrize("sizes", [None, (2, 40, 2)])
@settings(max_examples=8, phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False)
@given(seed=st.integers(0, 2**32 - 1), count=st.sampled_from([3, 70, 300]))
def test_with_exact_neighbours_an_index_changes_nothing(
    sizes: tuple[int, int, int] | None, windows: int, seed: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    first, limit, some = sizes or (Nearest.first, Nearest.limit, Nearest.some)
    with (
        patch.multiple(Nearest, first=first, limit=limit, some=some),
        random_store(rng, count, windows=windows) as store,
    ):
        approximate = flat_index(store) if store.vector_bytes(store.match(ANNA, parse({"status": "active"}))) else None
        work, exact = WorkingSet(store, ANNA, DIM, approximate=approximate), WorkingSet(store, ANNA, DIM)
        for step in range(3):
            work.refresh()
            exact.refresh()
            for _ in range(4):
                question, now, k = random_question(rng, exact)
                allowed = store.match(ANNA, parse({"i": {"lt": 90}})) if rng.random() < 0.3 else None

                def asked(of: WorkingSet, q: Question = question, ns: Any = allowed) -> Question:
                    return Question(q.vector, q.terms, q.period, None if ns is None else allowed_slots(of, ns))

                alike(rank(work, asked(work), k, now), work, brute_force(exact, asked(exact), k, now), exact)
            random_changes(rng, store, 1000 * (step + 1))


def test_asked_of_the_past_after_the_future() -> None:
    """What was weighed for a later moment is no bound for an earlier one."""
    rng = np.random.default_rng(1)
    with random_store(rng, 2000) as store:
        work = WorkingSet(store, ANNA, DIM)
        work.refresh()
        question = Question(near(rng, 1)[0])
        weights = Weights(fading=1.0)
        rank(work, question, 5, 300 * DAY, weights)
        store.reinforce([trace.id for trace in store.iterate(ANNA)][::2], 300 * DAY)
        work.refresh()
        for now in (5_000 * DAY, 310 * DAY, 301 * DAY):
            for query in (question, Question(near(rng, 1)[0]), Question(near(rng, 1)[0])):
                check(rank(work, query, 5, now, weights), brute_force(work, query, 5, now, weights), work)


def test_nothing_to_find() -> None:
    with random_store(np.random.default_rng(0), 5) as store:
        work = WorkingSet(store, ANNA, DIM)
        work.refresh()
        assert rank(work, Question(), 5, 0.0) == []
        assert rank(work, Question(terms=query_ids("unheard")), 5, 0.0) == []
        assert rank(work, Question(near(np.random.default_rng(0), 1)[0]), 0, 0.0) == []
        none = np.zeros(len(work), dtype=np.bool_)
        assert rank(work, Question(near(np.random.default_rng(0), 1)[0], allowed=none), 5, 0.0) == []


# -- through the door --------------------------------------------------------------------------------------------

TEXTS = [
    "Anna drinks green tea in the morning.", "The train to Lisbon leaves at nine.", "我的猫喜欢吃鱼。",
    "昨日は東京で寿司を食べました。", "ฉันชอบกินข้าวผัดกุ้ง", "Моя сестра живёт в Киеве.", "Wifi password: zebra-4711.",
]  # fmt: skip


def test_parts_add_up(memory: Memory) -> None:
    memory.add_many([{"text": text, "at": f"2023-0{i + 1}-01", "session_id": "s"} for i, text in enumerate(TEXTS)])
    hits = memory.search("When does the train to Lisbon leave in February 2023?")
    assert hits
    for hit in hits:
        why = hit.explain()
        assert sum(why.parts.values()) == pytest.approx(why.relevance)
        assert why.relevance * why.substance * why.retention**why.fading * why.importance == pytest.approx(why.score)
        assert 0 < why.retention <= 1
        assert f"{why.score:.3f}" in str(why)
    assert hits[0].explain().parts["time"] > 0


def test_scores_fall(memory: Memory) -> None:
    memory.add_many(TEXTS)
    scores = [hit.score for hit in memory.search("tea train", k=7)]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("query", "found"),
    [("猫", 2), ("喜欢", 2), ("寿司", 3), ("東京", 3), ("ข้าวผัด", 4), ("กุ้ง", 4), ("киеве", 5), ("ZEBRA", 6)],
)
def test_any_script_is_found_by_its_words(open_memory: Callable[..., Memory], query: str, found: int) -> None:
    """With an embedder that sees no difference between texts, words alone find."""
    memory = open_memory(embedder=lambda texts: np.tile(np.float32([1, 0, 0, 0]), (len(texts), 1)))
    memory.add_many(TEXTS)
    assert memory.search(query, k=1)[0].text == TEXTS[found]


def test_a_word_finds_what_lies_far_away_in_meaning(open_memory: Callable[..., Memory]) -> None:
    def embed(texts: Sequence[str]) -> np.ndarray:
        return np.array(
            [[-1.0, 0.0] if "4711" in text else [0.45, 0.89] if "fine" in text else [1.0, 0] for text in texts]
        )

    memory = open_memory(embedder=embed)
    memory.add_many([f"The weather on day {i} was fine." for i in range(300)])
    memory.add("Wifi password: zebra-4711.")
    assert memory.search("zebra", k=1)[0].text == "Wifi password: zebra-4711."


def test_near_duplicates_are_one_hit(memory: Memory) -> None:
    memory.add_many(["I like green tea.", "I LIKE green tea.", "i like GREEN tea.", "The train is late."])
    hits = memory.search("green tea", k=4)
    assert [hit.text.lower()[:16] for hit in hits].count("i like green tea") == 1
    assert len(hits[0].also) == 2
    ids = {hit.id for hit in hits} | {id for hit in hits for id in hit.also}
    assert len(ids) == 4


def test_collapsing_leaves_k_hits(memory: Memory) -> None:
    memory.add_many([f"I like {tea} tea{end}" for tea in ("green", "black", "white") for end in ".!"])
    assert len(memory.search("tea", k=3)) == 3


def test_a_named_time_counts(memory: Memory) -> None:
    memory.add("I planted tulips.", at="2023-03-05")
    memory.add("I planted roses.", at="2023-06-05")
    assert memory.search("What did I plant in March 2023?", k=1)[0].text == "I planted tulips."
    assert memory.search("What did I plant in June 2023?", k=1)[0].text == "I planted roses."


def test_since_and_until_are_half_open(memory: Memory) -> None:
    for day in (1, 2, 3):
        memory.add(f"Tea on day {day}.", at=f"2023-01-0{day}")
    found = memory.search("tea", since="2023-01-01", until="2023-01-03")
    assert {hit.text for hit in found} == {"Tea on day 1.", "Tea on day 2."}


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_links_of_some_are_those_of_all_that_touch_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    with random_store(rng, 12) as store:
        ids = [trace.id for trace in store.iterate(ANNA)]
        for kind in ("similar", "related", "similar"):
            pairs = [(*rng.choice(ids, size=2).tolist(), float(rng.choice([0.3, 0.7, 1.0]))) for _ in range(8)]
            op = store.link(pairs, kind, Why("link"), 0.0)
        if rng.random() < 0.5:
            store.undo(op, Why("undo"), 1.0)
        some = rng.choice(12, size=4).tolist()
        wanted = [link for link in store.links(ANNA) if set(link[:2]) & set(some)]
        assert sorted(store.links(ANNA, some)) == sorted(wanted)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_sessions_are_in_order_whatever_came_when(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sessions, told, at, n, gone = Sessions(), [], np.zeros(0), np.zeros(0, dtype=np.int64), set()
    for _ in range(4):
        count = int(rng.integers(0, 6))
        names = [None if rng.random() < 0.2 else str(rng.integers(3)) for _ in range(count)]
        told += names
        at = np.concatenate([at, rng.integers(0, 9, count).astype(float)])
        n = np.concatenate([n, rng.integers(0, 99, count)])
        sessions.add(names, at, n)
        leaving = [i for i in range(len(told)) if i not in gone and rng.random() < 0.2]
        sessions.remove(np.array(leaving, dtype=np.int64))
        gone |= set(leaving)
        before, after = np.full(len(told), -1), np.full(len(told), -1)
        for name in {name for name in told if name is not None}:
            chain = [i for i in range(len(told)) if told[i] == name and i not in gone]
            chain.sort(key=lambda i: (at[i], n[i]))
            before[chain[1:]], after[chain[:-1]] = chain[:-1], chain[1:]
        found = sessions.beside(np.arange(len(told)))
        assert [(at[a], n[a]) if a >= 0 else None for a in found[0]] == [
            (at[a], n[a]) if a >= 0 else None for a in before
        ]
        assert (found[1] >= 0).tolist() == (after >= 0).tolist()


def test_an_index_read_from_its_file_searches_as_wide_as_when_it_was_built(tmp_path: Path) -> None:
    vectors = near(np.random.default_rng(0), 50)
    built = Approximate.build(DIM, np.arange(50), vectors, 1)
    built.path = tmp_path / "ann" / "1.usearch"
    built.save("mine")
    read = Approximate.load(built.path, "mine")
    assert read is not None
    assert read.index.expansion_search == built.index.expansion_search
    assert read.search(vectors[0], 5)[0].tolist() == built.search(vectors[0], 5)[0].tolist()
