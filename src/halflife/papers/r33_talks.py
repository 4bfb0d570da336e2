"""The conversations of A-MEM's reproduction: LoCoMo with the observations that its authors ship, or small ones made up.

The observations are facts that a language model wrote of the turns, each with the turn it is from: they stand in for
the context that A-MEM's model would write of a note.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from halflife.agent.thoughts import sentences
from halflife.errors import InvalidInput
from halflife.papers.data import data_file, missing, read_json
from halflife.probe.benchmarks import locomo
from halflife.probe.benchmarks.history import History, Question

FILE = "locomo5.json.gz"
CHOSEN = ("conv-26", "conv-30")  # the two that the claims are about
_TURN = re.compile(r"D:?(\d+):(\d+)")


@dataclass(frozen=True)
class Talk:
    """One conversation.

    Parameters
    ----------
    history: its turns, and its questions.
    contexts: for each turn the observations made of it; mostly none or one.
    controls: in their place as many sentences of the summary of its session, drawn at random.
    """

    history: History
    contexts: Sequence[Sequence[str]]
    controls: Sequence[Sequence[str]]

    @property
    def questions(self) -> list[Question]:
        """The questions that have evidence."""
        return [question for question in self.history.questions if question.gold]


def shipped(seed: int) -> list[Talk]:
    """The conversations of LoCoMo that are on this machine. Raises `InvalidInput` if there are none."""
    path = data_file("locomo", FILE)
    if path is None:
        raise InvalidInput(missing("locomo", FILE), "Set HALFLIFE_DATA to the folder that has it.")
    return read(path, seed)


def read(path: Path, seed: int) -> list[Talk]:
    """The conversations of a file in LoCoMo's schema."""
    rng = np.random.default_rng(seed)
    return [_talk(h, sample, rng) for h, sample in zip(locomo.read(path), read_json(path), strict=True)]


def _talk(history: History, sample: Mapping[str, Any], rng: np.random.Generator) -> Talk:
    facts: dict[str, list[str]] = {}
    for session in sample["observation"].values():
        for fact, turns in (one for of in session.values() for one in of):
            for day, turn in _TURN.findall(str(turns)):
                facts.setdefault(f"D{int(day)}:{int(turn)}", []).append(fact)
    contexts = [facts.get(item.id, []) for item in history.items]
    controls = []
    for item, of in zip(history.items, contexts, strict=True):
        pool = sentences(sample["session_summary"].get(f"{item.session}_summary", ""))
        count = min(len(of), len(pool))
        controls.append([pool[i] for i in rng.choice(len(pool), count, replace=False)] if count else [])
    return Talk(history, contexts, controls)


# -- a world in miniature ----------------------------------------------------------------------------------------------

_PEOPLE = ("Ann", "Bob")
_THINGS = "cello kayak sourdough orchid telescope chess pottery marathon violin beehive".split()
_ACTS = ("bought a {}", "dreamt of a {}", "sold the {}", "painted a {}", "broke the {}", "praised the {}")


def invented(seed: int, talks: int = 2, sessions: int = 3) -> list[Talk]:
    """Small conversations in LoCoMo's schema, read as the published ones are."""
    rng = np.random.default_rng(seed)
    samples = [_sample(f"made-{n}", sessions, rng) for n in range(talks)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.json"
        path.write_text(json.dumps(samples), encoding="utf-8")
        return read(path, seed)


def _sample(name: str, sessions: int, rng: np.random.Generator) -> dict[str, Any]:
    conversation: dict[str, Any] = {}
    observation, summary = {}, {}
    questions: list[dict[str, Any]] = []
    for s in range(1, sessions + 1):
        rows = list(_session(s, rng))
        conversation[f"session_{s}"] = [row["turn"] for row in rows]
        conversation[f"session_{s}_date_time"] = f"1:00 pm on {s} May, 2023"
        told = [row for row in rows if row["fact"]]
        observation[f"session_{s}_observation"] = {
            who: [[row["fact"], row["turn"]["dia_id"]] for row in told if row["turn"]["speaker"] == who]
            for who in _PEOPLE
        }
        summary[f"session_{s}_summary"] = " ".join(row["fact"] for row in told)
        questions += [row["question"] for row in told]
    return {
        "sample_id": name,
        "conversation": conversation,
        "qa": questions,
        "observation": observation,
        "session_summary": summary,
    }


def _session(s: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Eight turns: every second tells something, half of the time only in the picture that it shares with a friend."""
    for t in range(1, 9):
        who, id = _PEOPLE[t // 2 % 2], f"D{s}:{t}"
        if t % 2 == 0:
            yield {"turn": {"speaker": who, "dia_id": id, "text": f"Tell me more, part {s}{t}."}, "fact": ""}
            continue
        did = str(rng.choice(_ACTS)).format(rng.choice(_THINGS))
        text = f"Guess what, I {did}!" if t % 4 == 1 else f"Look at this, number {s}{t}!"
        question = {
            "question": f"When was it that {who} {did}?",
            "answer": str(s),
            "category": 1 + t // 2 % 4,
            "evidence": [id],
        }
        turn = {"speaker": who, "dia_id": id, "text": text}
        yield {"turn": turn, "fact": f"{who} {did} in session {s}.", "question": question}
