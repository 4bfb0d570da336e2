"""What the rules know of English: cue words, and how a value, a list or a request is put. No word of any domain."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, TypeAlias

from Stemmer import Stemmer

ValueKind: TypeAlias = Literal["time", "day", "number", "name", "text"]

_LEADS = (
    r"actually|also|and|but|so|well|oh|ok|okay|no|sorry|wait|hmm|hm|now|then|again|please|just|by the way|"
    r"on second thought|in fact|rather|oops|never ?mind that|let's|let us|all|simply|hey|hi|great|thanks|then again"
)
LEAD = re.compile(rf"^(?:(?:{_LEADS})\b[,!.:;]*\s*)+", re.I)
POLITE = re.compile(
    r"^(?:(?:can|could|would|will) you(?: please)?|please|help me(?: to)?|i(?:'d| would) like(?: you)? to|"
    r"i want(?: you)? to|i need(?: you)? to|we need to|i'll|i will)\s+",
    re.I,
)
ASKS = re.compile(
    r"^(?:what|which|where|when|who|whom|whose|how|why|list|show|tell|remind|summari[sz]e|give me|print|display|recap|"
    r"if|suppose|imagine)\b",
    re.I,
)
AUXILIARY = re.compile(
    r"^(?:was|were|is|are|am|did|do|does|have|has|had|should|isn|aren|wasn|weren|didn|don|doesn|haven|hasn)"
    r"(?:n't|'t| not)?\s+(?:i|we|you|he|she|they|it|there|the|my|our|your|that|this)\b",
    re.I,
)
PREPOSITIONS = "from|to|on|at|in|near|with|for|by|until|before|after|as"
_PHRASE = re.compile(rf"\b({PREPOSITIONS})\s+((?:(?!\b(?:{PREPOSITIONS})\b).)+)", re.I)
_ARTICLE = re.compile(r"^(?:a|an|the|my|our|your|some|any|that|this|these|those)\s+", re.I)
_CLOCK = r"(?:\d{1,2}(?::\d\d)?\s*(?:am|pm|a\.m\.|p\.m\.)|\d{1,2}:\d\d|noon|midnight)"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)[a-z]*\.?"
_WEEKDAY = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_DAY = (
    rf"(?:(?:next |this )?{_WEEKDAY}|{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?|\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTH}|"
    r"\d{4}-\d\d-\d\d|today|tomorrow|tonight)"
)
_NUMBER = r"[$€£]?\d[\d.,]*%?"
CLOCK = re.compile(rf"\b{_CLOCK}", re.I)
TYPED = re.compile(rf"\b{_CLOCK}|\b{_DAY}|{_NUMBER}", re.I)
_KINDS: tuple[tuple[ValueKind, re.Pattern[str]], ...] = (
    ("time", re.compile(rf"^{_CLOCK}$", re.I)),
    ("day", re.compile(rf"^{_DAY}$", re.I)),
    ("number", re.compile(rf"^{_NUMBER}$")),
    ("name", re.compile(r"^(?:[A-Z][\w'-]*)(?:(?:,| and|, and)? [A-Z][\w'-]*)*$")),
)
_COUNTS = "zero one two three four five six seven eight nine ten eleven twelve".split()
_COUNT = re.compile(rf"^(?:(?P<digits>\d+)|(?P<word>{'|'.join(_COUNTS)})|an?|some|the|my)\s+", re.I)
_VARIANTS = re.compile(r"^(?P<what>.+?)\s*\((?P<list>[^)]*\b(?:and|,)[^)]*)\)$")
_SPLIT = re.compile(r"\s*,\s*(?:and|or|plus|&)\s+|\s*,\s*|\s+(?:and|plus)\s+", re.I)
_TAIL = re.compile(
    r"\s+(?:instead|please|again|too|as well|for now|at all|"
    r"as (?:originally |first |before )?(?:planned|before|it was)|like before|like it was|after all|then)$",
    re.I,
)
_STEM = Stemmer("english")


def plain(text: str) -> str:
    """Text with straight quotes, single blanks and no end mark."""
    text = text.replace("’", "'").replace("‘", "'").replace("“", '"').replace("”", '"')
    return " ".join(text.split()).rstrip(" .!?;,")


def bare(text: str) -> str:
    """A clause without words that lead in or trail off.

    >>> bare("Actually, just make that Rome instead, please.")
    'make that Rome'
    """
    text, before = plain(text), ""
    while text != before:
        before = text
        text = _TAIL.sub("", LEAD.sub("", text)).rstrip(" ,")
    return text


def noun(text: str) -> str:
    """A phrase without its article."""
    return _ARTICLE.sub("", plain(text)).strip()


def phrases(text: str) -> list[tuple[str, str]]:
    """Prepositions and what follows each.

    >>> phrases("fly from Rome to Oslo on June 10th")
    [('from', 'Rome'), ('to', 'Oslo'), ('on', 'June 10th')]
    """
    return [(m[1].lower(), noun(m[2].strip(" ,"))) for m in _PHRASE.finditer(plain(text))]


def kind_of(value: str) -> ValueKind:
    """What sort of value a text is, by its form alone.

    >>> [kind_of(value) for value in ("2 PM", "June 10th", "Thursday", "12", "Ann and Bob", "near the sea")]
    ['time', 'day', 'day', 'number', 'name', 'text']
    """
    return next((kind for kind, form in _KINDS if form.match(plain(value))), "text")


def counted(text: str) -> tuple[str, int]:
    """A thing, in the singular where more are counted, and how many.

    >>> counted("three green apples"), counted("a charger")
    (('green apple', 3), ('charger', 1))
    """
    found = _COUNT.match(plain(text))
    if not found:
        return plain(text), 1
    number = int(found["digits"]) if found["digits"] else _COUNTS.index(found["word"].lower()) if found["word"] else 1
    thing = plain(text)[found.end() :]
    return (re.sub(r"s$", "", thing) if number > 1 else thing), number


def things(text: str) -> list[tuple[str, int]]:
    """The things in an enumeration, with counts; variants in brackets are things of their own.

    >>> things("two mugs (red and blue), a lamp, and 3 pens")
    [('red mug', 1), ('blue mug', 1), ('lamp', 1), ('pen', 3)]
    """
    found: list[tuple[str, int]] = []
    for part in listed(text):
        variants = _VARIANTS.match(part)
        if variants:
            what, number = counted(variants["what"])
            kinds = listed(variants["list"])
            found += [(f"{kind} {what}", max(1, number // len(kinds))) for kind in kinds]
        else:
            found.append(counted(part))
    return [(noun(thing), number) for thing, number in found if noun(thing)]


def listed(text: str) -> list[str]:
    """The parts of an enumeration, brackets kept whole.

    >>> listed("salt, pepper and (fresh and dry) thyme")
    ['salt', 'pepper', '(fresh and dry) thyme']
    """
    held: list[str] = []

    def hide(match: re.Match[str]) -> str:
        held.append(match[0])
        return f"\x01{len(held) - 1}\x01"

    parts = _SPLIT.split(re.sub(r"\([^)]*\)", hide, plain(text)))
    return [re.sub(r"\x01(\d+)\x01", lambda m: held[int(m[1])], part).strip() for part in parts if part.strip()]


@lru_cache(maxsize=4096)
def stems(text: str) -> frozenset[str]:
    """The stems of a phrase's words, by which names are compared.

    >>> stems("Clear cases") == stems("clear case")
    True
    """
    return frozenset(_STEM.stemWords(re.findall(r"\w+", text.casefold())))
