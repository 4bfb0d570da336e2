"""Inductive thoughts: what was concluded from a turn, as relation triples, and how they are tidied by rule.

Paper: "Think-in-Memory: Recalling and Post-thinking Enable LLMs with Long-Term Memory", arXiv 2311.08719.

In the paper a language model extracts the thoughts, finds those that contradict one another and merges the
rest. `PostThinker` is that interface. `RulePostThinker` fills it without a model: triples by template; of
thoughts with one head and one functional relation the newest stays; thoughts with one head and one relation
become one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from halflife.errors import InvalidInput


@dataclass(frozen=True)
class Thought:
    """A relation triple (head, relation, tail); after merging, several tails.

    Parameters
    ----------
    head: the entity it is about.
    relation: a verb phrase such as `lives in`, or an attribute such as `favourite colour`.
    tails: what the head is related to; at least one.
    created: when it was thought, in seconds since the Unix epoch.
    id: set by the store; empty before.
    source: the side of the turn that it was drawn from, `query` or `response`; empty for both.
    wording: the sentence, when it is not the plain one made from the triple.

    >>> Thought("Anna", "lives in", ("Oslo",)).text
    'Anna lives in Oslo.'
    >>> Thought("Anna", "favourite colours", ("red", "blue", "grey")).text
    "Anna's favourite colours: red, blue and grey."
    """

    head: str
    relation: str
    tails: tuple[str, ...]
    created: float = 0.0
    id: str = ""
    source: str = ""
    wording: str = ""

    def __post_init__(self) -> None:
        for what, values in (("head", (self.head,)), ("relation", (self.relation,)), ("tail", self.tails)):
            if not values or not all(value.strip() for value in values):
                raise InvalidInput(f"A thought has an empty {what}.", "Give head, relation and tail.")

    @property
    def text(self) -> str:
        """The thought as a sentence."""
        if self.wording:
            return self.wording
        tails = _enumerate(self.tails)
        if self.relation.split()[0] in _VERBS:
            return f"{self.head} {self.relation} {tails}."
        return f"{self.head}'s {self.relation}: {tails}."

    @property
    def subject(self) -> tuple[str, str]:
        """Head and relation as they are compared: without case or stray blanks."""
        return entity(self.head), entity(self.relation)


class Merged(NamedTuple):
    """The thought that takes the place of those with these ids."""

    ids: tuple[str, ...]
    thought: Thought


class PostThinker(Protocol):
    """The three calls of post-thinking (paper, section on updating the memory)."""

    def think(self, query: str, response: str) -> list[Thought]:
        """The thoughts that a turn gives rise to."""
        ...

    def contradictions(self, thoughts: Sequence[Thought]) -> list[str]:
        """The ids of those that others in the list have made untrue."""
        ...

    def merge(self, thoughts: Sequence[Thought]) -> list[Merged]:
        """Groups of two or more thoughts with the one that says the same in their place."""
        ...


# The verbs with which a relation can begin; any other relation is an attribute ("favourite colour").
_VERBS = frozenset({"is", "has", "lives", "works", "studies", "likes", "dislikes", "owns", "plays", "visited"})

# Relations of which only one tail can be true at a time.
FUNCTIONAL = frozenset({"lives in", "works at", "works as", "name", "age", "birthday", "job", "home", "phone number"})

_SUBJECT = r"(?P<head>I|We|You|[A-Z][\w'’-]+(?: [A-Z][\w'’-]+)*)"
_ADVERB = r"(?:(?: am|'m| are| is)? (?:now|currently|still|also|really|just|recently|always))?"
_TAIL = r" (?P<tail>[^,;]+)"
_OPENING = re.compile(r"^(?:(?:well|oh|actually|yes|no|ok|okay|so|and|but|hi|hello|thanks)\b[,!]? +)+", re.IGNORECASE)

_TEMPLATES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (relation, re.compile(f"^{_SUBJECT}{_ADVERB}{verb}{_TAIL}$"))
    for relation, verb in (
        ("lives in", r"(?: lives?(?: now)? in|(?: have| has|'ve|'s)? moved to)"),
        ("works at", r" works?(?: now)? (?:at|for)"),
        ("works as", r" works?(?: now)? as(?: an?)?"),
        ("studies", r" stud(?:y|ies)"),
        ("likes", r" (?:likes?|loves?|enjoys?)"),
        ("dislikes", r"(?: dislikes?| hates?| do(?:es)?(?:n['’]t| not) like)"),
        ("plays", r" plays?"),
        ("visited", r" visited"),
        ("has", r" (?:have|has|owns?)"),
        ("is", r"(?: am| is| are|'m|’m)"),
    )
)
_ATTRIBUTE = re.compile(
    r"^(?:(?P<whose>My|Our|Your)|(?P<name>[A-Z][\w-]*(?: [A-Z][\w-]*)*)['’]s) "
    r"(?P<relation>[a-z][a-z -]*?) (?:is|are|was|were)(?: now| called)? (?P<tail>[^,;]+)$"
)
_NO_FACT = re.compile(
    r"^(?:not|never|no longer|been|to|a bit|going to|about to|sorry|sure|glad|happy to|back|here|able to)\b",
    re.I,
)
_TIME_WORD = re.compile(r"^(?:now|currently|still|also|always) | (?:now|currently|again|today|too)$", re.I)
# Words that begin a sentence with a capital letter and name nobody.
_NOT_NAMES = frozenset(
    {
        "it",
        "its",
        "it's",
        "this",
        "that",
        "these",
        "those",
        "there",
        "here",
        "what",
        "where",
        "who",
        "how",
        "why",
    }
    | {"when", "if", "today", "tomorrow", "yesterday", "now", "then", "everything", "something", "nothing"}
    | {"everyone", "someone", "he", "she", "they", "sounds", "i'd", "i'm"}
)
_FIRST, _SECOND = {"I", "We", "My", "Our"}, {"You", "Your"}


class RulePostThinker:
    """Post-thinking by rule: no model, the same result every time.

    It sees plain statements ("I live in Oslo", "My favourite colour is blue", "Anna works at the harbour")
    and nothing else; questions, negations and conditions yield no thought.

    Parameters
    ----------
    user, assistant: who speaks in the query and in the response: the heads of what they say of themselves.
    functional: relations of which only the newest tail is true. Attributes that begin with `favourite`,
        `favorite` or `current` are functional too.

    >>> rule = RulePostThinker(user="Anna")
    >>> [thought.text for thought in rule.think("Hi! I just moved to Oslo. My favourite tea is mint.", "Oh!")]
    ['Anna lives in Oslo.', "Anna's favourite tea: mint."]
    """

    def __init__(
        self, user: str = "The user", assistant: str = "The assistant", functional: Iterable[str] = FUNCTIONAL
    ) -> None:
        self.user = user
        self.assistant = assistant
        self.functional = frozenset(entity(relation) for relation in functional)

    def think(self, query: str, response: str) -> list[Thought]:
        """The statements of both speakers as thoughts, in the order in which they were made."""
        return [
            *(replace(thought, source="query") for thought in self._statements(query, self.user, self.assistant)),
            *(replace(thought, source="response") for thought in self._statements(response, self.assistant, self.user)),
        ]

    def contradictions(self, thoughts: Sequence[Thought]) -> list[str]:
        """The ids of those that share head and functional relation with a newer one of another tail.

        Of two from the same moment the later in the list is the newer.

        >>> old = Thought("Anna", "lives in", ("Oslo",), created=1.0, id="a")
        >>> new = Thought("anna ", "lives in", ("Bergen",), created=2.0, id="b")
        >>> RulePostThinker().contradictions([new, old])
        ['a']
        """
        newest: dict[tuple[str, str], Thought] = {}
        for thought in thoughts:
            known = newest.get(thought.subject)
            if self.is_functional(thought.relation) and (known is None or thought.created >= known.created):
                newest[thought.subject] = thought
        return [
            thought.id
            for thought in thoughts
            if thought.subject in newest and _tails(thought) != _tails(newest[thought.subject])
        ]

    def merge(self, thoughts: Sequence[Thought]) -> list[Merged]:
        """Thoughts of one head and relation become one with all their tails, each named once, oldest first.

        Run it after `contradictions`: what is no longer true would be merged as well.

        >>> a = Thought("Anna", "likes", ("tea",), id="a")
        >>> b = Thought("Anna", "likes", ("jazz",), id="b")
        >>> RulePostThinker().merge([a, b])[0].thought.text
        'Anna likes tea and jazz.'
        """
        groups: dict[tuple[str, str], list[Thought]] = {}
        for thought in thoughts:
            groups.setdefault(thought.subject, []).append(thought)
        return [_merge(group) for group in groups.values() if len(group) > 1]

    def is_functional(self, relation: str) -> bool:
        """Whether only one tail of this relation can be true at a time."""
        name = entity(relation)
        return name in self.functional or name.startswith(("favourite ", "favorite ", "current "))

    def _statements(self, text: str, speaker: str, listener: str) -> list[Thought]:
        found = (self._statement(sentence, speaker, listener) for sentence in sentences(text))
        return [thought for thought in found if thought is not None]

    def _statement(self, sentence: str, speaker: str, listener: str) -> Thought | None:
        if sentence.endswith("?"):
            return None
        bare = sentence.rstrip(".!").strip()
        if opening := _OPENING.match(bare):
            rest = bare[opening.end() :]
            bare = rest[:1].upper() + rest[1:]
        who = {**dict.fromkeys(_FIRST, speaker), **dict.fromkeys(_SECOND, listener)}
        triple = _triple(bare)
        if triple is None:
            return None
        head, relation, tail = triple[0], triple[1], _TIME_WORD.sub("", triple[2])
        if _NO_FACT.match(tail) or entity(head).split()[0] in _NOT_NAMES:
            return None
        return Thought(who.get(head, head), relation, (tail,))


def entity(name: str) -> str:
    """A name as it is compared: case folded, blanks collapsed.

    >>> entity("  New  York ") == entity("new york")
    True
    """
    return " ".join(name.casefold().split())


def sentences(text: str) -> list[str]:
    """The sentences of a text, with their end marks.

    >>> sentences("Hi! I paid 3.50. Did you?")
    ['Hi!', 'I paid 3.50.', 'Did you?']
    """
    return [part for part in re.split(r"(?<=[.!?])\s+|\n+", text.strip()) if part]


def _triple(sentence: str) -> tuple[str, str, str] | None:
    """Head, relation and tail by the first template that fits."""
    if match := _ATTRIBUTE.match(sentence):
        return match["whose"] or match["name"], match["relation"], match["tail"].strip()
    for relation, pattern in _TEMPLATES:
        if match := pattern.match(sentence):
            return match["head"], relation, match["tail"].strip()
    return None


def _tails(thought: Thought) -> set[str]:
    return {entity(tail) for tail in thought.tails}


def _merge(group: Sequence[Thought]) -> Merged:
    """The group as one thought, which keeps the newest spelling of the head and the newest time."""
    by_age = sorted(group, key=lambda thought: thought.created)
    tails: dict[str, str] = {}
    for thought in by_age:
        for tail in thought.tails:
            tails.setdefault(entity(tail), tail)
    merged = replace(by_age[-1], tails=tuple(tails.values()), id="", source="", wording="")
    return Merged(tuple(thought.id for thought in group), merged)


def _enumerate(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
