"""MemoryBank's retrieval (A) on its released chats: does a question that names a day find a turn of that day?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import comb
from typing import Any

import numpy as np

from halflife.agent.engine import Engine
from halflife.agent.memory import Memory
from halflife.agent.memorybank import MemoryBank
from halflife.agent.memorybank_notes import date_of
from halflife.llm.embedder import Embedder
from halflife.store.recall import Weights
from halflife.store.trace import Space

KS = (1, 3, 6)
WORDS_ALONE = Weights.only(keyword=1.0)
_DATE = re.compile(r"\b(April|May)\s+(\d{1,2})(?:st|nd|rd|th)\b")
_MONTHS = {"April": 4, "May": 5}


@dataclass(frozen=True)
class Question:
    """A question of a user that names the day it is about."""

    user: str
    text: str
    day: str


def dated_questions(lines: Sequence[Mapping[str, Sequence[str]]], year: int = 2023) -> list[Question]:
    """The questions that name a day.

    >>> [q.day for q in dated_questions([{" Ivy ": ["What did I eat on May 2nd?", "What do I like?"]}])]
    ['2023-05-02']
    """
    found = []
    for line in lines:
        for user, questions in line.items():
            for text in questions:
                if match := _DATE.search(text):
                    day = date(year, _MONTHS[match[1]], int(match[2])).isoformat()
                    found.append(Question(user.strip(), text, day))
    return found


def hit_rates(
    data: Mapping[str, Any], questions: Sequence[Question], embedder: Embedder
) -> dict[str, tuple[float, ...]]:
    """Day hit@k for k in `KS`: the share of questions of which one of the first k turns is of the day named.

    Parameters
    ----------
    data: documents of the released schema.
    """
    found: dict[str, list[list[str]]] = {name: [] for name in ("dense", "bm25", "recency", "dense, date in the text")}
    chance = []
    with _bank(data, embedder) as memory, _bank(_with_dates(data), embedder) as dated:
        words = Engine(memory.engine.store, embedder, weights=WORDS_ALONE)
        for question in questions:
            space = Space.of(question.user)
            days = [date_of(trace.at) for trace in memory.list(user_id=question.user, limit=None)]
            k = max(KS)
            found["dense"].append(_days(memory.search(question.text, user_id=question.user, k=k, reinforce=False)))
            found["bm25"].append(_days(words.search(space, question.text, k, collapse=False)))
            found["recency"].append(days[:k])
            found["dense, date in the text"].append(
                _days(dated.search(question.text, user_id=question.user, k=k, reinforce=False))
            )
            gold = days.count(question.day)
            chance.append([1 - comb(len(days) - gold, k) / comb(len(days), k) for k in KS])
    gold_days = [question.day for question in questions]
    rates = {
        name: tuple(float(np.mean([day in top[:k] for day, top in zip(gold_days, tops, strict=True)])) for k in KS)
        for name, tops in found.items()
    }
    return {"random": tuple(np.mean(chance, axis=0).tolist()), **rates}


def _bank(data: Mapping[str, Any], embedder: Embedder) -> Memory:
    memory = Memory(embedder=embedder, system="memorybank")
    assert isinstance(memory.system, MemoryBank)
    memory.system.import_json(data)
    return memory


def _with_dates(data: Mapping[str, Any]) -> dict[str, Any]:
    """The same documents with its date before each turn, as the released code indexes them."""
    return {
        user: {
            "history": {
                day: [{**turn, "query": f"Conversation on {_spoken(day)}: {turn['query']}"} for turn in turns]
                for day, turns in document["history"].items()
            }
        }
        for user, document in data.items()
    }


def _spoken(day: str) -> str:
    """A date as people say it: `May 2`."""
    return f"{date.fromisoformat(day):%B} {int(day[-2:])}"


def _days(hits: Sequence[Any]) -> list[str]:
    return [date_of(hit.trace.at) for hit in hits]
