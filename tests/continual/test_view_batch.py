"""View-batch: the schedule, the loss between views, and a method within that keeps its costs and its buffer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife.continual import AGEM, ER, DERpp, ICaRL, LwF, Naive, class_incremental, load, online, run
from halflife.continual.buffer import Buffer
from halflife.continual.method import Wrapper
from halflife.continual.methods.view_batch import ViewBatch, ViewBatchSampler, one_to_many_kl
from halflife.continual.methods.view_batch_parts import Grouped, copies
from halflife.continual.transforms import Brightness, Compose, Shift
from halflife.errors import InvalidInput
from tests.continual.stopped import Stopped, stop_at

STRONG = Compose([Shift(2), Brightness(0.5)])
HOSTS = [ER(capacity=32, lr=0.1), DERpp(capacity=32, lr=0.1), ICaRL(capacity=32), LwF()]
SPLIT = class_incremental(load("digits").take(16, 5))


class Spy(Wrapper):
    """Keeps what the learner within is shown; the list outlives the run's copy of the method."""

    def __init__(self, method, kept):
        super().__init__(method)
        self.kept = kept

    def __deepcopy__(self, memo):
        return self

    def state_dict(self):
        return {}

    def observe(self, batch):
        self.kept.append(batch)
        return super().observe(batch)


def shown(method, scenario=SPLIT, **settings):
    kept = []
    found = run(scenario, Spy(method, kept), **{"epochs": 4, "batch_size": 16} | settings)
    return kept, found


# -- the sampler -----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(views=st.integers(1, 6), each=st.integers(2, 6), n=st.integers(12, 90), seed=st.integers(0, 99))
def test_every_example_once_in_v_epochs_with_all_its_views(views, each, n, seed):
    batch_size = views * each
    sampler = ViewBatchSampler(n, views, batch_size, True, seed, views * 2)
    for first in range(2):
        found = []
        for epoch in range(views):
            sampler.set_epoch(first * views + epoch)
            steps = list(sampler)
            assert len(steps) == len(sampler) == -(-sampler.n // batch_size)  # as many as the plain sampler has
            for index, view in steps:
                assert 0 < len(index) <= batch_size
                rows = index.reshape(-1, views)
                assert (rows == rows[:, :1]).all()
                assert (view.reshape(-1, views) == torch.arange(views)).all()
                found += rows[:, 0].tolist()
        assert sorted(found) == list(range(sampler.n))


def test_an_example_rests_v_times_longer():
    plain, rested = (ViewBatchSampler(96, views, 16, seed=1, n_epochs=24) for views in (1, 4))
    assert plain.recall_intervals().double().mean() == 6  # a whole epoch of 6 steps
    assert rested.recall_intervals().double().mean() == 24
    assert len(rested.recall_intervals()) == 96 * 5


def test_orders_differ_between_passes_and_seeds_and_repeat():
    sampler = ViewBatchSampler(32, 2, 8, seed=3, n_epochs=4)

    def order(epoch):
        sampler.set_epoch(epoch)
        return torch.cat([index for index, _ in sampler]).tolist()

    assert order(0) == order(0) != order(2)
    assert not set(order(0)) & set(order(1))  # the other half of the same pass
    other = ViewBatchSampler(32, 2, 8, seed=4, n_epochs=4)
    assert torch.cat([index for index, _ in other]).tolist() != order(0)


def test_a_sampler_grows_with_its_task():
    sampler = ViewBatchSampler(16, 2, 8, n_epochs=2)
    assert len(sampler) == 2
    sampler.set_length(40)
    assert len(sampler) == 5
    found = torch.cat([index for epoch in range(2) for index, _ in (sampler.set_epoch(epoch), *sampler)[1:]])
    assert found.bincount().tolist() == [2] * 40


@pytest.mark.parametrize(("views", "batch_size", "epochs"), [(3, 32, 12), (4, 32, 10), (0, 32, 12)])
def test_views_that_do_not_fit_are_refused(views, batch_size, epochs):
    with pytest.raises(InvalidInput, match="do not divide"):
        ViewBatchSampler(100, views, batch_size, n_epochs=epochs)
    with pytest.raises(InvalidInput, match="do not divide"):
        run(SPLIT, ViewBatch(ER(), n_views=views), epochs=epochs, batch_size=batch_size)


def test_too_few_examples_and_single_passes_are_refused():
    for n, views, batch_size in ((3, 4, 8), (39, 2, 2)):
        with pytest.raises(InvalidInput, match="cannot fill"):
            ViewBatchSampler(n, views, batch_size)
    with pytest.raises(InvalidInput, match="do not divide"):
        run(online(SPLIT), ViewBatch(ER(), n_views=2), batch_size=16)


# -- the loss --------------------------------------------------------------------------------------------------------


def naive_kl(logits, ids, weak):
    p = logits.softmax(1)
    each = []
    for i in range(len(ids)):
        if not weak[i]:
            teacher = next(j for j in range(len(ids)) if weak[j] and ids[j] == ids[i])
            each.append(sum(p[teacher, c] * (p[teacher, c] / p[i, c]).log() for c in range(p.shape[1])))
    return sum(each) / len(each)


@settings(deadline=None, max_examples=30)
@given(groups=st.integers(1, 5), views=st.integers(2, 5), classes=st.integers(2, 6), seed=st.integers(0, 999))
def test_the_loss_is_the_formula_whatever_the_order(groups, views, classes, seed):
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(groups * views, classes, generator=rng, dtype=torch.float64)
    ids = torch.arange(groups).repeat_interleave(views) * 7
    weak = torch.arange(groups * views) % views == 0
    order = torch.randperm(len(ids), generator=rng)
    found = one_to_many_kl(logits[order], ids[order], weak[order])
    assert found == pytest.approx(float(naive_kl(logits, ids, weak)), rel=1e-9)
    assert found >= 0
    assert one_to_many_kl(logits[:1].expand_as(logits), ids, weak) == pytest.approx(0, abs=1e-12)


def test_no_gradient_goes_to_the_weak_view_unless_asked_for():
    ids, weak = torch.tensor([3, 3, 3]), torch.tensor([True, False, False])
    for detach, moved in ((True, False), (False, True)):
        logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.0]], requires_grad=True)
        one_to_many_kl(logits, ids, weak, detach).backward()
        assert bool(logits.grad[0].any()) is moved
        assert logits.grad[1:].any(1).all()


def test_one_view_has_no_loss_and_large_logits_stay_finite():
    assert one_to_many_kl(torch.rand(3, 4), torch.arange(3), torch.ones(3, dtype=torch.bool)) == 0
    far = torch.tensor([[900.0, 0.0], [0.0, 900.0]])
    assert one_to_many_kl(far, torch.zeros(2), torch.tensor([True, False])) == pytest.approx(900)


def test_equal_labels_do_not_make_a_group():
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])  # two examples that look different
    weak = torch.tensor([True, False, True, False])
    assert one_to_many_kl(logits, torch.tensor([0, 0, 1, 1]), weak) == pytest.approx(0, abs=1e-6)
    with pytest.raises(InvalidInput, match="exactly one weak view"):
        one_to_many_kl(logits, torch.zeros(4), weak)


# -- around a method -------------------------------------------------------------------------------------------------


def test_one_view_is_the_method_itself():
    host = ER(capacity=30, lr=0.1)
    plain = run(SPLIT, host, epochs=3, batch_size=10, augment=Shift(1))
    same = run(SPLIT, ViewBatch(host, n_views=1, strong=STRONG), epochs=3, batch_size=10, augment=Shift(1))
    assert np.array_equal(plain.runs[0].seen, same.runs[0].seen)


@pytest.mark.parametrize("host", [Naive(lr=0.1), *HOSTS])
def test_it_costs_what_the_method_costs(host):
    fit = {"epochs": 4, "batch_size": 16, "augment": Shift(1)}
    plain = run(SPLIT, host, **fit).runs[0]
    viewed = run(SPLIT, ViewBatch(host, n_views=4, strong=STRONG, ssl_start_epoch=0), **fit).runs[0]
    assert viewed.updates == plain.updates
    assert dict(viewed.passes) == dict(plain.passes)
    assert not np.array_equal(viewed.seen, plain.seen)


def test_batches_are_views_of_few_examples_the_first_weak():
    kept, _ = shown(ViewBatch(Naive(lr=0.1), n_views=4, strong=lambda x, rng: x + 1))
    for batch in kept:
        ids = batch.index.reshape(-1, 4)
        assert (ids == ids[:, :1]).all()
        assert len(ids[:, 0].unique()) == len(batch) // 4
        gain = (batch.x - batch.raw).flatten(1).mean(1).reshape(-1, 4)
        assert gain.round().tolist() == [[0, 1, 1, 1]] * len(gain)
    assert all(torch.equal(a, b) for batch in kept for a, b in [(batch.raw[0], batch.raw[3])])


def test_each_task_has_its_own_order():
    kept, _ = shown(ViewBatch(Naive(lr=0.1), n_views=2), epochs=2)
    steps = len(kept) // 5
    places = [torch.cat([b.index for b in kept[t * steps : (t + 1) * steps]]).argsort(stable=True) for t in range(2)]
    assert not torch.equal(*places)


def terms_of(host, batch_size=16, **settings):
    """L_ssl of each step as it was added to the loss."""
    found = []

    class Listening(ViewBatch):
        def _ssl(self):
            term = super()._ssl()
            found.append(float(term.detach()))
            return term

    run(SPLIT, Listening(host, n_views=4, **settings), epochs=4, batch_size=batch_size, augment=Shift(1))
    return found


@pytest.mark.parametrize("host", HOSTS)
def test_the_loss_begins_with_its_epoch_and_uses_the_forward_of_the_method(host):
    found = terms_of(host, strong=STRONG, ssl_start_epoch=2)
    by_task = np.array(found).reshape(5, 4, -1)  # tasks, epochs, steps
    assert (by_task[:, :2] == 0).all()
    assert (by_task[:, 2:] > 0).all()


def test_the_weight_scales_the_loss():
    one, ten = (
        terms_of(ER(capacity=32, lr=1e-12), strong=STRONG, ssl_start_epoch=0, ssl_weight=w) for w in (1.0, 10.0)
    )
    assert np.allclose(np.array(ten), 10 * np.array(one), rtol=1e-3)


def test_rehearsed_views_and_seen_classes_enter_the_loss():
    seen = []

    class Listening(ViewBatch):
        def _ssl(self):
            if self.watch is not None:
                seen.append((sorted(self.seen), [(len(z), weak.sum().item()) for z, _, weak in self.watch.found]))
            return super()._ssl()

    run(SPLIT, Listening(ER(capacity=32, lr=0.1), n_views=4, ssl_start_epoch=0), epochs=4, batch_size=16)
    assert seen[0][1] == [(16, 4)]  # the buffer was empty
    assert seen[1][1] == [(16, 4), (16, 4)]  # the batch, and as many from the buffer
    assert [len(classes) for classes, _ in seen[:: len(seen) // 5]] == [2, 4, 6, 8, 10]


def test_without_a_loss_of_its_own_a_method_is_refused_unless_told():
    fit = {"epochs": 2, "batch_size": 16}
    with pytest.raises(InvalidInput, match="does not learn by `step`"):
        run(SPLIT, ViewBatch(AGEM(capacity=32), n_views=2, ssl_start_epoch=0), **fit)
    assert run(SPLIT, ViewBatch(AGEM(capacity=32), n_views=2, ssl_weight=0), **fit)["accuracy"][0] > 0


def test_settings_that_cannot_be_are_refused():
    for wrong in ({"ssl_weight": -1.0}, {"ssl_weight": float("nan")}, {"ssl_start_epoch": -1}):
        with pytest.raises(InvalidInput, match="use 0 or more"):
            run(SPLIT, ViewBatch(ER(), n_views=2, **wrong), epochs=2, batch_size=16)
    with pytest.raises(InvalidInput, match="a draw of 6"):
        run(SPLIT, ViewBatch(ER(minibatch=6), n_views=4), epochs=4, batch_size=16)


def test_after_an_error_in_a_step_the_method_is_as_it_was():
    class Broken(ER):
        def observe(self, batch):
            assert isinstance(self.buffer, Grouped)
            raise RuntimeError("broken")

    method = ViewBatch(Broken(), n_views=2)
    with pytest.raises(RuntimeError, match="broken"):
        run(SPLIT, Spy(method, []), epochs=2, batch_size=16)
    assert isinstance(method.inner.buffer, Buffer)
    assert method.watch is None
    assert not method.model._forward_hooks


# -- the buffer ------------------------------------------------------------------------------------------------------


def test_a_visit_offers_an_example_once_and_a_draw_is_views():
    buffer = Buffer(8, generator=torch.Generator().manual_seed(0))
    grouped = Grouped(buffer, 4)
    x = torch.rand(3, 2).repeat_interleave(4, 0)
    grouped.add(x=x, y=torch.tensor([0, 1, 2]).repeat_interleave(4), logits=torch.arange(12.0)[:, None])
    assert len(grouped) == buffer.seen == 3
    assert buffer.all().logits.flatten().tolist() == [0, 4, 8]  # of the weak view
    for rows in (grouped.sample(8), grouped.balanced(8)):
        assert len(rows) == 8
        assert copies(rows.x, 4)
    assert len(grouped.sample(8).slots.unique()) == 2
    grouped.add(x=torch.rand(5, 2), y=torch.zeros(5, dtype=torch.long), logits=torch.zeros(5, 1))  # no groups of views
    assert buffer.seen == 8


def test_a_ring_holds_as_many_examples_as_without_views():
    kept = {}
    for views in (1, 4):
        spied = ViewBatch(ER(capacity=20, policy="ring", lr=0.1), n_views=views, ssl_weight=0)
        shown(spied)
        kept[views] = len(spied.inner.buffer.all().x.flatten(1).unique(dim=0))
    assert kept[1] == kept[4] == 20


# -- resuming --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", HOSTS[:3])
def test_a_run_that_was_interrupted_goes_on_bit_for_bit(host, tmp_path):
    method = ViewBatch(host, n_views=2, strong=STRONG, ssl_start_epoch=1)
    fit = {"epochs": 4, "batch_size": 16, "augment": Shift(1)}
    whole = run(SPLIT, method, **fit).runs[0]

    kept = {"checkpoint": tmp_path, "checkpoint_every": 5}
    with pytest.raises(Stopped):
        run(SPLIT, method, progress=stop_at(0.55), **kept, **fit)
    resumed = run(SPLIT, method, **kept, **fit).runs[0]
    assert np.array_equal(whole.seen, resumed.seen)
    assert dict(whole.passes) == dict(resumed.passes)
