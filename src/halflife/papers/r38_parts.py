"""What the reproduction of NAPA-VQ is made of: pictures in four worlds, the state kept, and graph against confusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

from halflife.continual.data import Dataset, dataset, under
from halflife.continual.examples import Examples
from halflife.continual.method import Wrapper, frozen
from halflife.continual.methods.napa_vq import NAPAVQ
from halflife.continual.neural_gas import Edge, NeuralGasGraph
from halflife.continual.prototypes import PrototypeMemory
from halflife.continual.scenario import Experience

WORLDS = ("", "inverted ", "sheared ", "shuffled ")


def pooled(data: Dataset, by: int) -> Dataset:
    """The pictures smaller by a factor, each pixel a mean.

    >>> from halflife.continual import load
    >>> pooled(load("digits").take(5), 2).shape
    (1, 4, 4)
    """
    parts = [part.all() for part in (data.train, data.test)]
    (x, y), (x_test, y_test) = [(F.avg_pool2d(x, by), y) for x, y in parts]
    return dataset(f"{data.name} / {by}", x, y, x_test, y_test, data.n_classes)


def worlds(data: Dataset) -> Dataset:
    """Each class four times: as it is, inverted, sheared, and with blocks of pixels shuffled, none of them a rotation.

    The class c of world w is `w * n_classes + c`. The pictures must have sides that can be divided by four.

    >>> from halflife.continual import load
    >>> worlds(load("digits").take(5)).n_classes
    40
    """
    return under(data, lambda x: [x, 1 - x, _sheared(x), _shuffled(x)], f"{data.name} in 4 worlds")


def _sheared(x: Tensor) -> Tensor:
    theta = torch.tensor([[1.0, 0.6, 0.0], [0.0, 1.0, 0.0]], device=x.device).expand(len(x), 2, 3)
    found: Tensor = F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=False), align_corners=False)
    return found


def _shuffled(x: Tensor) -> Tensor:
    """Sixteen blocks, in one fixed order."""
    height, width = x.shape[2] // 4, x.shape[3] // 4
    blocks = x.unfold(2, height, height).unfold(3, width, width).flatten(2, 3)  # [B, C, 16, height, width]
    order = torch.randperm(16, generator=torch.Generator().manual_seed(38))
    moved: Tensor = blocks[:, :, order.to(x.device)].reshape(*blocks.shape[:2], 4, 4, height, width)
    return moved.permute(0, 1, 2, 4, 3, 5).reshape(x.shape)


@dataclass(frozen=True, eq=False)
class State:
    """What NAPA-VQ holds after a task, copied.

    Parameters
    ----------
    net: the network. rows: of each learned class the row of its code vector, unturned. turns: rows of a class.
    edges: [K, K]. prototypes: with those of the learned classes. classes: learned so far. train: examples of the task.
    pairs: of neighbouring classes.
    """

    net: nn.Module
    classes: Sequence[int]
    rows: Sequence[int]
    turns: int
    edges: Tensor
    prototypes: PrototypeMemory
    train: Examples
    pairs: Sequence[Edge]


@dataclass(eq=False)
class Log:
    """The states after the first and after the last task so far, one of each for a run."""

    first: list[State] = field(default_factory=list)
    last: list[State] = field(default_factory=list)

    def __deepcopy__(self, memo: dict[int, Any]) -> Log:
        return self  # the copy of a learner that is run writes into the same


@dataclass(eq=False)
class Watched(Wrapper):
    """NAPA-VQ, with its state kept: `log` gets what there is after the first and the last task."""

    log: Log

    def after_task(self, task: Experience) -> None:
        """See `Learner`."""
        super().after_task(task)
        state = state_of(self.inner, task.train)
        if task.index == 0:
            self.log.first.append(state)
            self.log.last.append(state)
        self.log.last[-1] = state


def state_of(method: Any, train: Examples) -> State:
    """A copy of the state of a NAPA-VQ that has learned a task."""
    assert isinstance(method, NAPAVQ)
    prototypes = PrototypeMemory(len(method.prototypes.means.counts))
    prototypes.load_state_dict(method.prototypes.state_dict())
    return State(
        frozen(method.model), list(method.old), method.first_row[method.old].tolist(), method.turns,
        method.graph.edges.clone(), prototypes, train, method.confusable(),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Check:
    """The graph against the confusion of a linear probe, over all rows (each turn of each class).

    Parameters
    ----------
    spearman: rank correlation over pairs of rows; NaN where all are alike.
    top: how often the strongest neighbour is among the three rows that are most confused with a row; ties count by
        their mean. chance: that of a random neighbour.
    edges, confusion: [K, K]; the confusion is symmetric, with a diagonal of NaN.
    """

    spearman: float
    top: float
    chance: float
    edges: np.ndarray
    confusion: np.ndarray


def check(state: State, test: Examples) -> Check:
    """Train a linear probe on the features of a state, and compare its confusion on test examples with the graph."""
    z, rows = features(state, state.train)
    z_test, rows_test = features(state, test.of(state.classes))
    size = len(state.edges)
    guess = probe(z, rows, size)(z_test)
    counts = torch.bincount(rows_test * size + guess, minlength=size * size).view(size, size).double()
    shares = counts / counts.sum(1, keepdim=True)
    confusion: np.ndarray = ((shares + shares.T) / 2).numpy()
    edges = state.edges.double().cpu().numpy()
    upper = np.triu_indices(size, 1)
    varied = size > 1 and min(np.ptp(edges[upper]), np.ptp(confusion[upper])) > 0
    found = spearmanr(edges[upper], confusion[upper]).statistic if varied else float("nan")
    np.fill_diagonal(confusion, -1.0)
    likely = np.argsort(-confusion, axis=1, kind="stable")[:, :3]
    hits = []
    for c in range(size):
        row = np.delete(edges[c], c)
        strongest = np.delete(np.arange(size), c)[(row == row.max()) & (row > 0)]
        hits.append(float(np.isin(strongest, likely[c]).mean()) if len(strongest) else 0.0)
    np.fill_diagonal(confusion, np.nan)
    return Check(float(found), float(np.mean(hits)), min(1.0, 3 / max(1, size - 1)), edges, confusion)


@torch.no_grad()
def features(state: State, examples: Examples) -> tuple[Tensor, Tensor]:
    """Features [n * turns, d] of examples in all turns, and their rows, on the CPU."""
    first = torch.zeros(max(state.classes) + 1, dtype=torch.long)
    first[list(state.classes)] = torch.tensor(state.rows)
    device = next(state.net.parameters()).device
    found, rows = [], []
    for x, y in examples.batches(512):
        for turn in range(state.turns):
            found.append(state.net.features(x.to(device).rot90(turn, (2, 3))).cpu())  # type: ignore[operator]
            rows.append(first[y.cpu()] + turn)
    return torch.cat(found), torch.cat(rows)


def probe(z: Tensor, rows: Tensor, size: int, ridge: float = 1e-2) -> Any:
    """A linear classifier by least squares on one-hot targets: a function from features to rows."""
    mean, sd = z.mean(0), z.std(0) + 1e-6

    def design(z: Tensor) -> Tensor:
        return torch.cat([(z - mean) / sd, torch.ones(len(z), 1)], 1).double()

    A = design(z)
    gram = A.T @ A + ridge * len(A) * torch.eye(A.shape[1], dtype=A.dtype)
    W = torch.linalg.solve(gram, A.T @ F.one_hot(rows, size).double())
    return lambda z: (design(z) @ W).argmax(1)


def mixtures(state: State, count: int, seed: int) -> Tensor:
    """Pseudo-features as the next task would draw them, [count, d]."""
    graph = NeuralGasGraph(0)
    graph.edges = state.edges
    rng = torch.Generator().manual_seed(seed)
    return state.prototypes.sample_augmented(count, graph, rng, torch.tensor(state.rows))[0].cpu()
