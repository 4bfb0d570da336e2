"""A turn taken apart, and the two readers that it passes: decomposition and intents.

Paper: "Task Memory Engine: Spatial Memory for Robust Multi-Step LLM Agents", arXiv 2505.19436.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from halflife.agent.task_forest import Forest
from halflife.agent.task_ops import Op
from halflife.agent.thoughts import sentences


@dataclass(frozen=True)
class Parts:
    """A turn taken apart: the slot that it is labelled with, if any, and its clauses."""

    label: str
    clauses: tuple[str, ...]

    @property
    def text(self) -> str:
        """The turn as one text."""
        return f"{self.label}: {' '.join(self.clauses)}" if self.label else " ".join(self.clauses)


class Decomposer(Protocol):
    """Takes a turn apart."""

    def split(self, text: str) -> Parts: ...


class IntentModel(Protocol):
    """Tells what a turn asks of a graph, as operations in their order."""

    def read(self, parts: Parts, forest: Forest) -> list[Op]: ...


_LABEL = re.compile(r"^(?P<label>[A-Za-z][\w'-]*(?: [\w'-]+){0,2}):\s+(?P<rest>\S.*)$", re.S)
_VERBS = (
    "add|include|put|use|remove|drop|delete|cancel|take out|leave out|keep|set|change|move|update|switch|make|replace|"
    "swap|reset|revert|undo|restore|go back|split|schedule|plan"
)
_JOINED = re.compile(rf"\s*,?\s+(?:and|then|but)\s+(?:then\s+)?(?=(?:{_VERBS})\b)", re.I)
_ASIDE = re.compile(r"\s*[—–]\s*(?=(?:what|which|where|when|who|how|why|is|are|did|do|was)\b)", re.I)


class RuleDecomposer:
    """Takes a turn apart at its label, its sentences, and before each verb of an operation.

    >>> RuleDecomposer().split("date: Keep the hall, and move it to Friday. Is that fine?")
    Parts(label='date', clauses=('Keep the hall', 'move it to Friday.', 'Is that fine?'))
    """

    def split(self, text: str) -> Parts:
        """The parts of a turn."""
        found = _LABEL.match(text.strip())
        label, rest = (found["label"], found["rest"]) if found else ("", text)
        clauses = [part for one in sentences(rest) for aside in _ASIDE.split(one) for part in _JOINED.split(aside)]
        return Parts(label, tuple(clause.strip() for clause in clauses if clause.strip()))
