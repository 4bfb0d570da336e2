"""Importance, penalties, distillation and projections against their definitions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from halflife.continual import MLP, CosineHead, LinearHead, importance
from halflife.continual.distillation import feature_distance, masked, sigmoid_targets, soft_targets
from halflife.continual.importance import output_sensitivity, penalty, snapshot
from halflife.continual.methods.agem import project
from halflife.continual.prototypes import ClassMeans, nearest_mean_logits
from halflife.errors import InvalidInput


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MLP((5,)).build((1, 2, 2), 3)


def batches(count=12, size=4):
    rng = torch.Generator().manual_seed(1)
    x, y = torch.rand(count, 1, 2, 2, generator=rng), torch.randint(0, 3, (count,), generator=rng)
    return list(zip(x.split(size), y.split(size), strict=True))


def by_loop(model, loss):
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    pairs = [(x[i : i + 1], y[i : i + 1]) for x, y in batches() for i in range(len(y))]
    for x, y in pairs:
        grads = torch.autograd.grad(loss(model(x), y), list(model.parameters()))
        for name, g in zip(total, grads, strict=True):
            total[name] += g.square() / len(pairs)
    return total


def test_the_fisher_of_every_example_is_that_of_a_loop(model):
    found, loop = importance(model, batches(), per_sample=True), by_loop(model, F.cross_entropy)
    for name in loop:
        assert torch.allclose(found[name], loop[name], atol=1e-7), name


def test_that_of_batches_is_smaller_and_that_of_batches_of_one_is_the_same(model):
    whole, each = importance(model, batches()), importance(model, batches(), per_sample=True)
    assert sum(float(v.sum()) for v in whole.values()) < sum(float(v.sum()) for v in each.values())
    single = importance(model, batches(size=1))
    for name in each:
        assert torch.allclose(single[name], each[name], atol=1e-7)


def test_the_model_is_left_as_it_was(model):
    model.train()
    (model(batches()[0][0]).sum()).backward()
    grads = [p.grad.clone() for p in model.parameters()]
    importance(model, batches())
    output_sensitivity(model, batches())
    assert model.training
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), grads, strict=True))
    with pytest.raises(InvalidInput, match="no examples"):
        importance(model, [])


def test_sampled_labels_come_from_the_predictions(model):
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([50.0, 0.0, 0.0]))
    seen = []
    importance(model, batches(), lambda z, y: seen.append(y) or F.cross_entropy(z, y), labels="sampled",
               generator=torch.Generator().manual_seed(0))  # fmt: skip
    assert all((y == 0).all() for y in seen)


def test_a_penalty_is_the_weighted_square_and_survives_a_head_that_grows(model):
    anchor = snapshot(model)
    assert float(penalty(model, anchor).detach()) == 0
    with torch.no_grad():
        model.head.bias += 2.0
    assert float(penalty(model, anchor).detach()) == pytest.approx(12.0)
    weights = {name: torch.full_like(p, 0.5) for name, p in anchor.items()}
    assert float(penalty(model, anchor, weights).detach()) == pytest.approx(6.0)
    model.head.grow(5)
    assert model(torch.rand(2, 1, 2, 2)).shape == (2, 5)
    assert float(penalty(model, anchor).detach()) == pytest.approx(12.0)


@pytest.mark.parametrize("kind", [LinearHead, CosineHead])
def test_a_head_that_grows_keeps_its_rows(kind):
    head = kind(4, 3)
    x = torch.rand(5, 4)
    before = head(x)
    head.grow(6)
    assert torch.allclose(head(x)[:, :3], before)
    with pytest.raises(InvalidInput, match="only grows"):
        head.grow(2)


@given(st.integers(0, 1000), st.sampled_from([1.0, 2.0, 5.0]))
def test_distillation_has_no_gradient_where_the_two_agree(seed, temperature):
    rng = torch.Generator().manual_seed(seed)
    teacher = torch.randn(4, 6, generator=rng)
    for loss in (lambda a, b: soft_targets(a, b, temperature), sigmoid_targets, feature_distance):
        student = teacher.clone().requires_grad_()
        loss(student, teacher).backward()
        assert student.grad.abs().max() < 1e-6
        other = torch.randn(4, 6, generator=rng)
        assert loss(other, teacher) >= loss(teacher, teacher) - 1e-6


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True))
def test_masked_classes_never_win_and_get_no_gradient(classes):
    logits = torch.randn(8, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = masked(logits, classes)
    assert set(found.argmax(1).tolist()) <= set(classes)
    F.cross_entropy(found, torch.full((8,), classes[0])).backward()
    others = [c for c in range(6) if c not in classes]
    assert (logits.grad[:, others] == 0).all()


@given(st.integers(0, 10_000))
def test_a_projected_gradient_never_goes_against_the_memory(seed):
    rng = torch.Generator().manual_seed(seed)
    g = tuple(torch.randn(n, generator=rng) for n in (3, 7))
    r = tuple(torch.randn(n, generator=rng) for n in (3, 7))
    found = project(g, r)
    dot = sum(float((a * b).sum()) for a, b in zip(found, r, strict=True))
    assert dot >= -1e-5
    if sum(float((a * b).sum()) for a, b in zip(g, r, strict=True)) >= 0:
        assert found is g


def test_class_means_are_means_however_they_come():
    z, y = torch.randn(30, 4), torch.randint(0, 3, (30,))
    means = ClassMeans(5)
    for part in torch.arange(30).split(7):
        means.add(z[part], y[part])
    for c in range(3):
        assert torch.allclose(means.mean(c), z[y == c].mean(0), atol=1e-6)
    assert means.matrix()[3:].isnan().all()
    logits = nearest_mean_logits(z, means.matrix(), normalise=False)
    assert (logits[:, 3:] == -torch.inf).all()
    expected = torch.cdist(z, means.matrix()[:3]).argmin(1)
    assert torch.equal(logits.argmax(1), expected)
