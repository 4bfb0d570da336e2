"""LongMemEval's reproduction runs end to end on its generated histories, and measures what it says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from halflife.errors import InvalidInput
from halflife.llm.hashing import HashEmbedder
from halflife.papers import reproduce
from halflife.papers.r64_parts import ALL, KS, ROUND_V, SESSION_BOTH, SESSION_V, at, drawn, mean_and_error, measure
from halflife.probe.benchmarks.generate import world

WORLD = world(1, questions=20, chats=30)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    steps = []
    found = reproduce("longmemeval", "smoke", seed=1, out=out, progress=lambda step, share: steps.append(share))
    assert steps == sorted(steps)
    assert 0 <= steps[0] <= steps[-1] <= 1
    return found, out / found.paper.folder / "smoke"


def test_it_writes_a_whole_report(report):
    found, folder = report
    assert {path.name for path in folder.iterdir()} == {
        "report.md",
        "result.json",
        "recall-k.svg",
        "time-aware.svg",
    }
    assert json.loads((folder / "result.json").read_text())["seeds"] == [1]
    assert {claim.name[:3] for claim in found.claims} == {"(a)", "(b)", "(c)", "sat"}
    assert len(found.tables[0].rows) == len(ALL)
    assert any(note.startswith("(d)") for note in found.notes)
    assert "MiniLM" not in found.setup


def test_what_holds_by_definition_holds(report):
    claims = {claim.name: claim for claim in report[0].claims}
    assert claims["(b) largest change of NDCG@5 on any other question"].measured == 0
    assert claims["(c) largest excess of recall_all over recall_any"].measured <= 0


def test_a_seed_repeats_it(report):
    assert reproduce("longmemeval", "smoke", seed=1).to_dict()["table"] == report[0].to_dict()["table"]


def test_there_is_no_gpu_size():
    with pytest.raises(InvalidInput, match="no gpu size"):
        reproduce("longmemeval", "gpu")


def test_draws_ask_the_same_questions_in_other_haystacks():
    one, other = (list(drawn(WORLD, 25, seed)) for seed in (0, 1))
    assert [h.questions[0].id for h in one] == [h.questions[0].id for h in other]
    assert [h.items for h in one] != [h.items for h in other]
    assert len(one) == 19  # one of the twenty cannot be answered


def test_everything_is_found_in_the_end_and_rounds_are_read_as_sessions():
    histories = list(drawn(WORLD, 25, 0))
    rounds = measure(ROUND_V.memory(HashEmbedder()), histories)
    sessions = measure(SESSION_V.memory(HashEmbedder()), histories)
    assert (at(sessions.plain, "recall_all", 30) == 1).all()
    assert (at(rounds.by_session, "recall_all", 30) == 1).all()
    assert (at(rounds.by_session, "recall_all", 5) >= at(rounds.plain, "recall_all", 5)).all()
    assert sessions.by_session is sessions.plain
    assert sessions.plain.shape == (19, len(KS), 3)


def test_only_questions_that_name_a_time_gain_from_it():
    histories = list(drawn(WORLD, 25, 0))
    found = measure(SESSION_BOTH.memory(HashEmbedder()), histories, timed=True)
    gain = (at(found.timed, "ndcg", 5) - at(found.plain, "ndcg", 5)).round(12)
    temporal = np.array([history.questions[0].kind == "temporal-reasoning" for history in histories])
    assert gain[temporal].mean() > 0.2
    assert not gain[~temporal].any()


def test_errors_are_over_questions():
    mean, error = mean_and_error(np.array([[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]]))
    assert (mean, error) == (0.5, pytest.approx(np.std([0, 1, 1, 0], ddof=1) / 2))
