"""The sentence of a long memory that says what was asked."""

from __future__ import annotations

import re

from halflife.llm.embedder import Embedder
from halflife.store.text import query_ids, term_ids

LONGEST = 240
_END = re.compile(r"(?<=[.!?;])\s+(?=[A-Z“‘a-z])")
_SHORT = re.compile(r"\b(?:Mrs?|Sir|Dr|St|Capt|Col|Esq|Ld|[A-Z])\.$")


def sentences(text: str) -> list[str]:
    """The sentences of a text, parted at semicolons too, and not after "Mr." or an initial.

    >>> sentences("Up; and to Mr. Moore. Then to Sir W. Batten, and so home.")
    ['Up;', 'and to Mr. Moore.', 'Then to Sir W. Batten, and so home.']
    """
    out: list[str] = []
    for part in _END.split(" ".join(text.split())):
        if out and _SHORT.search(out[-1]):
            out[-1] = f"{out[-1]} {part}"
        else:
            out.append(part)
    return out


def best_sentence(text: str, query: str, embedder: Embedder) -> str:
    """The sentence nearest to a query by meaning, and by how many of its words it holds; at most 240 characters."""
    parts = [part for part in sentences(text) if len(part) > 25] or [text]
    wanted = set(query_ids(query).tolist())
    nearness = embedder.embed(parts) @ embedder.embed([query])[0]

    def score(i: int) -> float:
        held = wanted & set(term_ids(parts[i]).tolist())
        return float(nearness[i]) + (len(held) / len(wanted) if wanted else 0.0)

    return cut(parts[max(range(len(parts)), key=score)])


def cut(text: str, limit: int = LONGEST) -> str:
    """The text, cut at a word."""
    text = text.strip().rstrip(";,: ")
    return text if len(text) <= limit else text[: limit - 1].rpartition(" ")[0].rstrip(" ,;:") + "…"
