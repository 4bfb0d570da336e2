"""Memory-R1's answer agent on LoCoMo: which of 60 observations to keep for a question.

The reader is a proxy: a selection is right if it keeps all evidence that can be reached among the 60 and is short.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from halflife.agent.manager_features import Floats
from halflife.llm.embedder import Embedder
from halflife.papers.data import read_json
from halflife.probe.benchmarks import locomo
from halflife.rl import GRPO, BernoulliPolicy, Step, grpo, one_step
from halflife.rl.policy import Collate

TRAIN, VALIDATION = "conv-26", "conv-30"
A_SPEAKER, KEPT = 30, 10  # candidates of each participant, and how many may be kept
SCALARS = 3
RANK = 32  # of the bilinear features


@dataclass(frozen=True)
class Asked:
    """A question with its candidates in order of cosine, each with the turns of the evidence that it covers.

    Parameters
    ----------
    question: its vector [dim]. memories: those of the candidates [n, dim].
    scalars: 5 cosine, whether the question names the speaker, and rank / n: [n, 3].
    covers: which gold turns each candidate tells of, bool [n, turns]; each turn is told of by one at least.
    """

    question: Floats
    memories: Floats
    scalars: Floats
    covers: np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Split:
    """The questions of each part, and how many were left out because no candidate tells of their evidence."""

    train: list[Asked]
    validation: list[Asked]
    test: list[Asked]
    test_names: tuple[str, ...]
    left_out: int


def split(path: Path, embedder: Embedder) -> Split:
    """The conversations in the paper's parts: conv-26 trains, conv-30 validates, all others test."""
    parts: dict[str, list[Asked]] = {}
    left_out = 0
    for sample, history in zip(read_json(path), locomo.read(path), strict=True):
        observations = _observations(sample)
        vectors = embedder.embed([text for _, text, _ in observations])
        wanted = [q for q in history.questions if q.kind != locomo.KINDS[locomo.ADVERSARIAL]]
        asked = [
            _asked(q.text, vector, q.gold, observations, vectors)
            for q, vector in zip(wanted, embedder.embed([q.text for q in wanted]), strict=True)
        ]
        parts[history.id] = [one for one in asked if one is not None]
        left_out += len(asked) - len(parts[history.id])
    rest = tuple(name for name in parts if name not in (TRAIN, VALIDATION))
    test = [one for name in rest for one in parts[name]]
    return Split(parts.get(TRAIN, []), parts.get(VALIDATION, []), test, rest, left_out)


def _observations(sample: Any) -> list[tuple[str, str, frozenset[str]]]:
    """Speaker, text and turns of everything that was observed in a conversation."""
    found = []
    for session in sample["observation"].values():
        for speaker, lines in session.items():
            for text, turns in lines:
                named = [turns] if isinstance(turns, str) else turns
                found.append((speaker, text, frozenset(turn.strip() for one in named for turn in one.split(","))))
    return found


def _asked(
    text: str,
    question: Floats,
    gold: frozenset[str],
    observations: Sequence[tuple[str, str, frozenset[str]]],
    vectors: Floats,
) -> Asked | None:
    cosines = vectors @ question
    speakers = sorted({speaker for speaker, _, _ in observations})
    chosen: list[int] = []
    for speaker in speakers:
        own = [i for i, one in enumerate(observations) if one[0] == speaker]
        chosen += sorted(own, key=lambda i: -cosines[i])[:A_SPEAKER]
    chosen.sort(key=lambda i: -cosines[i])
    reached = sorted(gold & frozenset(turn for i in chosen for turn in observations[i][2]))
    if not reached:
        return None
    scalars = [
        (5 * cosines[i], float(observations[i][0].casefold() in text.casefold()), rank / len(chosen))
        for rank, i in enumerate(chosen)
    ]
    covers = np.array([[turn in observations[i][2] for turn in reached] for i in chosen])
    return Asked(question, vectors[chosen], np.array(scalars, np.float32), covers)


class KeepNet(nn.Module):
    """A logit for each candidate: what the cosine says, corrected by a small network.

    Parameters
    ----------
    dim: of the vectors. bilinear: let it see A q * B m, so that it can learn which meanings go together.
    """

    def __init__(self, dim: int, bilinear: bool) -> None:
        super().__init__()
        self.ask = nn.Linear(dim, RANK, bias=False) if bilinear else None
        self.tell = nn.Linear(dim, RANK, bias=False) if bilinear else None
        self.mlp = nn.Sequential(nn.Linear(SCALARS + (RANK if bilinear else 0), 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, question: Tensor, memories: Tensor, scalars: Tensor, there: Tensor, back: Tensor) -> Tensor:
        """Questions [U, D], memories [U, M, D], scalars [U, M, 3], there [U, M], and rows of these [N] -> [N, M]."""
        seen = [scalars]
        if self.ask is not None and self.tell is not None:
            seen.append(self.ask(question)[:, None] * self.tell(memories))
        cosine = scalars[..., 0] / 5
        mean = (cosine * there).sum(dim=1, keepdim=True) / there.sum(dim=1, keepdim=True)
        logits: Tensor = self.mlp(torch.cat(seen, dim=-1))[..., 0] + 5 * (cosine - mean) - 2
        return logits[back]


def _collate(of: Sequence[Asked]) -> Collate:
    """Rows of these questions -> the input of `KeepNet`; a row that is there often is computed once."""
    most = max(len(one.memories) for one in of)

    def padded(arrays: Sequence[Floats]) -> Tensor:
        out = np.zeros((len(arrays), most, *arrays[0].shape[1:]), arrays[0].dtype)
        for i, array in enumerate(arrays):
            out[i, : len(array)] = array
        return torch.from_numpy(out)

    questions = torch.from_numpy(np.stack([one.question for one in of]))
    memories, scalars = padded([one.memories for one in of]), padded([one.scalars for one in of])
    there = padded([np.ones(len(one.memories), np.float32) for one in of])

    def collate(rows: Sequence[int]) -> tuple[tuple[Tensor, ...], Tensor]:
        once, back = torch.unique(torch.as_tensor(list(rows)), return_inverse=True)
        return (questions[once], memories[once], scalars[once], there[once], back), there[once][back] > 0

    return collate


def reward(of: Sequence[Asked], row: int, bits: Tensor) -> float:
    """1 if all evidence that can be reached is kept, and no more than ten memories are; else 0."""
    kept = bits.numpy()[: len(of[row].memories)]
    return float(kept.sum() <= KEPT and of[row].covers[kept].any(axis=0).all())


@dataclass(frozen=True)
class Learned:
    """A trained selection: its log, and evidence recall at ten on each part."""

    log: list[Step]
    train: float
    validation: float
    test: float


def learn(parts: Split, bilinear: bool, seed: int, updates: int = 200) -> Learned:
    """Train on the questions of one conversation, and judge on all."""
    torch.manual_seed(seed)
    policy = BernoulliPolicy(KeepNet(len(parts.train[0].question), bilinear), _collate(parts.train))
    how = GRPO(updates=updates, batch=16)
    log = grpo(policy, range(len(parts.train)), one_step(partial(reward, parts.train)), how, seed=seed)
    return Learned(log, *(_recall_of(policy, of) for of in (parts.train, parts.validation, parts.test)))


@torch.no_grad()
def _recall_of(policy: BernoulliPolicy, of: Sequence[Asked]) -> float:
    recalls = []
    for start in range(0, len(of), 64):
        part = of[start : start + 64]
        policy.collate = _collate(part)
        logits, legal = policy.logits(range(len(part)))
        order = logits.masked_fill(~legal, -torch.inf).argsort(dim=1, descending=True)[:, :KEPT].tolist()
        recalls += [recall(one, rows) for one, rows in zip(part, order, strict=True)]
    return float(np.mean(recalls))


def recall(of: Asked, rows: Sequence[int]) -> float:
    """The share of the evidence that these candidates tell of."""
    kept = [row for row in rows if row < len(of.memories)]
    return float(of.covers[kept].any(axis=0).mean())


def recall_by_cosine(of: Sequence[Asked]) -> float:
    """Evidence recall of the ten nearest."""
    return float(np.mean([recall(one, range(KEPT)) for one in of]))
