"""What the algorithms ask of a policy, and two policies for decisions that are no text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Scores:
    """What a policy says of actions: N of them, each of T parts (tokens, bits; 1 for a single choice).

    Parameters
    ----------
    log_prob: log-probability of each part, [N, T].
    entropy: of the distribution that each part was drawn from, [N, T].
    mask: which parts are the policy's own and count, bool [N, T]; None: all.
    """

    log_prob: Tensor
    entropy: Tensor
    mask: Tensor | None = None


class Policy(Protocol):
    """Draws actions for states, and says how likely actions are. States and actions are the policy's own kind."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """What is trained."""
        ...

    def sample(self, states: Sequence[Any], generator: torch.Generator) -> Sequence[Any]:
        """An action for each state."""
        ...

    def score(self, states: Sequence[Any], actions: Sequence[Any]) -> Scores:
        """How likely these actions are in these states, with gradients."""
        ...


Collate = Callable[[Sequence[Any]], tuple[Any, Tensor]]
"""States -> what the network takes (a tensor or a tuple of them), and which outputs are legal, bool [N, A]."""


class CategoricalPolicy(nn.Module):
    """One choice of several; illegal ones have probability 0.

    Parameters
    ----------
    net: input -> logits [N, A].
    collate: see `Collate`.

    >>> _ = torch.manual_seed(0)
    >>> legal = torch.tensor([True, False, True])
    >>> policy = CategoricalPolicy(nn.Linear(2, 3), lambda s: (torch.stack(s), legal.expand(len(s), 3)))
    >>> actions = policy.sample([torch.ones(2)] * 50, torch.Generator().manual_seed(0))
    >>> sorted(set(actions))
    [0, 2]
    >>> policy.score([torch.ones(2)], [0]).log_prob.shape
    torch.Size([1, 1])
    """

    def __init__(self, net: nn.Module, collate: Collate) -> None:
        super().__init__()
        self.net, self.collate = net, collate

    def log_probs(self, states: Sequence[Any]) -> Tensor:
        """Log-probabilities [N, A]; minus infinity where illegal."""
        inputs, legal = self.collate(states)
        logits = self.net(*inputs) if isinstance(inputs, tuple) else self.net(inputs)
        return F.log_softmax(logits.masked_fill(~legal, -torch.inf), dim=-1)

    @torch.no_grad()
    def sample(self, states: Sequence[Any], generator: torch.Generator) -> list[int]:
        """A legal choice for each state."""
        chosen = torch.multinomial(self.log_probs(states).exp(), 1, generator=generator)
        return [int(i) for i in chosen[:, 0]]

    @torch.no_grad()
    def greedy(self, states: Sequence[Any]) -> list[int]:
        """The likeliest choice for each state."""
        return [int(i) for i in self.log_probs(states).argmax(dim=-1)]

    def score(self, states: Sequence[Any], actions: Sequence[int]) -> Scores:
        """Of the choices made."""
        all_ = self.log_probs(states)
        index = torch.as_tensor(list(actions), device=all_.device)[:, None]
        entropy = -(all_.exp() * all_.masked_fill(all_ == -torch.inf, 0.0)).sum(dim=-1, keepdim=True)
        return Scores(all_.gather(1, index), entropy)


class BernoulliPolicy(nn.Module):
    """A bit for each of several candidates, such as which memories to keep. A candidate that is no legal one is 0.

    Parameters
    ----------
    net: input -> logits [N, A].
    collate: see `Collate`.

    >>> policy = BernoulliPolicy(nn.Identity(), lambda s: (torch.stack(s), torch.ones(len(s), 2, dtype=torch.bool)))
    >>> [bits] = policy.sample([torch.tensor([99.0, -99.0])], torch.Generator().manual_seed(0))
    >>> bits.tolist()
    [True, False]
    """

    def __init__(self, net: nn.Module, collate: Collate) -> None:
        super().__init__()
        self.net, self.collate = net, collate

    def logits(self, states: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Logits and legality, each [N, A]."""
        inputs, legal = self.collate(states)
        return (self.net(*inputs) if isinstance(inputs, tuple) else self.net(inputs)), legal

    @torch.no_grad()
    def sample(self, states: Sequence[Any], generator: torch.Generator) -> list[Tensor]:
        """The bits for each state, bool [A]."""
        logits, legal = self.logits(states)
        drawn = torch.rand(logits.shape, generator=generator) < logits.sigmoid()
        return list(drawn & legal)

    @torch.no_grad()
    def greedy(self, states: Sequence[Any]) -> list[Tensor]:
        """The likelier value of each bit."""
        logits, legal = self.logits(states)
        return list((logits > 0) & legal)

    def score(self, states: Sequence[Any], actions: Sequence[Tensor]) -> Scores:
        """Of the bits drawn, each a part of its own."""
        logits, legal = self.logits(states)
        bits = torch.stack(list(actions)).to(logits.dtype)
        p = logits.sigmoid()
        entropy = F.softplus(logits) - p * logits
        return Scores(-F.binary_cross_entropy_with_logits(logits, bits, reduction="none"), entropy, legal)
