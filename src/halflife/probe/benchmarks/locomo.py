"""LoCoMo: ten very long conversations of two people, with questions about them.

Maharana et al., "Evaluating Very Long-Term Conversational Memory of LLM Agents", ACL 2024 (arXiv 2402.17753).
Read here: `locomo10.json` of the repository snap-research/LoCoMo (or any part of it). Not read: the summaries and
observations that a language model wrote about the conversations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from halflife.decay.law import DAY
from halflife.errors import InvalidInput
from halflife.probe.benchmarks.files import fields, malformed, read_json
from halflife.probe.benchmarks.history import History, Item, Question
from halflife.store.timeparse import parse_time

KINDS = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
ADVERSARIAL = 5  # cannot be answered: what its evidence field names holds no answer
TURN = 30.0  # seconds between two turns: the file has the beginnings of sessions only

_SESSION = re.compile(r"session_(\d+)")
_TURN_ID = re.compile(r"D:?(\d+):(\d+)")  # some evidence is written "D:11:26", "D8:6; D9:17" or "D30:05"


def read(path: str | Path) -> Iterator[History]:
    """The conversations of `locomo10.json`, plain or .gz, each as one history.

    A turn's text is `Speaker: text [caption of the image]`, its id the file's `dia_id`. Questions are asked one day
    after the last session began. Adversarial ones, and those whose evidence names no turn, have no gold.

    Errors
    ------
    InvalidInput: the file is missing or is something else.
    """
    samples = read_json(path)
    if not isinstance(samples, list):
        malformed(str(path), "a list of conversations was expected")
    for number, sample in enumerate(samples, start=1):
        yield _history(sample, f"{path}, conversation {number}")


def _history(sample: Any, place: str) -> History:
    sample = fields(sample, place, sample_id=str, conversation=Mapping, qa=list)
    items, end = _items(sample["conversation"], place)
    sessions = {item.id: item.session for item in items}
    questions = tuple(
        _question(question, f"{sample['sample_id']}/q{n}", sessions, end + DAY, place)
        for n, question in enumerate(sample["qa"])
    )
    return History(sample["sample_id"], tuple(items), questions)


def _items(conversation: Mapping[str, Any], place: str) -> tuple[list[Item], float]:
    """The turns in order, and when the last session began."""
    numbers = sorted(int(found[1]) for key in conversation if (found := _SESSION.fullmatch(key)))
    if not numbers:
        malformed(place, "it has no 'session_1'")
    items: list[Item] = []
    end = 0.0
    for session in (f"session_{n}" for n in numbers):
        where = f"{place}, {session}"
        dated = f"{session}_date_time"
        fields(conversation, where, **{session: list, dated: str})
        try:
            start = parse_time(conversation[dated])
        except InvalidInput as error:
            malformed(where, error.message.rstrip("."))
        end = max(end, start)
        for i, turn in enumerate(conversation[session]):
            turn = fields(turn, where, dia_id=str, speaker=str, text=str)
            caption = f" [{turn['blip_caption']}]" if turn.get("blip_caption") else ""
            text = f"{turn['speaker']}: {turn['text']}{caption}"
            items.append(Item(turn["dia_id"], text, start + TURN * i, session, turn["speaker"]))
    return items, end


def _question(question: Any, id: str, sessions: Mapping[str, str | None], asked_at: float, place: str) -> Question:
    question = fields(question, f"{place}, question {id}", question=str, category=int)
    category = question["category"]
    gold: frozenset[str] = frozenset()
    if category != ADVERSARIAL:
        evidence = question.get("evidence") or []
        named = _TURN_ID.findall(" ".join(map(str, evidence)) if isinstance(evidence, list) else str(evidence))
        gold = frozenset(f"D{int(d)}:{int(turn)}" for d, turn in named) & sessions.keys()
    held = frozenset(session for turn in gold if (session := sessions[turn]))
    answer = question.get("answer", question.get("adversarial_answer", ""))
    return Question(id, question["question"], asked_at, KINDS.get(category, str(category)), gold, held, str(answer))
