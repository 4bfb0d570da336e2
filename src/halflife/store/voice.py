"""Whose words a question asks for.

What is remembered has a speaker (`role`): `user`, `assistant`, or a name. A question that names one of them is
answered most often by what that one said, and they said it in the first person: "When did Anna adopt the dog?" is
nearer to "I adopted a dog" once it is put as "When did I adopt the dog?". In the same way a question in the first
person asks for the user's own words, unless it asks what somebody else said to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from halflife.store.text import STOP_WORDS, tokenize

USER = "user"
_FIRST = re.compile(r"\b(?:I|I'm|I've|I'd|I'll|[Mm]y|[Mm]e|[Mm]ine|[Ww]e|[Oo]ur|[Uu]s)\b")
_POLITE = re.compile(r"\b(?:can|could|would|will) you\b|\byou (?:know|remember)\b", re.IGNORECASE)
_SECOND = re.compile(r"\byou(?:r|rs|'ve|'d)?\b", re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """A question, as put to the memory.

    `voices`: the speakers that it asks about. `spoken`: the question as they would put it themselves, whose
    meaning is compared. `words`: the question without their names, which those who speak seldom say themselves,
    if anything else is left to look for.
    """

    voices: tuple[str, ...]
    spoken: str
    words: str


def asked_of(question: str, speakers: Iterable[str]) -> Asked:
    """Whom of the speakers a question asks about.

    A speaker is named by the whole name or by its first word, written with a capital letter.

    >>> asked_of("When did Anna adopt Bob's dog?", ["Anna", "user"])
    Asked(voices=('Anna',), spoken="When did I adopt Bob's dog?", words="When did  adopt Bob's dog?")
    >>> asked_of("What is Anna's dog called?", ["Anna", "Carl"]).spoken
    'What is my dog called?'
    >>> asked_of("Can you tell me where I left my keys?", ["user", "assistant"]).voices
    ('user',)
    >>> asked_of("Which book did you recommend to me?", ["user", "assistant"]).voices
    ()
    """
    known = list(speakers)
    named = {speaker: names for speaker in known if (names := _names(speaker)) and _pattern(names).search(question)}
    if named:
        pattern = _pattern([name for names in named.values() for name in names])
        spoken = pattern.sub(lambda match: "my" if match.group(1) else "I", question)
        rest = pattern.sub("", question)
        content = any(word not in STOP_WORDS for word in tokenize(rest, query=True))
        return Asked(tuple(named), spoken, rest if content else question)
    own = USER in known and _FIRST.search(question) and not _SECOND.search(_POLITE.sub("", question))
    return Asked((USER,) if own else (), question, question)


def _names(speaker: str) -> list[str]:
    """How a speaker is called: by the whole name, or by its first word."""
    names = [speaker, speaker.split()[0]] if speaker.strip() else []
    return [name for name in dict.fromkeys(names) if name[0].isupper()]


def _pattern(names: list[str]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?:('s|\u2019s)(?!\w)|(?!\w))")
