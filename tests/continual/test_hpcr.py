"""PCR and HPCR: the losses against their formulas, the schedule, what is stored, resuming, and what goes wrong."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from halflife.continual import ER, Context, Network, class_incremental, online, run, task_free  # noqa: E402
from halflife.continual.method import Batch  # noqa: E402
from halflife.continual.methods.hpcr import HPCR, PCR  # noqa: E402
from halflife.continual.networks import MLP, CosineHead  # noqa: E402
from halflife.continual.proxies import (  # noqa: E402
    CyclicGradientTemperature,
    ProxyContrastiveLoss,
    pcd_loss,
    scd_loss,
)
from halflife.continual.transforms import Shift  # noqa: E402
from halflife.errors import InvalidInput  # noqa: E402
from tests.continual.stopped import Stopped, stop_at  # noqa: E402

MODEL = "mlp-cosine:32"


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def unit(x):
    return x / x.norm(dim=1, keepdim=True)


@st.composite
def batches(draw):
    """Features, proxies, labels."""
    seed, n, classes = draw(st.integers(0, 999)), draw(st.integers(1, 12)), draw(st.integers(1, 6))
    g = rng(seed)
    y = torch.randint(0, classes, (n,), generator=g)
    return torch.randn(n, 5, generator=g).double(), torch.randn(classes, 5, generator=g).double(), y


# -- the proxy loss -----------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(batches())
def test_the_loss_is_that_of_the_paper_up_to_a_constant_and_has_its_gradient(batch):
    z, w, y = batch
    z.requires_grad_()
    w.requires_grad_()

    def paper():  # proxies of the batch's labels with multiplicity, eq. of PCR
        s = unit(z) @ unit(w)[y].T / 0.09
        return -(torch.diagonal(s) - s.logsumexp(1)).mean()

    mine = ProxyContrastiveLoss()(z, w, y)
    counts = torch.bincount(y)[y].double()
    torch.testing.assert_close(mine, paper() - counts.log().mean())
    for a, b in zip(torch.autograd.grad(mine, (z, w)), torch.autograd.grad(paper(), (z, w)), strict=True):
        torch.testing.assert_close(a, b)


@settings(max_examples=20, deadline=None)
@given(batches())
def test_absent_classes_take_no_part(batch):
    z, w, y = batch
    w.requires_grad_()
    (gradient,) = torch.autograd.grad(ProxyContrastiveLoss()(z, w, y), w)
    absent = torch.ones(len(w), dtype=torch.bool)
    absent[y] = False
    assert gradient.isfinite().all()
    assert (gradient[absent] == 0).all()


def test_with_every_class_once_it_is_cross_entropy():
    z, w, y = torch.randn(6, 5, generator=rng()), torch.randn(6, 5, generator=rng(1)), torch.randperm(6)
    torch.testing.assert_close(ProxyContrastiveLoss()(z, w, y), F.cross_entropy(unit(z) @ unit(w).T / 0.09, y))


@pytest.mark.parametrize("n", [1, 7])
def test_with_one_class_there_is_nothing_to_learn(n):
    z = torch.randn(n, 5, generator=rng()).requires_grad_()
    loss = ProxyContrastiveLoss()(z, torch.randn(3, 5, generator=rng(1)), torch.full((n,), 2))
    (gradient,) = torch.autograd.grad(loss, z)
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)
    assert gradient.abs().max() < 1e-5


def test_classes_that_come_often_weigh_more():
    z, w = torch.tensor([[1.0, 0.2]]), torch.eye(2)
    few = ProxyContrastiveLoss()(z.repeat(2, 1), w, torch.tensor([0, 1]))
    first = ProxyContrastiveLoss()(z.repeat(6, 1), w, torch.tensor([0, 1, 1, 1, 1, 1]))
    s = (unit(z) @ w.T / 0.09)[0]
    assert float(few) == pytest.approx(float(-(s - s.logsumexp(0)).mean()), rel=1e-5)
    weighted = s + torch.tensor([0.0, math.log(5)])
    log = weighted - weighted.logsumexp(0)
    assert float(first) == pytest.approx(float(-(log[0] + 5 * log[1]) / 6), rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(batches())
def test_sample_pairs_are_the_supervised_contrastive_loss_with_proxies_as_a_second_view(batch):
    z, w, y = batch
    n = len(y)
    contrast = torch.cat([unit(z), unit(w)[y]])
    s = unit(z) @ contrast.T / 0.09
    keep = ~torch.eye(n, 2 * n, dtype=torch.bool)
    positive = (y[:, None] == torch.cat([y, y])) & keep
    log = s - s.masked_fill(~keep, -torch.inf).logsumexp(1, keepdim=True)
    expected = -(torch.where(positive, log, 0.0).sum(1) / positive.sum(1)).mean()
    torch.testing.assert_close(ProxyContrastiveLoss(sample_pairs="on")(z, w, y), expected)


def test_sample_pairs_come_by_themselves_with_fifty_replayed_examples():
    z, w, y = torch.randn(8, 5, generator=rng()), torch.randn(3, 5, generator=rng(1)), torch.arange(8) % 3
    off, on, auto = (ProxyContrastiveLoss(sample_pairs=how) for how in ("off", "on", "auto"))
    assert auto(z, w, y, replayed=49) == off(z, w, y)
    assert auto(z, w, y, replayed=50) == on(z, w, y) != off(z, w, y)


def test_a_feature_of_zeros_has_a_gradient():
    z = torch.zeros(2, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(ProxyContrastiveLoss()(z, torch.eye(4), torch.tensor([0, 1])), z)
    assert gradient.isfinite().all()


# -- the schedule -------------------------------------------------------------------------------------------------


@given(st.integers(0, 5000), st.integers(1, 700))
def test_the_scale_is_a_cycle_between_its_bounds(step, period):
    scale = CyclicGradientTemperature(0.09, 0.05, 0.16, period)
    assert 0.5625 - 1e-9 <= scale(step) <= 1.8 + 1e-9
    assert scale(step) == pytest.approx(scale(step + period))
    assert scale(0) == 0.5625
    code = (1.8 - 0.5625) * 0.5 * (1 - math.cos(2 * math.pi * step / period)) + 0.5625
    assert scale(step) == pytest.approx(code)


# -- distillation -------------------------------------------------------------------------------------------------


def test_pcd_counts_a_class_as_often_as_it_comes():
    logits, stored = torch.tensor([[1.0, 0.0, 9.0]]), torch.tensor([[0.0, 3.0, 0.0]])
    y = torch.tensor([0, 1, 1])
    assert float(pcd_loss(logits, stored, y)) == pytest.approx(F.mse_loss(logits[:, y], stored[:, y]))


def test_pcd_leaves_out_classes_that_were_not_there():
    logits = torch.tensor([[1.0, 4.0], [2.0, 5.0]], requires_grad=True)
    stored = torch.tensor([[0.0, torch.nan], [0.0, 3.0]])
    loss = pcd_loss(logits, stored, torch.tensor([0, 1]))
    assert float(loss.detach()) == pytest.approx((1 + 4 + 4) / 3)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[0, 1] == 0
    assert gradient.isfinite().all()
    assert float(pcd_loss(logits.detach(), stored[:, :1], torch.tensor([1, 1]))) == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 8), st.integers(0, 99))
def test_scd_is_least_for_the_same_relations_and_blind_to_a_turn(n, seed):
    z = torch.randn(n, 4, generator=rng(seed)).double()
    turn, _ = torch.linalg.qr(torch.randn(4, 4, generator=rng(seed + 1)).double())
    same, turned = scd_loss(z, z), scd_loss(z @ turn, z)
    torch.testing.assert_close(same, turned)
    assert scd_loss(torch.randn(n, 4, generator=rng(seed + 2)).double(), z) >= same - 1e-9


def test_scd_is_the_formula_of_the_code_without_the_diagonal():
    z, old = torch.randn(4, 3, generator=rng()), torch.randn(4, 3, generator=rng(1))
    total = 0.0
    for i in range(4):
        others = [j for j in range(4) if j != i]
        p = torch.softmax(torch.stack([unit(z)[i] @ unit(z)[j] for j in others]) / 0.09, 0)
        q = torch.softmax(torch.stack([unit(old)[i] @ unit(old)[j] for j in others]) / 0.09, 0)
        total += float(-(q * p.log()).sum()) / 4
    assert float(scd_loss(z, old)) == pytest.approx(total, rel=1e-4)


def test_scd_bears_features_that_are_the_same():
    z = torch.ones(3, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(scd_loss(z, torch.eye(3, 4)), z)
    assert gradient.isfinite().all()
    with pytest.raises(InvalidInput, match="no relation"):
        scd_loss(z[:1], z[:1])


# -- the method ---------------------------------------------------------------------------------------------------


def ready(method, n_classes=4, shift=False, kind="class"):
    """A method with a network for inputs [1, 3, 3], and its context."""
    torch.manual_seed(0)
    g = rng(5)
    augment = (lambda x: Shift(1)(x, g)) if shift else (lambda x: x)

    def fresh(seed):
        return MLP((8,), head="cosine").build((1, 3, 3), n_classes)

    method.setup(Context(fresh(0), n_classes, kind, True, 4, 1, g, augment, fresh))
    return method


def shown(method, seed=0, task=1, classes=4, n=4):
    g = rng(seed)
    raw, y = torch.rand(n, 1, 3, 3, generator=g), torch.randint(0, classes, (n,), generator=g)
    return Batch(method.views(raw), y, raw, torch.arange(n), task)


def test_the_first_batch_only_fills_the_buffer_with_what_the_network_said_of_it_unchanged():
    method = ready(HPCR(capacity=8, lr=0.1), shift=True)
    before = {name: value.clone() for name, value in method.model.state_dict().items()}
    batch = shown(method)
    assert method.observe(batch) == {"loss": 0.0}
    assert all(torch.equal(value, before[name]) for name, value in method.model.state_dict().items())
    kept = method.buffer.all()
    torch.testing.assert_close(kept.x, batch.raw)
    torch.testing.assert_close(kept.logits, method.model(batch.raw).detach())
    torch.testing.assert_close(kept.z, method.model.features(batch.raw).detach())


def test_every_row_of_the_buffer_is_one_example_also_when_it_is_nearly_full():
    method = ready(HPCR(capacity=6, lr=1e-12, temperature=False), shift=True)
    for seed in range(5):
        method.observe(shown(method, seed))
        kept = method.buffer.all()
        torch.testing.assert_close(kept.z, method.model.features(kept.x).detach())
        torch.testing.assert_close(kept.logits, method.model(kept.x).detach())


def test_a_step_is_the_sum_of_its_parts():
    method = ready(HPCR(capacity=4, lr=0.1, alpha=0.3, beta=0.7))
    method.observe(shown(method, 0))
    method.t, old = 3, method.buffer.all()
    method.net.head.weight.data += 0.1 * torch.randn(4, 8, generator=rng(9))  # so that there is something to distil
    batch = shown(method, 1)
    z_old, z = (method.model.features(torch.cat([x, x])) for x in (old.x, batch.raw))
    y = torch.cat([old.y, old.y, batch.y, batch.y])
    head = method.model.head
    expected = ProxyContrastiveLoss()(torch.cat([z_old, z]), head.weight, y) * CyclicGradientTemperature()(3)
    expected = expected + 0.3 * pcd_loss(head(z_old), torch.cat([old.logits, old.logits]), y)
    expected = expected + 0.7 * scd_loss(z_old, torch.cat([old.z, old.z]))
    assert method.observe(batch)["loss"] == pytest.approx(float(expected.detach()), rel=1e-5)


@pytest.mark.parametrize("task", [0, 1, None])
def test_distillation_begins_with_the_second_task_or_at_once_where_tasks_are_not_told(task):
    plain, whole = (ready(HPCR(capacity=4, lr=0.1, temperature=False, **part)) for part in
                    ({"alpha": 0.0, "beta": 0.0}, {}))  # fmt: skip
    for method in (plain, whole):
        method.observe(shown(method, 0, task))
    found = [method.observe(shown(method, 1, task))["loss"] for method in (plain, whole)]
    assert (found[0] == found[1]) == (task == 0)


def test_pcr_is_hpcr_without_its_parts_and_keeps_no_more_than_it_needs(digits):
    stream = online(class_incremental(digits.take(30, 10)))
    found = [
        run(stream, method, model=MODEL, augment=Shift(1))
        for method in (PCR(capacity=20), HPCR(capacity=20, temperature=False, alpha=0, beta=0))
    ]
    assert (found[0].mean_matrix() == found[1].mean_matrix()).all()
    assert found[0]["buffer_bytes"][0] == 20 * (64 * 4 + 8)
    full = run(stream, HPCR(capacity=20), model=MODEL)
    assert full["buffer_bytes"][0] == 20 * (64 * 4 + 8 + 4 * (10 + 32))  # M (C + d) floats more


def test_the_cycle_is_as_long_as_a_short_task(digits):
    class Seen(HPCR):
        def observe(self, batch):
            scales.append((self.t, self._cycle(self.tau, self.steps)(self.t)))
            return super().observe(batch)

    scales: list = []
    run(online(class_incremental(digits.take(30, 10))), Seen(capacity=20), model=MODEL)
    assert [t for t, _ in scales] == [0, 1, 2, 3, 4, 5] * 5
    assert scales[3][1] == pytest.approx(1.8)
    scales.clear()
    run(task_free(class_incremental(digits.take(30, 10))), Seen(capacity=20), model=MODEL)
    assert [t for t, _ in scales] == list(range(30))  # nobody says where a task begins
    assert scales[3][1] < 0.6  # of 500 steps


def test_pcr_forgets_less_than_cross_entropy_with_the_same_head(digits):
    settings = {"model": "mlp-cosine:32", "batch_size": 10, "seeds": 2}
    stream = online(class_incremental(digits.take(60, 30)))
    pcr = run(stream, PCR(capacity=50, lr=0.03), **settings)
    er = run(stream, ER(capacity=50, lr=0.03), **settings)
    assert pcr.interval("forgetting").mean < er.interval("forgetting").mean - 0.05
    assert pcr.interval("accuracy").mean > er.interval("accuracy").mean


@pytest.mark.parametrize("pairs", ["off", "on"])
def test_resuming_gives_what_a_run_without_interruption_gives(digits, tmp_path, pairs):
    def go(**more):
        return run(online(class_incremental(digits.take(30, 10))), HPCR(capacity=30, sample_pairs=pairs), model=MODEL,
                   augment=Shift(1), **more)  # fmt: skip

    whole = go()
    with pytest.raises(Stopped):
        go(checkpoint=tmp_path, checkpoint_every=4, progress=stop_at(0.55))
    again = go(checkpoint=tmp_path, checkpoint_every=4)
    assert (again.mean_matrix() == whole.mean_matrix()).all()
    assert again["updates"] == whole["updates"]
    assert again["forward_passes"] == whole["forward_passes"]


def test_new_classes_may_appear_at_any_time():
    method = ready(HPCR(capacity=4, lr=0.1), n_classes=2)
    method.observe(shown(method, 0, classes=2))
    stored = method.buffer.all().logits.clone()
    proxies = method.model.head.weight.detach().clone()
    method.grow(5)
    torch.testing.assert_close(method.buffer.all().logits[:, :2], stored)
    assert method.buffer.all().logits[:, 2:].isnan().all()
    torch.testing.assert_close(method.model.head.weight.detach()[:2], proxies)
    for seed in range(1, 6):
        assert math.isfinite(method.observe(shown(method, seed, classes=5))["loss"])
    assert not torch.equal(method.model.head.weight.detach()[2:], torch.zeros(3, 8))
    assert all(p.isfinite().all() for p in method.model.parameters())


def test_growing_without_stored_logits_needs_nothing_of_the_buffer():
    method = ready(PCR(capacity=4, lr=0.1), n_classes=2)
    method.observe(shown(method, 0, classes=2))
    method.grow(3)
    assert math.isfinite(method.observe(shown(method, 1, classes=3))["loss"])


def test_it_needs_a_cosine_head(digits):
    with pytest.raises(InvalidInput, match="LinearHead") as error:
        run(class_incremental(digits), PCR())
    assert 'model="mlp-cosine"' in str(error.value)
    bare = ready(PCR(capacity=4))  # any network with a cosine head will do
    bare.context.model = Network(torch.nn.Flatten(), CosineHead(9, 4))
    bare.setup(bare.context)


@pytest.mark.parametrize(
    "make",
    [
        lambda: HPCR(alpha=-1.0),
        lambda: HPCR(beta=-0.1),
        lambda: HPCR(tau_lo=0.2, tau_hi=0.1),
        lambda: HPCR(period=0),
        lambda: ProxyContrastiveLoss(tau=0.0),
        lambda: ProxyContrastiveLoss(sample_pairs="sometimes"),
        lambda: HPCR(sample_pairs="sometimes"),
    ],
)
def test_what_cannot_be_run_is_refused(make):
    with pytest.raises(InvalidInput):
        make()
