"""Facts: what a message says that is worth a line of its own, by rule.

A fact is a sentence in the third person. Where a template of `thoughts` fits, it is the plain sentence of its triple
("I just moved to Oslo" is "Anna lives in Oslo."); any other statement about somebody is turned into the third person
as it stands ("I cancelled my gym card" is "Anna cancelled their gym card."). Questions, wishes and small talk yield
nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from halflife.agent.thoughts import RulePostThinker, sentences


@dataclass(frozen=True)
class Fact:
    """One fact.

    Parameters
    ----------
    text: the fact, as the bank would keep it.
    said: the words that it was drawn from, which may say more: "just moved to", "also", "no longer".
    source: the id of the message.
    """

    text: str
    said: str = ""
    source: str = ""


_OPENING = re.compile(
    r"^(?:(?:well|oh|actually|yes|no|ok|okay|so|and|but|hi|hello|hey|thanks|by the way|anyway|sadly|unfortunately|"
    r"fortunately|finally|guess what)\b[,!:]? +)+",
    re.IGNORECASE,
)
_NO_FACT = re.compile(
    r"^(?:I|We|You)(?:'m|’m| am| are|'re|’re|'d|’d| would| will|'ll|’ll| can| could| do| don't)? ?(?:just |really |so |"
    r"also )?(?:think|hope|guess|wonder|wish|mean|see|know|believe|suppose|appreciate|bet|understand|agree|like to|"
    r"love to|glad|sorry|sure|happy to|here|able to|curious|thank)\b|^(?:let me|let's|please|thank|it's|it is|that's|"
    r"that is|this is|there|what|how|have a|see you|good|great|nice)\b",
    re.IGNORECASE,
)
_FIRST = re.compile(r"\b(?:I|I'm|I’m|I've|I’ve|my|mine|me|we|our|us)\b", re.IGNORECASE)
_NAMED = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+|^[A-Z][a-z]+(?:['’]s| (?P<verb>[a-z]+)) ")
_SUBJECT = re.compile(
    r"^(?:I|We)(?P<short>'m|’m|'ve|’ve|'d|’d)? (?P<adverb>(?:also|just|now|recently|still|always|really|finally|even|"
    r"usually|often|never|only) )*(?P<verb>[a-z][\w'’]*)"
)
_AGREES = {"am": "is", "are": "is", "have": "has", "do": "does", "don't": "doesn't", "don’t": "doesn't", "were": "was"}
_AS_IT_IS = frozenset(
    """was wasn't has had hadn't did didn't can can't could couldn't will won't would wouldn't should might must may
    got went came became bought sold brought thought taught caught found met made lost left quit took gave broke began
    ran swam saw wrote read spoke told said heard felt kept slept spent won put set cut hit let grew knew flew drew
    threw drove rode fell built sent lent paid wore chose froze forgot ate drank sang stood held led withdrew""".split()
)
_PRONOUNS = {
    "i": "they", "me": "them", "my": "their", "mine": "theirs", "myself": "themselves",
    "we": "they", "us": "them", "our": "their", "ours": "theirs",
}  # fmt: skip


def facts_of(text: str, speaker: str = "The user", listener: str = "The assistant") -> list[Fact]:
    """The facts in what a speaker said to a listener, in order.

    >>> said = "Hi! I just moved to Oslo. I also adopted a cat called Tom! How are you? It's raining."
    >>> [fact.text for fact in facts_of(said, "Anna")]
    ['Anna lives in Oslo.', 'Anna also adopted a cat called Tom.']
    """
    thinker = RulePostThinker(speaker, listener)
    found: list[Fact] = []
    for sentence in sentences(text):
        bare = _OPENING.sub("", sentence).strip()
        bare = bare[:1].upper() + bare[1:]
        if bare.endswith("?") or _NO_FACT.match(bare):
            continue
        thoughts = thinker.think(bare, "")
        if thoughts:
            found += [Fact(thought.text, sentence) for thought in thoughts]
        elif len(bare.split()) > 2 and (_FIRST.search(bare) or _named(bare)):
            found.append(Fact(third_person(bare, speaker), sentence))
    return found


def third_person(sentence: str, speaker: str) -> str:
    """What somebody said of themselves, as another would say it of them.

    >>> third_person("I no longer play chess with my brother!", "Anna"), third_person("My car broke down", "Ben")
    ('Anna no longer plays chess with their brother.', "Ben's car broke down.")
    """
    said = sentence.strip().rstrip(".!").strip()
    if (bare := re.sub(r"^(I|We) no longer ", r"\1 ", said)) != said:
        return re.sub(rf"^{re.escape(speaker)} ", lambda m: f"{speaker} no longer ", third_person(bare, speaker))
    if found := _SUBJECT.match(said):
        rest = said[found.end() :]
        short = {"m": " is", "ve": " has", "d": " would"}.get((found["short"] or " ")[1:], "")
        verb = found["verb"] if short else _agreeing(found["verb"])
        said = f"{speaker}{short} {found['adverb'] or ''}{verb}{_others(rest)}"
    elif found := re.match(r"^(?:My|Our)\b", said):
        said = f"{speaker}'s{_others(said[found.end() :])}"
    else:
        said = re.sub(r"^I['’]m\b", f"{speaker} is", said)
        said = re.sub(r"^I['’]ve\b", f"{speaker} has", said)
        said = said[:1] + _others(said[1:])
    return f"{said}."


def _named(sentence: str) -> bool:
    """Whether a sentence names somebody or something, at its beginning before a verb, or later on."""
    found = _NAMED.search(sentence)
    verb = found["verb"] if found else None
    return found is not None and (verb is None or verb in _AS_IT_IS or verb.endswith(("s", "ed")))


def _agreeing(verb: str) -> str:
    """A verb after "I" as it is after a name; past forms stay."""
    if verb in _AGREES:
        return _AGREES[verb]
    if verb in _AS_IT_IS or verb.endswith(("ed", "ly")):
        return verb
    if re.search(r"(?:s|sh|ch|x|z|o)$", verb):
        return f"{verb}es"
    if re.search(r"[^aeiou]y$", verb):
        return f"{verb[:-1]}ies"
    return f"{verb}s"


def _others(text: str) -> str:
    """The pronouns of the first person within a sentence."""
    return re.sub(r"\b(?:I|me|my|mine|myself|we|us|our|ours)\b", lambda m: _PRONOUNS[m[0].lower()], text)
