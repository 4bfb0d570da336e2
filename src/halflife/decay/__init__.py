"""The laws of forgetting: formulas, fitting, comparison. numpy and scipy only."""

from __future__ import annotations

from halflife.decay.actr import ActR, Pavlik, exact_activation, hybrid_activation
from halflife.decay.curves import (
    Exponential,
    LayeredExponential,
    Power,
    PowerExponential,
    PurePower,
    Savings,
    Stretched,
)
from halflife.decay.forward import Aggregate, ForwardDecay, priorities, sample
from halflife.decay.fsrs import FSRS5, FSRS6
from halflife.decay.hlr import HalfLifeRegression
from halflife.decay.law import AGAIN, DAY, EASY, GOOD, HARD, Array, ArrayLike, Law, State
from halflife.decay.registry import LAWS, law, law_from_dict

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
    "Exponential",
    "ForwardDecay",
    "HalfLifeRegression",
    "Law",
    "LayeredExponential",
    "Pavlik",
    "Power",
    "PowerExponential",
    "PurePower",
    "Savings",
    "State",
    "Stretched",
    "exact_activation",
    "hybrid_activation",
    "law",
    "law_from_dict",
    "priorities",
    "sample",
]
