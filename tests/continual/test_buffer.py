"""What a buffer keeps, for every policy."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from halflife.continual import Buffer
from halflife.continual.buffer import POLICIES, herd
from halflife.errors import InvalidInput


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def offered(buffer: Buffer, labels: list[int], batch: int) -> None:
    x = torch.arange(len(labels), dtype=torch.float32)[:, None]
    y = torch.tensor(labels)
    for part in torch.arange(len(labels)).split(batch):
        extra = {"features": torch.randn(len(part), 3, generator=rng())} if buffer.policy == "herding" else {}
        buffer.add(x=x[part], y=y[part], **extra)


@given(
    policy=st.sampled_from([p for p in POLICIES if p != "herding"]),
    capacity=st.integers(1, 30),
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=80),
    batch=st.integers(1, 20),
)
def test_it_holds_at_most_its_capacity_of_what_was_offered_each_once(policy, capacity, labels, batch):
    buffer = Buffer(capacity, policy, rng())
    offered(buffer, labels, batch)
    kept = buffer.all()
    assert buffer.seen == len(labels)
    assert len(buffer) == len(kept) <= min(capacity, len(labels))
    if policy != "greedy":
        assert len(buffer) == min(capacity, len(labels))
    places = kept.x[:, 0].long().tolist()
    assert len(set(places)) == len(places)
    assert [labels[p] for p in places] == kept.y.tolist()  # inputs and labels belong together


@given(capacity=st.integers(1, 10), count=st.integers(1, 40), batch=st.integers(1, 15))
def test_a_reservoir_does_not_depend_on_where_batches_end(capacity, count, batch):
    whole, parts = Buffer(capacity, generator=rng(1)), Buffer(capacity, generator=rng(1))
    offered(whole, [0] * count, 1)
    offered(parts, [0] * count, batch)
    assert torch.equal(whole.all().x, parts.all().x)


def test_a_reservoir_keeps_each_with_the_same_probability():
    count, capacity, rounds = 40, 8, 2000
    hits = torch.zeros(count)
    generator = rng(2)
    for _ in range(rounds):
        buffer = Buffer(capacity, generator=generator)
        offered(buffer, [0] * count, 7)
        hits[buffer.all().x[:, 0].long()] += 1
    assert stats.chisquare(hits.numpy()).pvalue > 0.001
    assert hits.sum() == rounds * capacity


def test_balanced_policies_keep_rare_classes():
    labels = [0] * 500 + [1] * 10 + [2] * 30
    for policy in ("class_balanced", "greedy"):
        buffer = Buffer(30, policy, rng())
        offered(buffer, labels, 10)
        assert buffer.counts() == {0: 10, 1: 10, 2: 10}, policy


def test_a_class_that_is_full_is_a_reservoir_of_its_own():
    late = 0
    for seed in range(200):
        buffer = Buffer(10, "class_balanced", rng(seed))
        offered(buffer, [0] * 100, 10)
        late += int((buffer.all().x[:, 0] >= 50).sum())
    assert 0.45 < late / 2000 < 0.55


def test_greedy_takes_a_fixed_share():
    buffer = Buffer(30, "greedy", rng(), per_class=4)
    offered(buffer, [0] * 50 + [1] * 50, 10)
    assert buffer.counts() == {0: 4, 1: 4}


def test_a_ring_keeps_the_last():
    buffer = Buffer(5, "ring", rng())
    offered(buffer, list(range(13)), 4)
    assert sorted(buffer.all().y.tolist()) == [8, 9, 10, 11, 12]


def test_herding_keeps_the_best_and_shrinks_from_the_end():
    buffer = Buffer(12, "herding", rng())
    z = torch.randn(40, 5, generator=rng(3))
    x = torch.arange(40.0)[:, None]
    buffer.add(x=x[:20], y=torch.zeros(20, dtype=torch.long), features=z[:20])
    first = buffer.all().x[:, 0].tolist()
    assert len(first) == 12
    buffer.add(x=x[20:], y=torch.ones(20, dtype=torch.long), features=z[20:])
    assert buffer.counts() == {0: 6, 1: 6}
    assert buffer.all().x[:6, 0].tolist() == first[:6]


@given(count=st.integers(1, 12), seed=st.integers(0, 50))
def test_herding_comes_near_the_mean(count, seed):
    z = torch.nn.functional.normalize(torch.randn(12, 4, generator=rng(seed)), dim=1)
    chosen = herd(z, count)
    assert len(set(chosen.tolist())) == count
    if count == 12:
        assert torch.allclose(z[chosen].mean(0), z.mean(0), atol=1e-6)


def test_herding_without_features_or_room_says_what_to_do():
    with pytest.raises(InvalidInput, match="features"):
        Buffer(4, "herding").add(x=torch.zeros(1, 1), y=torch.zeros(1, dtype=torch.long))
    with pytest.raises(InvalidInput, match="larger buffer"):
        Buffer(1, "herding").add(x=torch.zeros(2, 1), y=torch.tensor([0, 1]), features=torch.rand(2, 2))


@given(size=st.integers(1, 700), count=st.integers(1, 900))
def test_a_sample_has_no_row_twice(size, count):
    buffer = Buffer(700, generator=rng())
    buffer.add(x=torch.zeros(size, 1), y=torch.zeros(size, dtype=torch.long))
    slots = buffer.sample(count).slots
    assert len(slots) == len(slots.unique()) == min(count, size)


def test_samples_of_a_large_buffer_are_uniform():
    buffer = Buffer(1000, generator=rng(5))
    buffer.add(x=torch.zeros(1000, 1), y=torch.zeros(1000, dtype=torch.long))
    hits = torch.bincount(torch.cat([buffer.sample(10).slots for _ in range(2000)]), minlength=1000)
    assert stats.chisquare(hits.numpy()).pvalue > 0.001


def test_a_balanced_draw_has_every_class_equally_often():
    buffer = Buffer(100, generator=rng())
    buffer.add(x=torch.zeros(100, 1), y=torch.tensor([0] * 90 + [1] * 7 + [2] * 3))
    assert torch.bincount(buffer.balanced(30).y).tolist() == [10, 10, 10]


@given(policy=st.sampled_from(POLICIES), cut=st.integers(1, 3))
def test_its_state_goes_on_as_if_nothing_had_happened(policy, cut):
    def parts():
        for i in range(4):
            y = torch.arange(12) % 3 if policy != "herding" else torch.full((12,), i)
            fields = {"x": torch.randn(12, 2, generator=rng(i)), "y": y}
            yield fields | ({"features": torch.randn(12, 3, generator=rng(i))} if policy == "herding" else {})

    straight, stopped = Buffer(9, policy, rng(4)), Buffer(9, policy, rng(4))
    for i, fields in enumerate(parts()):
        straight.add(**dict(fields))
        if i == cut:
            other = Buffer(9, policy, rng(77))
            other.load_state_dict(stopped.state_dict())
            stopped = other
        stopped.add(**dict(fields))
    assert torch.equal(straight.all().x, stopped.all().x)
    assert torch.equal(straight.sample(4).slots, stopped.sample(4).slots)


def test_a_file_holds_all_of_it(tmp_path):
    buffer = Buffer(5, "class_balanced", rng())
    offered(buffer, [0, 1, 2, 0, 1, 2, 0], 3)
    buffer.save(tmp_path / "buffer.pt")
    other = Buffer.load(tmp_path / "buffer.pt")
    assert torch.equal(other.all().x, buffer.all().x)
    assert torch.equal(other.sample(3).slots, buffer.sample(3).slots)
    assert [path.name for path in tmp_path.iterdir()] == ["buffer.pt"]


def test_what_does_not_fit_is_refused_and_nothing_is_kept():
    buffer = Buffer(5)
    buffer.add(x=torch.zeros(2, 3), y=torch.zeros(2, dtype=torch.long))
    for fields, words in [
        ({"x": torch.zeros(1, 4), "y": torch.zeros(1)}, "was given"),
        ({"x": torch.zeros(1, 3), "y": torch.zeros(1), "logits": torch.zeros(1, 2)}, "was given"),
        ({"x": torch.zeros(2, 3), "y": torch.zeros(1)}, "different lengths"),
        ({"x": torch.zeros(1, 3)}, "needs the fields"),
    ]:
        with pytest.raises(InvalidInput, match=words):
            buffer.add(**fields)
    assert len(buffer) == 2
    with pytest.raises(InvalidInput, match="holds nothing"):
        Buffer(0)
    with pytest.raises(InvalidInput, match="no policy"):
        Buffer(3, "fifo")
    with pytest.raises(InvalidInput, match="empty"):
        Buffer(3).sample(1)
    with pytest.raises(AttributeError, match="no field 'logits'"):
        _ = buffer.all().logits
    with pytest.raises(InvalidInput, match="this one is of"):
        Buffer(6).load_state_dict(buffer.state_dict())
