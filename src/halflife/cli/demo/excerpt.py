"""The passage of a long memory that says what was asked."""

from __future__ import annotations

import re

import numpy as np

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


def passages(parts: list[str], longest: int) -> list[range]:
    """From each sentence on, as many as fit into `longest` characters; one is there even if it is longer.

    >>> passages(["Up.", "To the office.", "Home."], 18)
    [range(0, 2), range(1, 2), range(2, 3)]
    """
    found = []
    for start in range(len(parts)):
        end, length = start + 1, len(parts[start])
        while end < len(parts) and length + 1 + len(parts[end]) <= longest:
            length += 1 + len(parts[end])
            end += 1
        found.append(range(start, end))
    return found


def best_passage(text: str, query: str, embedder: Embedder, longest: int = 260) -> str:
    """The passage nearest to a query by meaning, and by how many of its words it holds, cut to its length.

    The meaning of a passage is taken to be the mean of its sentences, so that each is embedded once.
    """
    parts = sentences(text)
    wanted = set(query_ids(query).tolist())
    held = [wanted & set(term_ids(part).tolist()) for part in parts]
    *vectors, asked = embedder.embed([*parts, query])

    def score(passage: range) -> float:
        mean = np.mean([vectors[i] for i in passage], axis=0)
        words = set().union(*(held[i] for i in passage))
        return float(mean @ asked / np.linalg.norm(mean)) + (len(words) / len(wanted) if wanted else 0.0)

    found = [passage for passage in passages(parts, longest) if sum(len(parts[i]) for i in passage) >= SHORTEST]
    best = max(found or [range(len(parts))], key=score)
    chosen = " ".join(parts[i] for i in best).rstrip(";,: ")
    chosen = f"…{chosen}" if chosen[0].islower() else chosen
    return chosen if len(chosen) <= longest else chosen[: longest - 1].rpartition(" ")[0].rstrip(" ,;:") + "…"
