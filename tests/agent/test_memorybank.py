"""MemoryBank on the engine: what fades, what lasts, what a day leaves behind, and what erasing takes along."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from halflife import Memory
from halflife.agent.memorybank import MemoryBank
from halflife.agent.system import MemorySystem
from halflife.decay import DAY
from halflife.errors import InvalidInput
from halflife.store.timeparse import parse_time
from halflife.store.trace import Space
from tests.llm.scripted import Scripted

ANNA = Space.of("anna")


def day(number):
    return parse_time("2023-05-01") + number * DAY


@pytest.fixture
def memory(tmp_path):
    with Memory(tmp_path / "m.db", embedder="hash", system="memorybank", clock=lambda: day(0)) as memory:
        yield memory


@pytest.fixture
def bank(memory):
    return memory.system


def reopened(memory, llm=None, **options):
    path = memory.engine.store.path
    return Memory(path, embedder="hash", system="memorybank", clock=lambda: day(0), options=options, llm=llm)


def live(memory, user="anna"):
    return {trace.text for trace in memory.list(user_id=user, limit=None) if trace.status == "active"}


def test_it_is_a_memory_system_and_its_curve_is_the_law_of_the_store(memory, bank):
    assert isinstance(bank, MemorySystem)
    assert memory.engine.store.law == bank.curve.law
    path = memory.engine.store.path
    with Memory(path, embedder="hash") as plain:
        assert plain.engine.store.law == bank.curve.law


def test_the_law_counts_for_what_was_read_before_the_system_was_opened():
    with Memory(embedder="hash", clock=lambda: day(0)) as memory:
        memory.add("The cello is old.", user_id="anna")
        memory.search("cello", user_id="anna", reinforce=False)
        bank = MemoryBank(memory.engine)
        [hit] = bank.search(ANNA, "cello", now=day(5), reinforce=False)
        stability = memory.get(hit.id).state.stability
        assert hit.retention == pytest.approx(np.exp(-5 * DAY / stability))


def test_a_recall_strengthens_and_restarts_time(memory, bank):
    added = bank.append(ANNA, "I play the cello.", "How lovely!", "2023-05-01")
    assert bank.strength(memory.get(added.id)) == 1
    for n in (1, 2):
        assert [hit.id for hit in bank.search(ANNA, "cello", now=day(n))] == [added.id]
    trace = memory.get(added.id)
    assert (bank.strength(trace), trace.last_used) == (3, day(2))
    bank.search(ANNA, "cello", now=day(9), reinforce=False)
    assert memory.get(added.id) == trace


def test_only_what_was_cited_is_strengthened_if_so_wished(memory):
    with reopened(memory, reinforce="cited") as cited:
        bank = cited.system
        a, b = (bank.append(ANNA, f"I play the {what}.").id for what in ("cello", "flute"))
        assert len(bank.search(ANNA, "What do I play?", now=day(1))) == 2
        bank.reinforce([b], day(1))
        assert [bank.strength(cited.get(id)) for id in (a, b)] == [1, 2]


def test_the_threshold_is_where_the_curve_says(memory, bank):
    added = bank.append(ANNA, "I play the cello.", date="2023-05-01")
    last = int(np.floor(5 * np.log(10)))  # R = 0.1 after 11.5 days
    assert bank.forget(ANNA, day(last)) == []
    assert bank.forget(ANNA, day(last + 1)) == [added.id]
    assert bank.search(ANNA, "cello", now=day(12)) == []


def test_forgetting_leaves_recall_and_can_be_undone(memory, bank):
    added = bank.append(ANNA, "I play the cello.", date="2023-05-01")
    bank.forget(ANNA, day(40))
    assert memory.get(added.id).status == "archived"
    memory.undo(memory.operations(user_id="anna")[0].op)
    assert memory.get(added.id).status == "active"
    assert [hit.id for hit in bank.search(ANNA, "cello", now=day(40))] == [added.id]


def test_days_are_whole_and_a_clock_that_went_backwards_loses_nothing(memory, bank):
    bank.append(ANNA, "I play the cello.", date=day(0) + 100)
    with reopened(memory, threshold=1.0) as strict:
        assert strict.system.forget(ANNA, day(0) + 80_000) == []  # later on the same day: R = 1
        assert strict.system.forget(ANNA, day(-3)) == []
        assert len(strict.system.forget(ANNA, day(1) + 1)) == 1


@pytest.mark.parametrize("checks", [[5], [1, 2, 3, 4, 5], [1, 1, 1, 5, 5]])
def test_hazard_follows_the_curve_however_often_it_is_checked(checks):
    with Memory(embedder="hash:8", system="memorybank", clock=lambda: day(0)) as memory:
        memory.add_many([{"text": f"turn {i}", "vector": np.ones(8)} for i in range(4000)], user_id="anna")
        for n in checks:
            memory.system.forget(ANNA, day(n), "hazard")
        assert len(live(memory)) / 4000 == pytest.approx(np.exp(-1), abs=0.025)


def test_draws_are_seeded_by_day_and_not_by_who_draws():
    def survivors(seed):
        with Memory(embedder="hash:8", system="memorybank", clock=lambda: day(0), options={"seed": seed}) as memory:
            memory.add_many([{"text": f"turn {i}", "vector": np.ones(8)} for i in range(50)], user_id="anna")
            memory.system.forget(ANNA, day(3), "draw")
            return live(memory)

    assert survivors(1) == survivors(1) != survivors(2)


def test_spaces_do_not_see_each_other_whatever_their_names(memory, bank):
    bank.append(Space.of("a_b"), "I play the cello.")
    bank.append(Space.of("a"), "I play the flute.")
    assert [hit.text for hit in bank.search(Space.of("a_b"), "play", now=day(0))] == ["I play the cello."]
    assert bank.search(Space.of("nobody"), "play", now=day(0)) == []
    assert bank.forget(Space.of("nobody"), day(0)) == []
    assert bank.consolidate(Space.of("nobody"), day(0)) == {"noted": [], "failed": [], "forgotten": []}


# -- notes ------------------------------------------------------------------------------------------------------------


def asked(model):
    return [messages[-1].content for messages in model.asked]


def two_days(bank):
    return [
        bank.append(ANNA, "I play the cello in an orchestra.", "How lovely!", "2023-05-01").id,
        bank.append(ANNA, "We rehearse the Dvorak concerto.", "Enjoy it!", "2023-05-01").id,
        bank.append(ANNA, "I went sailing.", "Was it windy?", "2023-05-02").id,
    ]


def test_a_day_leaves_a_summary_and_a_portrait_derived_from_its_turns(memory, bank):
    ids = two_days(bank)
    assert bank.consolidate(ANNA, day(2))["noted"] == ["2023-05-01", "2023-05-02"]
    assert list(bank.summaries(ANNA)) == list(bank.portraits(ANNA)) == ["2023-05-01", "2023-05-02"]
    assert "sailing" in bank.summaries(ANNA)["2023-05-02"]
    assert "Enjoy it!" not in bank.portraits(ANNA)["2023-05-01"]  # of what the user said alone
    assert all(bank.overall(ANNA))
    [note] = [t for t in memory.list(user_id="anna") if t.role == "memorybank:summary" and t.at == day(0)]
    assert set(note.sources) == set(ids[:2])


def test_summaries_can_be_recalled_and_portraits_cannot(memory, bank):
    two_days(bank)
    bank.consolidate(ANNA, day(2))
    roles = {hit.role for hit in bank.search(ANNA, "cello sailing orchestra", k=20, now=day(2))}
    assert "memorybank:summary" in roles
    assert not roles & {"memorybank:portrait", "memorybank:overall-summary", "memorybank:overall-portrait"}


def test_notes_are_written_once_and_again_only_for_what_is_new(memory):
    model = Scripted("They spoke of music.", repeat=True)
    with reopened(memory, llm=model) as modelled:
        bank = modelled.system
        two_days(bank)
        bank.consolidate(ANNA, day(2))
        assert len(asked(model)) == 2 * 2 + 2
        assert any("cello" in prompt and "User:" in prompt for prompt in asked(model))
        assert bank.consolidate(ANNA, day(2))["noted"] == []
        assert len(asked(model)) == 6
        bank.append(ANNA, "And I bought strings.", date="2023-05-02")
        assert bank.consolidate(ANNA, day(2))["noted"] == ["2023-05-02"]
        assert len(asked(model)) == 6 + 2 + 2
        assert bank.summaries(ANNA)["2023-05-02"] == "They spoke of music."


def test_a_model_that_says_nothing_is_asked_again_later(memory):
    model = Scripted("  ", repeat=True)
    with reopened(memory, llm=model) as modelled:
        two_days(modelled.system)
        assert modelled.system.consolidate(ANNA, day(2))["failed"] == ["2023-05-01", "2023-05-02"]
        assert modelled.system.summaries(ANNA) == {}
        model.replies = ["Music."]
        assert modelled.system.consolidate(ANNA, day(2))["failed"] == []
        assert modelled.system.overall(ANNA) == ("Music.", "Music.")


def test_a_day_that_is_forgotten_loses_its_notes(memory, bank):
    ids = two_days(bank)
    bank.consolidate(ANNA, day(1))
    bank.reinforce([ids[2]], day(11))
    assert set(bank.forget(ANNA, day(13))) == set(ids[:2])
    assert list(bank.summaries(ANNA)) == ["2023-05-02"]
    bank.consolidate(ANNA, day(13))
    assert "cello" not in " ".join(bank.overall(ANNA))


def test_erasing_the_turns_of_a_day_erases_its_notes(memory, bank):
    ids = two_days(bank)
    bank.consolidate(ANNA, day(2))
    memory.forget(ids[2:], user_id="anna")
    assert list(bank.summaries(ANNA)) == ["2023-05-01"]
    assert not any("sailing" in trace.text for trace in memory.list(user_id="anna", limit=None))


def echo(messages):
    """Tells of the concerto whenever it is told of it, in words of its own."""
    return "Rehearsals (Dvorak)." if "Dvorak" in messages[-1].content else "Music."


def test_a_note_that_lost_one_of_its_turns_is_erased_and_written_anew(memory):
    with reopened(memory, llm=Scripted(echo, repeat=True)) as modelled:
        bank, ids = modelled.system, two_days(modelled.system)
        bank.consolidate(ANNA, day(2))
        assert "Dvorak" in bank.summaries(ANNA)["2023-05-01"]
        assert "Dvorak" in bank.overall(ANNA)[0]
        modelled.forget(ids[1], user_id="anna")
        assert bank.consolidate(ANNA, day(2))["noted"] == ["2023-05-01"]
        assert bank.summaries(ANNA) == {"2023-05-01": "Music.", "2023-05-02": "Music."}
        assert not any("Dvorak" in trace.text for trace in modelled.engine.store.iterate())


# -- the released schema ----------------------------------------------------------------------------------------------

DOCUMENT = {
    " Ivy_X ": {
        "name": "Ivy_X",
        "history": {
            "2023-05-01": [
                {"query": "Hi.", "response": "Hello!", "memory_strength": 3, "last_recall_date": "2023-05-04"},
                {"query": "I play the cello.", "response": ""},
            ],
            "2023-05-02": [{"query": "", "response": "Good morning."}],
        },
        "summary": {"2023-05-01": {"content": "Greetings and music."}},
        "personality": {"2023-05-01": "Polite."},
        "overall_history": "Music.",
    }
}


def test_documents_come_in_and_go_out(memory, bank):
    assert bank.import_json(DOCUMENT, day(5)) == {"Ivy_X": 3}
    out = bank.export_json(Space.of("Ivy_X"))["Ivy_X"]
    assert out["history"]["2023-05-01"][0] == {
        "query": "Hi.",
        "response": "Hello!",
        "memory_id": "Ivy_X_2023-05-01_0",
        "memory_strength": 3,
        "last_recall_date": "2023-05-04",
    }
    assert [(t["query"], t["response"]) for day in out["history"].values() for t in day] == [
        ("Hi.", "Hello!"),
        ("I play the cello.", ""),
        ("", "Good morning."),
    ]
    assert out["summary"]["2023-05-01"]["content"] == "Greetings and music."
    assert (out["personality"], out["overall_history"], out["overall_personality"]) == (
        {"2023-05-01": "Polite."}, "Music.", ""
    )  # fmt: skip
    json.dumps(out)
    with Memory(embedder="hash", system="memorybank") as other:
        other.system.import_json({"Ivy_X": out}, day(5))
        assert other.system.export_json(Space.of("Ivy_X"))["Ivy_X"] == out


def test_what_comes_in_fades_from_its_last_recall(memory, bank):
    bank.import_json(DOCUMENT, day(5))
    gone = bank.forget(Space.of("Ivy_X"), day(14))
    assert sorted(memory.get(id).text for id in gone) == ["Good morning.", "I play the cello."]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"history": {"yesterday": []}}, None),
        ({"history": {"yesterday": [{"query": "Hi."}]}}, "YYYY-MM-DD"),
        ({"history": {"2023-05-01": {"query": "Hi."}}}, "list"),
        ({"history": {"2023-05-01": [{"query": " "}]}}, "query or a response"),
        ({"history": {"2023-05-01": [{"query": "Hi.", "memory_strength": 0}]}}, "memory_strength"),
        ({"history": []}, None),
        ({"summary": {"2023-05-01": 3}}, "not a text"),
        ([], "not an object"),
    ],
)
def test_a_bad_document_is_named_and_nothing_is_stored(memory, bank, change, message):
    data = {"Ivy": DOCUMENT[" Ivy_X "], "Bo": change}
    if message is None:
        assert bank.import_json(data, day(5))["Bo"] == 0
        return
    with pytest.raises(InvalidInput, match=message):
        bank.import_json(data, day(5))
    assert memory.spaces() == []


def test_bad_options_are_refused():
    for options in (
        {"curve": "ebinghaus"},
        {"curve": "code_as_written"},
        {"mode": "coin"},
        {"threshold": 2},
        {"unit_days": 0},
        {"reinforce": "some"},
    ):
        with pytest.raises(InvalidInput):
            Memory(embedder="hash", system="memorybank", options=options)


def test_recalls_with_and_without_reinforcement_do_not_lock_each_other_out(memory, bank):
    for i in range(20):
        bank.append(ANNA, f"I play piece number {i}.")

    def ask(reinforce):
        for _ in range(25):
            bank.search(ANNA, "piece", now=day(1), reinforce=reinforce)

    threads = [threading.Thread(target=ask, args=(r,), daemon=True) for r in (True, False, True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    strengths = sorted(bank.strength(trace) for trace in memory.list(user_id="anna", limit=None))
    assert sum(strengths) == 20 + 2 * 25 * 6
