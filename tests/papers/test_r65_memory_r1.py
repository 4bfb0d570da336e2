"""Memory-R1's reproduction: the dialogues and their reader, the rewards, the networks, and the pieces for a GPU."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors import safe_open

from halflife.agent.bank import FactBank
from halflife.agent.facts import Fact
from halflife.agent.manager import AlwaysAdd, plans
from halflife.agent.manager_learned import LearnedManager
from halflife.errors import InvalidInput
from halflife.llm import HashEmbedder
from halflife.papers import reproduce
from halflife.papers.data import VARIABLE
from halflife.papers.embedding import Cached
from halflife.papers.r65_dialogues import Reader, dialogue, nearest, oracle, told
from halflife.papers.r65_manager import Judge, by_oracle, by_policy, replay, row_of, states
from halflife.papers.r65_worlds import BROAD, BROAD_HELD_OUT, PAPER, PAPER_HELD_OUT

torch = pytest.importorskip("torch")

from halflife.papers import r65_answer, r65_gpu, r65_nets, r65_train  # noqa: E402
from halflife.rl import GRPO, grpo, one_step  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    with r65_nets.one_thread():
        yield


@pytest.fixture(scope="module")
def embedder():
    return Cached(HashEmbedder())


def rng(seed=0):
    return np.random.default_rng(seed)


# -- dialogues ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [PAPER, PAPER_HELD_OUT, BROAD, BROAD_HELD_OUT])
def test_what_is_true_follows_what_is_said(world):
    made = dialogue(world, rng(3), turns=60)
    before: dict = {}
    for turn in made.turns:
        changed = {topic for topic in turn.truth if turn.truth[topic] != before.get(topic)}
        if turn.phase in ("talk", "repeat"):
            assert not changed
        else:
            assert changed == {turn.topic}
            if turn.phase == "then":
                old, new = before[turn.topic], turn.truth[turn.topic]
                nature = made.natures[turn.kind]
                assert {"replace": len(new) == 1, "complement": old < new, "retract": not new}[nature]
        before = turn.truth


def test_held_out_words_share_no_template():
    for trained, held_out in ((PAPER, PAPER_HELD_OUT), (BROAD, BROAD_HELD_OUT)):
        for kind in trained.kinds:
            for other in held_out.kinds:
                assert not {*kind.first, *kind.then} & {*other.first, *other.then}
        assert not set(trained.talk) & set(held_out.talk)


def test_the_reader_is_right_when_the_operations_are(embedder):
    made = [dialogue(PAPER, rng(seed)) for seed in range(6)]
    right, added = (replay(made, embedder, Reader(embedder), how) for how in (by_oracle, by_policy(AlwaysAdd())))
    assert right.exact() > 0.85 > added.exact()
    assert right.exact("club") > 0.95
    assert added.size == 40 > right.size


def test_an_ideal_reader_finds_what_tells_of_the_topic_oldest_first(embedder):
    made = dialogue(PAPER, rng(1))
    topic = next(t for t, values in made.truth.items() if t[1] == "pet" and len(values) > 1)
    told_of = tuple(text for text, (about, _) in made.says.items() if about == topic)
    texts = ("It rains.", *told_of)
    assert Reader(None, top=1).answer(made, texts, topic) == {made.says[told_of[0]][1]}
    assert Reader(None, top=9).answer(made, texts, topic) == made.truth[topic]
    assert Reader(None, top=1).answer(made, (" ".join(texts),), topic) == made.truth[topic]
    assert Reader(embedder).answer(made, (), topic) == frozenset()


def test_candidates_come_nearest_first(embedder):
    bank = FactBank()
    assert nearest(embedder, bank, "Anna sings.", 3) == []
    for text in ("Ben works as a nurse.", "Anna sings in a choir.", "It rains."):
        bank.apply([plans(Fact(text), [])[0]])
    found = nearest(embedder, bank, "Anna sings.", 2)
    assert found[0].text == "Anna sings in a choir."
    assert found[0].cosine >= found[1].cosine


# -- rewards ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tuples(embedder):
    return states([dialogue(PAPER, rng(seed)) for seed in range(4)], embedder, rng(9))


def test_the_linked_question_does_not_see_what_is_destroyed_and_retention_does(tuples, embedder):
    """A first statement overwrites an entry on something else: the new fact is there, the old one is lost."""
    reader = Reader(embedder)
    linked, retention = Judge(reader, "linked"), Judge(reader, "retention")
    lost = []
    for state in tuples:
        if state.turn.phase == "first" and state.candidates and told(state.dialogue, state.candidates[0].text):
            assert linked(state, 2) == 1.0
            lost.append(retention(state, 0) - retention(state, 2))
    assert len(lost) > 10
    assert np.mean(lost) > 0.1


def test_the_right_operation_is_never_paid_less_than_nothing_done(tuples, embedder):
    judge = Judge(Reader(embedder), "count")
    gains = [judge(s, oracle(s.dialogue, s.turn, s.candidates)) - judge(s, 1) for s in tuples]
    assert np.mean(gains) > 0.1
    assert np.mean([gain < 0 for gain in gains]) < 0.1


def test_words_that_are_kept_cost(tuples, embedder):
    reader = Reader(embedder)
    free, dear = Judge(reader, "retention"), Judge(reader, "retention", word_cost=0.1)
    state = next(s for s in tuples if s.candidates and s.turn.phase == "first")
    words = len(state.turn.fact.text.split())
    assert free(state, 0) - dear(state, 0) == pytest.approx(0.1 * words)
    assert free(state, 1) == dear(state, 1)
    assert dear(state, 4) - free(state, 4) == pytest.approx(0.1 * len(state.candidates[0].text.split()))


def test_an_entry_about_several_things_costs(tuples, embedder):
    reader = Reader(embedder)
    free, dear = Judge(reader, "retention"), Judge(reader, "retention", mixed_cost=0.1)
    state = next(
        s for s in tuples if s.candidates and s.turn.phase == "first" and told(s.dialogue, s.candidates[0].text)
    )
    assert free(state, 3) - dear(state, 3) == pytest.approx(0.1)
    assert free(state, 0) == dear(state, 0)


def test_a_state_is_a_copy_of_the_bank_before_the_turn(tuples):
    sizes = [len(state.bank) for state in tuples[:40]]
    assert sizes[0] == 0
    assert set(np.diff(sizes).tolist()) == {-1, 0, 1}
    assert {row_of(s.dialogue, s.turn) for s in tuples} == {
        "first", "replace", "complement", "retract", "repeat", "talk"
    }  # fmt: skip


# -- networks -----------------------------------------------------------------------------------------------------


def test_numpy_and_torch_give_the_same_logits(tuples):
    policy = r65_nets.pair_policy(5, tuples)
    manager = r65_nets.manager_of(policy)
    rows = list(range(0, len(tuples), 7))
    expected = policy.log_probs(rows).detach().exp().numpy()
    for row, odds in zip(rows, expected, strict=True):
        state = tuples[row]
        choices = manager.act(state.turn.fact, state.candidates, len(state.bank))
        made = plans(state.turn.fact, state.candidates)
        np.testing.assert_allclose(choices[0].probability, odds.max(), atol=1e-5)
        assert choices[0].ops[0] == made[int(odds.argmax())]


def test_training_raises_the_reward_and_a_seed_repeats_it(tuples, embedder):
    judge = Judge(Reader(embedder), "retention")
    how = GRPO(updates=20, batch=12, lr=1e-2, entropy=0.01)

    def trained(seed):
        return r65_nets.train_grpo(r65_nets.pair_policy(seed, tuples), tuples, judge, how, seed)

    first, again = trained(1), trained(1)
    assert first == again
    assert np.mean([s.reward for s in first[-5:]]) > np.mean([s.reward for s in first[:5]]) + 0.02


def test_the_shipped_weights_are_made_from_their_seed_and_say_so(embedder):
    how = GRPO(updates=2, batch=8, group=4)
    first, again, other = (r65_train.train([embedder], seed, rounds=2, dialogues=2, how=how) for seed in (3, 3, 4))
    assert all(np.array_equal(value, again.weights()[name]) for name, value in first.weights().items())
    assert not np.array_equal(first.weights()["in.weight"], other.weights()["in.weight"])
    with safe_open(r65_train.FILE, "numpy") as file:
        notes = file.metadata()
    assert notes["seed"] == str(r65_train.SEED)
    assert json.loads(notes["exact match"]).keys() >= {"new kinds and words, hash"}
    assert r65_train.FILE.stat().st_size < 2_000_000


def test_the_shipped_manager_knows_kinds_of_facts_and_words_that_it_never_met(embedder):
    made = r65_train.judge(by_policy(LearnedManager()), BROAD_HELD_OUT, embedder, seed=7, count=8)
    added = r65_train.judge(by_policy(AlwaysAdd()), BROAD_HELD_OUT, embedder, seed=7, count=8)
    assert made.exact() > 0.9 > added.exact()
    assert made.size < added.size


# -- the answer agent ---------------------------------------------------------------------------------------------


def conversation(name: str, lines: int = 12) -> dict:
    turns = [{"speaker": "Ann", "dia_id": f"D1:{i}", "text": f"I bought {i} apples."} for i in range(1, lines)]
    seen = [[f"Ann bought {i} apples.", f"D1:{i}"] for i in range(1, lines)]
    asked = [
        {"question": f"Did Ann buy {i} apples?", "answer": i, "category": 4, "evidence": [f"D1:{i}"]} for i in (1, 5)
    ]
    asked.append({"question": "What?", "adversarial_answer": "x", "category": 5, "evidence": ["D1:1"]})
    asked.append({"question": "Who?", "answer": "y", "category": 4, "evidence": ["D1:99"]})
    return {
        "sample_id": name,
        "conversation": {"session_1": turns, "session_1_date_time": "1:00 pm on 8 May, 2023"},
        "observation": {"session_1_observation": {"Ann": seen, "Bob": [["Bob ate.", ["D1:1", "D1:2"]]]}},
        "qa": asked,
    }


@pytest.fixture
def locomo(tmp_path, monkeypatch):
    path = tmp_path / "locomo" / "locomo5.json.gz"
    path.parent.mkdir()
    samples = [conversation(name) for name in ("conv-26", "conv-30", "conv-41")]
    path.write_bytes(gzip.compress(json.dumps(samples).encode()))
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return path


def test_the_conversations_are_split_as_in_the_paper(locomo, embedder):
    parts = r65_answer.split(locomo, embedder)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [2, 2, 2]
    assert (parts.test_names, parts.left_out) == (("conv-41",), 3)
    one = parts.train[0]
    assert one.memories.shape == (12, embedder.dim)
    assert (np.diff(one.scalars[:, 0]) <= 1e-6).all()
    assert one.scalars[:, 1].sum() == 11  # the question names Ann
    assert one.covers.any()


def test_a_selection_is_paid_if_it_keeps_all_evidence_and_is_short(locomo, embedder):
    train = r65_answer.split(locomo, embedder).train
    evidence = torch.from_numpy(train[0].covers.any(axis=1))
    assert r65_answer.reward(train, 0, evidence) == 1.0
    assert r65_answer.reward(train, 0, ~evidence) == 0.0
    assert r65_answer.reward(train, 0, torch.ones(12, dtype=torch.bool)) == 0.0
    assert r65_answer.recall(train[0], range(12)) == 1.0
    assert r65_answer.recall(train[0], []) == 0.0


def test_the_selection_can_be_learned(locomo, embedder):
    parts = r65_answer.split(locomo, embedder)
    learned = r65_answer.learn(parts, bilinear=True, seed=0, updates=3)
    assert len(learned.log) == 3
    assert all(0.0 <= value <= 1.0 for value in (learned.train, learned.validation, learned.test))


# -- the whole ----------------------------------------------------------------------------------------------------


def test_the_reproduction_runs_with_its_data_and_without(locomo, tmp_path, monkeypatch):
    steps = []
    report = reproduce(
        "memory-r1", "smoke", seed=1, out=tmp_path / "out", progress=lambda _, share: steps.append(share)
    )
    assert steps == sorted(steps)
    assert {claim.name[0] for claim in report.claims} == {"A", "B"}
    assert len(report.figures) == 3
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nothing"))
    notes = reproduce("memory-r1", "smoke", seed=1).notes
    assert any(note.startswith("B: ") and VARIABLE in note for note in notes)


# -- a language model, tiny ---------------------------------------------------------------------------------------


class TinyTokenizer:
    eos_token_id = 0

    def encode(self, text):
        return [1 + ord(c) % 31 for c in text[-12:]]

    def decode(self, ids, skip_special_tokens=True):
        return "".join(chr(ord("a") + i) for i in ids if i != self.eos_token_id)


class TinyModel(torch.nn.Module):
    """Sums what it has seen, by position; attends to nothing that is masked."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.place = torch.nn.Embedding(32, 16), torch.nn.Embedding(64, 16)
        self.q_proj, self.head = torch.nn.Linear(16, 16), torch.nn.Linear(16, 32)

    def forward(self, input_ids, attention_mask, position_ids):
        x = (self.embed(input_ids) + self.place(position_ids)) * attention_mask[..., None]
        return SimpleNamespace(logits=self.head(torch.tanh(self.q_proj(x.cumsum(dim=1)))))


@pytest.fixture
def writer():
    model = TinyModel()
    return r65_gpu.Writer(model, TinyTokenizer(), r65_gpu.adapt(model, rank=4), "cpu")


ASKED = [r65_gpu.Asked("Where does Anna live?", "a"), r65_gpu.Asked("And Ben?", "b"), r65_gpu.Asked("Hm?", "c")]


def test_adapters_change_nothing_at_first_and_only_they_are_trained(writer):
    trained = [p for p in writer.model.parameters() if p.requires_grad]
    assert {id(p) for p in trained} == {id(p) for p in writer.parameters()}
    ids, mask = writer._padded([[1, 2, 3]])
    with_them = writer._logits(ids, mask)
    assert torch.equal(with_them, r65_gpu.Reference(writer).writer._logits(ids, mask))
    with pytest.raises(InvalidInput, match="no layer named"):
        r65_gpu.adapt(torch.nn.Linear(2, 2))


def test_answers_are_scored_as_they_are_written_whatever_they_are_padded_with(writer):
    drawn = writer.sample(ASKED, torch.Generator().manual_seed(0))
    drawn[1] = drawn[1][:2]
    together = writer.score(ASKED, drawn)
    for i, (state, action) in enumerate(zip(ASKED, drawn, strict=True)):
        alone = writer.score([state], [action])
        n = len(action)
        np.testing.assert_allclose(together.log_prob[i, :n].detach(), alone.log_prob[0].detach(), atol=1e-5)
        assert together.mask[i].tolist() == [True] * n + [False] * (together.mask.shape[1] - n)
        step = writer._prompt(state)
        for place, token in enumerate(action):  # token by token, as it was written
            ids, mask = writer._padded([[*step, *action[:place]]])
            odds = writer._logits(ids, mask)[0, -1].log_softmax(dim=-1).detach()
            assert float(odds[token]) == pytest.approx(float(alone.log_prob[0, place].detach()), abs=1e-5)
    assert all(len(action) <= r65_gpu.TOKENS for action in drawn)


def test_tuning_raises_the_reward_and_leaves_the_reference_where_it_was(writer):
    asked = [replace(one, gold=writer.tokenizer.decode([5])) for one in ASKED]
    reference, batch = r65_gpu.Reference(writer), (ASKED, [(5, 0), (7, 0), (9,)])
    before = reference.score(*batch).log_prob.detach().clone()
    how = GRPO(updates=20, batch=3, group=8, epochs=1, lr=0.05, beta=0.0)
    high = one_step(lambda state, action: float(action[0] > 20))
    log = grpo(writer, asked, high, how, reference=reference, seed=0)
    assert log[-1].reward > log[0].reward + 0.3
    assert torch.equal(reference.score(*batch).log_prob, before)
    assert not torch.equal(writer.score(*batch).log_prob, before)
    exact, f1 = r65_gpu.judged(writer, asked)
    assert 0.0 <= exact <= f1 <= 1.0


def test_exact_match_is_the_reward_of_tuning(writer):
    log = r65_gpu.tune(writer, ASKED, GRPO(updates=2, batch=2, group=2), seed=0)
    assert [step.update for step in log] == [0, 1]
    report = r65_gpu.report_of(0, (0.1, 0.2), (0.3, 0.4), log)
    assert report.claims[0].holds
    assert "</svg>" in report.figures[0].svg()


def test_questions_for_the_model_have_one_answer_among_their_memories():
    made = r65_gpu.questions(12, seed=2)
    for one in made:
        memories = [line for line in one.prompt.splitlines() if line.startswith("- ")]
        assert 5 <= len(memories) <= 10
        assert any(one.gold in memory for memory in memories)
    assert made == r65_gpu.questions(12, seed=2)
    with pytest.raises(InvalidInput):
        r65_gpu.questions(0, seed=0)
