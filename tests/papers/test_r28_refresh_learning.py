"""The reproduction of refresh learning: its controls and its sharpness do what their names say."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from halflife.continual import ER, MLP, Batch, load  # noqa: E402
from halflife.continual.bregman import UnifiedObjective  # noqa: E402
from halflife.continual.importance import snapshot, trainable  # noqa: E402
from halflife.continual.method import Context  # noqa: E402
from halflife.continual.methods.refresh import Refresh  # noqa: E402
from halflife.errors import InvalidInput  # noqa: E402
from halflife.papers import r28_parts  # noqa: E402
from halflife.papers.r28_figures import BASE, NOISE, REFRESH  # noqa: E402
from halflife.papers.r28_parts import (  # noqa: E402
    HOSTS,
    Noise,
    SharpnessAware,
    Unprotected,
    equivalence,
    sharpness,
)
from halflife.papers.r28_refresh_learning import AMOUNTS, run  # noqa: E402


def ready(method):
    rng = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MLP((12,), norm=True).build((1, 8, 8), 10)
        x, y = torch.rand(16, 1, 8, 8), torch.arange(16) % 10
    method.setup(Context(model, 10, "class", True, 16, 1, rng, lambda x: x, lambda _: copy.deepcopy(model)))
    return method, Batch(x, y, x, torch.arange(16), 0)


def test_noise_is_as_long_as_the_step_up_and_elsewhere() -> None:
    moves = []
    for kind in (Refresh, Noise):
        method, batch = ready(kind(ER(capacity=10), delta=1e-2, noise=0.0))
        old = snapshot(method.model)
        method.unlearn(batch)
        moves.append({name: p.detach() - old[name] for name, p in trainable(method.model).items()})
    for name in ("body.1.weight", "head.weight", "head.bias"):
        up, noise = (one[name] for one in moves)
        assert float(up.norm()) == pytest.approx(float(noise.norm()), rel=1e-3)
        assert abs(float(F.cosine_similarity(up.flatten(), noise.flatten(), dim=0))) < 0.9


def test_the_sharpness_aware_step_is_computed_above_and_made_from_below() -> None:
    method, batch = ready(SharpnessAware(ER(capacity=10, lr=0.1), delta=1e-2, noise=0.0, fisher=0.0))
    below = snapshot(method.model)
    above = copy.deepcopy(method)
    above.unlearn(batch)
    loss = F.cross_entropy(above.model(batch.x), batch.y)
    gradient = dict(zip(below, torch.autograd.grad(loss, list(above.model.parameters())), strict=True))
    method.observe(batch)
    for name, p in trainable(method.model).items():
        assert torch.allclose(p, below[name] - 0.1 * gradient[name], atol=1e-6), name
    assert not method.inner.optim._optimizer_step_pre_hooks


def test_unprotected_counts_the_batch_in_the_running_statistics() -> None:
    seen = []
    for kind in (Refresh, Unprotected):
        method, batch = ready(kind(ER(capacity=10), delta=1e-2))
        method.observe(batch)
        seen.append(int(method.model.body[2].num_batches_tracked))
    assert seen == [1, 2]


def test_every_preset_is_its_method_and_a_wrong_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load("digits").take(12, 5)
    found = equivalence(digits, 0)
    assert set(found) == set(HOSTS)
    assert all(steps > 0 and value < 1e-12 for steps, value in found.values())
    method, right = HOSTS["ER"]
    wrong = {"ER": (method, lambda m, batch: (UnifiedObjective.er(0.4), right(m, batch)[1], 0.0))}
    monkeypatch.setattr(r28_parts, "HOSTS", wrong)
    with pytest.raises(InvalidInput, match="were given targets"):  # the first step has no old examples
        equivalence(digits, 0)
    wrong["ER"] = (method, lambda m, batch: (*right(m, batch)[:2], 0.1))
    assert equivalence(digits, 0)["ER"][1] > 0.01


def test_sharpness_is_the_rise_within_the_ball() -> None:
    """Of one weight on one feature the highest loss lies at the border, and is known."""
    model = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0], [-4.0]]))
    x, y = torch.ones(1, 1), torch.tensor([0])
    kept = model.weight.detach().clone()
    found = sharpness(model, x, y, radius=0.1, steps=20)
    far = 0.1 * 5 / 2**0.5  # down for the right class, up for the other
    highest = F.cross_entropy(torch.tensor([[3 - far, -4 + far]]), y) - F.cross_entropy(torch.tensor([[3.0, -4.0]]), y)
    assert found == pytest.approx(float(highest), rel=1e-3)
    assert torch.equal(model.weight, kept)
    assert sharpness(model, x, y, radius=0.0) == 0.0


def test_the_smoke_size_runs_and_says_everything() -> None:
    shares: list[float] = []
    report = run("smoke", 3, lambda step, share: shares.append(share))
    assert report.seeds == (3, 4)
    assert shares == sorted(shares)
    names = [claim.name for claim in report.claims]
    assert report.claims[0].holds
    assert sum(name.startswith("DER++") for name in names) == 5
    assert next(claim for claim in report.claims if "forward passes" in claim.name).holds
    assert [row[0] for row in report.tables[1].rows] == list(AMOUNTS["smoke"].hosts["DER++"])
    assert all({BASE, REFRESH, NOISE} <= set(arms) for one in AMOUNTS.values() for arms in one.hosts.values())
    assert {figure.name for figure in report.figures} == {"differences", "sharpness", "delta"}
    for figure in report.figures:
        assert figure.svg().startswith("<?xml")
