"""The laws by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from halflife.decay.actr import ActR
from halflife.decay.curves import (
    Exponential,
    LayeredExponential,
    Power,
    PowerExponential,
    PurePower,
    Savings,
    Stretched,
)
from halflife.decay.forward import ForwardDecay
from halflife.decay.fsrs import FSRS5, FSRS6
from halflife.decay.hlr import HalfLifeRegression
from halflife.decay.law import Law
from halflife.errors import InvalidInput

_CLASSES: tuple[Any, ...] = (
    Exponential, Stretched, Power, PurePower, PowerExponential, Savings, LayeredExponential, ActR,
    HalfLifeRegression, FSRS5, FSRS6, ForwardDecay,
)  # fmt: skip

LAWS: Mapping[str, Any] = {cls.name: cls for cls in _CLASSES}
"""The class of each law by its name."""


def law(name: str, **parameters: Any) -> Law:
    """The law of a name, with its defaults or the parameters given.

    Raises InvalidInput for an unknown name, an unknown parameter, or a value that the law refuses.

    >>> law("exponential", unit=2.0)
    Exponential(unit=2.0, ceiling=1.0, cap=None)
    """
    if name not in LAWS:
        raise InvalidInput(f"There is no law named {name!r}.", f"Use one of: {', '.join(LAWS)}.")
    try:
        made: Law = LAWS[name](**parameters)
    except TypeError as error:
        known = ", ".join(LAWS[name].__dataclass_fields__)
        raise InvalidInput(f"{name}: {error}.", f"Its parameters are: {known}.") from None
    return made


def law_from_dict(data: Mapping[str, Any]) -> Law:
    """The law that `to_dict` wrote.

    >>> law_from_dict({"name": "power", "exponent": 1.0}).to_dict()["exponent"]
    1.0
    """
    if "name" not in data:
        raise InvalidInput("A law needs a 'name'.", "Pass what `law.to_dict()` returned.")
    return law(**data)
