"""The terms of rehearsal-free learning, and what they hold."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from halflife.continual import class_incremental, run
from halflife.continual.methods.rehearsal_free import RehearsalFree
from halflife.continual.metrics import backward_transfer, global_forgetting, linear_cka
from halflife.continual.terms import BCE, EWCAnchor, FeatKD, L2Anchor, PredKD, SoftmaxCE, chosen
from halflife.errors import InvalidInput
from tests.continual.stopped import Stopped, stop_after

SETTINGS = {"model": "mlp:24", "epochs": 2, "batch_size": 16}


@pytest.fixture(scope="module")
def small(digits):
    return class_incremental(digits.take(30, 10))


def learned(scenario, *held, classify=None, **settings):
    method = RehearsalFree(classify=classify or BCE(), held=held, lr=3e-3, optimizer="adam")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run(scenario, method, **{**SETTINGS, **settings})


@pytest.mark.parametrize(
    "term",
    [PredKD(0.0), FeatKD(0.0), L2Anchor(0.0), L2Anchor(0.0, "pretrained"), EWCAnchor(0.0)],
    ids=lambda term: repr(term)[:24],
)
def test_a_weight_of_zero_changes_nothing_bit_for_bit(small, term):
    plain, held = (learned(small, *terms, classify=SoftmaxCE("seen")) for terms in ((), (term,)))
    assert np.array_equal(plain.runs[0].seen, held.runs[0].seen)


def test_only_a_pretrained_anchor_acts_in_the_first_task(digits):
    first = class_incremental(digits.take(30, 10), per_task=10)  # one task is all there is
    plain = learned(first, epochs=8).runs[0].seen
    for term in (PredKD(9.0), FeatKD(9.0), L2Anchor(9.0), EWCAnchor(9.0)):
        assert np.array_equal(learned(first, term, epochs=8).runs[0].seen, plain), term
    held = learned(first, L2Anchor(100.0, "pretrained"), epochs=8).runs[0].seen
    assert held[1, 0] < plain[1, 0]  # held at random weights it cannot learn


def test_what_terms_are_for(small):
    settings = {"seeds": 3, "epochs": 6}
    new, held = (learned(small, *t, classify=SoftmaxCE("new"), **settings) for t in ((), (L2Anchor(1.0),)))
    assert held.interval("forgetting").mean < new.interval("forgetting").mean
    distilled, pushed = learned(small, **settings), learned(small, EWCAnchor(10.0), classify=BCE(False), **settings)
    assert distilled.interval("accuracy").mean > pushed.interval("accuracy").mean
    assert pushed.interval("accuracy").mean < 0.3


def tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from tensors(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from tensors(one)


def test_no_example_is_kept(small, tmp_path):
    learned(small, PredKD(), FeatKD(), L2Anchor(), EWCAnchor(1.0), checkpoint=tmp_path)
    kept = torch.load(tmp_path / "seed-0.pt", weights_only=True)["learner"]
    shapes = {
        tuple(p.shape) for p in torch.nn.Sequential(torch.nn.Linear(64, 24), torch.nn.Linear(24, 10)).parameters()
    }
    for one in tensors(kept):
        assert tuple(one.shape) in shapes or one.ndim <= 1, one.shape


def test_a_run_that_was_stopped_goes_on_bit_for_bit(small, tmp_path, monkeypatch):
    terms = (FeatKD(), L2Anchor(0.1, "pretrained"), EWCAnchor(1.0, "online", "sampled"))
    straight = learned(small, *terms)
    stop_after(monkeypatch, 9)
    with pytest.raises(Stopped):
        learned(small, *terms, checkpoint=tmp_path, checkpoint_every=3)
    resumed = learned(small, *terms, checkpoint=tmp_path, checkpoint_every=3)
    assert np.array_equal(straight.runs[0].seen, resumed.runs[0].seen)


def test_filters_find_the_projections_of_attention():
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16)
    fused = [name for name, _ in layer.named_parameters()]
    assert chosen(fused, "qkv") == ["self_attn.in_proj_weight", "self_attn.in_proj_bias"]
    assert len(chosen(fused, "attention")) == 4
    apart = ["block.q_proj.weight", "block.v_proj.bias", "block.out_proj.weight", "mlp.fc.weight"]
    assert chosen(apart, "qkv") == apart[:2]
    assert chosen(apart, "attention") == apart[:3]
    assert chosen(apart, lambda name: "mlp" in name) == apart[3:]
    with pytest.raises(InvalidInput, match="lets none"):
        chosen(["fc.weight"], "qkv")
    with pytest.raises(InvalidInput, match="no filter"):
        chosen(apart, "heads")


def test_the_papers_forgetting_by_hand():
    R = [[0, 0, 0], [0.9, 0, 0], [0.5, 0.8, 0], [0.3, 0.6, 1.0]]
    assert global_forgetting(R) == pytest.approx(((0.4 / 2) + ((0.6 + 0.2) / 3)) / 2)
    assert global_forgetting(R, [2, 1, 1]) == pytest.approx(((2 * 0.4 / 3) + ((2 * 0.6 + 0.2) / 4)) / 2)
    assert backward_transfer(R) == pytest.approx(-0.4)
    assert np.isnan(global_forgetting([[0.1], [0.9]]))


def test_cka_does_not_see_rotation_or_scale():
    rng = np.random.default_rng(0)
    x, other = rng.normal(size=(50, 6)), rng.normal(size=(50, 6))
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    assert linear_cka(x, 3 * x @ turn) == pytest.approx(1.0)
    assert linear_cka(x, other) < 0.5
    with pytest.raises(InvalidInput, match="cannot be compared"):
        linear_cka(x, other[:10])
