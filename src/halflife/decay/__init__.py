"""The laws of forgetting: formulas, fitting, comparison. numpy and scipy only."""

from __future__ import annotations

from halflife.decay.actr import ActR, Pavlik, exact_activation, hybrid_activation
from halflife.decay.compare import Candidate, Comparison, compare
from halflife.decay.curvefit import CurveFit, fit_curve
from halflife.decay.curves import (
    Exponential,
    LayeredExponential,
    Power,
    PowerExponential,
    PurePower,
    Savings,
    Stretched,
)
from halflife.decay.fit import Fit, Parameter, fit
from halflife.decay.forward import Aggregate, ForwardDecay, priorities, sample
from halflife.decay.fsrs import FSRS5, FSRS6
from halflife.decay.hlr import HalfLifeRegression
from halflife.decay.law import AGAIN, DAY, EASY, GOOD, HARD, Array, ArrayLike, Law, State
from halflife.decay.registry import LAWS, law, law_from_dict
from halflife.decay.reviews import Reviews, replay
from halflife.decay.spacing import spacing

__all__ = [
    "AGAIN",
    "DAY",
    "EASY",
    "FSRS5",
    "FSRS6",
    "GOOD",
    "HARD",
    "LAWS",
    "ActR",
    "Aggregate",
    "Array",
    "ArrayLike",
    "Candidate",
    "Comparison",
    "CurveFit",
    "Exponential",
    "Fit",
    "ForwardDecay",
    "HalfLifeRegression",
    "Law",
    "LayeredExponential",
    "Parameter",
    "Pavlik",
    "Power",
    "PowerExponential",
    "PurePower",
    "Reviews",
    "Savings",
    "State",
    "Stretched",
    "compare",
    "exact_activation",
    "fit",
    "fit_curve",
    "hybrid_activation",
    "law",
    "law_from_dict",
    "priorities",
    "replay",
    "sample",
    "spacing",
]
