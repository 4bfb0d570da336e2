"""What the calls of language models cost, by purpose."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from time import perf_counter
from typing import Protocol

from halflife.llm.chat import Completion

KEY = "llm"  # under which a store keeps the counts


class Settings(Protocol):
    """Where counts are kept: a store."""

    def meta(self, key: str) -> str | None: ...
    def set_meta(self, key: str, value: str) -> None: ...


@dataclass(frozen=True)
class Usage:
    """Calls and what they took.

    Parameters
    ----------
    calls: answers asked for, those of a cache included. cached: of these, how many were. failed: how many had no
        answer, or none that could be used.
    prompt_tokens, completion_tokens: read and written by the model. seconds: waited for it.
    """

    calls: int = 0
    cached: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Usage)))


class Meter:
    """Counts calls by purpose, and keeps the counts with a store, so that they outlive the process.

    Parameters
    ----------
    settings: the store; None counts for this process alone.

    >>> meter = Meter()
    >>> with meter.call("amem.note") as answered:
    ...     answered(Completion("ok", prompt_tokens=12, completion_tokens=1))
    >>> meter.usage()["amem.note"].calls, meter.total().prompt_tokens
    (1, 12)
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings
        self._counts: dict[str, Usage] = {}
        self._lock = threading.Lock()

    @contextmanager
    def call(self, purpose: str) -> Iterator[_Answered]:
        """Times a call and counts it; as failed if it raises. What is yielded is to be called with the answer."""
        answered, start = _Answered(), perf_counter()
        try:
            yield answered
        except BaseException:
            self._count(purpose, replace(answered.usage(perf_counter() - start), failed=1))
            raise
        self._count(purpose, answered.usage(perf_counter() - start))

    def usage(self) -> dict[str, Usage]:
        """What was used, by purpose."""
        with self._lock:
            return dict(self._kept())

    def total(self) -> Usage:
        """What was used in all."""
        return sum(self.usage().values(), Usage())

    def _count(self, purpose: str, more: Usage) -> None:
        with self._lock:
            counts = self._kept()
            counts[purpose] = counts.get(purpose, Usage()) + more
            if self._settings is not None:
                kept = {name: asdict(usage) for name, usage in sorted(counts.items())}
                self._settings.set_meta(KEY, json.dumps(kept))

    def _kept(self) -> dict[str, Usage]:
        if self._settings is None:
            return self._counts
        kept: Mapping[str, Mapping[str, float]] = json.loads(self._settings.meta(KEY) or "{}")
        return {name: Usage(**usage) for name, usage in kept.items()}  # type: ignore[arg-type]


class _Answered:
    """Takes note of the answer of a call."""

    def __init__(self) -> None:
        self._completion: Completion | None = None

    def __call__(self, completion: Completion) -> None:
        self._completion = completion

    def usage(self, seconds: float) -> Usage:
        done = self._completion or Completion("")
        if done.cached:
            return Usage(1, 1, seconds=seconds)
        return Usage(1, 0, 0, done.prompt_tokens, done.completion_tokens, seconds)
