"""The spacing effect: recall at a test, against the lag between two study events."""

from __future__ import annotations

import numpy as np

from halflife.decay.base import ages
from halflife.decay.law import AGAIN, GOOD, Array, ArrayLike, Law


def spacing(law: Law, lag: ArrayLike, interval: ArrayLike, *, tested: bool = False) -> Array:
    """Expected recall `interval` seconds after the second of two study events.

    Parameters
    ----------
    law: any law; its `initial` is the first event.
    lag: seconds between the two events.
    interval: seconds from the second event to the test.
    tested: whether the second event is a test, failed with probability 1 - R(lag) and then graded 1; else
        it is plain study, always graded 3.

    The exponential law with S <- S + unit has no spacing effect; plain ACT-R has a slightly negative one.

    >>> from halflife.decay.curves import Exponential
    >>> from halflife.decay.fsrs import FSRS6
    >>> lags, month = np.array([0.01, 1.0, 10.0]) * 86_400, 30 * 86_400.0
    >>> [bool(np.ptp(spacing(law, lags, month)) > 1e-12) for law in (Exponential(), FSRS6())]
    [False, True]
    """
    lag, interval = ages(lag), ages(interval)
    first = law.initial(np.full(lag.shape, float(GOOD)))
    kept = law.retention(interval, law.reinforce(first, lag, GOOD))
    if not tested:
        return np.asarray(kept)[()]
    known = law.retention(lag, first)
    lost = law.retention(interval, law.reinforce(first, lag, AGAIN))
    return np.asarray(known * kept + (1.0 - known) * lost)[()]
