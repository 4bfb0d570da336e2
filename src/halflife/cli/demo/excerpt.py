"""The passage of a long memory that says what was asked."""

from __future__ import annotations

import re

from halflife.llm.embedder import Embedder
from halflife.store.text import query_ids, term_ids

SHORTEST = 25  # characters; a shorter passage is a date or a sigh
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


def passages(text: str, longest: int) -> list[str]:
    """From each sentence on, as many as fit into `longest` characters; one is there even if it is longer.

    >>> passages("Up. To the office. Home.", 17)
    ['Up.', 'To the office.', 'Home.']
    >>> passages("Up. To the office. Home.", 24)
    ['Up. To the office. Home.', 'To the office. Home.', 'Home.']
    """
    parts = sentences(text)
    out = []
    for start, passage in enumerate(parts):
        for more in parts[start + 1 :]:
            if len(passage) + 1 + len(more) > longest:
                break
            passage = f"{passage} {more}"
        out.append(passage)
    return out


def best_passage(text: str, query: str, embedder: Embedder, longest: int = 260) -> str:
    """The passage nearest to a query by meaning, and by how many of its words it holds, cut to its length."""
    found = [passage for passage in passages(text, longest) if len(passage) >= SHORTEST] or [text]
    wanted = set(query_ids(query).tolist())
    nearness = embedder.embed(found) @ embedder.embed([query])[0]

    def score(i: int) -> float:
        held = wanted & set(term_ids(found[i]).tolist())
        return float(nearness[i]) + (len(held) / len(wanted) if wanted else 0.0)

    best = found[max(range(len(found)), key=score)].rstrip(";,: ")
    best = f"…{best}" if best[0].islower() else best
    return best if len(best) <= longest else best[: longest - 1].rpartition(" ")[0].rstrip(" ,;:") + "…"
