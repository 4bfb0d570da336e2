"""Running a reproduction for its tests."""

from __future__ import annotations

from halflife.papers.report import Report
from halflife.papers.run import Reproduction


def reported(run: Reproduction, seed: int) -> tuple[Report, list[float]]:
    """The report of the smoke size, and the shares that it told on its way, which never fall."""
    shares: list[float] = []
    report = run("smoke", seed, lambda step, share: shares.append(share))
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1
    return report, shares
