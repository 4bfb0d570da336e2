"""What a guarded read did: which records it kept, which it dropped, and why.

Paper: "A-MemGuard: A Proactive Defense Framework for LLM-Based Agent Memory", arXiv 2510.02373.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Dropped:
    """A record that was found and not returned: where it leads, how far that is from the others, and who wrote it.

    `why` is `divergent`, `lesson` (one that was learnt earlier speaks against it), or what stood against a consensus.
    """

    id: str
    path: str
    score: float
    why: str
    writer: str
    at: float


@dataclass(frozen=True)
class ReadReport:
    """What one guarded read did.

    Parameters
    ----------
    query: what was asked.
    paths: of each record found, where it leads; empty if nothing was compared.
    kept: ids found consistent, best first; more than the hits returned if fewer were asked for.
    dropped: the others.
    unvalidated: fewer than three hits: no majority is possible, and all were returned.
    decided: there was a consensus. why: if not, what stood against it.
    rescued: nothing was consistent, and the least divergent record was returned all the same.
    """

    query: str
    paths: Mapping[str, str]
    kept: tuple[str, ...]
    dropped: tuple[Dropped, ...] = ()
    unvalidated: bool = False
    decided: bool = True
    why: str = ""
    rescued: bool = False

    @property
    def empty(self) -> bool:
        """Something was found, and none of it was consistent."""
        return not self.kept and bool(self.dropped)
