"""A-MEM without a language model: notes by counting words, links by cosine.

Paper: "A-MEM: Agentic Memory for LLM Agents", arXiv 2502.12110, in which a language model does both; the same two
steps by rule give the same result every time. Nothing here invents a word: keywords and tags are words of the message,
its context is one of its sentences.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from halflife.agent.amem_notes import Attributes, Decision, Evolved, Neighbour, Note, Said, words
from halflife.agent.summarise import central
from halflife.agent.thoughts import sentences
from halflife.errors import InvalidInput
from halflife.llm.embedder import Embedder
from halflife.store.text import STOP_WORDS, content

TAU = 0.5  # cosine from which two notes are linked
_KEYWORDS, _TAGS = 6, 3
_WORD = re.compile(r"[^\W\d_]{3,}(?:['’-][^\W\d_]+)*")
_SPEAKER = re.compile(r"^[^\s:]+(?: [^\s:]+)?: ")  # "user: ", "Anna: ", "Anna Berg: "
_NO_CONCEPT = frozenset(
    """
    today tomorrow yesterday now then later soon ago recently always never often week weekend month year day time
    monday tuesday wednesday thursday friday saturday sunday january february march april june july august september
    october november december really very much many lot just also too still even well great good nice thanks thank
    yes yeah yep hey hello wow sure sorry okay get got getting going went goes come came make made take took know think
    see saw say said want need let like love one two some any something anything everything way thing things bit
    because since while before after again here more most other will can can't don't didn't i'm i've it's that's glad
    """.split()
)


class RuleAnnotator:
    """Keywords by TF-IDF, the most central sentence as context, the first keywords as tags.

    There is no tagger of parts of speech: nouns are what is left when stop words, words of time, names of speakers
    and the commonest verbs of talk are taken out. A message of one sentence is its own context.

    Parameters
    ----------
    embedder: finds the central sentence.

    >>> from halflife.llm import HashEmbedder
    >>> note = RuleAnnotator(HashEmbedder()).annotate(Said("user: My dog Rex chased a squirrel in the park.", 0.0))
    >>> note.keywords, note.tags, note.context
    (('dog', 'Rex', 'chased', 'squirrel', 'park'), ('dog', 'Rex', 'chased'), '')
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder

    def annotate(self, said: Said) -> Attributes:
        """What a message is about."""
        text = said.content
        while speaker := _SPEAKER.match(text):
            text = text[speaker.end() :]
        parts = sentences(text)
        context = said.summary or (central(parts, self.embedder, 1)[0] if len(parts) > 1 else "")
        keywords = _keywords(text, said)
        return Attributes(keywords, context, keywords[:_TAGS])


def _keywords(text: str, said: Said) -> tuple[str, ...]:
    """The words that occur often here and rarely elsewhere, best first; of equal ones the first said."""
    found = [word for word in _WORD.findall(text) if word.casefold() not in STOP_WORDS | _NO_CONCEPT]
    count = Counter(word.casefold() for word in found)
    weight = {word: n * said.rarity(word) for word, n in count.items()}
    return words(sorted(found, key=lambda word: -weight[word.casefold()]))[:_KEYWORDS]


class RuleLinker:
    """Links what is near, and lets neighbours evolve by the keywords that they share with a new note.

    A linked note's tags become the keywords that it has in common with its links: the label of its cluster in its own
    words. A linked neighbour gets the shared keywords into its context.

    Parameters
    ----------
    tau: cosine from which two notes are linked.
    evolve: whether neighbours change at all.

    >>> old = Note("I feed my cat fish.", 0.0, Attributes(("cat", "fish"), "", ("cat", "fish")), id="a")
    >>> new = Note("The cat sleeps.", 1.0, Attributes(("cat", "sleeps"), "", ("cat", "sleeps")))
    >>> decision = RuleLinker().decide(new, [Neighbour(old, 0.7)])
    >>> decision.links, decision.tags, decision.evolved[0].context
    (('a',), ('cat',), '(shared: cat)')
    """

    def __init__(self, tau: float = TAU, evolve: bool = True) -> None:
        if not 0.0 < tau <= 1.0:
            raise InvalidInput(f"tau is {tau}.", "It is a cosine: give a number in (0, 1].")
        self.tau, self.evolve = tau, evolve

    def decide(self, new: Note, near: Sequence[Neighbour]) -> Decision:
        """Link every neighbour from tau on."""
        linked = [one.note for one in near if one.similarity >= self.tau]
        common = {note.id: [word for word in new.keywords if _has(note.keywords, word)] for note in linked}
        tags = words(word for shared in common.values() for word in shared)
        evolved = [_told(note, common[note.id]) for note in linked] if self.evolve else []
        return Decision(
            tuple(note.id for note in linked),
            tags[:_TAGS] or None,
            tuple(one for one in evolved if one is not None),
        )


def _told(note: Note, shared: Sequence[str]) -> Evolved | None:
    """The note with those of the shared keywords in its context that are not there yet."""
    new = [word for word in shared if not content(word) <= content(note.context)]
    return Evolved(note.id, f"{note.context} (shared: {', '.join(new)})".strip(), note.tags) if new else None


def _has(keywords: Sequence[str], word: str) -> bool:
    """Whether a word, in whatever form, is among the keywords."""
    return any(content(word) == content(other) for other in keywords)
