"""Text analysis for keyword search, whatever the language: text -> words -> 32-bit term ids.

Words are folded (NFKC, case), English endings are cut, and scripts written without spaces become single
characters and overlapping pairs: a page of Chinese is found by one character as well as by a phrase. Korean
is treated the same way, because its words carry their grammar as endings.

A term is the CRC-32 of its word. Two of 100,000 different words collide about once, which costs a little
precision and saves every string from memory.
"""

from __future__ import annotations

import re
import struct
import threading
import unicodedata
from collections.abc import Sequence
from functools import cache
from zlib import crc32

import numpy as np
import Stemmer
from numpy.typing import NDArray

_ENGLISH = """
a about am an and any are as at be been being but by can could did do does doing done for from had has
have having he her hers him his how i if in into is it its me my of on or our ours she should so some
such than that the their theirs them then there these they this those to us was we were what when where
which who whom whose why with would you your yours dont didnt doesnt isnt wasnt arent werent
"""
STOP_WORDS = frozenset(_ENGLISH.split())

# Scripts that run words together, and Hangul. Their punctuation is left out.
_UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u0edc-\u0edf"  # Thai, Lao
    "\u1000-\u103f\u1050-\u108f\u109a-\u109f\u1780-\u17d3\u17dd\uaa60-\uaa7f"  # Myanmar, Khmer
    "\u1100-\u11ff\uac00-\ud7a3"  # Hangul
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # Kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Han
)
_STARTS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_EMOJI = "\u231a-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001f1e5\U0001f200-\U0001f3fa\U0001f400-\U0001faff"
_FLAG = "[\U0001f1e6-\U0001f1ff]{2}"
# Invisible characters, variation selectors, skin tones and keycaps change how a word looks, not what it says.
_IGNORED = re.compile("[\u00ad\u200b-\u200f\u2060\ufe00-\ufe0f\ufeff\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e01ef]+")
# ASCII text goes through one table: letters to lower case, all but letters and digits to a space.
_ASCII = bytes(code if chr(code).isalnum() else 32 for code in range(128)).lower().ljust(256)
_THOUSANDS = re.compile(r",(?<=[0-9],)(?=[0-9]{3}(?![0-9]))")
_NOT = re.compile(r"n't\b")
_CLITIC = re.compile(r"'(?<=\w')(?:s|ll|re|ve|d|m)\b")
_LATIN = re.compile("[a-z\u00df-\u024f\u1e00-\u1eff]{3,40}")

_MEMO_WORDS = 200_000
_MEMO_LENGTH = 40  # longer "words" are hashes and URLs: seen once, never worth keeping
# Normalising takes the square of the marks on one letter: long texts are cut to Unicode's stream-safe format.
_MARKS_ALLOWED = 30
_HEAPS_HARMLESS = 4096


class _TermIds(dict[str, int]):
    """Word -> term id, each computed once. Bounded: it starts afresh when full."""

    def __init__(self) -> None:
        super().__init__()
        self._stemmer = Stemmer.Stemmer("english", 0)
        self._lock = threading.Lock()  # a stemmer serves one thread at a time

    def __missing__(self, word: str) -> int:
        with self._lock:
            term = self._stemmer.stemWord(word) if _LATIN.fullmatch(word) else word
        term_id = crc32(term.encode("utf-8", "surrogatepass"))
        if len(word) <= _MEMO_LENGTH:
            if len(self) >= _MEMO_WORDS:
                self.clear()
            self[word] = term_id
        return term_id


_TERM_IDS = _TermIds()


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The word pattern for any script, and the pattern of letters under a heap of combining marks.

    Python's `\\w` leaves out combining marks, which would cut every Hindi or Tamil word to pieces. They are
    listed on the first text that is not ASCII, so that importing stays free.
    """
    marks = [code for code in range(0x300, 0x1F000) if unicodedata.category(chr(code))[0] == "M"]
    starts = [code for code, before in zip(marks, [0, *marks], strict=False) if code != before + 1]
    ends = [code for code, after in zip(marks, [*marks[1:], 0], strict=True) if code != after - 1]
    mark = "".join(f"{chr(a)}-{chr(b)}" for a, b in zip(starts, ends, strict=True))
    letters = rf"[^\W_{_UNSPACED}]"
    word = re.compile(rf"{letters}+(?:[{mark}]+{letters}*)*|[{_UNSPACED}][{_UNSPACED}{mark}]*|{_FLAG}|[{_EMOJI}]")
    heap = re.compile(rf"([{mark}]{{{_MARKS_ALLOWED}}})[{mark}]+")
    return word, heap


def _clean(text: str) -> str:
    """Contractions and thousands as one word each: don't -> dont, Anna's -> Anna, 1,500 -> 1500."""
    if "'" in text:
        text = _CLITIC.sub("", _NOT.sub("nt", text))
    if "," in text:
        text = _THOUSANDS.sub("", text)
    return text


def _fold(text: str) -> str:
    """NFKC and case folding, in linear time."""
    if len(text) > _HEAPS_HARMLESS:
        text = _patterns()[1].sub(r"\1", text)
    text = _IGNORED.sub("", text)
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return text.replace("\u2019", "'").replace("\u02bc", "'")


def _words(text: str, query: bool) -> list[str]:
    if text.isascii():
        return _clean(text.lower()).encode().translate(_ASCII).decode().split()
    word, _ = _patterns()
    words: list[str] = []
    for run in word.findall(_clean(_fold(text))):
        if _STARTS_UNSPACED.match(run):
            pairs = [run[i : i + 2] for i in range(len(run) - 1)]
            words += pairs if query and pairs else [*run, *pairs]
        else:
            words.append(run)
    return words


def tokenize(text: str, *, query: bool = False) -> list[str]:
    """The words of a text, folded but with their endings.

    Parameters
    ----------
    text: any text.
    query: a run of an unspaced script gives its pairs only (its one character if it has one), where a
        document gives single characters as well.

    >>> tokenize("Anna's cat doesn't cost $1,500!")
    ['anna', 'cat', 'doesnt', 'cost', '1500']
    >>> tokenize("有猫"), tokenize("有猫", query=True), tokenize("猫", query=True)
    (['有', '猫', '有猫'], ['有猫'], ['猫'])
    """
    return _words(text, query)


def term_ids(text: str) -> NDArray[np.uint32]:
    """The term ids of a document: ascending, one for each word, repeats kept.

    >>> bool((term_ids("cats running") == term_ids("The cat runs")[1:]).any())
    True
    """
    return np.frombuffer(term_bytes(text), dtype=np.uint32)


def term_bytes(text: str) -> bytes:
    """The same as bytes, as they are stored: little-endian, four a term."""
    ids = list(map(_TERM_IDS.__getitem__, _words(text, False)))
    ids.sort()
    return struct.pack(f"<{len(ids)}I", *ids)


def query_ids(text: str) -> NDArray[np.uint32]:
    """The term ids of a query: ascending and unique, without English stop words unless nothing else is left.

    >>> query_ids("what is the cat").size, query_ids("what is the").size, query_ids("?!").size
    (1, 3, 0)
    """
    words = _words(text, True)
    words = [word for word in words if word not in STOP_WORDS] or words
    return np.array(sorted({_TERM_IDS[word] for word in words}), dtype=np.uint32)


def content_words(docs: Sequence[NDArray[np.uint32]]) -> NDArray[np.int64]:
    """How many different words each document has, English stop words left out: `docs` as `term_ids` gives them.

    >>> content_words([term_ids("The tea is hot, hot tea"), term_ids("Is it?"), term_ids("")]).tolist()
    [2, 0, 0]
    """
    if not len(docs):
        return np.zeros(0, dtype=np.int64)
    lengths = np.fromiter(map(len, docs), dtype=np.int64, count=len(docs))
    owners, terms = np.repeat(np.arange(len(docs)), lengths), np.concatenate(docs)
    first = np.ones(len(terms), dtype=np.bool_)
    first[1:] = (terms[1:] != terms[:-1]) | (owners[1:] != owners[:-1])
    return np.bincount(owners[first & ~np.isin(terms, _stop_ids())], minlength=len(docs))


@cache
def _stop_ids() -> NDArray[np.uint32]:
    return np.array([_TERM_IDS[word] for word in STOP_WORDS], dtype=np.uint32)


def content(text: str) -> frozenset[int]:
    """The term ids of what a text says: those of `query_ids`, as a set.

    >>> content("The cat runs.") == content("cats run")
    True
    """
    words = set(_words(text, True))
    return frozenset(map(_TERM_IDS.__getitem__, words - STOP_WORDS or words))


def same_words(a: str, b: str) -> bool:
    """Whether two texts differ in function words and punctuation at most: not in a number, a name or a negation.

    >>> same_words("The flight is at 5.", "Flight at 5"), same_words("The flight is at 5.", "The flight is at 6.")
    (True, False)
    """
    return content(a) == content(b)
