"""Lessons: durable, counted, found by the action they warn of, out of recall, gone with their record."""

from __future__ import annotations

import numpy as np
import pytest

from halflife import Memory
from halflife.agent.guard_lessons import LESSONS, ROLE, Finding, LessonStore
from halflife.errors import InvalidInput
from halflife.store.trace import Space

ANNA = Space.of("anna")


@pytest.fixture
def lessons(memory):
    return LessonStore(memory.engine)


@pytest.fixture
def embed(memory):
    return lambda text: memory.engine.embedder.embed([text])[0]


@pytest.fixture
def finding(memory, embed):
    def make(text="Which dose was given?", action="drop table", cause="divergent", situation="Which dose?", **more):
        [record] = memory.add(text, user_id="anna")
        path = f"{text} → {action}"
        return Finding(record.id, path, action, embed(situation), embed(action), cause, **more)

    return make


def test_a_lesson_says_what_it_is_about(lessons, finding, embed, clock):
    found = finding(cause="failed")
    [id] = lessons.add(ANNA, [found], clock())
    [lesson] = lessons.consult(ANNA, embed("drop table"))
    assert (lesson.id, lesson.record, lesson.path) == (id, found.record, found.path)
    assert (lesson.action, lesson.cause, lesson.hits, lesson.at) == ("drop table", "failed", 1, clock())
    assert lesson.similarity == pytest.approx(1.0, abs=1e-3)
    assert [other.id for other in lessons.all(ANNA)] == [id]


def test_a_record_has_one_lesson_and_its_hits_are_counted(lessons, finding, embed, clock, memory):
    found = finding()
    ids = {id for _ in range(3) for id in lessons.add(ANNA, [found], clock(), "seen")}
    assert len(ids) == 1
    [lesson] = lessons.consult(ANNA, embed("drop table"))
    assert lesson.hits == 3
    lessons.count([lesson.id], clock())
    assert lessons.of(ANNA, [found.record])[found.record].hits == 4
    verdicts = [event for event in memory.history(lesson.id) if event.kind in ("verdict", "met")]
    assert [event.reason for event in verdicts] == ["seen", "seen", "seen", ""]


def test_two_records_with_one_path_have_a_lesson_each(lessons, finding, clock):
    one, two = finding("First?"), finding("Second?")
    same = Finding(two.record, one.path, one.action, one.context, one.action_vector)
    lessons.add(ANNA, [one, same], clock())
    assert {lesson.path for lesson in lessons.all(ANNA)} == {one.path}
    assert set(lessons.of(ANNA, [one.record, two.record, "nobody"])) == {one.record, two.record}


def test_the_nearest_actions_come_first(lessons, finding, embed, clock):
    actions = ["delete all records", "delete some records", "call the doctor", "send an email"]
    lessons.add(ANNA, [finding(f"{action}?", action) for action in actions], clock())
    found = lessons.consult(ANNA, embed("delete all records"), 3)
    assert [lesson.action for lesson in found][:2] == actions[:2]
    assert len(found) == 3
    assert [lesson.similarity for lesson in found] == sorted((lesson.similarity for lesson in found), reverse=True)
    assert len(lessons.consult(ANNA, embed("delete all records"), 9, at_least=0.6)) == 2
    assert len(lessons.consult(ANNA, embed("delete all records"))) == 4


def test_with_a_situation_both_must_be_near(lessons, finding, embed, clock):
    lessons.add(ANNA, [finding("One?", "delete", situation="Which dose?")], clock())
    lessons.add(ANNA, [finding("Two?", "delete", situation="Book a flight to Lisbon")], clock())
    far, near = lessons.consult(ANNA, embed("delete"), context=embed("Book a flight to Lisbon"))[::-1]
    assert near.similarity > 0.99
    assert far.similarity < 0.5


def test_lessons_are_in_no_recall(lessons, finding, clock, memory):
    lessons.add(ANNA, [finding("Which dose was given?", "drop table")], clock())
    assert {hit.role for hit in memory.search("drop table", user_id="anna", k=10)} == {None}
    assert [trace.status for trace in memory.list(user_id="anna", filters={"role": ROLE})] == ["archived"]
    memory.consolidate(user_id="anna")
    assert len(lessons.all(ANNA)) == 1


def test_lessons_survive_the_process(finding, clock, memory, open_memory, embed):
    LessonStore(memory.engine).add(ANNA, [finding()], clock())
    again = open_memory(memory.engine.store.path)
    [lesson] = LessonStore(again.engine).consult(ANNA, embed("drop table"))
    assert lesson.action == "drop table"


def test_another_process_sees_them_at_once(finding, clock, memory, open_memory, embed):
    other = LessonStore(open_memory(memory.engine.store.path).engine)
    assert other.consult(ANNA, embed("drop table")) == []
    mine = LessonStore(memory.engine)
    [id] = mine.add(ANNA, [finding()], clock())
    assert [lesson.id for lesson in other.consult(ANNA, embed("drop table"))] == [id]
    other.withdraw([id], clock())
    assert mine.consult(ANNA, embed("drop table")) == []


def test_no_lesson_crosses_a_space(lessons, finding, embed, clock):
    found = finding()
    lessons.add(ANNA, [found], clock())
    assert lessons.consult(Space.of("ben"), embed("drop table")) == []
    assert lessons.of(Space.of("ben"), [found.record]) == {}


def test_a_lesson_goes_with_its_record(lessons, finding, embed, clock, memory):
    one, two = finding("The secret dose was 17."), finding("Another one?")
    lessons.add(ANNA, [one, two], clock())
    report = memory.forget(one.record)
    assert report.verified
    assert report.derived == (f"lesson:{one.record}",)
    assert [lesson.record for lesson in lessons.consult(ANNA, embed("drop table"))] == [two.record]


def test_of_a_record_that_is_gone_no_lesson_is_kept(lessons, finding, clock, memory):
    one, two = finding("First?"), finding("Second?")
    also = finding("Third?", others=(one.record,))
    memory.forget(one.record)
    kept = lessons.add(ANNA, [one, two, also], clock())
    assert kept == [f"lesson:{two.record}"] == [lesson.id for lesson in lessons.all(ANNA)]


def test_a_withdrawn_lesson_is_silent_and_can_be_brought_back(lessons, finding, embed, clock, memory):
    found = finding()
    [id] = lessons.add(ANNA, [found], clock())
    operation = lessons.withdraw([id], clock())
    assert lessons.consult(ANNA, embed("drop table")) == []
    assert lessons.of(ANNA, [found.record]) == {}
    memory.undo(operation)
    assert [lesson.id for lesson in lessons.consult(ANNA, embed("drop table"))] == [id]
    lessons.withdraw([id], clock())
    lessons.add(ANNA, [found], clock())  # it comes up again
    assert lessons.of(ANNA, [found.record])[found.record].hits == 2


def test_nothing_is_asked_of_an_empty_store(lessons, embed):
    assert lessons.add(ANNA, [], 0.0) == []
    assert lessons.consult(ANNA, embed("x")) == []
    assert lessons.of(ANNA, []) == {}
    assert lessons.withdraw([], 0.0) is None
    with pytest.raises(InvalidInput):
        lessons.consult(ANNA, embed("x"), 0)


def test_a_store_that_was_embedded_anew_still_finds_them(finding, clock, memory, open_memory):
    LessonStore(memory.engine).add(ANNA, [finding()], clock())
    memory.close()
    path = memory.engine.store.path

    def other(texts):
        return [np.eye(16)[len(text) % 16] for text in texts]

    Memory.reembed(path, other)
    again = open_memory(path, embedder=other)
    vector = again.engine.embedder.embed(["anything"])[0]
    assert [lesson.action for lesson in LessonStore(again.engine).consult(ANNA, vector)] == ["drop table"]


def test_lessons_are_filtered_by_their_role(lessons, finding, clock, memory):
    lessons.add(ANNA, [finding()], clock())
    assert len(memory.engine.store.find(ANNA, LESSONS)) == 1
