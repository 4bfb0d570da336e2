"""The unified objective: laws of divergences, and presets against the methods that they stand for."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife.continual import MLP, Batch
from halflife.continual.bregman import (
    OutputTerm,
    ParameterTerm,
    PosteriorTerm,
    Quadratic,
    UnifiedObjective,
    bregman,
    gaussian,
)
from halflife.continual.distillation import soft_targets
from halflife.continual.importance import penalty, snapshot, trainable
from halflife.continual.method import Context
from halflife.continual.methods import DER, ER, EWC, L2, MAS, SI, DERpp, LwF
from halflife.errors import InvalidInput

SHAPE = (1, 8, 8)


def distributions(seed: int, count: int = 6, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return tuple((3 * torch.randn(count, classes, generator=rng, dtype=torch.float64)).softmax(1) for _ in range(2))


def convex(name: str, d: int = 5):
    rng = torch.Generator().manual_seed(1)
    root = torch.randn(d, d, generator=rng, dtype=torch.float64)
    return {
        "sq": "sq", "negentropy": "negentropy", "diagonal": Quadratic(torch.rand(d, generator=rng).double() + 0.1),
        "matrix": Quadratic(root @ root.T + torch.eye(d)), "own": lambda u: u.pow(4).sum(-1) + u.square().sum(-1),
    }[name]  # fmt: skip


NAMES = ("sq", "negentropy", "diagonal", "matrix", "own")


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_a_divergence_is_zero_at_itself_and_positive_elsewhere(name: str, seed: int) -> None:
    p, q = distributions(seed)
    divergence = bregman(convex(name))
    assert divergence(p, q).shape == (6,)
    assert torch.allclose(divergence(p, p), torch.zeros(6, dtype=torch.float64), atol=1e-12)
    assert bool((divergence(p, q) > 0).all())


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_closed_forms_are_the_definition(seed: int) -> None:
    p, q = distributions(seed)
    matrix = convex("matrix")
    pairs = (
        ("sq", lambda u: u.square().sum(-1)),
        ("negentropy", lambda u: (u * u.log()).sum(-1)),
        (matrix, lambda u: matrix(u)),
    )
    for closed, phi in pairs:
        assert torch.allclose(bregman(closed)(p, q), bregman(phi)(p, q), atol=1e-10)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_negative_entropy_gives_kl_of_distributions(seed: int) -> None:
    p, q = distributions(seed)
    assert torch.allclose(bregman("negentropy")(p, q), F.kl_div(q.log(), p, reduction="none").sum(1), atol=1e-12)


def test_the_order_matters_for_one_hot_targets() -> None:
    """Cross-entropy is D(z, h); the order D(h, z) of the paper's formula is infinite."""
    h, z = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([1.0, 0.0, 0.0])
    assert float(bregman("negentropy")(z, h)) == pytest.approx(-math.log(0.7))
    assert float(bregman("negentropy")(h, z)) == math.inf
    with pytest.raises(InvalidInput, match="infinite"):
        OutputTerm(1.0, "negentropy", "labels", first="output")


def test_one_function_takes_parameters_in_a_row_and_batches() -> None:
    p, q = distributions(0)
    assert bregman("sq")(p[0], q[0]).shape == ()
    assert bregman("sq")(p, q[0]).shape == (6,)


def test_what_is_no_divergence_is_refused() -> None:
    p, q = distributions(0)
    with pytest.raises(InvalidInput, match="no convex function"):
        bregman("entropy")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="not defined"):
        bregman("sq")(p, q[:, :3])
    with pytest.raises(InvalidInput, match="negative"):
        bregman("negentropy")(p - 0.5, q)
    with pytest.raises(InvalidInput, match="symmetric"):
        Quadratic(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
    with pytest.raises(InvalidInput, match="not convex"):
        Quadratic(torch.tensor([1.0, -1.0]))


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_terms_on_logits_are_divergences_of_their_softmax(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    h, z = (torch.randn(4, 5, generator=rng, dtype=torch.float64) for _ in range(2))
    y = torch.randint(0, 5, (4,), generator=rng)
    p, q, hot = h.softmax(1), z.softmax(1), F.one_hot(y, 5).double()
    kl = bregman("negentropy")
    for term, given_z, expected in (
        (OutputTerm(0.3, "negentropy", "logits"), z, kl(q, p)),
        (OutputTerm(0.3, "negentropy", "logits", first="output"), z, kl(p, q)),
        (OutputTerm(0.3, "negentropy", "logits", temperature=2.0), z, kl((z / 2).softmax(1), (h / 2).softmax(1))),
        (OutputTerm(0.3, "negentropy", "labels"), y, kl(hot, p)),
        (OutputTerm(0.3, "negentropy", "uniform", first="output"), None, kl(p, torch.full_like(p, 0.2))),
        (OutputTerm(0.3, "sq", "logits"), z, bregman("sq")(h, z)),
    ):
        assert torch.allclose(term(h, given_z), 0.3 * expected.mean(), atol=1e-10)


def test_squared_error_by_mean_is_the_sum_over_the_number_of_classes() -> None:
    h, z = torch.randn(2, 4, 10, generator=torch.Generator().manual_seed(0))
    whole, mean = (OutputTerm(1.0, "sq", "logits", per_class=flag)(h, z) for flag in (False, True))
    assert float(whole) == pytest.approx(10 * float(mean))
    assert float(mean) == pytest.approx(float(F.mse_loss(h, z)))


def test_logits_far_apart_stay_finite() -> None:
    h, z = torch.tensor([[0.0, 800.0]]), torch.tensor([[800.0, 0.0]])
    assert float(OutputTerm(1.0, "negentropy", "logits")(h, z)) == pytest.approx(800.0)
    assert float(OutputTerm(1.0, "negentropy", "labels")(h, torch.tensor([0]))) == pytest.approx(800.0)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_kl_of_gaussians_is_the_divergence_of_their_log_partition(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    mean, log_var, m, s = torch.randn(4, 3, generator=rng, dtype=torch.float64)
    new, old = (torch.cat([a / b.exp(), -0.5 / b.exp()]) for a, b in ((mean, log_var), (m, s)))
    term = PosteriorTerm(1.0, lambda _: (mean, log_var), (m, s))
    normal = torch.distributions.Normal
    kl = torch.distributions.kl_divergence(normal(mean, (log_var / 2).exp()), normal(m, (s / 2).exp())).sum()
    assert torch.allclose(term(torch.nn.Identity()), kl)
    assert torch.allclose(bregman(gaussian)(old, new), kl)


# -- presets against methods ------------------------------------------------------------------------------------------


class Asked(Exception):
    pass


def loss_of(method, model, x, y, prepare) -> torch.Tensor:
    """The loss on which a method would step, after `prepare` has given it a memory."""

    def stopped(loss: torch.Tensor) -> None:
        method.found = loss
        raise Asked

    rng = torch.Generator().manual_seed(0)
    method.setup(Context(model, 10, "class", True, len(x), 1, rng, lambda x: x, lambda _: model))
    prepare(method)
    method.step = stopped
    with pytest.raises(Asked):
        method.observe(Batch(x, y, x, torch.arange(len(x)), 0))
    return method.found


def world(seed: int = 0):
    rng = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, other = (MLP((16,)).build(SHAPE, 10) for _ in range(2))
    x, old_x = torch.rand(2, 8, *SHAPE, generator=rng)
    y, old_y = torch.randint(0, 10, (2, 8), generator=rng)
    weights = {name: torch.rand(p.shape, generator=rng) for name, p in trainable(model).items()}
    return model, other, x, y, old_x, old_y, weights


def same_loss(model, ours: torch.Tensor, theirs: torch.Tensor, apart: float = 0.0) -> None:
    """Equal to 1e-6, but for a constant; gradients equal."""
    parameters = list(model.parameters())
    assert float(theirs.detach()) == pytest.approx(float(ours.detach()) + apart, rel=1e-6)
    a, b = (torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (ours, theirs))
    for one, two in zip(a, b, strict=True):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-6)


def filled(old_x, old_y, stored=None):
    """Of one example: two draws find the same, whatever they draw."""
    fields = {} if stored is None else {"logits": stored[:1]}
    return lambda method: method.buffer.add(x=old_x[:1], y=old_y[:1], **fields)


def test_er() -> None:
    model, _, x, y, old_x, old_y, _ = world()
    theirs = loss_of(ER(capacity=1), model, x, y, filled(old_x, old_y))
    same_loss(model, UnifiedObjective.er(share=1 / 9)(model, x, y, (old_x[:1], old_y[:1])), theirs)


def test_der_and_derpp() -> None:
    model, other, x, y, old_x, old_y, _ = world()
    z = other(old_x).detach()
    theirs = loss_of(DER(capacity=1, alpha=0.3), model, x, y, filled(old_x, old_y, z))
    same_loss(model, UnifiedObjective.der(0.3)(model, x, y, (old_x[:1], z[:1])), theirs)
    theirs = loss_of(DERpp(capacity=1, alpha=0.3, beta=0.7), model, x, y, filled(old_x, old_y, z))
    ours = UnifiedObjective.derpp(0.3, 0.7)(model, x, y, (old_x[:1], z[:1]), (old_x[:1], old_y[:1]))
    same_loss(model, ours, theirs)


def test_lwf_but_for_the_entropy_of_the_teacher() -> None:
    model, teacher, x, y, _, _, _ = world()
    old, z = [0, 3, 4], teacher(x).detach()

    def prepare(method: LwF) -> None:
        method.teacher, method.old = teacher, old

    theirs = loss_of(LwF(alpha=0.8, temperature=2.0), model, x, y, prepare)
    ours = UnifiedObjective.lwf(0.8, 2.0, old)(model, x, y, (None, z))
    entropy = soft_targets(z[:, old], z[:, old], 2.0)
    same_loss(model, ours, theirs, apart=0.8 * float(entropy))


@pytest.mark.parametrize("name", ["l2", "ewc", "si", "mas"])
def test_holds_of_parameters(name: str) -> None:
    model, other, x, y, _, _, weights = world()
    anchor = snapshot(other)
    method, objective, held = {
        "l2": (L2(lam=0.2), UnifiedObjective.l2(0.2, anchor), {"anchor": anchor}),
        "ewc": (EWC(lam=3.0), UnifiedObjective.ewc(3.0, [(anchor, weights)] * 2), {"held": [(anchor, weights)] * 2}),
        "si": (SI(c=0.5), UnifiedObjective.si(0.5, anchor, weights), {"anchor": anchor, "held": weights}),
        "mas": (MAS(lam=0.5), UnifiedObjective.mas(0.5, anchor, weights), {"anchor": anchor, "held": weights}),
    }[name]
    theirs = loss_of(method, model, x, y, lambda m: vars(m).update(held))
    same_loss(model, objective(model, x, y), theirs)


def test_a_diagonal_by_name_is_the_quadratic_of_all_parameters_in_a_row() -> None:
    model, other, x, y, _, _, weights = world()
    anchor = snapshot(other)
    now, old, a = (torch.cat([v.flatten() for v in of.values()]) for of in (snapshot(model), anchor, weights))
    expected = 0.4 * bregman(Quadratic(a))(now, old)
    assert torch.allclose(ParameterTerm(0.4, anchor, weights)(model), expected, rtol=1e-5)
    small = MLP((3,)).build((1, 2, 2), 2)
    anchor, a = {k: v + 1 for k, v in snapshot(small).items()}, torch.eye(sum(p.numel() for p in small.parameters()))
    a[0, 1] = a[1, 0] = 0.5
    base = float(F.cross_entropy(small(x[:2, :, :2, :2]), y[:2] % 2).detach())
    found = UnifiedObjective.natural(1.0, anchor, a)(small, x[:2, :, :2, :2], y[:2] % 2)
    assert float(found.detach()) - base == pytest.approx(0.5 * (len(a) + 1), rel=1e-5)
    assert float(penalty(small, anchor).detach()) == pytest.approx(len(a), rel=1e-5)


def test_cpr_is_an_entropy_bonus() -> None:
    model, other, x, y, *_ = world()
    p = model(x).softmax(1)
    entropy = -(p * p.log()).sum(1).mean()
    hold = ParameterTerm(1.0, snapshot(other))
    expected = F.cross_entropy(model(x), y) + 0.5 * (math.log(10) - entropy) + hold(model)
    assert torch.allclose(UnifiedObjective.cpr(0.5, [hold])(model, x, y, (None, None)), expected)


def test_vcl_adds_kl_of_a_posterior() -> None:
    model, _, x, y, *_ = world()
    old = (torch.zeros(4), torch.zeros(4))
    objective = UnifiedObjective.vcl(2.0, lambda _: (torch.ones(4), torch.zeros(4)), old)
    added = objective(model, x, y) - F.cross_entropy(model(x), y)
    assert float(added.detach()) == pytest.approx(4.0, rel=1e-5)


def test_targets_that_do_not_fit_are_refused() -> None:
    model, _, x, y, *_ = world()
    with pytest.raises(InvalidInput, match="1 terms of outputs, but 0"):
        UnifiedObjective.der(0.1)(model, x, y)
    with pytest.raises(InvalidInput, match="none were given"):
        UnifiedObjective.der(0.1)(model, x, y, (x, None))
    with pytest.raises(InvalidInput, match="alpha"):
        OutputTerm(-1.0, "sq", "logits")
    with pytest.raises(InvalidInput, match="beta"):
        ParameterTerm(-1.0, {})
    with pytest.raises(InvalidInput, match="labels"):
        OutputTerm(1.0, "sq", "labels")
