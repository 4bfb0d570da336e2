"""The demo, end to end on a short part of the diary, and its parts."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from halflife.agent.memory import Memory
from halflife.cli.demo.curves import life
from halflife.cli.demo.diary import around_the_fire, entries, two_summers
from halflife.cli.demo.excerpt import best_passage, passages, sentences
from halflife.cli.demo.story import PEOPLE, QUESTIONS, RECALLS
from halflife.llm.hashing import HashEmbedder
from tests.cli.conftest import Run


@pytest.fixture(scope="module")
def by_day() -> dict[date, str]:
    return {entry.day: entry.text for entry in entries()}


def test_the_diary_is_whole_and_in_the_dates_that_he_wrote(by_day: dict[date, str]) -> None:
    diary = entries()
    assert len(diary) == 3415
    assert [entry.day for entry in diary] == sorted(entry.day for entry in diary)
    assert by_day[date(1666, 9, 2)].startswith("2nd (Lord’s day)")
    assert by_day[date(1669, 5, 31)].endswith("May 31, 1669.")


@pytest.mark.parametrize("count", [1, 2, 40, 487, 3000, 3415])
def test_a_part_has_its_size_and_the_fire(count: int) -> None:
    diary = entries()
    part = around_the_fire(diary, count)
    assert len(part) == count
    assert date(1666, 9, 4) in [entry.day for entry in part]
    first = diary.index(part[0])
    assert diary[first : first + count] == part


def test_the_answers_stand_in_the_text(by_day: dict[date, str]) -> None:
    held = {
        date(1666, 9, 4): ("dig a pit in the garden", "Parmazan"), date(1665, 6, 7): ("red cross",),
        date(1666, 9, 2): ("made me weep", "one entire arch of fire"), date(1665, 9, 3): ("people dead of the plague",),
    }  # fmt: skip
    asked = {day for question in QUESTIONS if len(question.answers) == 1 for day in question.answers}
    assert asked == set(held)
    for day, phrases in held.items():
        assert all(phrase in by_day[day] for phrase in phrases)
    days = {entry.day for entry in two_summers(entries())}
    assert asked | {recall.about for recall in RECALLS} <= days


def test_passages_lose_no_sentence(by_day: dict[date, str]) -> None:
    text = by_day[date(1666, 9, 4)]
    assert " ".join(sentences(text)) == " ".join(text.split())
    parts = sentences(text)
    found = passages(parts, 260)
    assert [passage.start for passage in found] == list(range(len(parts)))
    assert all(len(passage) == 1 or len(" ".join(parts[i] for i in passage)) <= 260 for passage in found)
    best = best_passage(text, "dig a pit in the garden for the wine", HashEmbedder(), 260)
    assert "pit" in best
    assert len(best) <= 260


def test_a_life_replayed_ends_in_the_state_that_the_store_keeps() -> None:
    moments = iter([0.0, 0.0, 3e5, 9e5, 4e6])
    clock = [0.0]
    with Memory(embedder="hash", clock=lambda: clock[0]) as memory:
        [added] = memory.add("The comet was seen again.", user_id="pepys")
        for moment in moments:
            clock[0] = moment
            memory.search("comet", user_id="pepys")
        trace = memory.get(added.id)
        lived = life(memory, trace)
        assert (lived.moments[-1], lived.states[-1]) == (trace.last_used, trace.state)
        times = np.linspace(-1e5, 1e7, 500)
        left = lived.retention(memory, times)
        assert np.isnan(left[times < 0]).all()
        assert ((left[times >= 0] > 0) & (left[times >= 0] <= 1)).all()
        assert left[-1] == pytest.approx(memory.retention(trace, now=1e7))


def test_the_demo_from_end_to_end(run: Run, folder: Path) -> None:
    told = run("demo", "--entries", "40", "--out", "d", "--keep", "--embedder", "hash")
    assert told.code == 0
    assert told.err == ""
    for part in ("40 of the 3,415 entries", "4 September 1666", "Kept alive by recall", "from halflife import Memory"):
        assert part in told.out
    assert max(map(len, told.out.splitlines())) <= 100
    assert "\x1b" not in told.out
    assert run("doctor", "--db", "d/pepys-demo.db").code == 0
    assert run("search", "fire", "--user", "pepys", "--db", "d/pepys-demo.db").code == 0

    figures = run("demo", "--entries", "40", "--out", "d", "--embedder", "hash", "--json").one
    assert sorted(path.name for path in Path("d").iterdir()) == ["erasure.json", "retention.svg"]
    assert Path("d/retention.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")
    assert figures["entries"] == 40
    assert figures["questions"][0]["rank_of_answer"] == 1
    assert figures["kept_alive"][0]["retention"] > figures["faded_most"][0]["retention"]
    assert figures["consolidate"] == figures["consolidate_plan"]
    gone = figures["forgotten"]
    assert gone["name"] in dict(PEOPLE)
    assert gone["count"] == gone["hits_before"] > 0
    assert gone["bytes_before"] > gone["bytes_after"] == gone["hits_after"] == 0
    assert gone["report"]["verified"]
    assert json.loads(Path("d/erasure.json").read_text(encoding="utf-8")) == gone["report"]


def test_the_shortest_demo(run: Run) -> None:
    figures = run("demo", "--entries", "1", "--embedder", "hash", "--json").one
    assert figures["entries"] == 1
