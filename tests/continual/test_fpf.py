"""FPF and k-FPF: groups cover a model, a fine-tuning touches nothing else, and the training does not notice it."""

from __future__ import annotations

import contextlib
import copy
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from halflife.continual import (
    CNN,
    ER,
    MLP,
    Buffer,
    DERpp,
    ICaRL,
    Naive,
    ResNet18,
    class_incremental,
    load,
    run,
    task_free,
)
from halflife.continual.finetuning import fpf, thawed
from halflife.continual.groups import Dynamics, DynamicsRecorder, group_parameters, names_of, select_sensitive
from halflife.continual.methods.fpf import FPF, KFPF
from halflife.continual.transforms import Shift
from halflife.errors import Diverged, InvalidInput
from tests.continual.stopped import Stopped, stop_at

SHAPE = (1, 8, 8)
MODELS = {
    "mlp": MLP((12, 10)),
    "mlp with norm": MLP((12, 10), norm=True),
    "cnn": CNN((4, 6), 8, norm=True),
    "resnet": ResNet18(4),
    "cosine head": MLP((12,), head="cosine"),
}


def built(name, seed=0):
    torch.manual_seed(seed)
    return MODELS[name].build(SHAPE, 10)


def filled(count=40, logits=True, seed=0):
    rng = torch.Generator().manual_seed(seed)
    buffer = Buffer(count, generator=rng)
    fields = {"x": torch.rand(count, *SHAPE, generator=rng), "y": torch.arange(count) % 10}
    buffer.add(**fields, **({"logits": torch.randn(count, 10, generator=rng)} if logits else {}))
    return buffer


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


# -- groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("scheme", ["type", "module", lambda name, module: name[-1]])
def test_every_parameter_is_in_one_group_and_statistics_are_in_their_own(name, scheme):
    model = built(name)
    groups = group_parameters(model, scheme)
    names = [one for members in groups.values() for one in members]
    assert len(names) == len(set(names))
    statistics = {one for one, _ in model.named_buffers() if "num_batches" not in one}
    assert set(names) == {one for one, _ in model.named_parameters()} | statistics
    if not callable(scheme):
        for members in groups.values():
            assert set(members) <= statistics or not set(members) & statistics


def test_groups_by_type_are_the_layers_of_the_paper():
    groups = group_parameters(built("resnet"))
    stages = ["conv 4", "conv 8", "shortcut", "conv 16", "conv 32"]
    assert list(groups) == ["first", "norm", "norm statistics", *stages, "head"]
    assert groups["first"] == ["body.0.weight"]
    assert all("shortcut" in name for name in groups["shortcut"])
    assert groups["head"] == ["head.weight", "head.bias"]
    assert list(group_parameters(built("mlp with norm"))) == ["first", "norm", "norm statistics", "linear", "head"]


def test_a_model_without_a_head_of_that_name_and_shared_parameters():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(nn.Linear(4, 4), shared, nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    model[3].weight = shared.weight
    groups = group_parameters(model)
    assert groups["head"] == ["4.weight", "4.bias"]
    assert sorted(name for members in groups.values() for name in members) == sorted(
        name for name, _ in model.named_parameters()
    )
    with pytest.raises(InvalidInput, match="no scheme"):
        group_parameters(model, "colour")


def test_an_unknown_group_is_named():
    with pytest.raises(InvalidInput, match=r"no group 'attention'.*first, head"):
        names_of(group_parameters(built("cosine head")), ["head", "attention"])


# -- dynamics ---------------------------------------------------------------------------------------------------------


def record(recorder, model, tasks):
    """Each task is a list of changes of every parameter, one for each epoch."""
    for epochs in tasks:
        for change in epochs:
            with torch.no_grad():
                for name, p in model.named_parameters():
                    p += change(name)
            recorder.epoch()
        recorder.task()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.floats(-2, 2, width=32), min_size=2, max_size=4), min_size=2, max_size=4))
def test_changes_are_means_over_pairs_of_epochs_and_of_tasks(steps):
    model = MLP((3,)).build((1, 2, 2), 2)
    recorder = DynamicsRecorder(model)
    record(recorder, model, [[(lambda name, s=s: s) for s in epochs] for epochs in steps])
    within = np.mean([abs(s) for epochs in steps for s in epochs[1:]])
    across = np.mean([abs(sum(epochs)) for epochs in steps[1:]])
    table = recorder.table()
    for row in table:
        assert row.raw_within == pytest.approx(within, abs=1e-5)
        assert row.raw_across == pytest.approx(across, abs=1e-5)
    if across > 1e-3:
        assert sum(row.sensitivity for row in table) == pytest.approx(1)


def test_the_scale_of_a_group_does_not_count_in_the_normalised_change():
    model = MLP((6,)).build((1, 2, 2), 2)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.fill_(100.0 if name.startswith("head") else 1.0)
    recorder = DynamicsRecorder(model)
    share = [lambda name: 10.0 if name.startswith("head") else 0.1, lambda name: 0.0]
    record(recorder, model, [share, share, share])
    first, head = recorder.table()
    assert head.raw_across == pytest.approx(100 * first.raw_across, rel=1e-3)
    assert head.across == pytest.approx(first.across, rel=1e-3)


def test_a_limit_watches_some_numbers_and_gives_nearly_the_same():
    torch.manual_seed(0)
    model, few = MLP((60,)).build((1, 8, 8), 10), None
    recorder, few = DynamicsRecorder(model), DynamicsRecorder(model, limit=400)
    for _ in range(3):
        for _ in range(2):
            with torch.no_grad():
                for p in model.parameters():
                    p += torch.randn_like(p)
            recorder.epoch()
            few.epoch()
        recorder.task()
        few.task()
    for all_of_it, some in zip(recorder.table(), few.table(), strict=True):
        assert some.size == all_of_it.size
        assert some.raw_across == pytest.approx(all_of_it.raw_across, rel=0.2)
    assert max(len(part) for part in few._task.values()) == 400


def test_one_task_has_no_change_across_and_one_epoch_no_ratio():
    model = built("mlp")
    recorder = DynamicsRecorder(model)
    recorder.epoch()
    recorder.task()
    with pytest.raises(InvalidInput, match="two tasks"):
        recorder.table()
    recorder.task()
    assert all(math.isnan(row.ratio) for row in recorder.table())


def row(group, trainable, sensitivity, ratio=1.0):
    return Dynamics(group, trainable, trainable, 1.0, sensitivity, 1.0, 1.0, sensitivity, ratio)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 1)), min_size=1, max_size=6), st.floats(0.01, 1))
def test_selected_groups_are_a_prefix_within_the_share(rows, share):
    table = [row(f"g{i}", size, s) for i, (size, s) in enumerate(rows)]
    ranked = [one.group for one in sorted(table, key=lambda one: -one.sensitivity)]
    room = share * sum(one.trainable for one in table)
    size = {one.group: one.trainable for one in table}
    try:
        chosen = select_sensitive(table, share)
    except InvalidInput:
        assert size[ranked[0]] > room
        return
    assert chosen == ranked[: len(chosen)]
    assert sum(size[group] for group in chosen) <= room
    assert len(chosen) == len(ranked) or sum(size[group] for group in ranked[: len(chosen) + 1]) > room


# -- one fine-tuning --------------------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(["mlp with norm", "cnn"]), st.data())
def test_what_is_not_selected_stays_bit_for_bit(name, data):
    model = built(name)
    groups = group_parameters(model)
    chosen = data.draw(st.lists(st.sampled_from(list(groups)), min_size=1, unique=True))
    before, modes = state(model), [module.training for module in model.modules()]
    if chosen == ["norm statistics"]:
        with pytest.raises(InvalidInput, match="no parameter"):
            fpf(model, filled(), chosen, 3)
        assert changed(before, model.state_dict()) == set()
    else:
        fit = fpf(model, filled(), chosen, 3, 0.1)
        moved = {one for one in changed(before, model.state_dict()) if "num_batches" not in one}
        assert moved <= set(names_of(groups, chosen))
        assert fit.trained == sum(before[n].numel() for n in names_of(groups, chosen) if "running" not in n)
    statistics = {one for one in changed(before, model.state_dict()) if "running" in one or "num_batches" in one}
    assert bool(statistics) == ("norm statistics" in chosen and chosen != ["norm statistics"])
    assert [module.training for module in model.modules()] == modes
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_flags_gradients_and_modes_come_back_even_after_an_error():
    model = built("cnn")
    model.body[0].requires_grad_(False)
    model.body[1].eval()
    model.head.bias.grad = torch.ones(10)
    flags = [p.requires_grad for p in model.parameters()]
    with contextlib.suppress(RuntimeError), thawed(model, ["body.1.running_mean", "head.weight"]):
        assert [module.training for module in model.modules()].count(True) == 1
        model.head.weight.sum().backward()
        raise RuntimeError
    assert [p.requires_grad for p in model.parameters()] == flags
    assert not model.body[1].training
    assert model.training
    assert torch.equal(model.head.bias.grad, torch.ones(10))


def test_batches_are_balanced_over_the_classes_that_there_are():
    buffer = Buffer(50)
    buffer.add(x=torch.rand(50, *SHAPE), y=torch.tensor([3] * 45 + [7] * 5))
    shown = []
    fit = fpf(built("mlp"), buffer, ["head"], 4, batch_size=10, augment=lambda x: shown.append(x) or x)
    rare = {tuple(x.flatten().tolist()) for x in buffer.all().x[45:]}
    for x in shown:
        assert sum(tuple(one.flatten().tolist()) in rare for one in x) == 5
    assert (fit.steps, fit.passes) == (4, 40)


def test_the_stored_logits_pull():
    """With a heavy weight on the MSE the network comes to answer what was stored, whatever the labels."""
    buffer = filled(20)
    distances = {}
    for alpha in (0.0, 5.0):
        model = built("mlp")
        fpf(model, buffer, ["first", "linear", "head"], 100, 0.2, alpha=alpha)
        distances[alpha] = float((model(buffer.all().x) - buffer.all().logits).detach().square().mean())
    assert distances[5.0] < 0.8 * distances[0.0]


def test_a_generator_decides_alone_and_that_of_the_buffer_is_left():
    model, buffer = built("mlp"), filled()
    kept = buffer.generator.get_state()
    results = []
    for seed in (1, 1, 2):
        one = copy.deepcopy(model)
        fpf(one, buffer, ["head"], 5, generator=torch.Generator().manual_seed(seed))
        results.append(one.head.weight.detach())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert torch.equal(buffer.generator.get_state(), kept)


def test_flops_of_a_linear_model_are_those_of_its_products():
    """64 x 12 and 12 x 10 on 8 examples: two products forward, and back that of the head's weights alone."""
    model = MLP((12,)).build(SHAPE, 10)
    fit = fpf(model, filled(), ["head"], 5, batch_size=8)
    assert fit.flops == 5 * 2 * 8 * (64 * 12 + 12 * 10 + 12 * 10)


def test_what_cannot_be_fine_tuned_says_so():
    model = built("mlp")
    with pytest.warns(UserWarning, match="buffer is empty"):
        fit = fpf(model, Buffer(5), ["head"])
    assert (fit.steps, fit.passes, fit.flops) == (0, 0, 0)
    with pytest.raises(InvalidInput, match="keeps no logits"):
        fpf(model, filled(logits=False), ["head"], alpha=0.5)
    with pytest.raises(InvalidInput, match="no group 'norm'"):
        fpf(model, filled(), ["norm"])
    with pytest.raises(InvalidInput, match="cannot train"):
        fpf(model, filled(), ["head"], steps=0)
    with pytest.raises(Diverged):
        fpf(model, filled(), ["first", "linear", "head"], 50, 1e6, schedule="constant")


# -- wrappers ---------------------------------------------------------------------------------------------------------

DIGITS = class_incremental(load("digits").take(24, 10))
QUICK = {"model": "mlp-norm:24", "batch_size": 16, "epochs": 2}  # 5 tasks of 6 updates


def kept(cls):
    """A wrapper that shows itself after the run, which works on a copy."""
    shown = []

    class Shown(cls):
        def finish(self):
            super().finish()
            shown.append(self)

    return Shown, shown


def test_fine_tuning_at_the_end_leaves_the_training_before_it_alone():
    bare = run(DIGITS, Naive(lr=0.1), **QUICK)
    tuned = run(DIGITS, FPF(Naive(lr=0.1), capacity=40, steps=60), **QUICK)
    assert tuned.runs[0].buffer["examples"] == 40
    assert np.array_equal(tuned.runs[0].seen[:-1], bare.runs[0].seen[:-1])
    assert tuned["accuracy"][0] > bare["accuracy"][0] + 0.2


@pytest.mark.parametrize(
    "method",
    [
        FPF(DERpp(lr=0.1, capacity=40), steps=10),
        KFPF(Naive(lr=0.1), capacity=40, steps=10, every=7),
        KFPF(ER(lr=0.1, capacity=40), steps=10, every=7),
    ],
    ids=["FPF(DERpp)", "KFPF(Naive)", "KFPF(ER)"],
)
def test_evaluations_on_a_copy_do_not_change_the_training(method):
    settings = {**QUICK, "augment": Shift(1)}
    one, other = (run(DIGITS, replace(method, anytime=anytime), **settings) for anytime in (False, True))
    assert np.array_equal(one.runs[0].seen[-1], other.runs[0].seen[-1])
    assert not np.array_equal(one.runs[0].seen[1:-1], other.runs[0].seen[1:-1])


def test_a_copy_answers_at_task_ends_and_not_between():
    plain, tuned = (
        run(DIGITS, FPF(Naive(lr=0.1), capacity=40, steps=60, anytime=anytime), evaluate_every=1, **QUICK).runs[0]
        for anytime in (False, True)
    )
    assert plain.curve == tuned.curve
    assert tuned.seen[3, :3].mean() > plain.seen[3, :3].mean() + 0.1


def test_a_host_predicts_by_its_own_rule():
    results = run(DIGITS, FPF(ICaRL(lr=0.1, capacity=40), steps=10, anytime=True), **QUICK)
    assert results["accuracy"][0] > 0.3


@settings(max_examples=3, deadline=None)
@given(st.integers(1, 35))
def test_k_is_the_updates_over_every_rounded_up(every):
    cls, shown = kept(KFPF)
    results = run(DIGITS, cls(Naive(lr=0.1), every=every, steps=2, batch_size=4, capacity=20), **QUICK)
    (one,) = shown
    assert results.runs[0].updates == 30
    assert one.calls == -(-30 // every)
    assert one.passes["fpf"] == one.calls * 8


@pytest.mark.parametrize(("host", "replays"), [(Naive(), 0), (ER(capacity=40), 1), (DERpp(capacity=40), 2)])
def test_passes_are_those_of_stream_replay_and_fine_tuning(host, replays):
    cls, shown = kept(FPF)
    one = run(DIGITS, cls(host, steps=10, batch_size=8, capacity=40, anytime=True), **QUICK).runs[0]
    (learner,) = shown
    assert learner.passes == {"stream": 2 * 240, "fpf": 80, "anytime": 4 * 80, "stored": 0}
    replay = one.passes["forward"] - sum(learner.passes.values())
    assert replay == replays * (2 * 240 - 16)  # none in the first step


def test_stored_logits_are_those_of_the_moment_and_cost_one_pass_each():
    cls, shown = kept(KFPF)
    one = run(DIGITS, cls(Naive(lr=0.1), every=100, steps=5, alpha=0.5, capacity=40), **QUICK).runs[0]
    (learner,) = shown
    rows = learner.buffer.all()
    assert rows.logits.abs().sum(1).min() > 0
    assert len(rows.update.unique()) > 10
    assert 40 <= learner.passes["stored"] < 200
    assert one.passes["forward"] == sum(learner.passes.values())


def test_no_boundaries_are_needed():
    method = KFPF(Naive(lr=0.1), every=4, steps=40, lr=0.2, capacity=40)
    results = run(task_free(DIGITS), method, model="mlp-norm:32", batch_size=16)
    assert results["accuracy"][0] > 0.3


def test_wrong_settings_are_found_at_the_start():
    for method, words in ((FPF(Naive(), groups=["norm"]), "no group 'norm'"), (KFPF(Naive(), every=0), "every 0")):
        with pytest.raises(InvalidInput, match=words):
            run(DIGITS, method, model="mlp:8")


@pytest.mark.parametrize(
    "method",
    [
        FPF(ER(lr=0.1, capacity=30), steps=5, anytime=True),
        KFPF(Naive(lr=0.1), every=4, steps=3, alpha=0.2, capacity=30, anytime=True),
    ],
)
def test_an_interrupted_run_goes_on_bit_for_bit(method, tmp_path):
    settings = {**QUICK, "batch_size": 12, "epochs": 1}
    whole = run(DIGITS, method, **settings).runs[0]

    with pytest.raises(Stopped):
        run(DIGITS, method, checkpoint=tmp_path, checkpoint_every=3, progress=stop_at(0.7), **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = run(DIGITS, method, checkpoint=tmp_path, checkpoint_every=3, **settings).runs[0]
    assert np.array_equal(whole.seen, again.seen)
    assert whole.passes == again.passes
