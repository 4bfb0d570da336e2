"""Refresh: its two steps by hand, and that it leaves everything but the parameters as the method had it."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from halflife.continual import AGEM, ER, MLP, SI, Batch, DERpp, Naive, class_incremental, run, task_free
from halflife.continual.importance import importance, snapshot, trainable
from halflife.continual.method import Context
from halflife.continual.methods.refresh import Refresh, confident
from halflife.continual.scenario import Experience
from halflife.continual.transforms import Shift
from halflife.errors import Diverged, InvalidInput
from tests.continual.stopped import Stopped, stop_after


def dropped(shape, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.BatchNorm1d(20), nn.Dropout(0.3), nn.Linear(20, n_classes))


SETTINGS = {"batch_size": 10, "epochs": 2, "evaluate_every": 4, "augment": Shift(1), "model": dropped}


@pytest.fixture(scope="module")
def small(digits):
    return class_incremental(digits.take(12, 10))


def same(a, b):
    for x, y in zip(a.runs, b.runs, strict=True):
        assert np.array_equal(x.seen, y.seen)
        assert x.curve == y.curve
        assert x.buffer == y.buffer


def ready(method, model=None, boundaries=True):
    """A method that has been set up, a batch for it, and a task."""
    rng = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model or MLP((12,), norm=True).build((1, 8, 8), 10)
        torch.manual_seed(1)
        x, y = torch.rand(16, 1, 8, 8), torch.arange(16) % 10
    method.setup(Context(model, 10, "class", boundaries, 16, 1, rng, lambda x: x, lambda _: copy.deepcopy(model)))
    return method, Batch(x, y, x, torch.arange(16), 0)


def task_of(digits) -> Experience:
    return class_incremental(digits.take(20, 10)).stream(0)[0]


# -- it leaves the method alone ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [ER(capacity=20), DERpp(capacity=20), Naive(optimizer="adam", lr=0.01)])
def test_a_delta_of_zero_is_the_method_bit_for_bit(small, host):
    plain = run(small, host, **SETTINGS)
    zero = run(small, Refresh(host, delta=0), **SETTINGS)
    same(plain, zero)
    assert plain.runs[0].passes == zero.runs[0].passes


@pytest.mark.parametrize("loss", ["batch", "host"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_steps_too_small_to_count_leave_no_trace(small, loss, when):
    """The ascent runs, and nothing else changes: running statistics, masks of dropout, draws, the buffer."""
    host = DERpp(capacity=20)
    plain = run(small, host, **SETTINGS)
    tiny = run(small, Refresh(host, delta=1e-30, noise=0.0, loss=loss, when=when), **SETTINGS)
    same(plain, tiny)
    assert tiny.runs[0].passes["forward"] > plain.runs[0].passes["forward"]


def test_running_statistics_are_those_of_the_steps_alone():
    method, batch = ready(Refresh(ER(capacity=20), delta=1e-2))
    plain, _ = ready(ER(capacity=20))
    before = {name: b.clone() for name, b in method.model.named_buffers()}
    method.unlearn(batch)
    for name, b in method.model.named_buffers():
        assert torch.equal(b, before[name])
    moved = snapshot(method.model)
    method.method.observe(batch)
    plain.model.load_state_dict({**plain.model.state_dict(), **moved})
    plain.observe(batch)
    for name, b in plain.model.named_buffers():
        assert torch.equal(b, dict(method.model.named_buffers())[name])


def test_gradients_of_the_method_are_not_touched():
    method, batch = ready(Refresh(ER(capacity=20), delta=1e-3))
    method.observe(batch)
    kept = [p.grad.clone() for p in method.model.parameters()]
    method.unlearn(batch)
    for p, g in zip(method.model.parameters(), kept, strict=True):
        assert torch.equal(p.grad, g)


# -- its steps --------------------------------------------------------------------------------------------------------


def gradients(model, batch):
    loss = F.cross_entropy(model(batch.x), batch.y)
    return dict(zip(trainable(model), torch.autograd.grad(loss, list(model.parameters())), strict=True))


def test_the_relative_step_is_that_of_the_released_code():
    """A shadow takes an SGD step on -CE; its direction, scaled to the norm of the tensor, is followed delta far."""
    method, batch = ready(Refresh(Naive(), delta=1e-2, noise=0.0))
    method.model.double()
    batch = dataclasses.replace(batch, x=batch.x.double())
    shadow = copy.deepcopy(method.model)
    optim = torch.optim.SGD(shadow.parameters(), lr=0.01)
    (-F.cross_entropy(shadow(batch.x), batch.y)).backward()
    optim.step()
    old = snapshot(method.model)
    method.unlearn(batch)
    still = []
    for name, p in trainable(method.model).items():
        u = dict(shadow.named_parameters())[name].detach() - old[name]
        expected = 1e-2 * old[name].norm() / (u.norm() + 1e-20) * u
        assert torch.allclose(p.detach() - old[name], expected, rtol=1e-5, atol=1e-12), name
        if torch.equal(p, old[name]):
            still.append(name)
        else:
            assert float((p.detach() - old[name]).norm()) == pytest.approx(1e-2 * float(old[name].norm()))
    assert still == ["body.1.bias", "body.2.bias"]  # under a norm: no gradient but rounding; of the norm: zero


def test_the_fisher_slows_the_step():
    method, batch = ready(Refresh(Naive(), delta=1e-2, noise=0.0, fisher=2.0))
    g, old = gradients(copy.deepcopy(method.model), batch), snapshot(method.model)
    method.held = {name: torch.full_like(p, 3.0) for name, p in old.items()}
    method.unlearn(batch)
    name = "head.weight"
    expected = 1e-2 / 7 * old[name].norm() / g[name].norm() * g[name]
    assert torch.allclose(trainable(method.model)[name].detach() - old[name], expected, rtol=1e-3, atol=1e-7)


def test_the_langevin_step_is_that_of_the_paper(digits):
    method, batch = ready(Refresh(Naive(), delta=1e-3, mode="langevin", noise=0.0, damping=0.5))
    old = snapshot(method.model)
    method.unlearn(batch)  # no Fisher yet: it waits
    assert all(torch.equal(p, old[name]) for name, p in trainable(method.model).items())
    method.after_task(task_of(digits))
    g = gradients(copy.deepcopy(method.model), batch)
    method.unlearn(batch)
    for name, p in trainable(method.model).items():
        expected = 1e-3 * g[name] / (0.5 + method.held[name])
        assert torch.allclose(p.detach() - old[name], expected, rtol=1e-3, atol=1e-7)


def test_the_langevin_noise_has_the_variance_of_the_inverse_fisher():
    method, batch = ready(Refresh(Naive(), delta=1e-3, mode="langevin"), MLP((200,)).build((1, 8, 8), 10))
    method.held = {name: torch.full_like(p, 4.0) for name, p in snapshot(method.model).items()}
    g, old = gradients(method.model, batch), snapshot(method.model)
    method.unlearn(batch)
    name = "body.1.weight"
    noise = trainable(method.model)[name].detach() - old[name] - 1e-3 * g[name] / 4.001
    assert float(noise.var()) == pytest.approx(2 * 1e-3 / 4.001, rel=0.05)


def test_it_goes_up_and_more_steps_go_further():
    climbed = []
    for steps in (1, 3):
        method, batch = ready(Refresh(Naive(), delta=1e-2, steps=steps))
        start = F.cross_entropy(method.model(batch.x), batch.y)
        method.unlearn(batch)
        climbed.append(float((F.cross_entropy(method.model(batch.x), batch.y) - start).detach()))
    assert 0 < climbed[0] < climbed[1]


def test_a_tensor_of_zeros_moves_by_noise_alone():
    method, batch = ready(Refresh(Naive(), delta=1e-2, noise=0.0))
    bias = trainable(method.model)["body.2.bias"]  # of the norm
    assert float(bias.detach().norm()) == 0
    method.unlearn(batch)
    assert float(bias.detach().norm()) == 0
    method, batch = ready(Refresh(Naive(), delta=1e-2, noise=1.0))
    method.unlearn(batch)
    assert float(trainable(method.model)["body.2.bias"].detach().norm()) > 0


def test_before_and_after_stand_on_either_side_of_the_step():
    calls: list[str] = []

    class Told(Naive):
        def observe(self, batch):
            calls.append("learn")
            return super().observe(batch)

    for when in ("before", "after"):
        method, batch = ready(Refresh(Told(), when=when))
        unlearn = method.unlearn
        method.unlearn = lambda batch, unlearn=unlearn: (calls.append("unlearn"), unlearn(batch))[1]
        method.observe(batch)
    assert calls == ["unlearn", "learn", "learn", "unlearn"]


# -- the loss of the host ---------------------------------------------------------------------------------------------


def test_the_loss_of_the_host_has_its_buffer_and_the_terms_of_wrappers():
    method, batch = ready(Refresh(ER(capacity=1), delta=1e-3, loss="host"), MLP((12,)).build((1, 8, 8), 10))
    method.inner.buffer.add(x=batch.raw[:1], y=batch.y[:1] + 1)
    method.inner.terms.append(lambda: method.model.head.weight.square().sum())
    with torch.no_grad():
        found = method.gradient
    got = found(batch)
    x, y = torch.cat([batch.x, batch.raw[:1]]), torch.cat([batch.y, batch.y[:1] + 1])
    loss = F.cross_entropy(method.model(x), y) + method.model.head.weight.square().sum()
    expected = torch.autograd.grad(loss, list(method.model.parameters()))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(got, expected, strict=True))
    assert len(method.inner.buffer) == 1
    assert "step" not in vars(method.inner)


def test_a_host_without_step_is_refused():
    method, batch = ready(Refresh(AGEM(capacity=5), loss="host"))
    with pytest.raises(InvalidInput, match="does not take its steps"):
        method.observe(batch)


@pytest.mark.filterwarnings("ignore:Holding parameters")
def test_methods_that_look_at_their_path_can_be_hosts(small):
    run(small, Refresh(SI(lr=0.01), loss="host", delta=1e-4), batch_size=10)


# -- the Fisher -------------------------------------------------------------------------------------------------------


def test_the_fisher_weights_squared_gradients_by_the_probability_of_the_label():
    model = MLP((6,)).build((1, 8, 8), 10)
    x, y = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3, 3, 9, 1])
    found = importance(model, [(x, y)], confident, per_sample=True)
    expected = {name: torch.zeros_like(p) for name, p in trainable(model).items()}
    for i in range(5):  # one by one, as the released code does
        log_p = model(x[i : i + 1]).log_softmax(1)[0, y[i]]
        grads = torch.autograd.grad(log_p, list(model.parameters()), retain_graph=True)
        for name, g in zip(expected, grads, strict=True):
            expected[name] += float(log_p.detach().exp()) * g.square() / 5
    for name in expected:
        assert torch.allclose(found[name], expected[name], rtol=1e-4, atol=1e-8)


def test_tau_decides_how_much_of_older_tasks_stays(digits):
    task = task_of(digits)
    sums = []
    for tau in (0.0, 1.0):
        method, _ = ready(Refresh(Naive(), tau=tau))
        method.after_task(task)
        first = {name: f.clone() for name, f in method.held.items()}
        method.after_task(task)
        sums.append((first, method.held))
    for name, f in sums[0][0].items():
        assert torch.allclose(sums[0][1][name], f, rtol=1e-4, atol=1e-9)
        assert torch.allclose(sums[1][1][name], 2 * f, rtol=1e-4, atol=1e-9)


def test_a_head_that_grew_has_no_fisher_in_its_new_rows(digits):
    method, batch = ready(Refresh(Naive(), fisher=1.0), MLP((12,)).build((1, 8, 8), 10))
    method.after_task(task_of(digits))
    method.model.head.grow(13)
    method.unlearn(batch)
    assert method._padded("head.bias", method.model.head.bias)[10:].tolist() == [0, 0, 0]


# -- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["relative", "langevin"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(small, tmp_path, monkeypatch, mode):
    method = Refresh(ER(capacity=20), delta=1e-4, mode=mode, loss="host", steps=2)
    straight = run(small, method, **SETTINGS)
    stop_after(monkeypatch, 8)
    with pytest.raises(Stopped):
        run(small, method, checkpoint=tmp_path, checkpoint_every=3, **SETTINGS)
    same(straight, run(small, method, checkpoint=tmp_path, checkpoint_every=3, **SETTINGS))


def test_it_wraps_a_wrapper_and_works_without_boundaries(small):
    results = run(task_free(small), Refresh(Refresh(ER(capacity=20))), batch_size=10)
    assert results.name == "Refresh(Refresh(ER))"
    assert results.runs[0].passes["forward"] > 0


def test_what_cannot_work_is_refused(small):
    with pytest.raises(InvalidInput, match="delta"):
        Refresh(ER(), delta=-1.0)
    with pytest.raises(InvalidInput, match="steps"):
        Refresh(ER(), steps=0)
    with pytest.raises(InvalidInput, match="mode 'both'"):
        Refresh(ER(), mode="both")
    with pytest.raises(InvalidInput, match="needs a Fisher"):
        run(task_free(small), Refresh(ER(), mode="langevin"), batch_size=10)
    with pytest.raises(InvalidInput, match="needs a Fisher"):
        run(small, Refresh(ER(), mode="langevin", fisher=0.0), batch_size=10)
    for scales in ({"damping": -1.0}, {"damping": 0.0, "fisher": 0.0}):
        with pytest.raises(InvalidInput, match="scales"):
            run(small, Refresh(ER(), **scales), batch_size=10)
    method, batch = ready(Refresh(Naive(), delta=1e-2))
    method.held = {name: torch.full_like(p, torch.nan) for name, p in snapshot(method.model).items()}
    with pytest.raises(Diverged, match="not finite"):
        method.unlearn(batch)
