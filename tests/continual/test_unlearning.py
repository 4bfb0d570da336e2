"""Unlearning: the formula of SSD, importances that know their model, every method behind one call, and the report."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from halflife.continual import CNN, MLP, dataset
from halflife.continual.examples import Examples, joined
from halflife.continual.importance import trainable
from halflife.continual.unlearning import (
    LFSSD,
    METHODS,
    SSD,
    UNSIR,
    Amnesiac,
    BadTeacher,
    Control,
    Finetune,
    FisherForgetting,
    Importances,
    Request,
    Retrain,
    Training,
    fingerprint,
    fresh_like,
    measure,
    search,
    search_alpha,
    ssd_dampen,
    unlearn,
    unlearning_report,
    with_lr,
)
from halflife.continual.unlearning.baselines import wrong_labels
from halflife.continual.unlearning.report import accuracy, ignorance, membership
from halflife.errors import Diverged, InvalidInput

CLASS = 4
SHORT = Training(epochs=8, lr=3e-3, optimizer="adam", batch_size=32)


@pytest.fixture(scope="module")
def small(digits):
    """60 digits of each class, a network trained on them, and the class to forget apart from the rest."""
    data = digits.take(60)
    torch.manual_seed(0)
    model = MLP((48, 32)).build(data.shape, 10)
    SHORT.fit(model, data.train, torch.Generator().manual_seed(0))
    return data, model, data.train.of([CLASS]), data.train.of([c for c in range(10) if c != CLASS])


def tiny(seed=0, norm=False):
    torch.manual_seed(seed)
    return MLP((4,), norm=norm).build((1, 2, 2), 3)


def tiny_examples(count=30, seed=1, classes=3):
    rng = torch.Generator().manual_seed(seed)
    x, y = torch.rand(count, 1, 2, 2, generator=rng), torch.randint(0, classes, (count,), generator=rng)
    return Examples(x, y, torch.arange(count))


def like(model, make):
    return {name: make(p) for name, p in trainable(model).items()}


# -- the formula ------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(0, 5))
@settings(max_examples=20)
def test_each_weight_is_dampened_as_the_formula_says(seed, alpha, lam):
    model, rng = tiny(), torch.Generator().manual_seed(seed)
    every = like(model, lambda p: torch.rand(p.shape, generator=rng) * (torch.rand(p.shape, generator=rng) > 0.2))
    gone = like(model, lambda p: 10 ** (4 * torch.rand(p.shape, generator=rng) - 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        changed, report = ssd_dampen(model, every, gone, alpha, lam)
    selected = 0
    for (name, old), new in zip(trainable(model).items(), changed.parameters(), strict=True):
        triples = zip(
            old.flatten().tolist(), every[name].flatten().tolist(), gone[name].flatten().tolist(), strict=True
        )
        for (theta, i_d, i_f), found in zip(triples, new.flatten().tolist(), strict=True):
            if i_f > float(torch.tensor(alpha) * torch.tensor(i_d)):
                selected += 1
                assert found == pytest.approx(theta * min(lam * i_d / i_f, 1.0), rel=1e-5, abs=1e-12)
            else:
                assert found == theta
            assert abs(found) <= abs(theta)
    assert report.selected == selected
    assert report.total == sum(p.numel() for p in model.parameters())
    flat = [torch.cat([p.detach().flatten() for p in one.parameters()]) for one in (model, changed)]
    assert report.change == pytest.approx(float((flat[0] - flat[1]).norm()), rel=1e-4, abs=1e-7)


@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(1, 10))
@settings(max_examples=20)
def test_a_larger_alpha_selects_a_part_of_what_a_smaller_one_does(seed, alpha, factor):
    model, rng = tiny(), torch.Generator().manual_seed(seed)
    every, gone = (like(model, lambda p: torch.rand(p.shape, generator=rng)) for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        few, many = (ssd_dampen(model, every, gone, a, 0.0)[0] for a in (alpha * factor, alpha))
    for old, a, b in zip(model.parameters(), few.parameters(), many.parameters(), strict=True):
        assert not bool(((a != old) & (b == old)).any())


def test_the_report_is_by_layer():
    model = tiny()
    every, gone = like(model, torch.ones_like), like(model, torch.zeros_like)
    gone["head.bias"] = torch.tensor([0.5, 20.0, 40.0])
    changed, report = ssd_dampen(model, every, gone, alpha=10.0, lam=1.0)
    by_name = {one.name: one for one in report.layers}
    assert (by_name["head.bias"].selected, by_name["head.bias"].fraction) == (2, pytest.approx(2 / 3))
    assert by_name["head.weight"].selected == 0
    assert report.mean_beta == pytest.approx((1 / 20 + 1 / 40) / 2)
    assert torch.allclose(changed.head.bias, model.head.bias * torch.tensor([1.0, 1 / 20, 1 / 40]))


def test_a_model_changes_in_place_only_if_asked_and_only_in_the_names_given():
    model = tiny()
    before = copy.deepcopy(model.state_dict())
    every, gone = like(model, torch.zeros_like), like(model, torch.ones_like)
    changed, _ = ssd_dampen(model, every, gone, names=["head.weight"])
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert not changed.head.weight.any()
    assert torch.equal(changed.head.bias, model.head.bias)
    same, _ = ssd_dampen(model, every, gone, inplace=True)
    assert same is model
    assert not any(p.any() for p in model.parameters())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"alpha": 0.0}, "alpha is 0"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"lam": -1.0}, "lambda -1"),
        ({"names": ["tail"]}, "no parameters tail"),
    ],
)
def test_settings_without_a_sense_are_refused(settings, words):
    model = tiny()
    ones = like(model, torch.ones_like)
    with pytest.raises(InvalidInput, match=words):
        ssd_dampen(model, ones, ones, **settings)


def test_importances_that_do_not_fit_are_refused_and_nothing_changes():
    model = tiny()
    before = fingerprint(model)
    ones, more = like(model, torch.ones_like), like(model, lambda p: 100 * torch.ones_like(p))
    fewer = {name: value for name, value in more.items() if name != "head.bias"}
    wide = more | {"head.bias": torch.ones(4)}
    broken = more | {"head.bias": torch.tensor([1.0, float("nan"), 1.0])}
    below = more | {"head.bias": torch.tensor([1.0, -1.0, 1.0])}
    for wrong, words in ((fewer, "head.bias"), (wide, "head.bias"), (broken, "not finite"), (below, "negative")):
        for pair in ((ones, wrong), (wrong, ones)):
            with pytest.raises(InvalidInput, match=words):
                ssd_dampen(model, *pair, inplace=True)
    assert fingerprint(model) == before


def test_selecting_nothing_warns_and_changes_nothing():
    model = tiny()
    ones = like(model, torch.ones_like)
    with pytest.warns(UserWarning, match="Lower alpha"):
        changed, report = ssd_dampen(model, ones, ones, alpha=1.0)
    assert fingerprint(changed) == fingerprint(model)
    assert (report.selected, report.fraction, report.mean_beta, report.change) == (0, 0.0, 1.0, 0.0)


# -- importances ------------------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.integers(1, 29))
@settings(max_examples=6)
def test_of_single_examples_no_ratio_is_above_that_of_the_sizes(seed, count):
    model, examples = tiny(seed), tiny_examples(seed=seed)
    part = examples.only(torch.arange(count))
    every, gone = (measure(model, some, per_sample=True).values for some in (examples, part))
    for name in every:
        assert bool((gone[name] <= every[name] * (30 / count) * (1 + 1e-4) + 1e-12).all())


def test_that_of_batches_has_no_such_bound_and_sorting_by_class_nearly_brings_it_back(small):
    _, model, forget, retain = small
    data = Request(model, forget, retain, 0, lambda seed: model).data

    def highest(**how):
        every, gone = (measure(model, some, **how).values for some in (data, forget))
        a, b = (torch.cat([v.flatten() for v in values.values()]) for values in (every, gone))
        return float((b / a)[a > 0].max())

    assert highest(by_class=True, batch_size=60) < 10 * (1 + 1e-3) < 30 < highest(batch_size=60)


def test_they_are_the_same_for_the_same_seed_and_whatever_the_mode_of_the_model():
    model, examples = tiny(norm=True), tiny_examples()
    model(torch.rand(8, 1, 2, 2))  # running statistics other than the first
    a = measure(model.train(), examples, batch_size=8, seed=3)
    b = measure(model.eval(), examples, batch_size=8, seed=3)
    c = measure(model, examples, batch_size=8, seed=4)
    assert all(torch.equal(a.values[name], b.values[name]) for name in a.values)
    assert not all(torch.equal(a.values[name], c.values[name]) for name in a.values)
    assert {name: value.shape for name, value in a.values.items()} == {n: p.shape for n, p in trainable(model).items()}


def test_without_labels_they_do_not_depend_on_labels():
    model, examples = tiny(), tiny_examples()
    other = replace(examples, y=(examples.y + 1) % 3)
    a, b = (measure(model, one, label_free=True).values for one in (examples, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    x, _ = examples.all()
    loss = model(x).square().sum(1).mean()
    grads = torch.autograd.grad(loss, list(model.parameters()))
    for value, grad in zip(a.values(), grads, strict=True):
        assert torch.allclose(value, grad.abs(), atol=1e-6)  # one batch holds all


def test_they_are_saved_and_loaded_with_all_that_is_known_of_them(tmp_path):
    model = tiny(norm=True)
    found = measure(model, tiny_examples(), batch_size=8, by_class=True)
    found.save(tmp_path / "all.safetensors")
    again = Importances.load(tmp_path / "all.safetensors")
    assert all(torch.equal(found.values[name], again.values[name]) for name in found.values)
    assert {k: v for k, v in vars(found).items() if k != "values"} == {
        k: v for k, v in vars(again).items() if k != "values"
    }
    assert [path.name for path in tmp_path.iterdir()] == ["all.safetensors"]


def test_a_file_that_holds_something_else_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors here")
    for name, words in (("other", "holds no importances"), ("text", "cannot be read"), ("absent", "cannot be read")):
        with pytest.raises(InvalidInput, match=words):
            Importances.load(tmp_path / f"{name}.safetensors")


def test_those_of_another_state_of_the_model_are_refused(small):
    _, model, forget, retain = small
    request = Request(model, forget, retain, 0, lambda seed: model)
    every, gone = measure(model, request.data), measure(model, forget)
    dampened, _ = ssd_dampen(model, every, gone, alpha=5.0)
    with pytest.raises(InvalidInput, match="all data belong to another state"):
        ssd_dampen(dampened, every, measure(dampened, forget))
    with pytest.raises(InvalidInput, match="to be forgotten belong to another state"):
        ssd_dampen(dampened, measure(dampened, request.data), gone)
    with pytest.raises(InvalidInput, match="two ways"):
        ssd_dampen(model, every, measure(model, forget, batch_size=32))


def test_statistics_of_norm_layers_are_part_of_the_state_and_are_not_dampened():
    model, examples = tiny(norm=True), tiny_examples()
    before = fingerprint(model)
    model.train()(torch.rand(8, 1, 2, 2))
    assert fingerprint(model) != before
    done = unlearn(SSD(alpha=0.5, batch_size=8), model, *parted(examples))
    assert done.details["dampening"].selected
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), done.model.buffers(), strict=True))
    assert done.model.training


def cut(examples, count):
    return examples.only(torch.arange(count)), examples.only(torch.arange(count, len(examples)))


def parted(examples, gone=0):
    return examples.of([gone]), examples.of([c for c in examples.classes if c != gone])


def test_a_second_request_needs_new_importances_or_a_word_that_old_ones_will_do(small):
    data, model, forget, _ = small
    stored = measure(model, data.train)
    first = unlearn(SSD(alpha=10, stored=stored), model, forget)  # what stays is not needed
    assert first.passes == len(forget)
    second = data.train.of([7])
    with pytest.raises(InvalidInput, match="carried_to"):
        unlearn(SSD(alpha=10, stored=stored), first.model, second)
    carried = stored.carried_to(first.model)
    assert carried.carried == 1
    done = unlearn(SSD(alpha=10, stored=carried), first.model, second)
    assert accuracy(done.model, second) < accuracy(first.model, second)
    with pytest.raises(InvalidInput, match="another kind"):
        stored.carried_to(tiny())


# -- every method -----------------------------------------------------------------------------------------------------

CHEAP = {
    "retrain": {"training": replace(SHORT, epochs=1)},
    "unsir": {"copies": 2},
    "fisher": {"samples": 20},
    "ssd": {"alpha": 5.0},
    "lfssd": {"alpha": 2.0},
    "forget-only": {"like": SSD(alpha=5.0)},
    "random": {"like": SSD(alpha=5.0)},
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_leaves_the_model_given_and_can_be_repeated(name, small):
    _, model, forget, retain = small
    before = fingerprint(model)
    random = torch.get_rng_state()
    runs = [unlearn(name, model, forget, retain, seed=seed, **CHEAP.get(name, {})) for seed in (3, 3, 4)]
    marks = [fingerprint(run.model) for run in runs]
    assert fingerprint(model) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert marks[0] == marks[1]
    assert (marks[0] == before) == (name == "none")
    assert (runs[0].passes == 0) == (name == "none")
    if name not in ("none", "ssd", "lfssd", "forget-only"):
        assert marks[2] != marks[0]  # it draws


def test_requests_without_a_sense_are_refused(small):
    data, model, forget, retain = small
    with pytest.raises(InvalidInput, match="no unlearning method 'sdd'"):
        unlearn("sdd", model, forget, retain)
    with pytest.raises(InvalidInput, match="settings"):
        unlearn("ssd", model, forget, retain, strength=3)
    with pytest.raises(InvalidInput, match="settings already"):
        unlearn(SSD(), model, forget, retain, alpha=3)
    with pytest.raises(InvalidInput, match="nothing to forget"):
        unlearn("ssd", model, forget.only(torch.arange(0)), retain)
    with pytest.raises(InvalidInput, match="Nothing stays"):
        unlearn("ssd", model, forget, retain.only(torch.arange(0)))
    with pytest.raises(InvalidInput, match="60 examples are both"):
        unlearn("ssd", model, forget, data.train)
    with pytest.raises(InvalidInput, match="needs the training data that stay"):
        unlearn("finetune", model, forget)


def test_retraining_starts_from_new_weights_at_every_depth(small):
    _, model, forget, retain = small
    fresh = fresh_like(model, 0)
    assert not any(torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True))
    done = unlearn(Retrain(training=SHORT), model, forget, retain)
    assert accuracy(done.model, forget) == 0
    assert accuracy(done.model, retain) > 0.9
    normed = CNN((4,), 8, norm=True).build((1, 8, 8), 10)
    normed(torch.rand(8, 1, 8, 8) + 5)
    new = fresh_like(normed, 0)
    assert all(not value.any() for name, value in new.named_buffers() if name.endswith("mean"))
    with pytest.raises(InvalidInput, match="fresh="):
        fresh_like(MLP((4,), head="cosine").build((1, 2, 2), 3), 0)


@given(st.integers(0, 500), st.integers(3, 6), st.booleans())
@settings(max_examples=25)
def test_wrong_labels_are_of_classes_that_stay_and_never_true(seed, classes, whole):
    examples = tiny_examples(40, seed, classes)
    forget, retain = (
        parted(examples) if whole else (examples.only(torch.arange(12)), examples.only(torch.arange(12, 40)))
    )
    if not len(forget):
        return
    labels = wrong_labels(Request(tiny(), forget, retain, seed, lambda s: tiny(s)))
    assert torch.equal(labels[: len(retain)], retain.labels)
    assert not bool((labels[len(retain) :] == forget.labels).any())
    assert set(labels[len(retain) :].tolist()) <= set(retain.classes)


def test_wrong_labels_are_drawn_evenly():
    examples = tiny_examples(3000, 0, 4)
    forget, retain = cut(examples, 2400)
    labels = wrong_labels(Request(tiny(), forget, retain, 0, lambda s: tiny(s)))[600:]
    counts = torch.stack([(labels[forget.labels == c]).bincount(minlength=4) for c in range(4)])
    assert bool((counts.diag() == 0).all())
    assert counts[~torch.eye(4, dtype=torch.bool)].min() > 150  # 200 are expected


def test_training_on_wrong_labels_and_on_a_bad_teacher_forgets(small):
    _, model, forget, retain = small
    wrong = unlearn(with_lr(Amnesiac(), 3e-3), model, forget, retain).model
    taught = unlearn(with_lr(BadTeacher(), 3e-2), model, forget, retain).model
    assert accuracy(wrong, forget) < 0.3 < 0.9 < accuracy(wrong, retain)
    teacher = fresh_like(model, 0)
    assert ignorance(taught, teacher, forget) > ignorance(model, teacher, forget) + 0.2


def test_unsir_learns_noise_that_the_model_is_wrong_about_and_refuses_parts_of_classes(small):
    _, model, forget, retain = small
    request = Request(model, forget, retain, 0, lambda seed: model)
    labels = torch.full((16,), CLASS)
    noise = UNSIR(penalty=0.001).noise(request, labels, torch.Size((1, 8, 8)), torch.Generator().manual_seed(0))
    plain = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert F.cross_entropy(model(noise), labels) > F.cross_entropy(model(plain), labels) + 1
    some, others = cut(forget, 20)
    with pytest.raises(InvalidInput, match="whole classes"):
        unlearn("unsir", model, some, joined([retain, others]))


def test_the_fisher_matrix_takes_labels_as_the_model_expects_them():
    model, examples = tiny(), tiny_examples(7)
    forget, retain = cut(examples, 1)
    found, passes = FisherForgetting().fisher(Request(model, forget, retain, 0, lambda seed: model))
    assert passes == 18
    loop = like(model, torch.zeros_like)
    for x in retain.all()[0]:
        for label in range(3):
            logits = model(x[None])
            grads = torch.autograd.grad(F.cross_entropy(logits, torch.tensor([label])), list(model.parameters()))
            chance = logits.detach().softmax(1)[0, label]
            for name, grad in zip(loop, grads, strict=True):
                loop[name] += chance * grad.square() / 6
    assert all(torch.allclose(found[name], loop[name], atol=1e-6) for name in loop)


def test_fisher_forgetting_draws_the_rows_of_a_forgotten_class_around_zero_and_random_ones_not(small):
    _, model, forget, retain = small
    whole = unlearn(FisherForgetting(alpha=1e-12, samples=10), model, forget, retain).model
    others = [c for c in range(10) if c != CLASS]
    largest = [float(one.head.weight[CLASS].detach().abs().max()) for one in (whole, model)]
    assert largest[0] < 0.2 < largest[1]
    assert torch.allclose(whole.head.weight[others], model.head.weight[others], atol=1e-3)
    some, rest = retain.only(torch.arange(0, len(retain), 9)), retain.only(torch.arange(1, len(retain), 9))
    part = unlearn(FisherForgetting(alpha=1e-12, samples=10), model, some, rest).model
    assert torch.allclose(part.head.weight, model.head.weight, atol=1e-3)


@pytest.mark.parametrize("by", ["forget", "random"])
def test_the_controls_dampen_as_many_weights_as_ssd(by, small):
    _, model, forget, retain = small
    ssd = SSD(alpha=5.0)
    count = unlearn(ssd, model, forget, retain).details["dampening"].selected
    done = unlearn(Control(by=by, like=ssd, scale=0.5), model, forget, retain)
    pairs = list(zip(model.parameters(), done.model.parameters(), strict=True))
    old, new = (torch.cat([pair[i].flatten() for pair in pairs]) for i in (0, 1))
    chosen = new != old
    assert int(chosen.sum()) == count == done.details["selected"]
    assert torch.equal(new[chosen], 0.5 * old[chosen])
    gone = torch.cat([value.flatten() for value in measure(model, forget).values.values()])
    floor = gone[chosen].min() >= gone[~chosen].max()
    assert bool(floor) == (by == "forget")


# -- training ---------------------------------------------------------------------------------------------------------


def test_the_learning_rate_warms_up_and_steps_down():
    training = Training(epochs=4, warmup=1, milestones=(2, 3), factor=0.1)
    shares = [training._share(done) for done in (0.5, 1.0, 2.0, 2.1, 3.0, 3.5)]
    assert shares == pytest.approx([0.5, 1.0, 1.0, 0.1, 0.1, 0.01])


def test_training_takes_labels_or_probabilities_in_place_of_the_labels():
    examples = tiny_examples(30)
    flipped = (examples.labels + 1) % 3
    models = [tiny(), tiny()]
    for model, targets in zip(models, (flipped, F.one_hot(flipped, 3).float()), strict=True):
        Training(epochs=3, lr=0.1).fit(model, examples, torch.Generator().manual_seed(0), targets)
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_training_that_diverges_or_has_nothing_to_do_says_so():
    with pytest.raises(Diverged, match="Lower the lr"):
        Training(epochs=3, lr=1e38).fit(tiny(), tiny_examples(), torch.Generator())
    with pytest.raises(InvalidInput, match="no training"):
        Training(epochs=0)
    with pytest.raises(InvalidInput, match="no examples"):
        Training().fit(tiny(), tiny_examples().only(torch.arange(0)), torch.Generator())


# -- search -----------------------------------------------------------------------------------------------------------


def test_the_search_keeps_most_of_what_stays_among_those_that_forget_enough(small):
    _, model, forget, retain = small
    found = search_alpha(model, forget, retain, target=0.05)
    assert found.met
    assert len(found.trials) == 18
    enough = [one for one in found.trials if one.forget <= 0.05]
    assert found.best.retain == max(one.retain for one in enough)
    done = unlearn(found.method, model, forget, retain)
    assert (accuracy(done.model, retain), accuracy(done.model, forget)) == (found.best.retain, found.best.forget)


def test_a_target_out_of_reach_is_told_and_gives_what_forgets_most(small):
    _, model, forget, retain = small
    found = search([SSD(alpha=8), SSD(alpha=20)], model, forget, retain, target=-1.0)
    assert not found.met
    assert found.best.forget == min(one.forget for one in found.trials)


def test_a_budget_tries_the_gentlest_first(small):
    _, model, forget, retain = small
    found = search_alpha(model, forget, retain, alphas=[5, 50, 20], lams=[0.1, 1], budget=3)
    assert [(one.method.alpha, one.method.lam) for one in found.trials] == [(50, 1), (50, 0.1), (20, 1)]
    with pytest.raises(InvalidInput, match="nothing to choose"):
        search_alpha(model, forget, retain, alphas=[])


def test_what_diverges_is_left_out_of_a_search(small):
    _, model, forget, retain = small
    wild = with_lr(Finetune(), 1e30)
    found = search([wild, Finetune()], model, forget, retain, samples=50)
    assert [one.method for one in found.trials] == [Finetune()]
    with pytest.raises(Diverged, match="All 1 candidates"):
        search([wild], model, forget, retain)


# -- the report -------------------------------------------------------------------------------------------------------


class Lookup(nn.Module):
    """Logits that are the inputs."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * x.flatten(1)


def test_whole_classes_are_tested_on_tests_and_random_examples_on_themselves(small):
    data, model, forget, retain = small
    report = unlearning_report(model, retain, forget, data.test)
    others = [c for c in range(10) if c != CLASS]
    assert report.retain == accuracy(model, data.test.of(others))
    assert report.forget == accuracy(model, data.test.of([CLASS]))
    some, rest = data.train.only(torch.arange(0, 600, 20)), data.train.only(torch.arange(1, 600, 20))
    report = unlearning_report(model, rest, some, data.test)
    assert (report.retain, report.forget) == (accuracy(model, data.test), accuracy(model, some))
    three, stay = cut(retain.of([3]), 1)
    with pytest.raises(InvalidInput, match="others in part"):
        unlearning_report(model, stay, joined([forget, three]), data.test)
    part = {"retain_test": data.test.of([3]), "forget_test": data.test.of([5])}
    assert unlearning_report(model, rest, some, data.test, **part).forget == accuracy(model, data.test.of([5]))
    with pytest.raises(InvalidInput, match="Only one"):
        unlearning_report(model, rest, some, data.test, forget_test=data.test)


def test_the_attack_sees_members_by_their_entropy_and_others_not():
    sure, unsure = 10 * torch.eye(4), torch.zeros(4, 4)
    data = dataset("made", torch.cat([sure, sure, unsure]), torch.arange(12) % 4, unsure, torch.arange(4))
    members, others = data.train.only(torch.arange(4)), data.test
    model = Lookup()
    assert membership(model, members, data.train.only(torch.arange(4, 8)), others) == 1.0
    assert membership(model, members, data.train.only(torch.arange(8, 12)), others) == 0.0
    assert membership(model, members, data.train.only(torch.arange(6, 10)), others) == 0.5


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_ignorance_is_symmetric_within_bounds_and_one_for_the_same_model(seed):
    a, b, examples = tiny(seed), tiny(seed + 1), tiny_examples(seed=seed)
    with torch.no_grad():
        for p in a.parameters():
            p.mul_(5)
    assert ignorance(a, a, examples) == pytest.approx(1)
    assert ignorance(a, b, examples) == pytest.approx(ignorance(b, a, examples))
    assert 0 <= ignorance(a, b, examples) <= 1


def test_ignorance_of_certain_and_opposite_answers_is_zero():
    examples = Examples(1000 * torch.eye(2), torch.zeros(2, dtype=torch.long), torch.arange(2))
    other = Lookup()
    other.scale.data.neg_()
    assert ignorance(Lookup(), other, examples) == pytest.approx(0)


def test_the_report_stands_beside_that_of_a_retrained_model(small):
    data, model, forget, retain = small
    retrained = unlearn(Retrain(training=SHORT), model, forget, retain)
    before = unlearning_report(model, retain, forget, data.test)
    done = unlearn(search_alpha(model, forget, retain).method, model, forget, retain)
    report = unlearning_report(done.model, retain, forget, data.test, retrained=retrained.model, seconds=done.seconds)
    assert report.seconds == done.seconds
    assert report.gaps["forget"] == report.forget - report.retrained.forget
    assert before.gaps == {}
    assert report.h_mean(before) > 0.8 > before.h_mean(before) == 0.0


# -- what it is for ---------------------------------------------------------------------------------------------------


def test_ssd_forgets_a_class_and_keeps_the_rest_where_the_control_does_not(small):
    data, model, forget, retain = small
    before = unlearning_report(model, retain, forget, data.test)
    chosen = search_alpha(model, forget, retain).method
    ssd, control = (
        unlearning_report(unlearn(one, model, forget, retain).model, retain, forget, data.test)
        for one in (chosen, Control(like=chosen))
    )
    assert before.forget > 0.8
    assert ssd.forget <= 0.1
    assert ssd.retain >= before.retain - 0.05
    assert control.retain < ssd.retain


def test_the_form_without_labels_selects_and_dampens_too(small):
    _, model, forget, retain = small
    done = unlearn(LFSSD(alpha=3.0), model, forget, retain)
    assert done.details["dampening"].selected > 0
    assert accuracy(done.model, forget) < accuracy(model, forget)
