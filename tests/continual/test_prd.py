"""PRD: its losses are what they say, gradients go where they should, prototypes grow, and a run resumes bit for bit."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife.continual import MLP, class_incremental, domain_incremental, run
from halflife.continual.contrastive import SupConLoss, prototype_loss
from halflife.continual.distillation import relation_distillation
from halflife.continual.method import Batch, Context
from halflife.continual.methods.multihead import MultiHead
from halflife.continual.methods.prd import PRD
from halflife.continual.prototypes import PrototypeBank, oracle_accuracy
from halflife.continual.transforms import Permute, Rotate, Shift
from halflife.errors import InvalidInput
from tests.continual.stopped import Stopped, stop_at

pytestmark = pytest.mark.filterwarnings("ignore:Prototypes of different", "ignore:Holding parameters")
SEEDS = st.integers(0, 10_000)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed))


# -- contrast and prototypes ------------------------------------------------------------------------------------------


def supcon_by_hand(z, y, tau):
    """The sum as it is written, one anchor after another."""
    flat = [z[i, v] / z[i, v].norm() for i in range(len(z)) for v in range(z.shape[1])]
    labels = [int(y[i]) for i in range(len(z)) for _ in range(z.shape[1])]
    total = 0.0
    for a, anchor in enumerate(flat):
        others = [k for k in range(len(flat)) if k != a]
        positive = [k for k in others if labels[k] == labels[a]]
        bottom = sum(math.exp(float(anchor @ flat[k]) / tau) for k in others)
        if positive:
            total -= sum(math.log(math.exp(float(anchor @ flat[p]) / tau) / bottom) for p in positive) / len(positive)
    return total / len(flat) * tau / 0.07


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(2, 6), st.integers(1, 3), st.sampled_from([0.1, 0.3, 1.0]))
def test_supervised_contrast_is_the_sum_as_written(seed, n, views, tau):
    z, y = draw(n, views, 4, seed=seed), torch.randint(0, 3, (n,), generator=rng(seed))
    assert float(SupConLoss(tau)(z, y)) == pytest.approx(supcon_by_hand(z, y, tau), rel=1e-4, abs=1e-5)


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_contrast_does_not_depend_on_order_length_or_names_of_classes(seed):
    z, y = draw(5, 2, 3, seed=seed), torch.randint(0, 2, (5,), generator=rng(seed))
    order = torch.randperm(5, generator=rng(seed))
    loss = SupConLoss()
    for other in (loss(z[order], y[order]), loss(z.flip(1), y), loss(z * 7, y), loss(z, 5 - y)):
        torch.testing.assert_close(other, loss(z, y), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [1, 3])
def test_an_anchor_without_a_positive_counts_as_nothing(n):
    z = draw(n, 1, 4).requires_grad_()
    loss = SupConLoss()(z, torch.arange(n))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(z.grad, torch.zeros_like(z))


def test_contrast_says_what_does_not_fit():
    with pytest.raises(InvalidInput, match="do not fit"):
        SupConLoss()(draw(3, 4), torch.arange(3))
    with pytest.raises(InvalidInput, match="temperatures"):
        SupConLoss(0.0)


def test_the_prototype_loss_pulls_the_own_prototype_alone_and_no_feature():
    h, W = draw(6, 4).requires_grad_(), draw(3, 4, seed=1).requires_grad_()
    y = torch.tensor([0, 2, 0, 2, 0, 2])
    prototype_loss(h * 2, W, y).backward()
    assert h.grad is None
    assert W.grad[1].abs().sum() == 0
    moved = W.detach() - 0.1 * W.grad
    for row in (0, 2):
        own = h.detach()[y == row]
        assert F.cosine_similarity(own, moved[row], dim=1).mean() > F.cosine_similarity(own, W[row], dim=1).mean()


# -- the relation -----------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(2, 6), st.integers(2, 4), st.sampled_from(["samples", "classes"]))
def test_the_relation_is_zero_where_nothing_moved_and_never_below(seed, n, classes, axis):
    h, W = draw(n, 3, seed=seed), draw(classes, 3, seed=seed + 1)
    assert abs(float(relation_distillation(h, W, h, W, 0.5, axis))) < 1e-5
    assert float(relation_distillation(draw(n, 3, seed=seed + 2), W, h, W, 0.5, axis)) >= 0


def test_both_axes_are_the_sums_as_written():
    h, W, h_old, W_old = draw(5, 4), draw(3, 4, seed=1), draw(5, 4, seed=2), draw(3, 4, seed=3)

    def kl(p, q):
        return float((p * (p / q).log()).sum())

    samples = 0.0
    for k in range(3):
        old, new = ((F.cosine_similarity(a, b[k], dim=1) / 0.2).softmax(0) for a, b in ((h_old, W_old), (h, W)))
        samples += kl(old, new)
    assert float(relation_distillation(h, W, h_old, W_old, 0.2)) == pytest.approx(samples, rel=1e-4)
    classes = 0.0
    for i in range(5):
        old, new = (((b @ a[i]) / b.norm(dim=1) / 0.2).softmax(0) for a, b in ((h_old, W_old), (h, W)))
        classes += kl(old, new) / 5
    assert float(relation_distillation(h, W, h_old, W_old, 0.2, "classes")) == pytest.approx(classes, rel=1e-4)


def test_only_the_samples_form_ignores_the_length_of_features():
    h, W, h_old = draw(5, 4), draw(3, 4, seed=1), draw(5, 4, seed=2)
    for axis, same in (("samples", True), ("classes", False)):
        one, other = (float(relation_distillation(h * k, W, h_old, W, 0.2, axis)) for k in (1, 3))
        assert (abs(one - other) < 1e-4) is same


def test_cosines_at_temperature_one_distil_next_to_nothing():
    h, W, h_old = draw(16, 8), draw(3, 8, seed=1), draw(16, 8, seed=2)
    assert 20 * relation_distillation(h, W, h_old, W, 1.0) < relation_distillation(h, W, h_old, W, 0.1)


@pytest.mark.parametrize("axis", ["samples", "classes"])
def test_the_relation_moves_features_and_prototypes_of_the_student_alone(axis):
    h, W, h_old, W_old = (draw(4, 3, seed=s).requires_grad_() for s in range(4))
    relation_distillation(h, W, h_old, W_old, axis=axis).backward()
    assert h.grad.abs().sum() > 0 < W.grad.abs().sum()
    assert h_old.grad is None is W_old.grad


def test_what_cannot_be_related():
    h, W = draw(4, 3), draw(1, 3, seed=1)
    with pytest.warns(UserWarning, match="softmax over one class"):
        assert float(relation_distillation(h, W, draw(4, 3, seed=2), W, axis="classes")) == 0
    assert float(relation_distillation(h, W, draw(4, 3, seed=2), W)) > 0
    with pytest.raises(InvalidInput, match="One sample"):
        relation_distillation(h[:1], W, h[:1], W)
    with pytest.raises(InvalidInput, match="axis"):
        relation_distillation(h, W, h, W, axis="rows")


# -- the bank ---------------------------------------------------------------------------------------------------------


def bank_of(*tasks, width=4):
    bank = PrototypeBank(width)
    for seed, classes in enumerate(tasks):
        bank.add_task(classes, rng(seed))
    return bank


def test_a_bank_grows_by_tasks_of_any_size_without_touching_old_rows():
    bank = bank_of([4, 1], [9])
    before = bank.matrix().clone()
    bank.add_task([0, 7, 2], rng(5))
    assert torch.equal(bank.matrix(2), before)
    assert bank.known == [4, 1, 9, 0, 7, 2]
    assert bank.rows(torch.tensor([2, 9, 4])).tolist() == [5, 2, 0]
    torch.testing.assert_close(bank.cosine(before)[:, :3].diagonal(), torch.ones(3))
    h = draw(5, 4)
    torch.testing.assert_close(bank.cosine(h, [7, 4]), bank.cosine(h)[:, [4, 0]])
    torch.testing.assert_close(bank.scores(h, 1)[:, 0], bank.cosine(h, [9])[:, 0] * h.norm(dim=1))


@pytest.mark.parametrize("classes", [[], [1], [5, 5]])
def test_a_class_has_one_prototype(classes):
    bank = bank_of([4, 1])
    with pytest.raises(InvalidInput, match="cannot be added"):
        bank.add_task(classes, rng())
    assert bank.known == [4, 1]
    with pytest.raises(InvalidInput, match="no prototype"):
        bank.rows(torch.tensor([3]))


def test_a_fresh_bank_takes_the_state_of_one_that_grew():
    bank = bank_of([4, 1], [9])
    bank.mark()
    with torch.no_grad():
        bank.weights[0].neg_()
    bank.add_task([3], rng(7))
    held = torch.nn.ModuleDict({"bank": bank}).state_dict()
    bank.add_task([2], rng(8))
    other = PrototypeBank(4)
    torch.nn.ModuleDict({"bank": other}).load_state_dict(held)
    assert other.classes == [[4, 1], [9], [3]]
    assert torch.equal(other.matrix(), bank.matrix(3))
    assert other.drift() == bank.drift() == pytest.approx({4: -1.0, 1: -1.0, 9: 1.0})


def test_perfect_prototypes_are_told_apart_from_stale_ones():
    net = MLP((6,)).build((1, 2, 2), 4)
    net.body = torch.nn.Flatten()
    corner = torch.eye(4).reshape(4, 1, 2, 2)
    told, seen = oracle_accuracy(net, [(corner[:2], torch.tensor([3, 1])), (corner[2:], torch.tensor([0, 2]))], 4)
    assert told == seen == [1.0, 1.0]
    tests = [(corner[:2], torch.tensor([0, 1])), (corner[:2], torch.tensor([2, 3]))]
    told, seen = oracle_accuracy(net, tests, 4)  # two tasks on the same inputs
    assert told == [1.0, 1.0]
    assert sum(seen) == 1.0


# -- the method -------------------------------------------------------------------------------------------------------


def made(**options):
    """A PRD in the middle of its second task, with classes 0, 1 behind it, and a batch of classes 2, 3."""
    method = PRD(lr=0.1, projection=(8, 4), **options)
    torch.manual_seed(0)
    net = MLP((8,), norm=True).build((1, 2, 2), 4)
    method.setup(
        Context(net, 4, "class", True, 6, 1, rng(), lambda x: x + 0.1 * torch.randn(x.shape, generator=rng(3)),
                lambda seed: net)
    )  # fmt: skip
    method.bank.add_task([1, 0], rng(1))
    method.after_task(None)
    method.bank.add_task([3, 2], rng(2))
    x = draw(6, 1, 2, 2)
    return method, Batch(x, torch.tensor([2, 3, 2, 3, 2, 3]), x, torch.arange(6))


def test_old_prototypes_move_with_the_distillation_and_only_with_it():
    for weight, still in ((1.0, False), (0.0, True)):
        method, batch = made(lambda_d=weight)
        old, new = method.bank.matrix(2)[:2].detach().clone(), method.bank.matrix()[2:].detach().clone()
        for _ in range(3):
            method.observe(batch)
        assert torch.equal(method.bank.matrix()[:2], old) is still
        assert not torch.equal(method.bank.matrix()[2:], new)


def test_prototypes_have_a_learning_rate_of_their_own_and_no_momentum():
    method, batch = made(lambda_d=0.0, momentum=0.9, weight_decay=0.1, prototype_lr=0.25)
    for _ in range(2):
        W = method.bank.matrix().detach().clone()
        mode = {name: value.clone() for name, value in method.model.state_dict().items()}
        x = torch.cat([batch.x, method.augment(batch.raw)])
        h = method.model.features(x)
        method.model.load_state_dict(mode)  # the statistics of batch normalisation
        W.requires_grad_()
        (method.lambda_p * prototype_loss(h, W, method.bank.rows(batch.y).repeat(2))).backward()
        method.observe(batch)
        torch.testing.assert_close(method.bank.matrix(), W.detach() - 0.25 * W.grad)


def test_the_teacher_normalises_by_the_batch_and_does_not_learn():
    method, batch = made(lambda_d=1.0)
    before = [p.clone() for p in method.teacher.parameters()]
    method.observe(batch)
    assert method.teacher.training
    assert all(torch.equal(a, b) for a, b in zip(method.teacher.parameters(), before, strict=True))
    assert not any(p.requires_grad for p in method.teacher.parameters())


def test_right_after_a_task_there_is_nothing_to_hold():
    method, batch = made()
    x = torch.cat([batch.x, batch.x + 0.1])
    assert method._relations(x, method.model.features(x)).item() == pytest.approx(0.0, abs=1e-5)


def test_predictions_at_any_moment():
    method, batch = made()
    method.observe(batch)
    assert set(method.predict(batch.x, task=0).tolist()) <= {0, 1}
    found = method.predict(batch.x)
    assert method.model.training  # as it was
    method.model.eval()
    assert torch.equal(found, method.logits(batch.x).argmax(1))
    assert method.logits(batch.x).shape == (6, 4)


@pytest.mark.parametrize("axis", ["samples", "classes"])
def test_prototypes_learn_a_task(digits, axis):
    scenario = class_incremental(digits.take(60, 20), per_task=5)
    method = PRD(lr=0.02, momentum=0.9, axis=axis, tau_d=0.1 if axis == "samples" else 1.0)
    found = run(scenario, method, model="mlp:64", epochs=4, batch_size=32, augment=Shift(1))
    assert found["task_learning_accuracy"][0] > 0.6
    passes = found.runs[0].passes
    assert passes == {"forward": 3 * passes["backward"] // 2, "backward": 2 * 4 * 600}  # two views; a teacher in task 2


@pytest.mark.parametrize(
    "method", [PRD(projection=(16, 8)), PRD(projection=(16, 8), axis="classes"), MultiHead(alpha=1.0)]
)
def test_a_run_goes_on_bit_for_bit(digits, tmp_path, method):
    settings = {"epochs": 2, "batch_size": 16, "augment": Shift(1), "model": "mlp-norm:16"}
    scenario = class_incremental(digits.take(16, 5))
    whole = run(scenario, method, **settings)

    for share in (0.05, 0.3, 0.7):
        with pytest.raises(Stopped):
            run(scenario, method, checkpoint=tmp_path, checkpoint_every=3, progress=stop_at(share), **settings)
    again = run(scenario, method, checkpoint=tmp_path, checkpoint_every=3, **settings)
    assert np.array_equal(whole.runs[0].seen, again.runs[0].seen)
    assert np.array_equal(whole.runs[0].told, again.runs[0].told)
    assert whole.runs[0].passes == again.runs[0].passes


def test_a_seed_repeats_whatever_the_global_generator(digits):
    scenario = class_incremental(digits.take(10, 5), per_task=5)
    found = []
    for state in (1, 2):
        torch.manual_seed(state)
        found.append(run(scenario, PRD(), model="mlp:16", batch_size=16).runs[0].told)
    assert np.array_equal(*found)


def test_one_class_a_task_and_a_last_batch_of_one(digits):
    scenario = class_incremental(digits.take(9, 5), per_task=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Prototypes of different")
        found = run(scenario, PRD(lambda_d=1.0), model="mlp:16", batch_size=8)
    assert np.isfinite(found["accuracy"]).all()


def test_classes_that_come_again_keep_their_prototypes(digits):
    scenario = domain_incremental(digits.take(10, 5), [Rotate(0.0), Permute(torch.arange(64))])
    assert run(scenario, PRD(), model="mlp:16", batch_size=16).runs[0].seen.shape == (3, 2)


@pytest.mark.parametrize(
    "wrong", [{"prototype_lr": 0}, {"tau": -1}, {"tau_d": math.inf}, {"lambda_d": -1}, {"axis": "rows"}, {"lr": 0}]
)
def test_settings_that_cannot_train(wrong):
    with pytest.raises(InvalidInput):
        PRD(**wrong)


# -- a head for each task ---------------------------------------------------------------------------------------------


def test_a_head_leaves_the_others_alone(digits):
    """The outputs of other tasks get no gradient from the labels of this one."""
    method = MultiHead(lr=0.1)
    net = MLP((8,)).build((1, 8, 8), 10)
    method.setup(Context(net, 10, "class", True, 8, 1, rng(), lambda x: x, lambda seed: net))
    stream = class_incremental(digits.take(8, 5)).stream(0)
    method.before_task(stream[0])
    x, y = stream[0].train.all()
    before = net.head.weight.clone()
    logged = method.observe(Batch(x, y, x, torch.arange(len(y))))
    moved = (net.head.weight != before).any(1).nonzero()[:, 0].tolist()
    assert moved == sorted(stream[0].classes)
    assert logged["loss"] == pytest.approx(math.log(2), abs=0.5)


def test_distillation_holds_old_heads(digits):
    scenario = class_incremental(digits.take(60, 20))
    plain, held = (
        run(scenario, MultiHead(alpha=alpha, lr=0.1), 1, epochs=3, batch_size=16)["task_forgetting"]
        for alpha in (0.0, 1.0)
    )
    assert np.mean(held) < np.mean(plain) - 0.03
