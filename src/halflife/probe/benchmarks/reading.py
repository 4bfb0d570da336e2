"""Reading what was found, and judging the answer: LongMemEval's last control point.

Wu et al., "LongMemEval" (arXiv 2410.10813), section 5.5 and its evaluation code. A chat model is any callable from
messages to text; nothing here loads one. Judged without a model, an answer is compared by its words, which is stricter
than a reader who understands.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from halflife.errors import InvalidInput
from halflife.probe.benchmarks.expansions import ChatModel
from halflife.probe.benchmarks.history import Question
from halflife.probe.benchmarks.keyvalue import Value
from halflife.store.text import tokenize
from halflife.store.timeparse import format_time

Format: TypeAlias = Literal["json", "nl"]
Method: TypeAlias = Literal["direct", "con"]

_NOTE = (
    "Below is a part of a user's chat history and a question by the user. Write down what in it helps to answer the "
    "question, with dates where they matter. Reply with the word empty if nothing does."
)
_ANSWER = (
    "Answer the question from the user's chat history. If the history does not hold the answer, say that it cannot be "
    "answered from it."
)
_JUDGE = {
    "": "Does the response contain the correct answer, or say the same? A response with only a part of it does not.",
    "temporal-reasoning": (
        "Does the response contain the correct answer, or say the same? A number of days, weeks or months that is off "
        "by one counts as correct."
    ),
    "knowledge-update": (
        "Does the response give the updated answer? It may mention earlier information too, as long as the updated "
        "answer is what it gives."
    ),
    "single-session-preference": (
        "The correct answer is a rubric of what the user would like. Does the response satisfy it? It need not reflect "
        "every point, as long as it recalls and uses the user's personal information correctly."
    ),
    "_abs": "The question cannot be answered. Does the response say so, or that information is missing?",
}
_UNANSWERABLE = re.compile(
    r"\b(?:cannot|can't|could not|couldn't|unable to|no way to) (?:be )?(?:answer|determine|tell|say|find|know)"
    r"|\b(?:not|never|didn't|haven't|hasn't|no) (?:\w+ ){0,3}?(?:mention|information|record|enough|say|said|told|know)"
    r"|\bi don't know\b|\bunanswerable\b",
    re.IGNORECASE,
)
_UNITS = frozenset("day days week weeks month months".split())
_SMALL = "zero one two three four five six seven eight nine ten eleven twelve".split()
_ARTICLES = frozenset(("a", "an", "the"))


class Reader:
    """Answers a question from what was found.

    Parameters
    ----------
    chat: a chat model, asked at temperature 0.
    format: how the history is shown: `"json"` or `"nl"`, plain lines.
    method: `"direct"`; or `"con"`, chain of note: first a note of each value, then the answer from those not empty.

    Errors
    ------
    InvalidInput: an unknown format or method.

    >>> reader = Reader(lambda messages: "In Graz." if "Graz" in messages[0]["content"] else "empty")
    >>> value = Value("s_0", "s", "user: I moved to Graz.", 0.0, "I moved to Graz.")
    >>> reader.answer(Question("q", "Where do I live?", 86400.0, "single-session-user"), [value])
    'In Graz.'
    """

    def __init__(self, chat: ChatModel, format: Format = "json", method: Method = "direct") -> None:
        for what, given, names in (("format", format, get_args(Format)), ("method", method, get_args(Method))):
            if given not in names:
                raise InvalidInput(f"There is no {what} {given!r}.", f"Use one of {', '.join(names)}.")
        self._chat, self.format, self.method = chat, format, method

    def answer(self, question: Question, values: Sequence[Value]) -> str:
        """The model's answer; `values` as they should be shown, which is by date (`keyvalue.by_date`)."""
        shown = [(value.at, value.text) for value in values]
        if self.method == "con":
            notes = [(at, self._ask(_NOTE, question, [(at, text)])) for at, text in shown]
            shown = [(at, note) for at, note in notes if note.strip(" .\"'").lower() not in ("", "empty")]
        return self._ask(_ANSWER, question, shown)

    def _ask(self, task: str, question: Question, shown: Sequence[tuple[float | None, str]]) -> str:
        asked = "" if question.asked_at is None else f"Asked on: {format_time(question.asked_at)}\n"
        text = f"{task}\n\nHistory:\n{self._history(shown)}\n\n{asked}Question: {question.text}"
        return self._chat([{"role": "user", "content": text}]).strip()

    def _history(self, shown: Sequence[tuple[float | None, str]]) -> str:
        dated = [("unknown" if at is None else format_time(at), text) for at, text in shown]
        if self.format == "json":
            return json.dumps([{"date": date, "content": text} for date, text in dated], ensure_ascii=False, indent=1)
        return "\n\n".join(f"[{date}]\n{text}" for date, text in dated) or "(nothing)"


def judge(question: Question, response: str, chat: ChatModel | None = None) -> bool:
    """Whether a response answers a question.

    Parameters
    ----------
    question: with its answer and type; an id that ends in `_abs` cannot be answered.
    response: what was answered.
    chat: asked for yes or no, by the rule of the type. None compares words: all words of the answer must stand in the
        response, in order and together, "a", "an" and "the" aside; numbers up to twelve may be written either way; a
        temporal answer of days, weeks or months may be off by one; what cannot be answered must be said to be so.

    Errors
    ------
    InvalidInput: a preference without a model (its answer is a rubric, not words); or a reply that is not yes or no.

    >>> asked = Question("q", "Where do I live?", None, "single-session-user", answer="The Hague")
    >>> judge(asked, "You live in the hague, near the sea."), judge(asked, "In Delft.")
    (True, False)
    """
    absent = question.id.endswith("_abs")
    if chat is not None:
        return _asked(question, response, chat, "_abs" if absent else question.kind)
    if absent:
        return bool(_UNANSWERABLE.search(response))
    if question.kind == "single-session-preference":
        raise InvalidInput("The answer of a preference is a rubric, which words cannot be compared with.", "Give chat.")
    said = _words(response)
    answers = [_words(question.answer)]
    if question.kind == "temporal-reasoning":
        answers += _off_by_one(answers[0])
    return any(bool(answer) and _stands_in(answer, said) for answer in answers)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Shares of correct answers.

    Args:
        overall: Over all questions, those that cannot be answered too.
        by_kind: Of each type.
        task_averaged: Mean over the types.
        abstention: Of the questions that cannot be answered; None if there are none.
    """

    overall: float
    by_kind: dict[str, float]
    task_averaged: float
    abstention: float | None


def accuracy(judged: Iterable[tuple[Question, bool]]) -> Accuracy:
    """The benchmark's figures, from questions and whether each was answered. Raises `InvalidInput` if there are none.

    >>> one, two = Question("1", "", None, "a"), Question("2_abs", "", None, "b")
    >>> accuracy([(one, True), (two, False), (one, True)])
    Accuracy(overall=0.6666666666666666, by_kind={'a': 1.0, 'b': 0.0}, task_averaged=0.5, abstention=0.0)
    """
    kinds: dict[str, list[bool]] = defaultdict(list)
    absent = []
    for question, right in judged:
        kinds[question.kind].append(right)
        absent += [right] * question.id.endswith("_abs")
    if not kinds:
        raise InvalidInput("No answer was judged.", "Give a question and its verdict at least.")
    every = [right for of in kinds.values() for right in of]
    by_kind = {kind: _share(of) for kind, of in kinds.items()}
    return Accuracy(_share(every), by_kind, _share(list(by_kind.values())), _share(absent) if absent else None)


def _asked(question: Question, response: str, chat: ChatModel, kind: str) -> bool:
    """The verdict of a model."""
    rule = _JUDGE.get(kind, _JUDGE[""])
    text = (
        f"{rule} Reply with yes or no only.\n\nQuestion: {question.text}\nCorrect answer: {question.answer}\n"
        f"Response: {response}"
    )
    reply = chat([{"role": "user", "content": text}])
    verdict = re.search(r"\b(yes|no)\b", reply.lower())
    if verdict is None:
        raise InvalidInput(f"The judge replied {reply!r}.", "It should reply with yes or no.")
    return verdict[1] == "yes"


def _words(text: str) -> list[str]:
    """The words of a text without articles, small numbers as digits."""
    words = [word for word in tokenize(text) if word not in _ARTICLES]
    return [str(_SMALL.index(word)) if word in _SMALL else word for word in words]


def _stands_in(part: Sequence[str], whole: Sequence[str]) -> bool:
    return any(list(whole[i : i + len(part)]) == list(part) for i in range(len(whole) - len(part) + 1))


def _off_by_one(words: Sequence[str]) -> list[list[str]]:
    """The same number of days, weeks or months, one more and one less."""
    if len(words) == 2 and words[0].isdecimal() and words[1] in _UNITS:
        return [[str(int(words[0]) + step), words[1]] for step in (-1, 1)]
    return []


def _share(of: Sequence[float]) -> float:
    return sum(of) / len(of)
