"""How much of a memory was left on every day of its life: replayed from its history, and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from halflife.agent.memory import Memory
from halflife.decay.law import DAY, State
from halflife.store.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Life:
    """A memory's strength over time: the state from each moment on at which it was met.

    The last state is the one that the store keeps, to the last digit.
    """

    moments: tuple[float, ...]
    states: tuple[State, ...]

    def retention(self, memory: Memory, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """What was left at these times [n], in seconds; NaN before it began."""
        law = memory.engine.store.law
        out = np.full(len(times), np.nan)
        for start, state in zip(self.moments, self.states, strict=True):
            later = times >= start
            out[later] = law.retention(times[later] - start, state)
        return out


def life(memory: Memory, trace: Trace) -> Life:
    """Replay the recalls of a memory from its history."""
    law = memory.engine.store.law
    moments, states = [trace.at], [law.initial()]
    for event in memory.history(trace.id):
        if event.kind == "recall":
            states.append(law.reinforce(states[-1], event.at - moments[-1]))
            moments.append(event.at)
    return Life(tuple(moments), tuple(states))


def svg(memory: Memory, traces: Mapping[str, Trace], end: float) -> str:
    """The retention curves of a few memories, by their labels, until `end` in seconds.

    Raises
    ------
    MissingExtra: matplotlib is not installed.
    """
    from halflife.papers.style import render, retention_curves

    lives = {label: life(memory, trace) for label, trace in traces.items()}
    start = min(one.moments[0] for one in lives.values())
    steps = [moment for one in lives.values() for moment in one.moments]
    times = np.unique(np.concatenate([np.linspace(start, end, 1000), np.array(steps), np.array(steps) - 1.0]))

    def draw(axes: Axes) -> None:
        curves = {label: one.retention(memory, times) for label, one in lives.items()}
        retention_curves(axes, times, curves)
        ticks = _months(start, end)
        axes.set_xticks([seconds for seconds, _ in ticks], [name for _, name in ticks])
        axes.set_xlim(start, end)
        axes.set_title("What is left of three memories: every recall makes the next fading slower")

    return render(draw, "Retention over time of three memories, jumping up at each recall.", (8.0, 4.2))


def _months(start: float, end: float, most: int = 8) -> Sequence[tuple[float, str]]:
    """First days of months between two times, evenly, at most `most`."""
    first = date(1970, 1, 1).toordinal()
    days = [date.fromordinal(first + n) for n in range(int(start // DAY), int(end // DAY) + 1)]
    firsts = [day for day in days if day.day == 1]
    step = -(-len(firsts) // most) or 1
    return [((day.toordinal() - first) * DAY, day.strftime("%b %Y")) for day in firsts[::step]]
