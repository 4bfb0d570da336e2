"""LongMemEval's view of a chat memory: values that are read, under keys that are searched.

Wu et al., "LongMemEval" (arXiv 2410.10813), section 4: what is stored (whole sessions, rounds, or facts), what it is
found by (its own words, what was extracted from them, or both), and how the two are joined. Only the user's side is
searched; what is read has the assistant's too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from halflife.errors import InvalidInput
from halflife.llm.embedder import Embedder
from halflife.probe.benchmarks.expansions import RULES, Expand
from halflife.probe.benchmarks.history import History, Item
from halflife.store.bm25 import TextIndex
from halflife.store.text import query_ids, term_ids

Granularity: TypeAlias = Literal["session", "round", "fact"]
Join: TypeAlias = Literal["separate", "merge", "replace"]
Windows: TypeAlias = Literal["first", "all"]


@dataclass(frozen=True, slots=True)
class Value:
    """What is read when it is found.

    Args:
        source: Its id: the session's, or that of the user's turn (of all its facts).
        session: The session it is of.
        text: What both sides said; or one fact.
        at: When it began (Unix seconds), None if unknown.
        said: The user's side of it, which is what keys are made of.
    """

    source: str
    session: str
    text: str
    at: float | None
    said: str


@dataclass(frozen=True, slots=True)
class Found:
    """A value, and the score of its best key; minus infinity if it has no key."""

    value: Value
    score: float


class KeyValueMemory:
    """A memory of one history, searched exactly: O(keys x dim) to store and to search.

    One id may have many keys; it is found once, by the best of them.

    Parameters
    ----------
    embedder: compares keys with a question by cosine; None compares them by words (BM25).
    value: what is stored: whole sessions; rounds, a turn of the user with the reply; or facts of a user's turn.
    key: what it is found by: `"V"`, its own words; the name of an expansion, such as `"fact"`, `"keyphrase"` or
        `"summary"`; or `"V+"` and that name.
    join: how the two are joined: `"merge"` puts the extract before the words in one key, `"separate"` makes a key of
        each, `"replace"` leaves the words out. By default as the key says: replaced, or merged after `"V+"`.
    split: each extract makes keys of its own; otherwise all of a value's are one text.
    windows: embed the `"first"` window of a long key, as the paper does, or `"all"` of them, each a key.
    expansions: what extracts, by name: a rule, or a language model. Each text is given to one once.

    Errors
    ------
    InvalidInput: an unknown name, a join that the key contradicts, or facts under a key that is not `"V"`.

    >>> history = History("h", (
    ...     Item("s_0", "Is rye sour? I moved to Graz.", 0.0, "s", "user"),
    ...     Item("s_1", "Rye is sour.", 30.0, "s", "assistant"),
    ...     Item("t_0", "What is a rook lift?", 60.0, "t", "user"),
    ... ))
    >>> memory = KeyValueMemory(None, value="round", key="V+fact")
    >>> memory.ingest(history)
    >>> [found.value.source for found in memory.find("Where has the user moved to?")], memory.keys[0]
    (['s_0', 't_0'], 'The user moved to Graz. Is rye sour? I moved to Graz.')
    >>> print(memory.values[0].text)
    user: Is rye sour? I moved to Graz.
    assistant: Rye is sour.
    """

    def __init__(
        self,
        embedder: Embedder | None,
        *,
        value: Granularity = "round",
        key: str = "V",
        join: Join | None = None,
        split: bool = False,
        windows: Windows = "first",
        expansions: Mapping[str, Expand] = RULES,
    ) -> None:
        for what, said, names in (
            ("value", value, get_args(Granularity)),
            ("key", key, ("V", *expansions, *(f"V+{name}" for name in expansions))),
            ("join", join, (None, *get_args(Join))),
            ("kind of windows", windows, get_args(Windows)),
        ):
            if said not in names:
                raise InvalidInput(f"There is no {what} {said!r}.", f"Use one of {', '.join(map(str, names))}.")
        if value == "fact" and key != "V":
            raise InvalidInput(f"Facts as values have no key {key!r}.", "They are found by what they say: use 'V'.")
        both = key.startswith("V+")
        if join is not None and (key == "V" or (join == "replace") == both):
            raise InvalidInput(f"The key {key!r} cannot be joined by {join!r}.", "Join 'V+' keys: merge or separate.")
        self.join = join or ("merge" if both else "replace")
        self._value, self._key, self._split = value, key, split
        self._embedder, self._windows = embedder, windows
        self._expand = expansions["fact" if value == "fact" else key.removeprefix("V+")] if self._expands else None
        self._known: dict[str, tuple[str, ...]] = {}
        self._cut: dict[str, list[str]] = {}
        self.ingest(History("", ()))

    @property
    def _expands(self) -> bool:
        return self._key != "V" or self._value == "fact"

    def ingest(self, history: History) -> None:
        """Store a history in place of the last one. What others than `"user"` say is read, and never searched."""
        self.values = list(self._made(history))
        keyed = [(n, key) for n, value in enumerate(self.values) for key in self._keys(value)]
        if self._windows == "all":
            keyed = [(n, window) for n, key in keyed for window in self._windows_of(key)]
        self.keys = [key for _, key in keyed]
        self._owners = np.array([n for n, _ in keyed], dtype=np.intp)
        if self._embedder is not None:
            self._vectors = self._embedder.embed(self.keys)
        else:
            self._index = TextIndex()
            self._index.add(np.arange(len(keyed)), [_terms(key) for key in self.keys])

    def find(self, query: str, k: int | None = None) -> list[Found]:
        """The best values, or all; of those that share an id the best. Equal scores stay in the order of the history.

        An empty expansion leaves a value without a key if nothing else makes one: it comes last, and is not lost.
        """
        best = np.full(len(self.values), -np.inf)
        if self.keys:
            np.maximum.at(best, self._owners, self._scores(query))
        ranked = (Found(self.values[n], float(best[n])) for n in np.argsort(-best, kind="stable"))
        found: dict[str, Found] = {}
        for one in ranked:
            found.setdefault(one.value.source, one)
        return list(found.values())[:k]

    def _scores(self, query: str) -> NDArray[np.float64]:
        if self._embedder is not None:
            return np.asarray(self._vectors @ self._embedder.embed([query])[0], dtype=np.float64)
        return self._index.scores(query_ids(query), len(self.keys)).astype(np.float64)

    def _made(self, history: History) -> Iterator[Value]:
        sessions: dict[str, list[Item]] = {}
        for item in history.items:
            sessions.setdefault(item.session or "", []).append(item)
        for session, turns in sessions.items():
            said = " ".join(item.text for item in turns if item.speaker == "user")
            if self._value == "session" and said:
                yield Value(session, session, _dialogue(turns), turns[0].at, said)
            elif self._value != "session":
                yield from self._rounds(session, turns)

    def _rounds(self, session: str, turns: Sequence[Item]) -> Iterator[Value]:
        for item, after in zip(turns, [*turns[1:], None], strict=True):
            if item.speaker != "user":
                continue
            if self._value == "fact":
                for fact in self._extracts(item.text):
                    yield Value(item.id, session, fact, item.at, fact)
            else:
                reply = [after] if after is not None and after.speaker != "user" else []
                yield Value(item.id, session, _dialogue([item, *reply]), item.at, item.text)

    def _keys(self, value: Value) -> list[str]:
        if self._key == "V":
            return [value.said]
        extracts = self._extracts(value.said)
        made = [text for text in (extracts if self._split else [" ".join(extracts)]) if text]
        if self.join == "replace":
            return made
        if self.join == "separate":
            return [value.said, *made]
        return [f"{text} {value.said}" for text in made] or [value.said]

    def _windows_of(self, key: str) -> list[str]:
        if self._embedder is None:
            return [key]
        if key not in self._cut:
            self._cut[key] = self._embedder.split(key)
        return self._cut[key]

    def _extracts(self, text: str) -> tuple[str, ...]:
        assert self._expand is not None
        if text not in self._known:
            self._known[text] = tuple(self._expand(text))
        return self._known[text]


def by_date(found: Sequence[Found]) -> list[Value]:
    """The values found in the order in which they were said, as they are shown to a reader."""
    return sorted((one.value for one in found), key=lambda value: value.at or 0.0)


_terms = lru_cache(maxsize=20_000)(term_ids)  # histories of one benchmark share most of their sessions


def _dialogue(turns: Sequence[Item]) -> str:
    return "\n".join(f"{item.speaker}: {item.text}" for item in turns)
