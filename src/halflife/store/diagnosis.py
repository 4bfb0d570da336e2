"""What an examination of a store found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Level: TypeAlias = Literal["ok", "warning", "error"]


def named(ids: Sequence[str], most: int = 8) -> str:
    """The first few of these ids, and how many more there are."""
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return ", ".join(ids[:most]) + more


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    level: `ok`, `warning` (works, but not as it should) or `error` (damage, or content that should be gone).
    what: what was looked at, and what is the matter with it. count: of how many rows or bytes.
    repaired: it was mended. advice: what to do, if something is left to do.
    unreadable: it cannot be mended where it is; what can be read must be saved into a new file.
    """

    level: Level
    what: str
    count: int = 0
    repaired: bool = False
    advice: str = ""
    unreadable: bool = False

    def __str__(self) -> str:
        count = f": {self.count:,}" if self.count else ""
        advice = f" ({self.advice})" if self.advice and not self.repaired else ""
        return f"{'repaired' if self.repaired else self.level}  {self.what}{count}{advice}"


@dataclass(frozen=True)
class Diagnosis:
    """All findings about a store.

    >>> diagnosis = Diagnosis("a.db", (Finding("ok", "pages"), Finding("error", "vectors of no trace", 2)))
    >>> print(diagnosis)
    a.db is damaged.
      ok  pages
      error  vectors of no trace: 2
    """

    path: str
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """No error is left."""
        return all(finding.repaired or finding.level != "error" for finding in self.findings)

    @property
    def unreadable(self) -> bool:
        """Part of the file cannot be read: `halflife.store.salvage` saves the rest."""
        return any(finding.unreadable and not finding.repaired for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"path": self.path, "healthy": self.healthy, "findings": [asdict(finding) for finding in self.findings]}

    def __str__(self) -> str:
        verdict = "is healthy" if self.healthy else "is damaged"
        return "\n".join([f"{self.path} {verdict}.", *(f"  {finding}" for finding in self.findings)])
