"""Vectors of reasoning paths, from the store where it has them.

Paper: "A-MemGuard: A Proactive Defense Framework for LLM-Based Agent Memory", arXiv 2510.02373.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from halflife.agent.engine import Engine
from halflife.agent.guard_paths import action_of, outcome
from halflife.store.trace import Trace
from halflife.store.vectors import Floats, centre

_REMEMBERED = 4096  # texts whose vectors are kept in the process


class ReadVectors:
    """The vectors of paths, for `Cluster`, and of actions, for lessons.

    Parameters
    ----------
    engine: its store has the vectors of records, its embedder makes the others.
    from_records: the paths say what their records say (`ExtractivePaths`): the vector of a path is that of its record
        and that of its action, side by side with equal weight, so that nothing is embedded but new actions. Otherwise
        the paths themselves are embedded, as released.
    action: the field of metadata that holds the action.
    """

    def __init__(self, engine: Engine, from_records: bool, action: str = "action") -> None:
        self.engine, self.from_records, self.action = engine, from_records, action
        self._known: dict[str, Floats] = {}

    def __call__(self, records: Sequence[Trace], paths: Sequence[str]) -> Floats:
        """Unit vectors [records, dim], or [records, 2 dim] where records say what to do."""
        if not self.from_records:
            return self.of_texts(paths)
        stored = self.engine.store.vectors([record.id for record in records])
        topics = np.stack(
            [centre(stored[r.id]) if r.id in stored else self.of_texts([r.text or path])[0]
             for r, path in zip(records, paths, strict=True)]
        )  # fmt: skip
        if all(action_of(record, self.action) is None for record in records):
            return topics
        actions = self.of_texts([outcome(path) for path in paths])
        return np.asarray(np.concatenate([topics, actions], axis=1) * np.float32(np.sqrt(0.5)))

    def of_texts(self, texts: Sequence[str]) -> Floats:
        """Unit vectors [texts, dim] of short texts, each embedded once."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            if len(self._known) + len(new) > _REMEMBERED:
                self._known.clear()
                new = list(dict.fromkeys(texts))
            self._known.update(zip(new, self.engine.embedder.embed(new), strict=True))
        return np.stack([self._known[text] for text in texts])

    def forget(self) -> None:
        """Drop what is kept in the process."""
        self._known.clear()
