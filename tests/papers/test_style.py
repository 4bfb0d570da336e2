"""Figures: the same drawing gives the same bytes, and text stays text."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from halflife.errors import InvalidInput, MissingExtra
from halflife.papers.style import PALETTE, bars, heatmap, label_ends, render, retention_curves, style

X = np.linspace(0.0, 10.0, 20)
SVG = "{http://www.w3.org/2000/svg}"


def curves(axes):
    retention_curves(axes, X, {"slow": np.exp(-X / 9), "fast": np.exp(-X)}, {"slow": (np.exp(-X / 7), np.exp(-X / 11))})
    axes.set_xlabel("days")


def bar_chart(axes):
    bars(axes, ["dense", "random"], [0.9, 0.5], [0.02, 0.03], highlight=["dense"])


def heat_map(axes):
    heatmap(axes, np.where(np.eye(4) > 0, np.nan, 0.5), "share surviving")


@pytest.mark.parametrize("draw", [curves, bar_chart, heat_map])
def test_the_same_drawing_gives_the_same_svg(draw):
    assert render(draw, "alt") == render(draw, "alt")


@pytest.mark.parametrize(
    ("draw", "words"),
    [(curves, {"slow", "fast", "days"}), (bar_chart, {"dense", "0.9"}), (heat_map, {"share surviving"})],
)
def test_svg_keeps_text_as_text_and_names_itself(draw, words):
    svg = render(draw, "what is seen")
    root = ElementTree.fromstring(svg)
    assert words <= {element.text for element in root.iter(f"{SVG}text")}
    assert root.find(f"{SVG}title").text == "what is seen"
    assert "sans-serif" in svg
    assert "dc:date" not in svg


def test_labels_at_the_ends_do_not_overlap():
    heights = {}

    def draw(axes):
        axes.set_ylim(0, 1)
        label_ends(axes, 1.0, {"a": 0.5, "b": 0.501, "c": 0.999, "d": 1.0, "e": 0.0}, gap=0.05)
        heights.update({text.get_text(): text.xy[1] for text in axes.texts})

    render(draw, "alt")
    ordered = sorted(heights.values())
    assert min(np.diff(ordered)) >= 0.05 - 1e-9
    assert 0 <= ordered[0] <= ordered[-1] <= 1
    assert sorted(heights, key=heights.get) == ["e", "a", "b", "c", "d"]


def test_more_curves_than_colours_are_refused():
    many = {str(i): X for i in range(len(PALETTE) + 1)}
    with pytest.raises(InvalidInput, match="told apart"):
        render(lambda axes: retention_curves(axes, X, many), "alt")


def test_the_style_is_left_behind():
    import matplotlib

    before = matplotlib.rcParams["svg.fonttype"]
    with style():
        assert matplotlib.rcParams["svg.fonttype"] == "none"
    assert matplotlib.rcParams["svg.fonttype"] == before


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"halflife\[plot\]"):
        render(curves, "alt")
