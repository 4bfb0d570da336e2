"""LongMemEval: questions asked of long histories of chats with an assistant.

Wu et al., "LongMemEval: Benchmarking Chat Assistants on Long-Term Interactive Memory" (arXiv 2410.10813). Read here:
the published JSON (`longmemeval_s.json`, `longmemeval_m.json`, `longmemeval_oracle.json`: a list of instances, each
with its whole haystack), or a folder in which each session is stored once (`sessions_*.jsonl`, and `questions_s.jsonl`
or another `questions_*.jsonl` with the ids of its sessions), plain or packed.

Evidence is what the user said (section 4.2 of the paper and its evaluation code): turns of the user marked
`has_answer`, and the sessions that have one. Questions that cannot be answered (`_abs`) and those whose evidence is the
assistant's alone have none. The ids of evidence sessions contain `answer`: they name items here, and must never be text
to be found.

Where the published data departs from its description, and what is read then: sessions are not always in order of time
(they are put in order); some stand after the question is asked (kept); a few turns are empty (left out, the numbers of
the others stay); four haystacks of 250 hold one filler session twice (read once, at its first date); some evidence
sessions have no marked turn at all, though others of the same question have (not counted as evidence, as by the
paper's code).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from halflife.probe.benchmarks.files import fields, malformed, read_json, read_lines
from halflife.probe.benchmarks.history import History, Item, Question

SECONDS_A_TURN = 30.0
_DATE = re.compile(r"\d{4}/\d{2}/\d{2} \([A-Z][a-z]{2}\) \d{2}:\d{2}")


def read(path: str | Path, *, assistant_evidence: bool = False) -> Iterator[History]:
    """The instances of a file or folder, each a history with one question. An item is a turn.

    Parameters
    ----------
    path: the JSON file, plain or .gz; or the folder of sessions and questions.
    assistant_evidence: count all sessions that the authors marked, also those where only the assistant's words hold the
        answer (the paper's figures do not).

    Errors
    ------
    InvalidInput: nothing of the kind is there; parallel lists differ in length; a date or a turn is malformed; no
        turn of a question that can be answered is marked as evidence.
    """
    path = Path(path)
    if path.is_dir():
        yield from (_history(*one, assistant_evidence) for one in _folder(path))
        return
    instances = read_json(path)
    if not isinstance(instances, list):
        malformed(str(path), "a list of questions was expected")
    for number, instance in enumerate(instances):
        place = f"{path}, question {number}"
        yield history(instance, place, assistant_evidence=assistant_evidence)


def history(instance: Any, place: str = "the instance", *, assistant_evidence: bool = False) -> History:
    """One instance of the published form as a history.

    Parameters
    ----------
    instance: what stands in the JSON, with `haystack_sessions`.
    place: where it stands, for errors.
    assistant_evidence: see `read`.

    Errors
    ------
    InvalidInput: see `read`.
    """
    sessions = fields(instance, place, haystack_sessions=list)["haystack_sessions"]
    return _history(instance, sessions, place, assistant_evidence)


def _folder(path: Path) -> Iterator[tuple[Any, Sequence[Any], str]]:
    """Each question of a folder with its sessions."""
    asked = sorted(path.glob("questions_s.jsonl*")) or sorted(path.glob("questions_*.jsonl*"))
    stored = sorted(path.glob("sessions_*.jsonl*"))
    if not asked or not stored:
        malformed(str(path), "there are no files named like questions_s.jsonl and sessions_1.jsonl in this folder")
    sessions: dict[str, Any] = {}
    for file in stored:
        for place, row in read_lines(file):
            session = fields(row, place, id=str, turns=list)
            sessions[session["id"]] = session["turns"]
    for place, question in read_lines(asked[0]):
        ids = fields(question, place, haystack_session_ids=list)["haystack_session_ids"]
        if missing := [id for id in ids if id not in sessions]:
            malformed(place, f"there is no session {missing[0]!r}")
        yield question, [sessions[id] for id in ids], place


def _history(instance: Any, sessions: Sequence[Any], place: str, assistant_evidence: bool) -> History:
    kinds = {"question_id": str, "question_type": str, "question": str, "question_date": str}
    lists = {"haystack_dates": list, "haystack_session_ids": list, "answer_session_ids": list}
    row = fields(instance, place, **kinds, **lists)
    ids, dates = row["haystack_session_ids"], row["haystack_dates"]
    if not len(ids) == len(dates) == len(sessions):
        malformed(place, f"there are {len(sessions)} sessions, {len(ids)} ids and {len(dates)} dates")
    order = sorted(range(len(ids)), key=lambda i: _time(dates[i], place))  # the oracle form is not in order
    if not all(isinstance(id, str) for id in ids):
        malformed(place, "an id of a session is not a string")
    first: dict[str, int] = {}
    for i in order:
        first.setdefault(ids[i], i)
    items, marked, by_user = [], set(), set()
    for i in first.values():
        start = _time(dates[i], place)
        for n, turn in enumerate(sessions[i]):
            said = fields(turn, f"{place}, session {ids[i]}, turn {n}", role=str, content=str)
            if said.get("has_answer"):
                marked.add(ids[i])
                if said["role"] == "user":
                    by_user.add((ids[i], f"{ids[i]}_{n}"))
            if said["content"].strip():
                items.append(Item(f"{ids[i]}_{n}", said["content"], start + n * SECONDS_A_TURN, ids[i], said["role"]))
    abstain = row["question_id"].endswith("_abs")
    answers = {id for id in row["answer_session_ids"] if id in ids}
    unmarked = [id for id, turns in zip(ids, sessions, strict=True) if id in answers and not _says(turns)]
    if unmarked or not (abstain or marked):
        which = f" {unmarked[0]}" if unmarked else ""
        malformed(place, f"no turn of an evidence session{which} has a mark (has_answer)")
    sessions_of_user = answers if assistant_evidence else {session for session, _ in by_user}
    question = Question(
        row["question_id"],
        row["question"],
        _time(row["question_date"], place),
        row["question_type"],
        frozenset() if abstain else frozenset(turn for _, turn in by_user),
        frozenset() if abstain else frozenset(sessions_of_user),
        str(row.get("answer", "")),
    )
    return History(row["question_id"], tuple(items), (question,))


def _says(turns: Sequence[Any]) -> bool:
    """Whether a session says of any turn if it holds the answer: published ones say no as well as yes."""
    return any("has_answer" in turn for turn in turns)


def _time(date: Any, place: str) -> float:
    """`2023/05/30 (Tue) 23:40` in Unix seconds, read as UTC."""
    try:
        if isinstance(date, str) and _DATE.fullmatch(date):
            return datetime.strptime(f"{date[:10]} {date[-5:]} +0000", "%Y/%m/%d %H:%M %z").timestamp()
    except ValueError:
        pass
    return malformed(place, f"{date!r} is no date like '2023/05/30 (Tue) 23:40'")
