"""The weights of Memory-R1's manager that ship with the package: `python -m halflife.papers.r65_train`.

Trained by GRPO on generated dialogues of many kinds of facts (`BROAD`), in rounds: each round's banks are built half
by the right operations and half by the manager of the round before, so that it meets its own mistakes. Half of the
dialogues are embedded with MiniLM and half by hashing, so that the manager relies on no scale of cosines. Each kind
of turn is drawn as often as any other. The frozen reader finds without fail and reads the oldest entry that tells of
the topic, so that whatever a manager leaves untidy costs an answer. A large entropy bonus, which falls to nothing
over the rounds, keeps deletions alive until the features tell when they are right: without it they are never tried
again. Beside the paper's reward, every other answer that an operation makes wrong counts too, and every word kept and
every entry about several things costs a little.

The same seed gives the same file on the same machine and versions. Seed, versions and figures stand in its header.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save

from halflife.agent import manager_learned
from halflife.agent.manager import AlwaysAdd, RuleManager
from halflife.llm import HashEmbedder, MiniLM
from halflife.llm.embedder import Embedder
from halflife.papers.embedding import Cached
from halflife.papers.r65_dialogues import Dialogue, Reader, dialogue
from halflife.papers.r65_manager import Decide, Judge, Replay, State, by_oracle, by_policy, replay, row_of, states
from halflife.papers.r65_nets import PairNet, manager_of, pair_policy, pairs_of, train_grpo
from halflife.papers.r65_worlds import BROAD, BROAD_HELD_OUT, World
from halflife.rl import GRPO, CategoricalPolicy

SEED = 65
ROUNDS, DIALOGUES, TURNS = 3, 80, 40
WORD_COST, MIXED_COST = 0.004, 0.1
FILE = Path(manager_learned.__file__).parent / "weights" / manager_learned.SHIPPED
HOW = GRPO(updates=300, batch=64, group=16, entropy=0.5, epochs=2, lr=3e-3)


def train(
    embedders: Sequence[Embedder],
    seed: int = SEED,
    *,
    rounds: int = ROUNDS,
    dialogues: int = DIALOGUES,
    how: GRPO = HOW,
    say: bool = False,
) -> PairNet:
    """Train a manager.

    Parameters
    ----------
    embedders: what dialogues are embedded with, in turn; they should remember vectors.
    seed: of dialogues, initialisation and all draws.
    rounds, dialogues: how often banks are built anew, and from how many new dialogues.
    how: the settings of a round; the entropy bonus falls to nothing over the rounds.
    say: print how it goes.
    """
    rng = np.random.default_rng(seed)
    reward = Judge(Reader(None, top=1), "count", WORD_COST, MIXED_COST)
    policy: CategoricalPolicy | None = None
    for number in range(rounds):
        tuples: list[State] = []
        for embedder in embedders:
            lengths = rng.integers(3, TURNS + 1, size=dialogues // len(embedders)).tolist()
            made = [dialogue(BROAD, rng, turns) for turns in lengths]  # short ones too, for small banks
            here = _balanced(states(made, embedder, rng, manager_of(policy) if policy else None), rng)
            tuples += here
        policy = policy or pair_policy(seed, tuples)
        policy.collate = pairs_of(tuples)
        settings = replace(how, entropy=how.entropy * (1 - number / max(rounds - 1, 1)))
        log = train_grpo(policy, tuples, reward, settings, seed + number)
        if say:
            print(f"round {number}: reward {log[0].reward:.3f} to {log[-1].reward:.3f}", flush=True)
    assert policy is not None
    net = policy.net
    assert isinstance(net, PairNet)
    return net


def _balanced(of: Sequence[State], rng: np.random.Generator) -> list[State]:
    """As many states of each kind of turn, drawn anew where there are few: most turns are first statements."""
    kinds: dict[str, list[State]] = {}
    for state in of:
        kinds.setdefault(row_of(state.dialogue, state.turn), []).append(state)
    each = len(of) // len(kinds)
    return [kinds[kind][i] for kind in sorted(kinds) for i in rng.integers(len(kinds[kind]), size=each).tolist()]


def judge(decide: Decide, world: World, embedder: Embedder, seed: int, count: int = 20) -> Replay:
    """A manager on dialogues that it was not trained on."""
    rng = np.random.default_rng([seed, 1])
    made: list[Dialogue] = [dialogue(world, rng, TURNS) for _ in range(count)]
    return replay(made, embedder, Reader(embedder), decide)


def compare(net: PairNet, embedders: dict[str, Embedder], seed: int) -> dict[str, dict[str, float]]:
    """Exact match of the trained manager and of those it should beat, by embedder and world."""
    arms: dict[str, Decide] = {
        "learned": by_policy(manager_learned.LearnedManager(manager_learned.Network(net.weights()))),
        "rule 0.7": by_policy(RuleManager(0.7)),
        "add": by_policy(AlwaysAdd()),
        "oracle": by_oracle,
    }
    return {
        f"{what}, {name}": {arm: round(judge(decide, world, embedder, seed).exact(), 3) for arm, decide in arms.items()}
        for name, embedder in embedders.items()
        for what, world in (("kinds of the training", BROAD), ("new kinds and words", BROAD_HELD_OUT))
    }


def main(seed: int = SEED, target: Path = FILE) -> None:
    """Train, compare, and write the file."""
    torch.set_num_threads(1)
    embedders: dict[str, Embedder] = {"MiniLM": Cached(MiniLM(threads=1)), "hash": Cached(HashEmbedder())}
    net = train(list(embedders.values()), seed, say=True)
    figures = compare(net, embedders, seed)
    notes = {"seed": str(seed), "torch": torch.__version__, "numpy": np.__version__, "exact match": json.dumps(figures)}
    data = save(net.weights(), metadata=notes)
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(data)
    print(json.dumps(figures, indent=1))
    print(f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}, seed {seed}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else SEED)
