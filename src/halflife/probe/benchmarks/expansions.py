"""What a text is indexed by besides itself: facts, keyphrases or a summary, by rule or by a chat model.

Wu et al., "LongMemEval" (arXiv 2410.10813), section 5.3. An expansion takes a text and gives strings; none means that
there is nothing to say. The rules stand in for the paper's language model: `facts` knows sentences and the first person
only, so it keeps what says nothing ("I would like to know more") and misses what takes two sentences.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

from halflife.errors import InvalidInput
from halflife.store.text import STOP_WORDS, tokenize

Expand: TypeAlias = Callable[[str], Sequence[str]]
ChatModel: TypeAlias = Callable[[list[dict[str, str]]], str]
"""A chat model: messages of `role` and `content` in, the reply out. Ask it at temperature 0."""

_SENTENCE = re.compile(r"(?<=[.!?…])\s+|\n+|(?<=[。！？])")
_FIRST_PERSON = re.compile(r"\b(?:i|i'm|i've|i'd|i'll|my|mine|me|myself|we|we're|we've|we'd|we'll|our|ours|us)\b", re.I)
# Verbs go with their subject; the rest keep the form that they have after "I".
_SUBJECT = {"am": "is", "'m": "is", "are": "is", "'re": "is", "have": "has", "'ve": "has", "were": "was"}
_SUBJECT |= {"do": "does", "don't": "does not", "'d": "would", "'ll": "will"}
_AS_SUBJECT = re.compile(r"\b(?:I|[Ww]e)(?:\s+(am|are|have|were|do|don't)\b|('m|'re|'ve|'d|'ll)\b|\b)")
_OTHERS = {"my": "the user's", "our": "the user's", "mine": "the user's", "ours": "the user's"}
_OTHERS |= {"me": "the user", "us": "the user", "myself": "the user", "ourselves": "the user"}
_AS_OTHER = re.compile(rf"\b({'|'.join(_OTHERS)})\b", re.IGNORECASE)


def sentences(text: str) -> list[str]:
    """The sentences of a text, without the spaces between.

    >>> sentences("It rains. Does it? Yes!")
    ['It rains.', 'Does it?', 'Yes!']
    """
    return [part.strip() for part in _SENTENCE.split(text) if part.strip()]


def facts(text: str) -> list[str]:
    """What a user says of themselves: sentences in the first person that ask nothing, in the third.

    >>> facts("I'm in Ghent and my dog hates it. Could you help me? Rain is expected.")
    ["The user is in Ghent and the user's dog hates it."]
    """
    return [_third_person(one) for one in sentences(text) if _FIRST_PERSON.search(one) and not one.endswith("?")]


def _third_person(sentence: str) -> str:
    plain = sentence.replace("’", "'")
    plain = _AS_SUBJECT.sub(lambda m: " ".join(filter(None, ("the user", _SUBJECT.get(m[1] or m[2] or "")))), plain)
    plain = _AS_OTHER.sub(lambda m: _OTHERS[m[1].lower()], plain)
    return plain[0].upper() + plain[1:]


def keyphrases(text: str, count: int = 10) -> list[str]:
    """The phrases of one to three words between function words, most frequent first, longer ones first among equals.

    Candidates as in RAKE (Rose et al., "Automatic Keyword Extraction from Individual Documents", 2010).

    >>> keyphrases("The night bus was late. The night bus is late again, my dog was not.", count=2)
    ['night bus', 'late again']
    """
    runs: Counter[tuple[str, ...]] = Counter()
    for part in re.split(r"[^\w\s'’-]+", text):
        run: list[str] = []
        for word in [*tokenize(part), ""]:
            if word and word not in STOP_WORDS:
                run.append(word)
            elif run:
                runs[tuple(run[:3])] += 1
                run = []
    ranked = sorted(runs, key=lambda run: (-runs[run], -len(run)))
    return [" ".join(run) for run in ranked[:count]]


def summary(text: str, count: int = 3) -> list[str]:
    """The sentences whose words are the most frequent ones, in the order in which they stand.

    >>> summary("The bus was late. Rain fell on the sea. Is a late bus a bus?", count=2)
    ['The bus was late.', 'Is a late bus a bus?']
    """
    every = sentences(text)
    words = [[word for word in tokenize(one) if word not in STOP_WORDS] for one in every]
    often = Counter(word for of in words for word in of)
    worth = [sum(often[word] for word in of) / max(len(of), 1) for of in words]
    best = sorted(range(len(every)), key=lambda i: -worth[i])[:count]
    return [every[i] for i in sorted(best)]


RULES: dict[str, Expand] = {"fact": facts, "keyphrase": keyphrases, "summary": summary}
_ASK = {
    "fact": (
        "Below is what a user said in a chat with an assistant. List every fact about the user that it states or "
        "implies as standalone sentences in the third person, with pronouns resolved. Reply with a JSON list of "
        "strings; [] if there are none."
    ),
    "keyphrase": "List the keyphrases of the text below, separated by semicolons, and nothing else.",
    "summary": "Summarise what the user says in the text below in one short paragraph, and write nothing else.",
}


def by_model(model: ChatModel, what: str) -> Expand:
    """An expansion that asks a chat model. A reply that cannot be read is an empty expansion.

    Parameters
    ----------
    model: takes messages, gives the reply.
    what: `"fact"`, `"keyphrase"` or `"summary"`.

    Errors
    ------
    InvalidInput: there is no such expansion.

    >>> by_model(lambda messages: '["The user has a dog."]', "fact")("My dog barks.")
    ['The user has a dog.']
    """
    if what not in _ASK:
        raise InvalidInput(f"There is no expansion {what!r}.", f"There are {', '.join(_ASK)}.")

    def expand(text: str) -> list[str]:
        reply = model([{"role": "user", "content": f"{_ASK[what]}\n\n{text}"}]).strip()
        if what == "keyphrase":
            return [part.strip() for part in reply.split(";") if part.strip()]
        return _strings(reply) if what == "fact" else [reply] * bool(reply)

    return expand


def _strings(reply: str) -> list[str]:
    """The first JSON list in a reply, if it is one of strings."""
    found = re.search(r"\[.*\]", reply, re.DOTALL)
    try:
        values = json.loads(found[0]) if found else []
    except ValueError:
        return []
    return [value.strip() for value in values if isinstance(value, str) and value.strip()]
