"""BEAM: one long chat with an assistant (100 thousand to a million tokens), and ten kinds of question about it.

Tavakoli et al., "Beyond a Million Tokens: Benchmarking and Enhancing Long-Term Memory in LLMs" (arXiv 2510.27246).
Read here: `chats/SIZE/N/chat.json` beside its `probing_questions/probing_questions.json`, as the repository
mohammadtavakoli78/BEAM has them, or a folder of such chats; and JSON lines of {id, messages, questions}, one chat a
line. Not read: the chats of ten million tokens, which are ten plans in one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from halflife.decay.law import DAY
from halflife.probe.benchmarks.files import fields, malformed, read_json, read_lines
from halflife.probe.benchmarks.history import History, Item, Question

ABSTENTION = "abstention"  # cannot be answered from the chat
TURN = 30.0  # seconds between two messages: only some have a date, which holds until the next
ANSWERS = ("answer", "ideal_answer", "ideal_response", "ideal_summary", "expected_compliance")  # differs by kind

_MARKER = re.compile(r"\s*->->\s*\S*\s*$")  # "->-> 1,1" or "->-> 2,N/A", left by the generator
_LINES = (".jsonl", ".jsonl.gz")


def read(path: str | Path) -> Iterator[History]:
    """The chats of a file or folder, each as one history; its sessions are the chat's batches.

    Message ids are the chat's; the date of the last `time_anchor` holds, 30 s a message. Questions are asked one day
    after the last message. Abstention questions have no gold.

    Errors
    ------
    InvalidInput: no chat is there, or a file is something else.
    """
    path = Path(path)
    if path.name.endswith(_LINES):
        for place, chat in read_lines(path):
            yield _history(fields(chat, place, id=str, messages=list, questions=list), place)
        return
    files = sorted(p for ending in _LINES for p in path.glob(f"*{ending}")) if path.is_dir() else []
    for file in files:
        yield from read(file)
    chats = [path] if path.name == "chat.json" else sorted(path.rglob("chat.json"))
    if not chats and not files:
        malformed(str(path), "there is neither a chat.json nor a .jsonl file")
    for chat in chats:
        yield _published(chat)


def _published(path: Path) -> History:
    """A chat as its repository has it: batches of turns of messages, and questions by kind."""
    batches = read_json(path)
    if not isinstance(batches, list):
        malformed(str(path), "a list of batches was expected")
    messages: list[Any] = []
    for batch in batches:
        batch = fields(batch, str(path), batch_number=int, turns=list)
        for turn in batch["turns"]:
            messages += [{**fields(message, str(path)), "batch": batch["batch_number"]} for message in turn]
    by_kind = fields(read_json(path.parent / "probing_questions" / "probing_questions.json"), str(path))
    questions = [
        {**question, "type": kind, "source_ids": question.get("source_chat_ids")}
        for kind, asked in by_kind.items()
        for question in asked
    ]
    id = "/".join(path.resolve().parts[-3:-1])  # the folders are its size and number: 100K/1
    return _history({"id": id, "messages": messages, "questions": questions}, str(path))


def _history(chat: Mapping[str, Any], place: str) -> History:
    items = _items(chat["messages"], place)
    sessions = {item.id: str(item.session) for item in items}
    if len(sessions) < len(items):
        malformed(place, "two messages have the same id")
    asked_at = DAY + max((item.at for item in items if item.at is not None), default=0.0)
    questions = []
    for n, question in enumerate(chat["questions"]):
        question = fields(question, f"{place}, question {n}", type=str, question=str)
        named = set() if question["type"] == ABSTENTION else set(map(str, _ids(question.get("source_ids"))))
        gold = frozenset(named & sessions.keys())
        held = frozenset(sessions[id] for id in gold)
        answer = next((str(question[name]) for name in ANSWERS if question.get(name)), "")
        id = f"{chat['id']}/q{n}"
        questions.append(Question(id, question["question"], asked_at, question["type"], gold, held, answer))
    return History(chat["id"], tuple(items), tuple(questions))


def _items(messages: Sequence[Any], place: str) -> list[Item]:
    items: list[Item] = []
    anchors = [_seconds(m["time_anchor"], place) for m in messages if isinstance(m, Mapping) and m.get("time_anchor")]
    at = anchors[0] if anchors else None  # what comes before the first date has that date too
    for message in messages:
        message = fields(message, place, id=int, role=str, content=str, batch=int)
        if message.get("time_anchor"):
            at = _seconds(message["time_anchor"], place)
        text = _MARKER.sub("", message["content"])
        items.append(Item(str(message["id"]), text, at, f"batch {message['batch']}", message["role"]))
        at = None if at is None else at + TURN
    return items


def _ids(sources: Any) -> Iterator[int]:
    """The message ids in a number, a list, or a mapping of them, nested in any way."""
    if isinstance(sources, Mapping):
        sources = list(sources.values())
    if isinstance(sources, list):
        for source in sources:
            yield from _ids(source)
    elif isinstance(sources, int):
        yield sources


def _seconds(anchor: str, place: str) -> float:
    try:
        return datetime.strptime(anchor, "%B-%d-%Y").replace(tzinfo=UTC).timestamp()
    except (TypeError, ValueError):
        malformed(place, f"time_anchor {anchor!r} is not a date such as March-15-2024")
