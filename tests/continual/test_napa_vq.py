"""NAPA-VQ: the neighbour graph, its loss, code vectors that stay, prototypes that stand for classes, and the method."""

from __future__ import annotations

import copy
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife.continual import class_incremental, dataset, load, run
from halflife.continual.methods.napa_vq import NAPAVQ
from halflife.continual.neural_gas import CodebookClassifier, Edge, NeuralGasGraph, neighborhood_loss, write_edges
from halflife.continual.prototypes import PrototypeMemory
from halflife.errors import InvalidInput
from tests.continual.stopped import Stopped, stop_at

DATA = load("digits").take(12, 5)
SCENARIO = class_incremental(DATA, per_task=3, first=4)
SMALL = {"model": "mlp:24", "epochs": 2, "batch_size": 16}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


# -- the graph ---------------------------------------------------------------------------------------------------------


def one_by_one(edges, dist, k, eps, e_min):
    """The update as the paper tells it, in loops; the order of the samples is left out."""
    size = len(edges)
    edges = edges.clone()
    near = [row.argsort()[:k].tolist() for row in dist]
    for b in range(size):
        mine = [one for one in near if one[0] == b]
        for j in range(size):
            hits = sum(j in one for one in mine)
            if hits:
                edges[b, j] = 1.0
            edges[b, j] *= eps ** max(len(mine) - hits, 0)
            if edges[b, j] < e_min:
                edges[b, j] = 0.0
    return edges, (edges + edges.T) / 2


@settings(max_examples=40)
@given(st.integers(1, 7), st.integers(1, 9), st.integers(0, 20), st.integers(0, 2**31))
def test_the_graph_counts_as_loops_do_and_keeps_its_bounds(size, k, batch, seed):
    graph, draw = NeuralGasGraph(size, k, 0.9, 0.9**10), rng(seed)
    for _ in range(3):
        dist = torch.rand(batch, size, generator=draw)
        directed, both = one_by_one(graph.edges, dist, k, 0.9, 0.9**10)
        assert torch.allclose(graph.update(dist), directed)
        assert torch.allclose(graph.edges, both)
        assert torch.equal(graph.edges, graph.edges.T)
        assert torch.equal(graph.edges.diagonal(), torch.ones(size))
        assert 0 <= float(graph.edges.min()) <= float(graph.edges.max()) <= 1


def test_an_edge_that_is_not_seen_again_is_cut():
    graph = NeuralGasGraph(3, k=2)
    graph.update(torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 2.0]]))
    assert graph.neighbors(0).tolist() == [1]
    graph.update(torch.tensor([[0.0, 2.0, 1.0]] * 5))  # 0.9^5 is still an edge
    assert graph.neighbors(0).tolist() == [1, 2]
    for _ in range(4):
        graph.update(torch.tensor([[0.0, 2.0, 1.0]] * 5))
    assert graph.neighbors(0).tolist() == [2]
    assert graph.neighbors(1).tolist() == []


def test_a_graph_grows_without_losing_edges():
    graph = NeuralGasGraph(2, k=2)
    graph.update(torch.tensor([[0.0, 1.0]]))
    graph.grow(2)
    assert graph.edges.tolist() == [[1, 0.5, 0, 0], [0.5, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_edges_are_listed_once_by_strength_and_written_whole(tmp_path):
    graph = NeuralGasGraph(3)
    graph.edges = torch.tensor([[1.0, 0.25, 0.5], [0.25, 1.0, 0.0], [0.5, 0.0, 1.0]])
    assert graph.edge_list() == [Edge(0, 2, 0.5), Edge(0, 1, 0.25)]
    named = graph.edge_list([0, 1], ["cat", "dog"])
    assert named == [Edge("cat", "dog", 0.25)]
    write_edges(named, tmp_path / "edges.csv")
    assert (tmp_path / "edges.csv").read_text().split() == ["a,b,weight", "cat,dog,0.25"]
    assert [path.name for path in tmp_path.iterdir()] == ["edges.csv"]
    with pytest.raises(InvalidInput, match="do not fit"):
        graph.edge_list([0, 1], ["cat"])


def test_what_cannot_be_a_graph_is_told():
    for bad in ({"size": -1}, {"size": 2, "k": 0}, {"size": 2, "eps": 1.0}, {"size": 2, "e_min": 1.0}):
        with pytest.raises(InvalidInput, match="cannot be kept"):
            NeuralGasGraph(**bad)
    with pytest.raises(InvalidInput, match="do not fit"):
        NeuralGasGraph(3).update(torch.zeros(4, 2))


# -- the loss ----------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 2**31))
def test_the_loss_is_the_sum_of_the_paper(classes, batch, seed):
    draw = rng(seed)
    x, codes = torch.randn(batch, 3, generator=draw), torch.randn(classes, 3, generator=draw)
    y = torch.randint(0, classes, (batch,), generator=draw)
    edges = (torch.rand(classes, classes, generator=draw) > 0.5).float()
    total = 0.0
    for one, label in zip(x, y.tolist(), strict=True):
        near = [j for j in range(classes) if j != label and edges[label, j] > 0]
        far = torch.stack([(one - codes[j]).square().sum() for j in near]) if near else torch.zeros(1)
        w = (-0.001 * far).exp()
        total += max(0.0, float((one - codes[label]).square().sum() - (w / w.sum() * far).sum()))
    assert float(neighborhood_loss(x, y, codes, edges)) == pytest.approx(total / batch, rel=1e-4, abs=1e-5)


def test_the_loss_and_its_gradient_are_finite_at_the_edges_of_its_domain():
    for classes in (1, 3):
        codes = torch.randn(classes, 4, generator=rng()).requires_grad_()
        x = codes.detach()[:1].repeat(2, 1).requires_grad_()  # on its own code vector
        loss = neighborhood_loss(x, torch.zeros(2, dtype=torch.long), codes, torch.eye(classes))
        loss.backward()
        assert float(loss.detach()) == pytest.approx(0.0, abs=1e-5)
        assert bool(torch.isfinite(x.grad).all() and torch.isfinite(codes.grad).all())
    far = torch.full((1, 4), 1e4)  # exp(-0.001 d^2) would be 0 / 0
    codes = torch.zeros(3, 4)
    assert float(neighborhood_loss(far, torch.tensor([0]), codes, torch.ones(3, 3))) == pytest.approx(0.0, abs=100)


def test_a_step_on_the_loss_draws_a_feature_to_its_code_and_from_its_neighbour():
    x = torch.tensor([[0.5, 0.2]], requires_grad=True)
    codes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 9.0]])
    neighborhood_loss(x, torch.tensor([1]), codes, torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1.0]])).backward()
    assert float(x.grad[0, 0]) == 0.0  # exactly between the two, nothing is lost
    y = torch.tensor([[0.4, 0.2]], requires_grad=True)
    neighborhood_loss(y, torch.tensor([1]), codes, torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1.0]])).backward()
    assert y.grad[0].tolist() == pytest.approx([-2.0, 0.0], abs=1e-5)


# -- code vectors ------------------------------------------------------------------------------------------------------


def test_old_code_vectors_stay_whatever_the_optimiser_does():
    book = CodebookClassifier(3)
    book.add_classes(2, rng())
    book.add_classes(2, rng(1))
    before = book.vectors.detach().clone()
    optim = torch.optim.SGD(book.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optim.zero_grad()
        book.logits(torch.ones(4, 3)).sum().backward()
        optim.step()
    assert torch.equal(book.vectors[:2], before[:2])
    assert not torch.isclose(book.vectors[2:], before[2:]).any()


def test_distances_train_and_cosines_decide():
    book = CodebookClassifier(2)
    book.add_classes(2, rng())
    book.moving.data = torch.tensor([[1.0, 0.0], [0.0, 10.0]])
    x = torch.tensor([[0.5, 0.6]])
    assert int(book.logits(x).argmax()) == 0
    assert book.predict(x).tolist() == [1]
    assert book.logits(x)[0].tolist() == pytest.approx([-((0.25 + 0.36) ** 0.5), -((0.25 + 9.4**2) ** 0.5)])


def test_a_codebook_is_restored_at_any_size():
    book, other = CodebookClassifier(3), CodebookClassifier(3)
    book.add_classes(2, rng())
    book.add_classes(1, rng())
    other.load_state_dict(book.state_dict())
    assert torch.equal(other.vectors, book.vectors)
    assert other.moving.shape == (1, 3)
    assert list(dict(other.named_parameters())) == ["moving"]


# -- prototypes --------------------------------------------------------------------------------------------------------


def filled():
    memory = PrototypeMemory(4)
    x, rows = torch.randn(30, 3, generator=rng()), torch.arange(30) % 3
    for part in range(0, 30, 7):  # the last batch is not full, and counts
        memory.add(x[part : part + 7], rows[part : part + 7])
    return memory, x, rows


def test_means_are_over_every_example():
    memory, x, rows = filled()
    for c in range(3):
        assert torch.allclose(memory.means.mean(c), x[rows == c].mean(0), atol=1e-6)
    within = torch.stack([x[rows == c].var(0, correction=0).mean() for c in range(3)])
    assert memory.radius() == pytest.approx(float(within.mean().sqrt()), rel=1e-5)


def test_rows_are_dropped_to_be_taken_in_anew():
    memory, *_ = filled()
    memory.drop(torch.tensor([1]))
    assert memory.means.classes == [0, 2]
    memory.add(torch.ones(2, 3), torch.tensor([1, 1]))
    assert memory.means.mean(1).tolist() == [1, 1, 1]


def test_mixtures_lie_between_a_class_and_its_neighbours():
    memory, *_ = filled()
    graph = NeuralGasGraph(4)
    graph.edges[0, 1] = graph.edges[1, 0] = 0.4
    graph.edges[0, 3] = graph.edges[3, 0] = 1.0  # a node without a prototype is never a partner
    P = memory.means.matrix()
    p, y = memory.sample_augmented(400, graph, rng(), rows=torch.tensor([0, 2]))
    assert set(y.tolist()) == {0, 2}
    assert torch.allclose(p[y == 2], P[2].expand(int((y == 2).sum()), 3))  # its only partner is itself
    along = P[1] - P[0]
    share = ((p[y == 0] - P[0]) @ along) / along.square().sum()  # 1 - g, or 0 where the partner is itself
    assert torch.allclose(P[0] + share[:, None] * along, p[y == 0], atol=1e-5)
    alone = share.abs() < 1e-4
    assert 0.4 < float(share.max()) <= 0.5 + 1e-6
    assert 0.35 < float(alone.double().mean()) < 0.65  # both partners alike, whatever the weight of the edge


def test_gaussian_pseudo_features_have_the_radius_asked_for():
    memory, *_ = filled()
    p, y = memory.sample_gaussian(3000, 0.3, rng())
    assert set(y.tolist()) == {0, 1, 2}
    assert float((p - memory.means.matrix()[y]).std()) == pytest.approx(0.3, rel=0.05)


def test_a_memory_is_restored_and_an_empty_one_says_so():
    memory, *_ = filled()
    other = PrototypeMemory(4)
    with pytest.raises(InvalidInput, match="no mean"):
        other.sample_gaussian(2, 0.1, rng())
    other.load_state_dict(copy.deepcopy(memory.state_dict()))
    assert torch.equal(other.sample_gaussian(5, 0.1, rng())[0], memory.sample_gaussian(5, 0.1, rng())[0])
    with pytest.raises(InvalidInput, match="no mean"):
        memory.sample_gaussian(2, 0.1, rng(), rows=torch.tensor([3]))


# -- the method --------------------------------------------------------------------------------------------------------


class Watched(NAPAVQ):
    """Keeps what it held after each task, and what each step drew."""

    after: ClassVar[list[dict]] = []
    draws: ClassVar[list[tuple]] = []

    def after_task(self, task):
        super().after_task(task)
        held = {"codes": self.codes.vectors, "edges": self.graph.edges, "P": self.prototypes.means.matrix()}
        self.after.append({name: value.detach().clone() for name, value in held.items()} | {
            "rows": self.first_row.tolist(), "classes": task.classes, "radius": self.radius,
            "pairs": self.confusable(), "net": copy.deepcopy(self.net), "train": task.train,
        })  # fmt: skip

    def _losses(self, z, rows, weight=1.0):
        self.draws.append((bool(self.old), z.requires_grad, set(rows.tolist()), len(rows)))
        return super()._losses(z, rows, weight)


def trained(**settings):
    Watched.after, Watched.draws = [], []
    results = run(SCENARIO, Watched(**{"k": 4, "code_lr": 0.5, **settings}), [1], **SMALL)
    return results, Watched.after, Watched.draws


def test_rows_come_with_the_tasks_and_old_ones_do_not_change():
    _, after, draws = trained()
    assert [len(one["codes"]) for one in after] == [16, 28, 40]
    assert [len(one["edges"]) for one in after] == [16, 28, 40]
    assert torch.equal(after[2]["codes"][:28], after[1]["codes"])
    assert torch.equal(after[2]["P"][:28], after[1]["P"][:28])
    assert [after[0]["rows"][c] for c in after[0]["classes"]] == [0, 4, 8, 12]
    assert sorted(after[2]["rows"]) == list(range(0, 40, 4))
    assert after[0]["radius"] == after[2]["radius"] > 0
    first, *_ = draws
    assert first[3] == 64  # 16 pictures in four turns
    pseudo = [rows for old, real, rows, _ in draws if old and not real]
    assert pseudo
    assert set().union(*pseudo) <= set(range(0, 28, 4))  # old classes, not turned
    assert {(edge.a, edge.b) for edge in after[2]["pairs"]} <= {(a, b) for a in range(10) for b in range(10) if a != b}


def test_prototypes_are_those_of_the_network_after_the_task():
    _, after, _ = trained()
    last = after[-1]
    x, y = last["train"].all()
    c = last["classes"][0]
    for turn in range(4):
        z = last["net"].eval().features(x[y == c].rot90(turn, (2, 3))).mean(0)
        assert torch.allclose(last["P"][last["rows"][c] + turn], z.detach(), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "calls"),
    [
        ({"neighbour_loss": False, "pseudo": "none", "kd_weight": 0.0}, 1),
        ({"neighbour_loss": False, "pseudo": "none"}, 1),
        ({"neighbour_loss": False, "pseudo": "gaussian"}, 2),
        ({"neighbour_loss": False}, 2),
        ({"pseudo": "gaussian", "rotations": False}, 2),
    ],
)
def test_every_part_can_be_switched_off(settings, calls):
    results, after, draws = trained(**settings)
    turns = 1 if settings.get("rotations") is False else 4
    assert len(after[-1]["codes"]) == 10 * turns
    assert sum(old for old, *_ in draws) == calls * sum(old and real for old, real, *_ in draws)
    without_gradient = results.runs[0].passes["forward"] - results.runs[0].passes["backward"]
    remembered = 48 + 2 * 72  # the first task once, the later ones twice
    taught = 2 * 72 if settings.get("kd_weight", 10.0) else 0
    assert without_gradient == turns * (remembered + taught)


def test_each_switch_changes_the_run():
    _, base, _ = trained()
    for change in ({"neighbour_loss": False}, {"pseudo": "gaussian"}, {"pseudo": "none"}, {"kd_weight": 0.0}):
        _, other, _ = trained(**change)
        assert not torch.equal(base[-1]["codes"], other[-1]["codes"]), change


def test_distillation_keeps_the_features():
    def drift(weight):
        _, after, _ = trained(kd_weight=weight, pseudo="none", later=1.0, lr=0.01)
        x, _ = after[0]["train"].all()
        return float((after[0]["net"].features(x) - after[-1]["net"].features(x)).norm().detach())

    assert drift(10.0) < 0.5 * drift(0.0)


def test_schedules_fall_as_those_of_the_paper():
    rates = []

    class Rated(NAPAVQ):
        def update(self):
            super().update()
            rates.append(self.optim.param_groups[0]["lr"])

    run(SCENARIO, Rated(lr=0.01, lr_every=1, code_lr=0.5), [0], **SMALL)
    per = [3, 3, 3]  # 48 and 36 pictures in batches of 16
    want = [0.01] * per[0] + [0.001] * per[0] + ([0.001] * per[1] + [0.0001] * per[1]) * 2
    assert rates == pytest.approx(want)


def test_a_run_that_was_interrupted_goes_on_bit_for_bit(tmp_path):
    method = NAPAVQ(k=4, code_lr=0.5)
    whole = run(SCENARIO, method, [0], **SMALL)
    with pytest.raises(Stopped):
        run(SCENARIO, method, [0], checkpoint=tmp_path, checkpoint_every=1, progress=stop_at(0.6), **SMALL)
    again = run(SCENARIO, method, [0], checkpoint=tmp_path, checkpoint_every=1, **SMALL)
    assert np.array_equal(again.runs[0].seen, whole.runs[0].seen)
    assert again.runs[0].passes == whole.runs[0].passes


def test_what_it_cannot_do_is_told():
    with pytest.raises(InvalidInput, match="no pseudo-features"):
        run(SCENARIO, NAPAVQ(pseudo="some"), [0], **SMALL)
    x, y = torch.rand(8, 1, 4, 6), torch.arange(8) % 2
    wide = class_incremental(dataset("wide", x, y, x, y), per_task=1)
    with pytest.raises(InvalidInput, match="cannot be turned"):
        run(wide, NAPAVQ(), [0], **SMALL)
    run(wide, NAPAVQ(rotations=False, code_lr=0.5), [0], **SMALL)


def test_old_classes_are_kept_better_than_by_fine_tuning():
    scenario = class_incremental(DATA, first=4)
    first = []
    for change in ({}, {"neighbour_loss": False, "pseudo": "none", "kd_weight": 0.0}):
        method = NAPAVQ(k=5, code_lr=0.5, lr=0.003, later=1.0, **change)
        first.append(run(scenario, method, [0], model="mlp:32", epochs=4, batch_size=8).runs[0].seen[-1, 0])
    assert first[0] > first[1] + 0.3
