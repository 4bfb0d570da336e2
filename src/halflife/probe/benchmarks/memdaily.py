"""MemDaily: messages of daily life to an assistant, in Chinese, with questions whose evidence is known.

Zhang et al., "MemSim: A Bayesian Simulator for Evaluating Memory of LLM-based Personal Assistants" (arXiv
2409.20163). Read here, from data_generation/final_dataset of the repository nuster1128/MemSim: `memdaily.json`, or the
files `01_simple_roles.json` ... that it is made of, one or a folder of them. A history has 4 to 16 messages, so small k
tell most.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from halflife.probe.benchmarks.files import fields, malformed, read_json
from halflife.probe.benchmarks.history import History, Item, Question

_NAME = re.compile(r"(\d\d_(.+)_[a-z]+)\.json(?:\.gz)?")  # 05_post_processing_roles.json
_TIME = re.compile(r"(\d{4})年(\d{1,2})月(\d{1,2})日\s*(?:周.)?\s*(\d{1,2}):(\d{2})")


def read(path: str | Path) -> Iterator[History]:
    """The trajectories of one file, or of all in a folder, plain or .gz; each is one history.

    The kind of a question is its type (`simple`, `conditional`, ...). There are no sessions. A question that is dated
    before the last message is asked right after it.

    Errors
    ------
    InvalidInput: nothing of the kind is there, or a file is something else.
    """
    path = Path(path)
    paths = sorted(p for p in path.iterdir() if _NAME.fullmatch(p.name)) if path.is_dir() else [path]
    if not paths:
        malformed(str(path), "there is no file named like 01_simple_roles.json in this folder")
    for file in paths:
        for name, kind, trajectories in _parts(file):
            if not isinstance(trajectories, list):
                malformed(f"{file}, {name}", "a list of trajectories was expected")
            for number, trajectory in enumerate(trajectories):
                yield _history(trajectory, f"{name}/{number:03d}", kind, f"{file}, trajectory {number} of {name}")


def _parts(file: Path) -> Iterator[tuple[str, str, Any]]:
    """Name, type of question and trajectories of each part of a file."""
    content = read_json(file)
    if isinstance(content, Mapping):  # memdaily.json: by type, then by what they are about
        for kind, subjects in content.items():
            for subject, trajectories in fields(subjects, f"{file}, {kind}").items():
                yield f"{kind}_{subject}", kind, trajectories
    else:
        named = _NAME.fullmatch(file.name)
        name, kind = (named[1], named[2]) if named else (file.name.split(".")[0], "all")
        yield name, kind, content


def _history(trajectory: Any, id: str, kind: str, place: str) -> History:
    trajectory = fields(trajectory, place, message_list=list)
    items = []
    for message in trajectory["message_list"]:
        message = fields(message, place, mid=int, message=str, time=str)
        items.append(Item(str(message["mid"]), message["message"], _seconds(message["time"], place), speaker="user"))
    items.sort(key=lambda item: item.at or 0.0)
    known = {item.id for item in items}
    last = items[-1].at if items else None
    questions = []
    asked_of = trajectory.get("question_list") or [trajectory.get("QA")]
    if not isinstance(asked_of, list):
        malformed(place, "question_list is no list")
    for question in asked_of:
        question = fields(question, place, qid=int, question=str, target_step_id=list, time=str)
        gold = frozenset(map(str, question["target_step_id"]))
        if not gold <= known:
            malformed(place, f"target_step_id names no message: {min(gold - known)}")
        asked = max(_seconds(question["time"], place), last or 0.0)
        name, answer = f"{id}/q{question['qid']}", str(question.get("answer", ""))
        questions.append(Question(name, question["question"], asked, kind, gold, frozenset(), answer))
    return History(id, tuple(items), tuple(questions))


def _seconds(text: str, place: str) -> float:
    """`2024年04月01日 周一 08:38` in seconds since the epoch, as if it were UTC."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        malformed(place, f"{text!r} is not a time such as 2024年04月01日 周一 08:38")
    try:
        return datetime(*map(int, found.groups()), tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc]
    except ValueError as error:
        malformed(place, f"{text!r} is not a time ({error})")
