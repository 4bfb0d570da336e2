"""What a learned manager sees of a fact and an entry: how they relate, and never which words they hold.

Names and values are open sets: a policy that knows words knows those of its training. These features are relations
(the same subject, the same verb, the share of words in common, the cosine) and a few cues of English that say what a
statement does to an earlier one ("moved", "also", "no longer"). Any fact can be described by them.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import Stemmer
from numpy.typing import NDArray

from halflife.agent.facts import Fact
from halflife.agent.manager import Candidate
from halflife.agent.thoughts import RulePostThinker, entity, sentences
from halflife.store.text import tokenize

Floats = NDArray[np.float32]

_REPLACE = re.compile(
    r"\b(?:now|moved|changed|chang\w+|switched|instead|became|becomes?|new|promoted|upgraded|replaced|renamed|"
    r"from now on|these days|relocated|since|turned|swapped|transferred|got a)\b",
    re.IGNORECASE,
)
_COMPLEMENT = re.compile(
    r"\b(?:also|another|too|as well|second|third|additional\w*|besides|plus|one more|in addition|more|both|other)\b",
    re.IGNORECASE,
)
_RETRACT = re.compile(
    r"\b(?:no longer|anymore|any more|stopp?ed|stops?|quits?|cancel\w*|gave up|gives up|given up|dropp?ed|ended|sold|"
    r"lost|broke up|split up|resigned|withdrew|left|leaves|removed|deleted|unsubscribed|divorced|died|passed away|"
    r"got rid|never again|not .{0,20}again|gave away|closed|finished with)\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(r"\b(?:not|never|no|none|\w+n['’]t)\b", re.IGNORECASE)
_CHAT = frozenset(
    """weather nice lovely great good day week weekend morning evening fun hope today tomorrow yesterday rain sun sunny
    rainy cold warm busy tired bored hungry soon later thing things stuff time say says said think thinks feel feels
    laugh laughs joke smile smiles wave waves hello hi greetings chat chats""".split()
)
_STOP = frozenset(
    """a an the of to in at on for with and or but is are was were be been am has have had do does did it its this that
    their his her my our your they he she i we you as by from into about also now no not very just called named
    another too new second there still recently longer anymore""".split()
)
_NOBODY = frozenset("the a an this that these those it there he she they we i you today now".split())
_POSSESSIVE = re.compile(r"^(?P<who>[A-Z][\w-]*(?: [A-Z][\w-]*)*|The user|The assistant)['’]s ")
_LEADING = re.compile(r"^(?:The (?:user|assistant)|(?:[A-Z][\w-]*)(?: [A-Z][\w-]*)*)")

FACT_FEATURES = (
    "replace", "complement", "retract", "negation", "chat", "named", "triple", "functional", "length", "candidates",
    "best cosine", "bank size",
)  # fmt: skip
PAIR_FEATURES = (
    "cosine", "lead", "first", "same subject", "subjects", "same verb", "same relation", "one value", "fact in entry",
    "entry in fact", "values shared", "values new", "same words", "sentences", "entry retracts", "other subject",
)  # fmt: skip


@dataclass(frozen=True)
class Statement:
    """A sentence taken apart: whom it is about, the first word after that, and the stems of the rest."""

    subject: str
    verb: str
    words: frozenset[str]
    relation: str
    functional: bool
    text: str


@lru_cache(maxsize=20_000)
def statements(text: str) -> tuple[Statement, ...]:
    """The sentences of a text, taken apart.

    >>> [(s.subject, s.verb, s.relation) for s in statements("Anna lives in Oslo. Ben's dog is called Rex.")]
    [('anna', 'live', 'lives in'), ('ben', 'dog', 'dog')]
    """
    return tuple(_statement(sentence) for sentence in sentences(text))


def _statement(sentence: str) -> Statement:
    found = _POSSESSIVE.match(sentence) or _LEADING.match(sentence)
    subject = entity(found["who"] if found and "who" in found.groupdict() else found[0]) if found else ""
    if subject in _NOBODY:
        found, subject = None, ""
    rest = sentence[found.end() :] if found else sentence
    words = [_stem(word) for word in tokenize(rest) if word not in _STOP]
    thoughts = _THINKER.think(sentence, "")
    relation = entity(thoughts[0].relation) if thoughts else ""
    functional = bool(thoughts) and _THINKER.is_functional(relation)
    verb = words[0] if words else ""
    return Statement(subject, verb, frozenset(words[1:]), relation, functional, entity(sentence.rstrip(".!")))


@lru_cache(maxsize=20_000)
def _stem(word: str) -> str:
    with _LOCK:  # a stemmer is not for two threads at once
        return str(_STEMMER.stemWord(word))


_THINKER, _STEMMER, _LOCK = RulePostThinker(), Stemmer.Stemmer("english"), threading.Lock()


def features(fact: Fact, candidates: Sequence[Candidate], size: int) -> tuple[Floats, Floats]:
    """What a policy sees: of the fact, [len(FACT_FEATURES)], and of each candidate, [n, len(PAIR_FEATURES)].

    >>> of_fact, of_pairs = features(Fact("Anna lives in Bergen."), [Candidate("e", "Anna lives in Oslo.", 0.7)], 1)
    >>> of_pairs.shape, float(of_pairs[0, PAIR_FEATURES.index("same subject")])
    ((1, 16), 1.0)
    """
    said = f"{fact.text} {fact.said}"
    main = statements(fact.text)[0]
    words = tokenize(fact.text)
    best = candidates[0].cosine if candidates else 0.0
    second = candidates[1].cosine if len(candidates) > 1 else 0.0
    pairs = np.array(
        [_pair(main, one, one.cosine - (second if rank == 0 else best), rank) for rank, one in enumerate(candidates)],
        np.float32,
    ).reshape(len(candidates), len(PAIR_FEATURES))
    own = pairs[touchable(pairs), 0]
    of_fact = [
        bool(_REPLACE.search(said)),
        bool(_COMPLEMENT.search(said)),
        bool(_RETRACT.search(said)),
        bool(_NEGATION.search(said)),
        sum(word in _CHAT for word in words) / max(len(words), 1),
        bool(main.subject),
        bool(main.relation),
        main.functional,
        min(len(words) / 20, 2.0),
        min(len(own) / 5, 1.0),
        own[0] if len(own) else 0.0,
        math.log1p(size) / 5,
    ]
    return np.array(of_fact, np.float32), pairs


def _pair(fact: Statement, candidate: Candidate, lead: float, rank: int) -> list[float]:
    parts = statements(candidate.text)
    twin = max(parts, key=lambda part: _likeness(fact, part))
    shared = fact.words & twin.words
    both = fact.words | {fact.verb}, twin.words | {twin.verb}
    common = len(both[0] & both[1])
    return [
        candidate.cosine,
        lead,
        float(rank == 0),
        float(fact.subject == twin.subject != ""),
        sum(part.subject == fact.subject for part in parts) / len(parts),
        float(fact.verb == twin.verb != ""),
        float(fact.relation == twin.relation != ""),
        float(fact.functional and fact.relation == twin.relation),
        common / max(len(both[0]), 1),
        common / max(len(both[1]), 1),
        len(shared) / max(len(fact.words), 1),
        len(fact.words - twin.words) / max(len(fact.words), 1),
        float(any(fact.text == part.text for part in parts)),
        min(len(parts) / 5, 2.0),
        float(bool(_RETRACT.search(candidate.text))),
        float(fact.subject != "" and all(part.subject not in ("", fact.subject) for part in parts)),
    ]


def touchable(of_pairs: Floats) -> NDArray[np.bool_]:
    """Which entries a fact may change, [n]: not those that are about others alone.

    >>> about_ben = [Candidate("e", "Ben lives in Rome.", 0.7), Candidate("f", "Anna and Ben sing.", 0.4)]
    >>> touchable(features(Fact("Anna moved to Rome."), about_ben, 2)[1]).tolist()
    [False, True]
    """
    out: NDArray[np.bool_] = of_pairs[:, PAIR_FEATURES.index("other subject")] == 0
    return out


def _likeness(fact: Statement, part: Statement) -> float:
    """How much a sentence of an entry speaks of what the fact speaks of."""
    same = (fact.subject == part.subject != "") + (fact.relation == part.relation != "") + (fact.verb == part.verb)
    return 2.0 * same + len(fact.words & part.words) / max(len(fact.words | part.words), 1)
