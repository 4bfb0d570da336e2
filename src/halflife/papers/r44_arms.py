"""What both sizes of the reproduction of power-law environments (arXiv 2401.10393) share."""

from __future__ import annotations

from collections.abc import Mapping

from halflife.continual.metrics import Interval, paired
from halflife.continual.rehearsal import (
    ExponentialSchedule,
    PowerLawSchedule,
    RecentSchedule,
    Schedule,
    UniformSchedule,
)
from halflife.continual.results import Results

POWER = "power, d = 1"
SCHEDULES: Mapping[str, Schedule | None] = {
    "none": None,
    "recent": RecentSchedule(),
    "exponential, tau = 1": ExponentialSchedule(1.0),
    POWER: PowerLawSchedule(1.0),
    "uniform": UniformSchedule(),
}
BATCH = 50
CLAIM = (
    "Catastrophic interference is much milder where, as in natural environments, old tasks come back with a "
    "probability that falls as a power of the time since they were done: plain SGD then does as well as or better than "
    "popular regularisation, and than rehearsal shared out otherwise (abstract; its numbers were not at hand)."
)


def gain(found: Mapping[str, Results], other: str) -> Interval:
    """The accuracy of the power law over another, paired over the seeds that both ran."""
    a, b = found[POWER], found[other]
    count = min(len(a.runs), len(b.runs))
    return paired(a["accuracy"][:count], b["accuracy"][:count])
