"""Memento's reproduction: the simulated world is the one described, the rows are split as said, it runs end to end."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from halflife.agent.cases_case import Case
from halflife.agent.cases_mdp import Online
from halflife.errors import InvalidInput
from halflife.llm import HashEmbedder
from halflife.papers import reproduce
from halflife.papers.data import VARIABLE
from halflife.papers.r63_parts import look
from halflife.papers.r63_rows import by_similarity, case_line, head, read_rows, split
from halflife.papers.r63_world import CLASSES, COPIES, KNOWS, Simulated, TaskEmbedder, live, tasks

QUICK = Online(every=10, updates=2, batch=16, after=20)


def released(queries=40, cases=5):
    """Rows as released: every case of a query has the query's label."""
    return [
        {
            "query": f"What is thing {q}?",
            "case": f"What is thing {100 + q + c}?",
            "case_label": "positive" if c % 2 else "negative",
            "plan": json.dumps({"plan": [{"id": 1, "description": f"Look up thing {c}."}]}),
            "truth_label": q % 3 == 0,
        }
        for q in range(queries)
        for c in range(cases)
    ]


@pytest.fixture
def data(tmp_path, monkeypatch):
    path = tmp_path / "memento" / "training_data.jsonl.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in released()).encode()))
    monkeypatch.setenv(VARIABLE, str(tmp_path))


# -- the simulated world ------------------------------------------------------------------------------------------


def test_a_task_looks_like_its_topic():
    world = tasks(600, seed=0)
    assert np.linalg.norm(world.vectors, axis=1) == pytest.approx(1, abs=1e-5)
    nearest = world.vectors @ world.vectors.T - 2 * np.eye(600)
    best = nearest.argmax(axis=1)
    assert (world.topics[best] == world.topics).mean() > 0.8
    assert (world.skills[best] == world.skills).mean() < 0.7


def test_the_simulated_model_follows_good_cases_only():
    world = tasks(3000, seed=1)
    model = Simulated(world, seed=0)
    states = [f"task {i}" for i in range(3000)]

    def rate(cases_of):
        return np.mean([model.reward(s, model.act(s, cases_of(s))) for s in states])

    right = {s: f"plan {world.skills[i]}" for i, s in enumerate(states)}
    base = KNOWS + (1 - KNOWS) / CLASSES
    assert rate(lambda s: []) == pytest.approx(base, abs=0.03)
    assert rate(lambda s: [Case(s, right[s], 0.0)]) == pytest.approx(base, abs=0.03)
    assert rate(lambda s: [Case(s, right[s], 1.0)]) == pytest.approx(COPIES + (1 - COPIES) * base, abs=0.02)
    assert rate(lambda s: [Case(s, "plan 9", 1.0)]) == pytest.approx((1 - COPIES) * base, abs=0.02)


def test_the_embedder_gives_a_task_its_vector():
    world = tasks(5, seed=0)
    assert np.array_equal(TaskEmbedder(world).embed(["task 3"])[0], world.vectors[3])


def test_lives_are_repeatable_and_differ_by_arm():
    world = tasks(100, seed=0)
    runs = {arm: live(world, arm, 0, online=QUICK) for arm in ("none", "non-parametric", "parametric")}
    again = live(world, "parametric", 0, online=QUICK)
    assert np.array_equal(again.rewards, runs["parametric"].rewards)
    assert runs["none"].policy is None
    assert not np.array_equal(runs["none"].rewards, runs["non-parametric"].rewards)
    assert runs["none"].by_iteration(5).mean() == pytest.approx(runs["none"].rewards.mean())


def test_a_value_that_knows_the_skill_is_told_from_one_that_does_not():
    """The look at a policy is fair: a perfect value has area 1."""
    world = tasks(400, seed=0)
    lived = live(world.first(100), "parametric", 0, online=QUICK)

    class Knowing:
        def score(self, state, cases):
            [i] = np.flatnonzero((world.vectors == state).all(axis=1))
            return (world.skills[cases.n] == world.skills[i]) * (cases.rewards == 1) * 1.0

        def shown(self, scores):
            return scores

    seen = look(type(lived)(lived.rewards, Knowing()), world)
    assert (seen.learned, seen.learned_good) == (1.0, 1.0)
    assert 0.3 < seen.similar_good < 0.9
    assert seen.skill[seen.value == 1].mean() < seen.skill[seen.value == 0].mean()


# -- the released rows --------------------------------------------------------------------------------------------


def test_rows_are_read_with_their_labels():
    rows = read_rows(released(), HashEmbedder())
    assert rows.mixed() == 0
    assert len(rows.truth) == 200
    assert rows.truth.mean() == pytest.approx(14 / 40)
    assert set(rows.pairs.rewards.tolist()) == {0.0, 1.0}


def test_a_plan_that_is_cut_short_is_read_as_it_is():
    assert case_line({"case": "Who?", "plan": '{"plan": [{"id'}) == '[CASE] Who? [PLAN] {"plan": [{"id'


def test_a_query_is_on_one_side_or_on_both():
    rows = read_rows(released(), HashEmbedder())

    def both(by):
        test = split(rows, by, 0)
        return len(set(rows.query[test]) & set(rows.query[~test]))

    assert both("query") == 0
    assert both("row") > 10


def test_a_head_learns_the_labels_of_queries_it_has_seen():
    rows = read_rows(released(queries=60), HashEmbedder())
    seen, unseen = (head(rows, by, 0, cases=False) for by in ("row", "query"))
    assert seen > 0.9
    assert unseen < seen - 0.2
    assert 0 <= by_similarity(rows, "row", 0) <= 1


# -- end to end ---------------------------------------------------------------------------------------------------


def test_it_runs_and_writes_a_report(data, tmp_path):
    steps = []
    report = reproduce(
        "memento", "smoke", seed=1, out=tmp_path / "out", progress=lambda step, share: steps.append(share)
    )
    assert steps == sorted(steps)
    assert not any(VARIABLE in note for note in report.notes)
    assert [claim.name[0] for claim in report.claims] == list("AAAABCC")
    folder = tmp_path / "out" / report.paper.folder / "smoke"
    assert json.loads((folder / "result.json").read_text())["seeds"] == [1, 2]
    assert {f"{figure.name}.svg" for figure in report.figures} < {path.name for path in folder.iterdir()}


def test_without_data_the_released_rows_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    report = reproduce("memento", "smoke")
    assert any(note.startswith("B: ") and VARIABLE in note for note in report.notes)
    assert not any(claim.name.startswith("B:") for claim in report.claims)


def test_there_is_no_gpu_size():
    with pytest.raises(InvalidInput, match="no gpu size"):
        reproduce("memento", "gpu")
