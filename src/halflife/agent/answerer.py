"""The answer agent: of the memories retrieved for a question, those that matter, and the answer from them.

Paper: Memory-R1, arXiv 2508.19828, "memory distillation". In the paper it is a language model tuned by reinforcement;
here it is a rule, or any language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from halflife.agent.manager import Candidate
from halflife.llm.client import Chat

PURPOSE = "memory-r1.answer"
UNKNOWN = "I do not know."


@dataclass(frozen=True)
class Reply:
    """An answer, and which of the memories shown it was drawn from."""

    text: str
    kept: tuple[bool, ...]


@runtime_checkable
class AnswerPolicy(Protocol):
    """Distils and answers. Memories come best first."""

    def select(self, question: str, memories: Sequence[Candidate]) -> list[bool]:
        """Which memories to keep."""
        ...

    def answer(self, question: str, memories: Sequence[Candidate]) -> Reply:
        """The answer from those kept."""
        ...


class RuleAnswerer:
    """Keeps what is nearly as near to the question as the nearest, and answers with that memory.

    Parameters
    ----------
    keep: memories at most.
    margin: how much less similar than the best one a memory may be.

    >>> shown = [Candidate("a", "Anna lives in Oslo.", 0.8), Candidate("b", "Ben sings.", 0.2)]
    >>> RuleAnswerer().answer("Where does Anna live?", shown)
    Reply(text='Anna lives in Oslo.', kept=(True, False))
    """

    def __init__(self, keep: int = 10, margin: float = 0.25) -> None:
        self.keep, self.margin = keep, margin

    def select(self, question: str, memories: Sequence[Candidate]) -> list[bool]:
        """The first `keep` within the margin."""
        best = max((one.cosine for one in memories), default=0.0)
        return [rank < self.keep and one.cosine >= best - self.margin for rank, one in enumerate(memories)]

    def answer(self, question: str, memories: Sequence[Candidate]) -> Reply:
        """The text of the best memory."""
        return Reply(memories[0].text if memories else UNKNOWN, tuple(self.select(question, memories)))


@dataclass
class Answer:
    """The answer asked for: the numbers of the memories that matter, and what follows from them."""

    selected: list[int] = field(default_factory=list)
    answer: str = ""


class LLMAnswerer:
    """An `AnswerPolicy` that asks a language model once, for both.

    Parameters
    ----------
    chat: what is asked. An answer that cannot be used raises `UnusableAnswer` after one repair.
    """

    def __init__(self, chat: Chat) -> None:
        self.chat = chat

    def select(self, question: str, memories: Sequence[Candidate]) -> list[bool]:
        """Those that the model names."""
        return list(self.answer(question, memories).kept)

    def answer(self, question: str, memories: Sequence[Candidate]) -> Reply:
        """The model's answer, and the memories that it names. Without memories it is not asked."""
        if not memories:
            return Reply(UNKNOWN, ())

        def check(value: Answer) -> None:
            if wrong := [n for n in value.selected if not 1 <= n <= len(memories)]:
                raise ValueError(f"There is no memory {wrong[0]}; they are numbered 1 to {len(memories)}.")
            if not value.answer.strip():
                raise ValueError("The answer is empty.")

        texts = [one.text for one in memories]
        value = self.chat.ask(PURPOSE, Answer, check=check, question=question, memories=texts)
        return Reply(value.answer.strip(), tuple(n in value.selected for n in range(1, len(memories) + 1)))
