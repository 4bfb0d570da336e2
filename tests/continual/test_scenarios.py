"""Streams: what is in them, in which order, and that they are the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from halflife.continual import (
    blurry,
    class_incremental,
    dataset,
    domain_incremental,
    online,
    permuted,
    rotated,
    task_free,
    zipf,
)
from halflife.continual.examples import joined
from halflife.continual.transforms import Affine, Brightness, Compose, Cutout, Flip, Permute, Rotate, Shift
from halflife.errors import InvalidInput


def rows(stream):
    return [experience.train.index.tolist() for experience in stream]


@given(per_task=st.integers(1, 10), seed=st.integers(0, 100), first=st.one_of(st.none(), st.integers(1, 10)))
def test_every_class_and_example_comes_once(digits, per_task, seed, first):
    stream = class_incremental(digits, per_task, first).stream(seed)
    classes = [c for experience in stream for c in experience.classes]
    assert sorted(classes) == list(range(10))
    assert sorted(r for part in rows(stream) for r in part) == sorted(digits.train.index.tolist())
    assert stream[0].seen == stream[0].classes
    assert sorted(stream[len(stream) - 1].seen) == list(range(10))
    for experience, test in zip(stream, stream.tests, strict=True):
        assert set(experience.train.classes) == set(experience.classes) == set(test.classes)


SCENARIOS = {
    "class": lambda data: class_incremental(data),
    "permuted": lambda data: permuted(data, 3),
    "rotated": lambda data: rotated(data, 3),
    "blurry": lambda data: blurry(data),
    "zipf": lambda data: zipf(data, 1.0, 500),
    "online": lambda data: online(class_incremental(data)),
    "task-free": lambda data: task_free(class_incremental(data)),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_seed_gives_the_same_stream_and_another_another(digits, name):
    scenario = SCENARIOS[name](digits)
    a, b, c = scenario.stream(3), scenario.stream(3), scenario.stream(4)
    for i in range(len(a)):
        for x, y in zip(a[i].train.all(), b[i].train.all(), strict=True):
            assert torch.equal(x, y)
        assert a[i].classes == b[i].classes
    last = len(a) - 1
    assert any(
        len(x) != len(y) or not torch.equal(x, y) for x, y in zip(a[last].train.all(), c[last].train.all(), strict=True)
    )


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_global_generator_is_left_alone(digits, name):
    before = torch.get_rng_state()
    list(SCENARIOS[name](digits).stream(0))
    assert torch.equal(before, torch.get_rng_state())


def test_the_validation_stream_has_no_test_example(digits):
    scenario = class_incremental(digits).validation(0.25)
    train, held = set(scenario.data.train.index.tolist()), set(scenario.data.test.index.tolist())
    assert scenario.data.test.x is digits.train.x
    assert not train & held
    assert train | held == set(digits.train.index.tolist())
    assert 0.2 < len(held) / (len(train) + len(held)) < 0.3


def test_blurry_moves_the_share_that_it_says(digits):
    clear, mixed = class_incremental(digits).stream(1), blurry(digits, mixed=0.2).stream(1)
    for a, b in zip(clear, mixed, strict=True):
        own = np.isin(b.train.labels, a.classes).mean()
        assert 0.7 < own < 0.9
    assert sorted(r for p in rows(mixed) for r in p) == sorted(r for p in rows(clear) for r in p)


@given(a=st.floats(0, 3), seed=st.integers(0, 20))
def test_zipf_ranks_classes_by_a_power(digits, a, seed):
    stream = zipf(digits, a, 3000).stream(seed)
    counts = np.sort(np.bincount(stream[0].train.labels, minlength=10))[::-1]
    expected = np.arange(1, 11) ** -a
    assert np.abs(counts / 3000 - expected / expected.sum()).max() < 0.06
    assert not stream.boundaries


def test_sets_joined_keep_their_transforms(digits):
    stream = permuted(digits, 3).stream(0)
    parts = [experience.train for experience in stream]
    whole = joined(parts)
    for i, part in enumerate(parts):
        at = torch.arange(5)
        assert torch.equal(whole.batch(at + i * len(part))[0], part.batch(at)[0])
    mixed = whole.batch(torch.tensor([0, len(parts[0])]))[0]
    assert torch.equal(mixed[0], parts[0].batch(torch.tensor([0]))[0][0])
    assert torch.equal(mixed[1], parts[1].batch(torch.tensor([0]))[0][0])


def test_a_permutation_keeps_the_pixels_and_a_turn_comes_back():
    x = torch.rand(3, 1, 8, 8)
    order = torch.randperm(64)
    assert torch.equal(Permute(order)(x).flatten(1).sort()[0], x.flatten(1).sort()[0])
    assert torch.allclose(Rotate(0)(x), x, atol=1e-5)
    assert torch.allclose(Rotate(90)(x), torch.rot90(x, 1, (2, 3)), atol=1e-4)


@pytest.mark.parametrize("augment", [Shift(2), Flip(), Affine(), Cutout(3), Brightness(), Compose([Shift(1), Flip()])])
def test_augmentations_keep_the_shape_the_range_and_the_seed(augment):
    x = torch.rand(6, 2, 8, 8)
    a, b = (augment(x, torch.Generator().manual_seed(1)) for _ in range(2))
    assert a.shape == x.shape
    assert torch.equal(a, b)
    assert 0 <= float(a.min()) <= float(a.max()) <= 1.0001
    assert not torch.equal(a, augment(x, torch.Generator().manual_seed(2)))


def test_a_shift_moves_pictures_by_whole_pixels():
    x = torch.zeros(50, 1, 9, 9)
    x[:, :, 4, 4] = 1
    moved = Shift(2)(x, torch.Generator().manual_seed(0)).nonzero()[:, 2:]
    assert len(moved) == 50
    assert moved.min() == 2
    assert moved.max() == 6


def test_bad_data_is_refused():
    x, y = torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 0, 1])
    with pytest.raises(InvalidInput, match="labels from 0 to 1"):
        dataset("a", x, y, x, y, n_classes=1)
    with pytest.raises(InvalidInput, match="4 inputs but 3 labels"):
        dataset("a", x, y[:3], x, y)
    with pytest.raises(InvalidInput, match="not finite"):
        dataset("a", x.clone().fill_(torch.nan), y, x, y)
    with pytest.raises(InvalidInput, match="labels from -1"):
        dataset("a", x, y - 1, x, y, n_classes=2)
    data = dataset("a", x, y, x, y)
    with pytest.raises(InvalidInput, match="cannot be made"):
        class_incremental(data, 0)
    with pytest.raises(InvalidInput, match="no transform"):
        domain_incremental(data, []).stream()
    with pytest.raises(InvalidInput, match="share mixed"):
        blurry(data, mixed=1.0)
    with pytest.raises(InvalidInput, match="no training examples"):
        list(class_incremental(dataset("a", x, y, x, y, n_classes=3), 1).stream())
    with pytest.raises(InvalidInput, match="at least one"):
        data.take(0)
    with pytest.raises(InvalidInput, match="fraction"):
        data.validation(1.0)
