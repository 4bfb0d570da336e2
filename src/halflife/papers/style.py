"""One look for every figure: how Halflife draws curves, bars and maps, and how it saves them.

Figures are SVG with text kept as text, and the same input gives the same bytes. The colours are those of
Okabe and Ito (2008), which readers with any colour vision can tell apart. matplotlib is imported on first
use.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from halflife.errors import InvalidInput, MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
INK = "#333333"
FAINT = "#E5E5E5"
SIZE = (7.0, 4.0)  # inches


def style() -> AbstractContextManager[None]:
    """A context in which matplotlib draws in the project's style.

    Raises
    ------
    MissingExtra: matplotlib is not installed.
    """
    try:
        from cycler import cycler
        from matplotlib import rc_context
    except ImportError:
        raise MissingExtra("matplotlib", "plot") from None
    settings: dict[str, Any] = {
        "figure.figsize": SIZE,
        "figure.facecolor": "white",
        "axes.prop_cycle": cycler(color=PALETTE),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": FAINT,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "font.family": ["DejaVu Sans"],
        "font.size": 10,
        "legend.frameon": False,
        "lines.linewidth": 2.0,
        "svg.fonttype": "none",
        "svg.hashsalt": "halflife",
    }
    return rc_context(settings)  # type: ignore[arg-type]


def render(draw: Callable[[Axes], None], title: str, size: tuple[float, float] = SIZE) -> str:
    """Draw on fresh axes and return the SVG: the same drawing gives the same text.

    Parameters
    ----------
    draw: puts everything onto the axes; it may add more through `axes.figure`.
    title: what a screen reader says in place of the picture.
    size: width and height in inches.

    Raises
    ------
    MissingExtra: matplotlib is not installed.
    """
    with style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        buffer = io.StringIO()
        # A date or a version in the file would change its bytes from day to day.
        metadata = {"Date": None, "Creator": None, "Title": title}
        figure.savefig(buffer, format="svg", metadata=metadata)
    # A reader without the font that the layout was measured in needs a sans-serif one in its place.
    return buffer.getvalue().replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")


def retention_curves(
    axes: Axes,
    x: ArrayLike,
    curves: Mapping[str, ArrayLike],
    bands: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    half: bool = True,
) -> None:
    """Retention against time, each curve labelled where it ends, with a band where one is given.

    Parameters
    ----------
    x: times, shape [n].
    curves: label -> retention in [0, 1], shape [n].
    bands: label -> its lower and upper bound, each of shape [n].
    half: draw the line of one half, on which a half-life is read off.
    """
    if half:
        axes.axhline(0.5, color=INK, linewidth=0.8, linestyle=(0, (4, 4)))
    for (label, y), color in zip(curves.items(), _colors(len(curves)), strict=True):
        axes.plot(x, y, color=color)
        if bands and label in bands:
            low, high = (np.asarray(bound) for bound in bands[label])
            axes.fill_between(np.asarray(x), low, high, color=color, alpha=0.18, linewidth=0)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("retention")
    label_ends(axes, float(np.asarray(x)[-1]), {label: float(np.asarray(y)[-1]) for label, y in curves.items()})


def label_ends(axes: Axes, x: float, ends: Mapping[str, float], gap: float = 0.055) -> None:
    """Write each label to the right of its curve's end, moved up or down as far as they would overlap.

    Parameters
    ----------
    x: where the curves end.
    ends: label -> height of its curve there, in the order in which the curves were coloured.
    gap: smallest distance between two labels, as a share of the height of the axes.
    """
    low, high = axes.get_ylim()
    space = gap * (high - low)
    order = sorted(ends, key=lambda label: ends[label])
    heights: list[float] = []
    for label in order:
        heights.append(max(ends[label], heights[-1] + space) if heights else max(ends[label], low + space / 2))
    for i in reversed(range(len(heights))):
        ceiling = heights[i + 1] - space if i + 1 < len(heights) else high
        heights[i] = min(heights[i], ceiling)
    colors = dict(zip(ends, _colors(len(ends)), strict=True))
    for label, height in zip(order, heights, strict=True):
        axes.annotate(
            label,
            (x, height),
            (5, 0),
            textcoords="offset points",
            color=colors[label],
            va="center",
            annotation_clip=False,
        )


def bars(
    axes: Axes,
    labels: Sequence[str],
    values: Sequence[float],
    errors: Sequence[float] | None = None,
    highlight: Sequence[str] = (),
) -> None:
    """Horizontal bars with their values written beside them, from top to bottom.

    Parameters
    ----------
    labels, values: one of each for a bar.
    errors: half the length of each error bar, such as one standard deviation over the seeds.
    highlight: labels of the bars that the figure is about; the others are drawn in grey.
    """
    places = np.arange(len(labels))[::-1]
    colors = [PALETTE[0] if not highlight or label in highlight else "#9A9A9A" for label in labels]
    axes.barh(places, values, xerr=errors, color=colors, height=0.62, error_kw={"ecolor": INK, "elinewidth": 1.2})
    for i, (place, value) in enumerate(zip(places, values, strict=True)):
        end = value + (errors[i] if errors is not None else 0.0)
        axes.annotate(f"{value:.3g}", (end, place), (5, 0), textcoords="offset points", va="center")
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    axes.margins(x=0.12)


def heatmap(
    axes: Axes,
    values: ArrayLike,
    label: str,
    extent: tuple[float, float, float, float] | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
) -> None:
    """A map of shape [rows, columns] with its scale; cells that are NaN stay white.

    Parameters
    ----------
    label: what the colours mean.
    extent: left, right, bottom and top in data units; rows and columns are counted from 0 otherwise.
    limits: the values of the lightest and the darkest colour.
    """
    image = axes.imshow(
        np.ma.masked_invalid(np.asarray(values, dtype=float)),
        cmap="Blues",
        vmin=limits[0],
        vmax=limits[1],
        origin="lower",
        aspect="auto",
        extent=extent,
        interpolation="nearest",
    )
    axes.grid(visible=False)
    bar = axes.figure.colorbar(image, ax=axes, label=label)
    bar.outline.set_visible(False)


def _colors(count: int) -> tuple[str, ...]:
    if count > len(PALETTE):
        raise InvalidInput(
            f"{count} curves are more than the {len(PALETTE)} that can be told apart.",
            "Split the figure in two.",
        )
    return PALETTE[:count]
