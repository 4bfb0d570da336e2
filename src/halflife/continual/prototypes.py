"""Classes as points among the features: means, and the classifier that takes the nearest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halflife.continual.distillation import masked
from halflife.errors import InvalidInput

if TYPE_CHECKING:
    from halflife.continual.neural_gas import NeuralGasGraph


class ClassMeans:
    """The mean feature of every class, kept up as examples come.

    >>> means = ClassMeans(n_classes=3)
    >>> means.add(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([2, 2]))
    >>> means.mean(2).tolist(), means.classes
    ([2.0, 0.0], [2])
    """

    def __init__(self, n_classes: int) -> None:
        self.counts = torch.zeros(n_classes, dtype=torch.long)
        self.sums: Tensor | None = None

    @property
    def classes(self) -> list[int]:
        """Those that have examples."""
        return self.counts.nonzero()[:, 0].tolist()

    def add(self, features: Tensor, y: Tensor) -> None:
        """Take examples in: features [B, d], labels [B]."""
        if self.sums is None:
            self.sums = torch.zeros(len(self.counts), features.shape[1], device=features.device)
        self.sums.index_add_(0, y, features.detach())
        self.counts += torch.bincount(y.cpu(), minlength=len(self.counts))

    def mean(self, c: int) -> Tensor:
        """The mean of a class, [d]."""
        assert self.sums is not None
        return self.sums[c] / self.counts[c]

    def matrix(self) -> Tensor:
        """All means, [C, d]; NaN where a class has no example."""
        assert self.sums is not None
        return self.sums / self.counts[:, None].to(self.sums)

    def state_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {"counts": self.counts.clone(), "sums": None if self.sums is None else self.sums.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.counts = state["counts"].cpu().clone()
        self.sums = None if state["sums"] is None else state["sums"].clone()


def nearest_mean_logits(features: Tensor, means: Tensor, normalise: bool = True) -> Tensor:
    """Minus the squared distance to each mean, [B, C]; minus infinity for a class without one (a row of NaN)."""
    if normalise:
        features, means = F.normalize(features, dim=1), F.normalize(means, dim=1)
    found = -torch.cdist(features, means.nan_to_num()).square()
    return found.masked_fill(means.isnan().any(1), -torch.inf)


@torch.no_grad()
def class_means(
    model: torch.nn.Module, batches: Iterable[tuple[Tensor, Tensor]], n_classes: int, normalise: bool = False
) -> Tensor:  # fmt: skip
    """The mean feature of every class over batches, [C, d]; NaN where there is none. `model` has `features`."""
    mode = model.training
    model.eval()
    means = ClassMeans(n_classes)
    for x, y in batches:
        z = model.features(x)  # type: ignore[operator]
        means.add(F.normalize(z, dim=1) if normalise else z, y)
    model.train(mode)
    return means.matrix()


class PrototypeMemory:
    """The mean feature of each class in place of its examples, and features made up from the means.

    Parameters
    ----------
    size: how many classes (rows) there may be. With rotations as classes of their own, a row for each.

    >>> memory = PrototypeMemory(3)
    >>> memory.add(torch.tensor([[0.0, 0.0], [2.0, 0.0], [5.0, 5.0]]), torch.tensor([0, 0, 1]))
    >>> memory.means.mean(0).tolist(), memory.radius()
    ([1.0, 0.0], 0.5)
    """

    def __init__(self, size: int) -> None:
        self.means = ClassMeans(size)
        self.squares = torch.zeros(size, dtype=torch.float64)  # sums of |x|^2

    def add(self, features: Tensor, rows: Tensor) -> None:
        """Take examples in: features [B, d], rows [B]."""
        self.means.add(features, rows)
        self.squares.index_add_(0, rows.cpu(), features.detach().double().square().sum(1).cpu())

    def drop(self, rows: Tensor) -> None:
        """Forget some rows (int64, any shape), to be taken in anew."""
        self.means.counts[rows] = 0
        self.squares[rows] = 0.0
        if self.means.sums is not None:
            self.means.sums[rows] = 0.0

    def radius(self) -> float:
        """Root of the mean variance of a feature within a class (PASS, Zhu et al. 2021)."""
        known = self.means.classes
        means = self.means.matrix()[known].double().cpu()
        within = self.squares[known] / self.means.counts[known] - means.square().sum(1)
        return float((within.clamp(min=0.0) / means.shape[1]).mean().sqrt())

    def sample_augmented(
        self, n: int, graph: NeuralGasGraph, rng: torch.Generator, rows: Tensor | None = None, low: float = 0.5
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Means mixed with the mean of a neighbour: `g P_c + (1 - g) P_j` of class c, with g from `U(low, 1)` (NAPA).

        Parameters
        ----------
        n: how many. graph: its edges name the neighbours; each is as likely as every other, and so is c itself.
        rows: from which c is drawn; None: all that have a mean. Neighbours are drawn from all that have one.

        Returns
        -------
        Features [n, d] and the rows c, int64 [n].
        """
        P, y = self._drawn(n, rng, rows)
        size = len(graph)
        linked = (graph.edges[y] > 0) & (self.means.counts[:size] > 0).to(y.device)
        partner = torch.rand(n, size, generator=rng).to(P.device).masked_fill(~linked, -1.0).argmax(1)
        g = (low + (1 - low) * torch.rand(n, 1, generator=rng)).to(P)
        return g * P[y] + (1 - g) * P[partner], y

    def sample_gaussian(
        self, n: int, radius: float, rng: torch.Generator, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Means with noise in every direction: `P_c + radius * N(0, 1)` (PASS). Returns as `sample_augmented` does."""
        P, y = self._drawn(n, rng, rows)
        return P[y] + radius * torch.randn(n, P.shape[1], generator=rng).to(P), y

    def _drawn(self, n: int, rng: torch.Generator, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        known = torch.tensor(self.means.classes, dtype=torch.long) if rows is None else rows.cpu()
        if not len(known) or bool((self.means.counts[known] == 0).any()):
            raise InvalidInput("There is no mean to draw from.", "Add examples of every row first.")
        P = self.means.matrix()
        return P, known[torch.randint(0, len(known), (n,), generator=rng)].to(P.device)

    def state_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {"means": self.means.state_dict(), "squares": self.squares.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.means.load_state_dict(state["means"])
        self.means.counts = self.means.counts.cpu()
        self.squares = state["squares"].cpu().clone()


class PrototypeBank(nn.Module):
    """A learned prototype for each class, one matrix for each task, compared by cosine (PRD).

    It grows by tasks, leaves old rows alone, and a fresh one takes the state of one that has grown.

    Parameters
    ----------
    width: of the features.

    >>> bank = PrototypeBank(width=4)
    >>> bank.add_task([7, 3], torch.Generator().manual_seed(0))
    >>> bank.add_task([5], torch.Generator().manual_seed(1))
    >>> bank.known, bank.matrix(1).shape, bank.cosine(torch.rand(2, 4), [3, 5]).shape, bank.rows(torch.tensor([5, 7]))
    ([7, 3, 5], torch.Size([2, 4]), torch.Size([2, 2]), tensor([2, 0]))
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.weights = nn.ParameterList()
        self.classes: list[list[int]] = []  # of each task, in the order of its rows
        self.learned: list[Tensor] = []  # the rows of each task when it had been learned
        self._place: Tensor
        self.register_buffer("_place", torch.empty(0), persistent=False)  # goes where the module goes

    @property
    def known(self) -> list[int]:
        """The classes of all tasks, in the order of the rows of `matrix`."""
        return [c for classes in self.classes for c in classes]

    def add_task(self, classes: Sequence[int], rng: torch.Generator) -> None:
        """A row for each of some new classes, drawn within +-1 / sqrt(width). An optimiser must be made anew.

        Raises
        ------
        InvalidInput: there is no class, or one has a prototype already.
        """
        if not classes or len({*classes, *self.known}) < len(classes) + len(self.known):
            raise InvalidInput(f"Prototypes of {list(classes)} cannot be added to {self.known}.", "Add new classes.")
        drawn = (2 * torch.rand(len(classes), self.width, generator=rng) - 1) / self.width**0.5
        self.weights.append(nn.Parameter(drawn.to(self._place.device)))
        self.classes.append(list(classes))

    def matrix(self, tasks: int | None = None) -> Tensor:
        """The prototypes of the first so many tasks, or of all, [C, d]."""
        return torch.cat([*self.weights][:tasks])

    def rows(self, y: Tensor) -> Tensor:
        """Labels as rows of `matrix`, int64 [n].

        Raises
        ------
        InvalidInput: a class has no prototype.
        """
        found = y[:, None] == torch.tensor(self.known, device=y.device)
        if not bool(found.any(1).all()):
            raise InvalidInput(f"Some of {y.unique().tolist()} have no prototype.", "Add their task first.")
        return found.int().argmax(1)

    def cosine(self, h: Tensor, classes: Sequence[int] | None = None) -> Tensor:
        """Cosines of features [n, d] with the prototypes of some classes (all: as in `known`), [n, C]."""
        chosen = self.matrix()
        if classes is not None:
            chosen = chosen[self.rows(torch.tensor(list(classes), device=chosen.device))]
        return F.normalize(h, dim=1) @ F.normalize(chosen, dim=1).T

    def scores(self, h: Tensor, task: int) -> Tensor:
        """`h.p / |p|` for the prototypes of one task, [n, C_task]: the length of a feature is its confidence."""
        return h @ F.normalize(self.weights[task], dim=1).T

    def mark(self) -> None:
        """Remember the rows of tasks added since the last call: they have been learned."""
        self.learned += [w.detach().clone() for w in [*self.weights][len(self.learned) :]]

    def drift(self) -> dict[int, float]:
        """For each class that was marked, the cosine of its prototype now with that when it had been learned."""
        found: dict[int, float] = {}
        for classes, now, then in zip(self.classes, self.weights, self.learned, strict=False):
            cosines = F.cosine_similarity(now.detach(), then.to(now), dim=1).tolist()
            found |= dict(zip(classes, cosines, strict=True))
        return found

    def get_extra_state(self) -> dict[str, Any]:
        """What `state_dict` holds besides the rows."""
        return {"classes": [list(one) for one in self.classes], "learned": [one.clone() for one in self.learned]}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Make room for the rows of a state, which PyTorch puts in afterwards."""
        if [list(one) for one in state["classes"]] != self.classes:
            self.classes = [list(one) for one in state["classes"]]
            place = self._place.device
            self.weights = nn.ParameterList(torch.zeros(len(one), self.width, device=place) for one in self.classes)
        self.learned = [one.clone() for one in state["learned"]]


@torch.no_grad()
def oracle_accuracy(
    model: nn.Module, tests: Sequence[tuple[Tensor, Tensor]], n_classes: int, batch: int = 1024
) -> tuple[list[float], list[float]]:  # fmt: skip
    """How well the features would do with perfect prototypes: the nearest mean of the test features by cosine.

    It uses the labels of the tests, so it is a diagnosis and no result: what it has beyond a method is what the method
    loses by stale prototypes; what it loses itself is forgotten by the features.

    Parameters
    ----------
    model: has `features`. tests: inputs [n, ...] and labels [n] of each. batch: examples of one forward pass.

    Returns
    -------
    For each test the accuracy among its own classes, and that among the classes of all tests.

    >>> from halflife.continual import MLP
    >>> x, y = torch.rand(9, 1, 2, 2), torch.arange(9) % 3
    >>> oracle_accuracy(MLP((8,)).build((1, 2, 2), 4), [(x[y == 2], y[y == 2])], 4)
    ([1.0], [1.0])
    """
    mode = model.training
    model.eval()
    features = [torch.cat([model.features(part) for part in x.split(batch)]) for x, _ in tests]  # type: ignore[operator]
    model.train(mode)
    means = ClassMeans(n_classes)
    for z, (_, y) in zip(features, tests, strict=True):
        means.add(F.normalize(z, dim=1), y)
    told, seen = [], []
    for z, (_, y) in zip(features, tests, strict=True):
        logits = nearest_mean_logits(z, means.matrix())
        seen.append(float((logits.argmax(1) == y).double().mean()))
        told.append(float((masked(logits, y.unique()).argmax(1) == y).double().mean()))
    return told, seen
