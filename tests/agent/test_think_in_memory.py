"""Think-in-Memory on the engine: thoughts in buckets, tidied, durable, traceable to the turns they came from."""

from __future__ import annotations

import json

import numpy as np
import pytest

from halflife import Memory
from halflife.agent.lsh import CrossPolytope
from halflife.agent.post_thinker import ModelPostThinker
from halflife.agent.system import MemorySystem
from halflife.agent.think_in_memory import ThinkInMemory
from halflife.agent.thoughts import RulePostThinker, Thought
from halflife.agent.turns import turns_of
from halflife.errors import InvalidInput, StoreBusy
from halflife.llm import HashEmbedder
from halflife.llm.client import Chat
from halflife.papers.embedding import cached_embedder
from halflife.papers.r35_parts import Notebook
from halflife.papers.r35_worlds import statements
from halflife.store.filters import parse
from halflife.store.trace import Space
from tests.llm.scripted import Scripted

ANNA = Space.of("anna")


@pytest.fixture
def memory(tmp_path):
    with opened(tmp_path / "m.db") as memory:
        yield memory


@pytest.fixture
def tim(memory):
    return memory.system


def opened(path=None, **options):
    """Two buckets, so that the few thoughts of a test are likely to meet."""
    return Memory(
        path, embedder="hash", system="think-in-memory", clock=lambda: 100.0, options={"n_buckets": 2, **options}
    )


def thought(head, relation, tail, created=1.0):
    return Thought(head, relation, (tail,), created)


def texts(tim, space=ANNA):
    return {t.text for number in range(len(tim.sizes(space))) for t in tim.bucket(space, number)}


def together(tim, *thoughts, space=ANNA):
    """Put thoughts in, and say which bucket they share; the hash is widened to one bucket's worth if need be."""
    ids = [added.id for added in tim.insert(space, thoughts, 10.0)]
    buckets = {b: {t.id for t in tim.bucket(space, b)} for b in range(len(tim.sizes(space)))}
    return ids, next((b for b, there in buckets.items() if set(ids) <= there), None)


def test_it_is_a_memory_system(tim):
    assert isinstance(tim, MemorySystem)


def test_writing_does_not_think(memory, tim):
    memory.add({"role": "user", "content": "I live in Oslo."}, user_id="anna")
    assert texts(tim) == set()
    assert memory.search("Where does the user live?", user_id="anna") == []
    report = memory.consolidate(user_id="anna").system["user:anna"]
    assert len(report["thoughts"]) == 1
    [hit] = memory.search("Where does the user live?", user_id="anna")
    assert hit.text == "The user lives in Oslo."
    assert hit.score == pytest.approx(hit.explain().relevance)


def test_a_turn_is_thought_about_once(memory, tim):
    memory.add("I live in Oslo.", user_id="anna", role="user")
    memory.consolidate(user_id="anna")
    again = memory.consolidate(user_id="anna").system["user:anna"]
    assert again == {"thoughts": [], "forgotten": [], "merged": [], "failed": [], "operations": []}


def test_thoughts_know_the_side_of_the_turn_they_come_from(memory, tim):
    query, response = memory.add(
        [
            {"role": "user", "content": "I live in Oslo."},
            {"role": "assistant", "content": "You live in Norway. I like fjords."},
        ],
        user_id="anna",
        session_id="s",
    )
    memory.consolidate(user_id="anna")
    sources = {t.text: t.sources for t in memory.list(user_id="anna") if t.role == "thought"}
    assert sources["The user lives in Oslo."] == (query.id,)
    assert sources["The assistant likes fjords."] == (response.id,)


def test_a_reply_belongs_to_the_message_before_it_in_its_session(memory, tim):
    for role, said, session in (
        ("assistant", "I like fjords.", "a"),
        ("user", "I like tea.", "a"),
        ("user", "I like jazz.", "b"),
        ("assistant", "You like Norway.", "a"),
        ("assistant", "You like Sweden.", "a"),
    ):
        memory.add(said, user_id="anna", role=role, session_id=session)
    turns = turns_of(reversed(memory.list(user_id="anna")))
    assert sorted(tuple(side.text if side else None for side in turn) for turn in turns if all(turn)) == [
        ("I like tea.", "You like Norway.")
    ]
    assert len(turns) == 4


def test_erasing_a_turn_erases_what_was_concluded_from_it(memory, tim):
    turn, _ = (memory.add(text, user_id="anna", role="user")[0] for text in ("I live in Oslo.", "I like tea."))
    memory.consolidate(user_id="anna")
    memory.forget(turn.id, user_id="anna")
    assert texts(tim) == {"The user likes tea."}


def test_a_merged_thought_that_lost_a_parent_is_erased_and_made_anew(memory, tim):
    for i, said in enumerate(("I like green tea.", "I like green tea leaves.", "I like jazz.")):
        memory.add(said, user_id="anna", role="user", at=float(i + 1))
    tim.thinker = RulePostThinker()
    memory.consolidate(user_id="anna")
    merged = [
        t for t in memory.list(user_id="anna") if t.role == "thought" and "jazz" in t.text and t.status == "active"
    ]
    assert [t.text for t in merged] == ["The user likes green tea, green tea leaves and jazz."]
    [jazz] = [t for t in memory.list(user_id="anna") if t.text == "I like jazz."]
    memory.forget(jazz.id, user_id="anna")
    memory.consolidate(user_id="anna")
    assert texts(tim) == {"The user likes green tea and green tea leaves."}
    assert not any("jazz" in trace.text for trace in memory.engine.store.iterate())


def test_the_newest_of_contradicting_thoughts_stays_and_the_old_one_can_be_brought_back(memory, tim):
    ids, bucket = together(tim, thought("Anna", "lives in", "Oslo", 1.0), thought(" ANNA", "lives in", "Bergen", 2.0))
    assert tim.forget(ANNA, bucket, 20.0) == ids[:1]
    assert memory.get(ids[0]).status == "retired"
    assert texts(tim) == {" ANNA lives in Bergen."}
    memory.undo(memory.operations(user_id="anna")[0].op)
    assert len(texts(tim)) == 2


def test_merging_keeps_the_parents_as_tombstones(memory, tim):
    ids, bucket = together(tim, thought("Anna", "likes", "tea"), thought("Anna", "likes", "jazz", 2.0))
    gone = tim.merge(ANNA, bucket, 20.0)
    assert set(gone) == set(ids)
    [into] = set(gone.values())
    merged = memory.get(into)
    assert (merged.text, merged.sources, merged.at) == ("Anna likes tea and jazz.", tuple(ids), 2.0)
    assert [memory.get(id).status for id in ids] == ["merged", "merged"]
    assert texts(tim) == {"Anna likes tea and jazz."}


def test_of_thoughts_that_say_the_same_one_stays(memory, tim):
    _, bucket = together(tim, thought("Anna", "lives in", "Oslo"), thought("ANNA", "lives in", "oslo", 2.0))
    gone = tim.merge(ANNA, bucket, 20.0)
    assert len(texts(tim)) == 1
    # Said again after it was merged away, it is a thought again, and merges again.
    tim.insert(ANNA, [thought("Anna", "lives in", "Oslo", 3.0)], 30.0)
    tim.tidy(ANNA, range(2), 30.0)
    assert len(texts(tim)) == 1
    assert gone


def test_what_is_said_again_counts_as_new(memory, tim):
    old, new = thought("Anna", "lives in", "Oslo", 1.0), thought("Anna", "lives in", "Bergen", 2.0)
    [first] = tim.insert(ANNA, [old], 10.0)
    tim.insert(ANNA, [new], 10.0)
    [again] = tim.insert(ANNA, [thought("Anna", "lives in", "Oslo", 3.0)], 10.0)
    assert (again.id, again.event) == (first.id, "met")
    tim.tidy(ANNA, range(2), 10.0)
    assert texts(tim) == {"Anna lives in Oslo."}


def test_what_was_retired_can_be_true_again(memory, tim):
    for created, city in enumerate(("Oslo", "Bergen", "Oslo"), start=1):
        tim.insert(ANNA, [thought("Anna", "lives in", city, float(created))], 10.0)
        tim.tidy(ANNA, range(2), 10.0)
    assert texts(tim) == {"Anna lives in Oslo."}


def test_recall_falls_back_to_the_next_buckets(tmp_path):
    with opened(tmp_path / "m.db", n_buckets=16) as memory:
        tim = memory.system
        tim.insert(ANNA, [thought(name, "likes", "tea") for name in ("Ada", "Bo", "Cleo", "Dan", "Edda")], 1.0)
        assert len(tim.recall(ANNA, "Who likes tea?", 5, 1.0)) == 5
        assert len(tim.recall(ANNA, "Who likes tea?", 50, 1.0)) == 5
        assert len(tim.recall(ANNA, "Who likes tea?", 2, 1.0)) == 2


def test_recall_ranks_by_cosine_and_strengthens_only_if_asked(memory, tim):
    tim.insert(ANNA, [thought("Ada", "likes", "tea"), thought("Bo", "plays", "chess")], 1.0)
    hits = tim.recall(ANNA, "Ada likes tea.", 2, 1.0, reinforce=False)
    assert [hit.trace.metadata["head"] for hit in hits] == ["Ada", "Bo"]
    assert hits[0].score == pytest.approx(1.0, abs=1e-3)
    assert memory.get(hits[0].id).state.uses == 1
    tim.recall(ANNA, "Ada likes tea.", 1, 2.0)
    assert memory.get(hits[0].id).state.uses == 2


def test_a_filter_looks_into_every_bucket(tim):
    tim.insert(ANNA, [thought(name, "likes", "tea") for name in ("Ada", "Bo", "Cleo")], 1.0)
    [hit] = tim.recall(ANNA, "Who likes tea?", 5, 1.0, where=parse({"head": "Bo"}))
    assert hit.text == "Bo likes tea."


def test_nothing_known_nothing_recalled(tim):
    assert tim.recall(Space.of("nobody"), "Who?", 5, 1.0) == []
    assert tim.insert(ANNA, []) == []
    assert tim.consolidate(Space.of("nobody"), 1.0)["thoughts"] == []


def many(count):
    return [thought(s.head, s.relation, s.tail, s.time + 1) for s in statements(0, count)]


def test_buckets_are_kept_and_found_again(tmp_path):
    with opened(tmp_path / "m.db", n_buckets=8, seed=3) as memory:
        memory.system.insert(ANNA, many(60), 1.0)
        memory.system.rehash(ANNA)
        before = [[t.text for t in memory.system.bucket(ANNA, b)] for b in range(8)]
        kept = json.loads(memory.engine.store.db.meta("think-in-memory:hash:1"))
        assert kept["counted"] == sum(map(len, before))
    with opened(tmp_path / "m.db", n_buckets=4, seed=99) as again:  # the store's own settings count
        assert [[t.text for t in again.system.bucket(ANNA, b)] for b in range(8)] == before


def test_rehashing_moves_every_thought_to_the_bucket_of_the_new_hash(memory, tim):
    tim.insert(ANNA, many(60), 1.0)
    tim.rehash(ANNA, n_buckets=8)
    traces = [t for t in memory.list(user_id="anna", limit=None) if t.role == "thought"]
    vectors = memory.engine.embedder.embed([t.text for t in traces])
    expected = CrossPolytope(256, 8, seed=0, mean=vectors.mean(axis=0)).buckets(vectors)
    assert np.mean([t.metadata["bucket"] == row.tolist() for t, row in zip(traces, expected, strict=True)]) > 0.98
    assert sum(tim.sizes(ANNA)) == len(traces)


def test_undoing_a_rehash_leaves_no_thought_in_a_bucket_of_the_wrong_hash(memory, tim):
    tim.insert(ANNA, many(30), 1.0)
    tim.rehash(ANNA, n_buckets=8)
    right = tim.sizes(ANNA)
    memory.undo(memory.operations(user_id="anna")[0].op)
    assert tim.sizes(ANNA) == right


def test_the_mean_is_taken_anew_as_the_store_grows(memory, tim):
    tim.insert(ANNA, many(10), 1.0)
    tim.consolidate(ANNA, 1.0)
    assert memory.engine.store.db.meta("think-in-memory:hash:1") is None
    tim.insert(ANNA, many(60), 1.0)
    tim.consolidate(ANNA, 1.0)
    assert json.loads(memory.engine.store.db.meta("think-in-memory:hash:1"))["counted"] >= 16


def test_a_store_converted_to_another_embedder_is_hashed_anew(tmp_path):
    with opened(tmp_path / "m.db") as memory:
        memory.system.insert(ANNA, many(30), 1.0)
        memory.system.rehash(ANNA)
        texts_before = texts(memory.system)
    store = Memory(tmp_path / "m.db", embedder="hash").engine.store
    other = HashEmbedder(64)
    store.reembed(other.fingerprint, other.dim, lambda batch: [other.embed([text]) for text in batch], 2.0)
    store.close()
    with Memory(tmp_path / "m.db", embedder=other, system="think-in-memory") as converted:
        assert texts(converted.system) == texts_before
        assert converted.system.recall(ANNA, "Where does Ada live?", 3, 1.0)


def test_a_bucket_that_changes_while_a_model_thinks_is_thought_about_again(memory, tim):
    _, bucket = together(tim, thought("Anna", "lives in", "Oslo"), thought("Anna", "lives in", "Bergen", 2.0))
    rule, calls = RulePostThinker(), []

    class Slow(RulePostThinker):
        """While it thinks, the oldest thought is archived by someone else."""

        def contradictions(self, thoughts):
            calls.append(len(thoughts))
            if len(calls) == 1:
                memory.archive(thoughts[0].id)
            return rule.contradictions(thoughts)

    tim.thinker = Slow()
    assert tim.forget(ANNA, bucket, 20.0) == []
    assert calls == [2]  # one thought was left, about which there is nothing to decide

    class Restless(RulePostThinker):
        def contradictions(self, thoughts):
            tim.insert(ANNA, [thought("Anna", "lives in", "Bergen", 10.0 + len(calls))], 1.0)
            calls.append(0)
            return [thoughts[0].id]

    tim.insert(ANNA, [thought("Anna", "lives in", "Lima", 1.0)], 1.0)
    [bucket] = [b for b in range(2) if any(t.tails == ("Bergen",) for t in tim.bucket(ANNA, b))]
    tim.thinker = Restless()
    if len(tim.bucket(ANNA, bucket)) > 1:
        with pytest.raises(StoreBusy, match="changed each time"):
            tim.forget(ANNA, bucket, 20.0)


def test_it_keeps_what_the_plain_lists_of_the_reproduction_keep():
    embedder = cached_embedder("smoke")
    hashing = CrossPolytope(embedder.dim, 8, seed=0)
    notebook = Notebook(lambda t: int(hashing.buckets(embedder.embed([t.text]))[0, 0]), tidy=True)
    with Memory(embedder=embedder, system="think-in-memory", options={"center": False}) as memory:
        tim = memory.system
        for one in many(80):
            notebook.insert(one)
            [added] = tim.insert(ANNA, [one], 1.0)
            tim.tidy(ANNA, tim._buckets_of(ANNA, [added.id]), 1.0)
        assert texts(tim) == {t.text for t in notebook.thoughts}


# -- a language model -------------------------------------------------------------------------------------------------


def scripted(*answers):
    return ModelPostThinker(Chat(Scripted(list(answers))))


def test_a_model_thinks_and_what_it_says_is_kept(memory, tim):
    answer = {"thoughts": [{"head": "Anna", "relation": "lives in", "tail": "Oslo", "text": "Anna is an Oslo girl."}]}
    tim.thinker = scripted(f"Here you are:\n```json\n{json.dumps(answer)}\n```")
    memory.add("I am from Oslo.", user_id="anna", role="user")
    memory.consolidate(user_id="anna")
    [hit] = memory.search("Oslo", user_id="anna")
    assert hit.text == "Anna is an Oslo girl."
    [bucket] = [b for b in range(2) if tim.bucket(ANNA, b)]
    assert tim.bucket(ANNA, bucket)[0].relation == "lives in"


def test_a_turn_that_a_model_fails_at_is_reported_and_tried_again(memory, tim):
    good = json.dumps({"thoughts": [{"head": "Anna", "relation": "likes", "tail": "tea", "side": "query"}]})
    model = Scripted(["no idea", '{"thoughts": [{"head": "Anna"}]}', good, good])
    tim.thinker = ModelPostThinker(Chat(model))
    first = memory.add("I like tea.", user_id="anna", role="user", at=1.0)[0].id
    memory.add("I do like tea.", user_id="anna", role="user", at=2.0)
    report = memory.consolidate(user_id="anna").system["user:anna"]
    assert [failure["turn"] for failure in report["failed"]] == [first]
    assert len(report["thoughts"]) == 1
    report = memory.consolidate(user_id="anna").system["user:anna"]
    assert report["failed"] == []
    assert len(model.asked) == 4
    assert texts(tim) == {"Anna likes tea."}


def test_a_bucket_that_a_model_fails_at_stays_as_it_was(memory, tim):
    ids, bucket = together(tim, thought("Anna", "likes", "tea"), thought("Anna", "likes", "jazz"))
    op = memory.engine.store.last_op()
    for answers in (["?", "?"], ['{"untrue": []}', '{"groups": [{"numbers": [1, 9]}]}', "?"]):
        tim.thinker = scripted(*answers)
        report = tim.tidy(ANNA, [bucket], 20.0)
        assert [failure["bucket"] for failure in report.failed] == [bucket]
    assert memory.engine.store.last_op() == op
    assert [memory.get(id).status for id in ids] == ["active", "active"]


def test_bad_options_are_refused(memory):
    for options in ({"n_buckets": 3}, {"n_tables": 0}, {"probes": 0}):
        with pytest.raises(InvalidInput):
            ThinkInMemory(memory.engine, **options)
