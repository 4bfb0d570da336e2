"""Rewards for an answer: exact match, overlap of words, and BLEU-1, after what does not matter is taken away.

Paper: Memory-R1, arXiv 2508.19828, which trains on exact match alone and reports all three on LoCoMo. The
normalisation is SQuAD's (lower case, no articles, no punctuation) without accents, and with dates in one form:
"7 May 2023" and "May 7th, 2023" are the same answer.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter

_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = "|".join(f"{month}|{month[:3]}\\.?" if month != "may" else month for month in _MONTHS) + r"|sept\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_DATES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\b{_DAY}(?: of)? (?P<month>{_MONTH}),? (?P<year>\d{{4}})\b",
        rf"\b(?P<month>{_MONTH}) {_DAY},? (?P<year>\d{{4}})\b",
        rf"\b(?P<month>{_MONTH}),? (?P<year>\d{{4}})\b",
        r"\b(?P<year>\d{4})[-/](?P<month>\d{1,2})[-/](?P<day>\d{1,2})\b",
    )
)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalised(text: object) -> str:
    """A text as it is compared.

    >>> normalised("The Café, on May 7th, 2023!")
    'cafe on 20230507'
    >>> normalised("7 May 2023") == normalised("2023-05-07"), normalised(2022)
    (True, '2022')
    """
    plain = unicodedata.normalize("NFKD", str(text)).casefold()
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    for pattern in _DATES:
        plain = pattern.sub(_date, plain)
    words = "".join(c if c.isalnum() or c.isspace() else " " if c in "-–—/" else "" for c in plain)
    return " ".join(_ARTICLES.sub(" ", words).split())


def exact_match(answer: object, gold: object) -> float:
    """1 if the answer is the gold one after normalisation, else 0.

    >>> exact_match("the 7th of May 2023", "7 May, 2023"), exact_match("In May", "7 May, 2023")
    (1.0, 0.0)
    """
    return float(normalised(answer) == normalised(gold))


def token_f1(answer: object, gold: object) -> float:
    """The harmonic mean of precision and recall of words; a word counts as often as it stands in both.

    Two empty answers are the same; an empty one shares nothing with another.

    >>> token_f1("two grey cats", "two cats")
    0.8
    """
    said, wanted = normalised(answer).split(), normalised(gold).split()
    if not said or not wanted:
        return float(said == wanted)
    common = sum((Counter(said) & Counter(wanted)).values())
    return 2 * common / (len(said) + len(wanted))


def bleu1(answer: object, gold: object) -> float:
    """BLEU of single words: the share of the answer's words that are in the gold, cut if the answer is the shorter.

    Source: Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL 2002.

    >>> bleu1("two cats", "two grey cats") == math.exp(1 - 3 / 2)
    True
    """
    said, wanted = normalised(answer).split(), normalised(gold).split()
    if not said or not wanted:
        return float(said == wanted)
    precision = sum((Counter(said) & Counter(wanted)).values()) / len(said)
    return precision * min(1.0, math.exp(1 - len(wanted) / len(said)))


def _date(found: re.Match[str]) -> str:
    """The date found as digits; what is no date stays as it is."""
    parts = found.groupdict()
    month = parts["month"]
    number = int(month) if month.isdecimal() else 1 + [name[:3] for name in _MONTHS].index(month[:3])
    day = int(parts.get("day") or 0)
    if not 1 <= number <= 12 or day > 31:
        return found[0]
    return f"{parts['year']}{number:02d}" + (f"{day:02d}" if day else "")
