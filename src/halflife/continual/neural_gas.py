"""A graph of classes that lie near each other, with edges as neural gas keeps them, and the code vectors that it links.

The parts of NAPA-VQ (arXiv 2308.09297): the graph (after Martinetz & Schulten 1991), the loss that reads it, and a
classifier with one code vector for each class.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halflife.continual.files import replacing
from halflife.errors import InvalidInput


class Edge(NamedTuple):
    """Two classes that are near each other, and how strongly: in (0, 1]."""

    a: int | str
    b: int | str
    weight: float


class NeuralGasGraph:
    """Which code vectors are neighbours, learned by counting and without gradients.

    Parameters
    ----------
    size: K, the code vectors. k: a sample strengthens the edges from its nearest code vector to its k nearest.
    eps: every other edge of that code vector is multiplied by it. e_min: a weaker edge is cut.

    `edges` is the matrix E, [K, K]: in [0, 1], symmetric, with a diagonal of ones.

    Raises
    ------
    InvalidInput: settings out of range.

    >>> graph = NeuralGasGraph(3, k=2)
    >>> graph.update(torch.tensor([[0.1, 0.5, 9.0]])).tolist()  # nearest 0, then 1
    [[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    >>> graph.edge_list(names=["shirt", "coat", "boot"])
    [Edge(a='shirt', b='coat', weight=0.5)]
    """

    def __init__(self, size: int, k: int = 15, eps: float = 0.9, e_min: float = 0.9**10) -> None:
        if size < 0 or k < 1 or not 0 < eps < 1 or not 0 <= e_min < 1:
            raise InvalidInput(
                f"A graph of {size} code vectors with k {k}, eps {eps}, e_min {e_min} cannot be kept.",
                "Use size >= 0, k >= 1, eps between 0 and 1, and e_min from 0 to below 1.",
            )
        self.k, self.eps, self.e_min = k, eps, e_min
        self.edges = torch.eye(size)

    def __len__(self) -> int:
        return len(self.edges)

    @torch.no_grad()
    def update(self, dist: Tensor) -> Tensor:
        """Take a batch in, all samples at once: their order does not matter.

        Parameters
        ----------
        dist: from each sample to each code vector, [B, K].

        Returns
        -------
        The edges [K, K] before they are made symmetric: `E_bj` of the nearest b. The loss of that batch reads them.
        """
        size = len(self)
        if dist.ndim != 2 or dist.shape[1] != size:
            raise InvalidInput(f"Distances {tuple(dist.shape)} do not fit {size} code vectors.", "Give [B, K].")
        near = dist.topk(min(self.k, size), largest=False).indices
        best = near[:, :1]
        visits = torch.bincount(best.flatten(), minlength=size)  # n_b
        hits = torch.bincount((best * size + near).flatten(), minlength=size * size).view(size, size)  # m_bj
        edges = self.edges.to(dist).masked_fill(hits > 0, 1.0) * self.eps ** (visits[:, None] - hits)
        directed = edges.masked_fill(edges < self.e_min, 0.0)
        self.edges = (directed + directed.T) / 2
        return directed

    def neighbors(self, c: int) -> Tensor:
        """The neighbours of a code vector without itself, the strongest first: int64."""
        row = self.edges[c].clone()
        row[c] = 0.0
        strongest = row.argsort(descending=True, stable=True)
        return strongest[row[strongest] > 0]

    def grow(self, n: int) -> None:
        """Make room for n more code vectors, which have no neighbours yet."""
        fresh = torch.eye(len(self) + n).to(self.edges)
        fresh[: len(self), : len(self)] = self.edges
        self.edges = fresh

    def edge_list(self, rows: Sequence[int] | None = None, names: Sequence[int | str] | None = None) -> list[Edge]:
        """Every edge once, the strongest first: which classes are easily confused.

        Parameters
        ----------
        rows: only edges among these; None: all. names: of each of them; None: its number.
        """
        rows = list(range(len(self))) if rows is None else list(rows)
        names = rows if names is None else list(names)
        if len(names) != len(rows):
            raise InvalidInput(f"{len(names)} names do not fit {len(rows)} code vectors.", "Give one for each.")
        part = self.edges[rows][:, rows].triu(1).cpu()
        found = [Edge(names[i], names[j], float(part[i, j])) for i, j in part.nonzero().tolist()]
        return sorted(found, key=lambda edge: -edge.weight)

    def state_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {"edges": self.edges.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.edges = state["edges"].clone()


def write_edges(edges: Sequence[Edge], path: str | Path) -> None:
    """Write a list of edges as a table with the columns a, b and weight (.csv): whole or not at all."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([Edge._fields, *edges])


def neighborhood_loss(x: Tensor, y: Tensor, codes: Tensor, edges: Tensor, scale: float = 0.001) -> Tensor:
    """Draw features to their code vector, until it is nearer than the code vectors of its neighbours (`L_NA`).

    `mean_i relu(|x_i - v_y|^2 - sum_j w_ij |x_i - v_j|^2)` over the neighbours j of y, with weights that fall with the
    distance, sum to one and get no gradient. Without neighbours the second term is zero.

    Parameters
    ----------
    x: features [B, d]. y: rows of their code vectors, int64 [B]. codes: [K, d].
    edges: [K, K]; a positive entry makes a neighbour. scale: of the weights, `exp(-scale * distance^2)`.

    >>> codes = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    >>> x, y = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    >>> float(neighborhood_loss(x, y, codes, torch.ones(2, 2))), float(neighborhood_loss(x, y, codes, torch.eye(2)))
    (3.0, 4.0)
    """
    squared = torch.cdist(x, codes).square()
    own = y[:, None]
    linked = (edges[y] > 0).scatter(1, own, False)
    weights = (-scale * squared.detach()).masked_fill(~linked, -torch.inf).softmax(1)
    weights = weights.masked_fill(~linked, 0.0)  # a row without neighbours is NaN otherwise
    return F.relu(squared.gather(1, own)[:, 0] - (weights * squared).sum(1)).mean()


class CodebookClassifier(nn.Module):
    """One code vector for each class: trained by Euclidean distances, asked by cosines.

    Vectors of earlier classes are no parameters, so that no optimiser moves them, whatever its momentum and decay.

    Parameters
    ----------
    width: d, of the features.

    >>> book = CodebookClassifier(2)
    >>> book.add_classes(3, torch.Generator().manual_seed(0))
    >>> book.add_classes(1, torch.Generator().manual_seed(1))
    >>> book.logits(torch.zeros(5, 2)).shape, book.moving.shape, book.predict(book.vectors).tolist()
    (torch.Size([5, 4]), torch.Size([1, 2]), [0, 1, 2, 3])
    """

    fixed: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("fixed", torch.empty(0, width))
        self.moving = nn.Parameter(torch.empty(0, width))

    def __len__(self) -> int:
        return len(self.fixed) + len(self.moving)

    @property
    def vectors(self) -> Tensor:
        """All code vectors, [K, d]: first those that stay, then those that learn."""
        return torch.cat([self.fixed, self.moving])

    def add_classes(self, n: int, generator: torch.Generator, spread: float = 1.0) -> None:
        """Fix all code vectors that there are and draw n more from `N(0, spread^2)`. Make their optimiser anew."""
        self.fixed = self.vectors.detach().clone()
        self.moving = nn.Parameter(spread * torch.randn(n, self.width, generator=generator).to(self.fixed))

    def descend(self, rate: float) -> None:
        """Plain gradient descent on the code vectors that learn; their gradient is used up."""
        if self.moving.grad is not None:
            self.moving.data -= rate * self.moving.grad
            self.moving.grad = None

    def logits(self, x: Tensor) -> Tensor:
        """Minus the distance of features [B, d] to each code vector, [B, K]."""
        return -torch.cdist(x, self.vectors)

    def forward(self, x: Tensor) -> Tensor:
        """See `logits`."""
        return self.logits(x)

    def cosines(self, x: Tensor) -> Tensor:
        """The cosine of features [B, d] to each code vector, [B, K]: the rule of the tests."""
        return F.normalize(x, dim=1) @ F.normalize(self.vectors, dim=1).T

    def predict(self, x: Tensor) -> Tensor:
        """The row of the code vector with the largest cosine, int64 [B]."""
        return self.cosines(x).argmax(1)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **settings: Any) -> None:
        """A state of any number of classes fits."""
        for name, now in (("fixed", self.fixed), ("moving", self.moving)):
            if prefix + name in state_dict:
                room = now.detach().new_empty(state_dict[prefix + name].shape)
                setattr(self, name, nn.Parameter(room) if name == "moving" else room)
        super()._load_from_state_dict(state_dict, prefix, *args, **settings)
