"""TradingGPT's reproduction runs end to end, and its worlds are scored as the memory system scores them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from halflife import Memory
from halflife.agent.layered_event import PAPER
from halflife.decay import DAY
from halflife.errors import InvalidInput
from halflife.papers import reproduce
from halflife.papers.r08_debate import errors, misleading
from halflife.papers.r08_worlds import METHODS, RULES, Routing, follow, keep, lives, read, world
from halflife.store.trace import Space


def test_it_runs_end_to_end_and_says_that_it_is_no_evidence_of_profit(tmp_path):
    steps = []
    report = reproduce("tradinggpt", "smoke", seed=1, out=tmp_path, progress=lambda step, share: steps.append(share))
    assert steps == sorted(steps)
    assert {claim.name[0] for claim in report.claims} == {"A", "B", "C"}
    assert all(np.isfinite(claim.measured) for claim in report.claims)
    folder = tmp_path / "08-tradinggpt" / "smoke"
    assert "no evidence of trading profit" in (folder / "report.md").read_text()
    assert json.loads((folder / "result.json").read_text())["seeds"] == [1, 2]
    assert {"routing.svg", "retrieved.svg", "life.svg"} < {path.name for path in folder.iterdir()}


def test_there_is_no_gpu_size():
    with pytest.raises(InvalidInput, match="no gpu size"):
        reproduce("tradinggpt", "gpu")


@pytest.mark.parametrize("routing", ["exact", "random"])
def test_the_world_is_read_as_the_memory_system_would(routing: Routing):
    """The same events in a store, with vectors whose cosine to the query is their relevance."""
    w, now = world(3, routing, days=40), 39
    rng = np.random.default_rng(0)
    relevance = dict(zip(map(str, range(len(w.day))), w.relevance, strict=True))

    def embed(texts):
        cosines = np.array([relevance.get(text, 1.0) for text in texts])
        return np.stack([cosines, np.sqrt(1 - cosines**2), *np.zeros((6, len(texts)))], axis=1)

    with Memory(embedder=embed, system="layered", clock=lambda: now * DAY) as memory:
        memory.add_many(
            [
                {
                    "text": str(i),
                    "at": float(w.day[i] * DAY),
                    "layer": list(PAPER)[w.layer[i]],
                    "importance": w.importance[i] / 100,
                }
                for i in range(len(w.day))
            ]
        )
        found = memory.system.query(Space.of(), "what now?", 3)
    rows, weight = read(w, "layered", now, rng)
    hits = [hit for hits in found.values() for hit in hits]
    assert [int(hit.text) for hit in hits] == rows.tolist()
    assert [hit.retention for hit in hits] == pytest.approx(weight.tolist())


def test_worlds_differ_in_their_routing_only():
    exact, random = world(5), world(5, "random")
    for name in ("day", "kind", "signal", "sign", "relevance"):
        assert (getattr(exact, name) == getattr(random, name)).all()
    assert (exact.layer == exact.kind).all()
    assert 0.2 < (random.layer == random.kind).mean() < 0.5
    partly = world(5, "80 % right")
    assert (partly.layer == partly.kind).mean() == pytest.approx(0.8, abs=0.04)


def test_nobody_reads_more_than_nine_events_or_any_that_is_still_to_come():
    w, rng = world(2, days=60), np.random.default_rng(0)
    for method in METHODS:
        for now in (0, 5, 59):
            rows, weight = read(w, method, now, rng)
            assert len(rows) == len(set(rows.tolist())) == len(weight) <= 9
            assert (w.day[rows] <= now).all()
    scores = follow(w, METHODS, seed=0, start=30, end=60)
    assert all(0 <= score.hit <= 1 and 0 <= score.recall <= 1 for score in scores.values())
    assert scores["layered"].recall > scores["random"].recall


def test_only_promotion_keeps_what_outlives_the_short_layer():
    kept = {rule: keep(rule, 0, days=70, settled=50) for rule in RULES}
    assert kept[RULES[0]].relevant == 0.0  # recency alone drops every short event within 42 days
    assert kept[RULES[1]].relevant > 0.1
    assert kept[RULES[2]].size > kept[RULES[1]].size > kept[RULES[0]].size


def test_one_life_is_drawn_until_it_is_dropped():
    drawn = lives(uses={"short": (), "used": (0, 1, 2)})
    score, moved = drawn["short"]
    assert score[0] == pytest.approx(1.9)
    assert np.isnan(score[-1])
    assert moved == []
    score, moved = drawn["used"]
    assert moved
    assert score[moved[0]] > 1.5


def test_a_debate_gains_less_the_more_its_agents_share():
    gain = [1 - e.debate / e.alone for e in (errors(rho, 0, questions=100) for rho in (0.0, 0.5, 0.9))]
    assert gain[0] > gain[1] > gain[2] > 0.0


def test_a_wrong_memory_shared_by_all_misleads_all_until_it_is_forgotten():
    one, shared = (misleading(misled, 0, assets=8) for misled in ("one agent", "all agents"))
    assert one.planted > shared.planted
    assert one.forgotten == shared.forgotten > shared.planted


def test_a_seed_repeats_the_run():
    assert follow(world(4, days=50), METHODS, 4, 30, 50) == follow(world(4, days=50), METHODS, 4, 30, 50)
    assert keep(RULES[1], 4, days=60) == keep(RULES[1], 4, days=60)
