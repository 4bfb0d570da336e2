"""Recalled memories as text for a prompt, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from halflife.agent.hit import Hit
from halflife.store.timeparse import format_time


@dataclass(frozen=True)
class Context:
    """Packed text. `str(context)` is the text itself; `hits` are the memories in it, in the order of the text."""

    text: str
    tokens: int
    hits: tuple[Hit, ...]
    left_out: int

    def __str__(self) -> str:
        return self.text


def pack(hits: Sequence[Hit], budget: int, count_tokens: Callable[[str], int]) -> Context:
    """The best hits that fit, best first while choosing, oldest first in the text."""
    chosen: list[tuple[Hit, str, int]] = []
    used = 0
    for hit in hits:
        line = _line(hit)
        cost = count_tokens(line) + 1
        if used + cost <= budget:
            chosen.append((hit, line, cost))
            used += cost
    chosen.sort(key=lambda item: (item[0].trace.at, item[0].id))
    text = "\n".join(line for _, line, _ in chosen)
    return Context(text, used, tuple(hit for hit, _, _ in chosen), len(hits) - len(chosen))


def _line(hit: Hit) -> str:
    who = f" {hit.role}:" if hit.role else ""
    when = format_time(hit.trace.at)[:16].replace("T", " ")
    return f"- [{when}]{who} {' '.join(hit.text.split())}"
