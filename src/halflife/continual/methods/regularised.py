"""What all methods that only hold parameters have in common: what to expect of them."""

from __future__ import annotations

from collections.abc import Mapping

from halflife.continual.scenario import Kind

EXPECTED: Mapping[Kind, str] = {
    "class": (
        "Holding parameters alone does not help in class-incremental streams: the outputs of old classes are pushed "
        "down by the new ones, and the accuracy ends near 1 / tasks (van de Ven et al. 2022). That is no fault of "
        "the settings. Look at the task-incremental figures, or use replay: ER, DERpp."
    )
}
