"""A map of the taxi zones in which the colour says how many."""

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dbt_location.pictures.chart import BLUE, FAINT, INK, canvas, heading, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PatchCollection
    from matplotlib.figure import Figure
    from matplotlib.path import Path
    from matplotlib.transforms import Bbox

# From dark to bright with more hue than lightness: each end stands out from a white page and from a black one.
COLOURS = ("#4a55a8", "#3f84bd", "#3fae9d", "#86c25a", "#e3b23c", "#e8743b", "#d6403f")
# Inches: of the page, of a phone; around each map; below for the colours, above for the title and for a map's name.
WIDTH, NARROW, MARGIN, BAR, TITLE, NAME = 8.4, 4.2, 0.12, 0.75, 0.35, 0.25


class Zone(NamedTuple):
    """A zone and the number it is coloured by; ``geometry`` is GeoJSON in WGS 84, or None."""

    name: str
    borough: str
    is_airport: bool
    number: int
    geometry: str | None


def zone_chart(title: str, unit: str, zones: Sequence[Zone], *, narrow: bool = False, titled: bool = True) -> "Figure":
    """Draws the zones on the map, Manhattan larger, or the busiest as bars where no zone has a shape: it says so then.

    ``unit`` is what the number of a zone counts. If ``narrow``, for a phone, Manhattan is below the city instead of
    beside it. If not ``titled``, the page has the title.
    """
    placed = [zone for zone in zones if zone.geometry]
    if not placed:
        return _bars(f"{title}: the busiest, as no zone has a shape", unit, zones, NARROW if narrow else WIDTH)
    return _map(title if titled else "", unit, placed, narrow)


def _map(title: str, unit: str, zones: Sequence[Zone], narrow: bool) -> "Figure":
    from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
    from matplotlib.transforms import Bbox

    placed = [(zone, _path(json.loads(zone.geometry or ""))) for zone in zones]
    numbers = [zone.number for zone in zones if zone.number] or [1]
    # Logarithmic, for a few zones usually have thousands of times the pickups of most.
    norm = LogNorm if max(numbers) >= 10 * min(numbers) else Normalize
    colours = LinearSegmentedColormap.from_list("zones", COLOURS)
    scale = {"norm": norm(min(numbers), max(numbers)), "cmap": colours}
    manhattan = [(zone, path) for zone, path in placed if zone.borough == "Manhattan"]
    named = [("Manhattan", manhattan), ("New York City", placed)]
    parts = [(name, part) for name, part in (reversed(named) if narrow else named) if part]
    bounds = [Bbox.union([path.get_extents() for _, path in part]) for _, part in parts]
    width, boxes, height = _arrange([box.width / _stretch(box) / box.height for box in bounds], narrow)
    top = TITLE if title else MARGIN
    total = BAR + height + top
    figure = canvas(width, total)
    figure.set_layout_engine("none")
    figure.text(MARGIN / width, 1 - MARGIN / total, title, va="top", fontsize=11, color=INK, fontweight="bold")
    for (name, part), extent, (x, y, w, h) in zip(parts, bounds, boxes, strict=True):
        axes = figure.add_axes((x / width, (BAR + y) / total, w / width, h / total))
        axes.text(0, 1, name, transform=axes.transAxes, va="bottom", fontsize=9, color=INK)
        shapes = _draw(axes, part, extent, scale)
    bar_axes = figure.add_axes((0.5 - 1.9 / width, (BAR - 0.25) / total, 3.8 / width, 0.12 / total))
    bar = figure.colorbar(shapes, cax=bar_axes, orientation="horizontal", format="{x:,.0f}")
    bar.ax.tick_params(labelsize=8, colors=INK, which="both")
    bar.outline.set_visible(False)
    bar.set_label(unit, fontsize=8, color=INK)
    return figure


def _arrange(shapes: Sequence[float], narrow: bool) -> tuple[float, list[tuple[float, float, float, float]], float]:
    """Places boxes of these widths by heights: beside one another at one height, or below one another.

    Returns the width of the whole, in inches; left, bottom, width and height of each box; the height of the whole.
    """
    if narrow:
        # Each as wide as there is room, unless it would be much higher than that.
        heights = [min((NARROW - 2 * MARGIN) / shape, 1.3 * NARROW) for shape in shapes]
        boxes: list[tuple[float, float, float, float]] = []
        bottom = 0.0
        for shape, height in zip(reversed(shapes), reversed(heights), strict=True):
            boxes.insert(0, ((NARROW - shape * height) / 2, bottom, shape * height, height))
            bottom += height + NAME
        return NARROW, boxes, bottom
    height = (WIDTH - MARGIN * (len(shapes) + 1)) / sum(shapes)
    lefts = [MARGIN * (index + 1) + height * sum(shapes[:index]) for index in range(len(shapes))]
    boxes = [(left, 0.0, shape * height, height) for left, shape in zip(lefts, shapes, strict=True)]
    return WIDTH, boxes, height + NAME


def _draw(
    axes: "Axes", placed: Sequence[tuple[Zone, "Path"]], extent: "Bbox", scale: dict[str, Any]
) -> "PatchCollection":
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import PathPatch
    from matplotlib.patheffects import withStroke

    axes.set_axis_off()
    axes.set_xlim(extent.x0, extent.x1)
    axes.set_ylim(extent.y0, extent.y1)
    axes.set_aspect(_stretch(extent))
    unused = [PathPatch(path) for zone, path in placed if not zone.number]
    axes.add_collection(PatchCollection(unused, facecolor="none", edgecolor=INK, linewidth=0.4))
    used = [PathPatch(path) for zone, path in placed if zone.number]
    shapes = PatchCollection(used, edgecolor=INK, linewidth=0.3, **scale)
    shapes.set_array([zone.number for zone, _ in placed if zone.number])
    axes.add_collection(shapes)
    style: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 8, "fontweight": "bold", "color": "white"}
    edge = [withStroke(linewidth=2.2, foreground="#222a")]
    for zone, path in placed:
        if zone.is_airport:
            box = path.get_extents()
            below = ((box.x0 + box.x1) / 2, box.y0)
            axes.annotate(zone.name.removesuffix(" Airport"), below, path_effects=edge, **style)
    return shapes


def _path(geometry: dict[str, Any]) -> "Path":
    """A GeoJSON Polygon or MultiPolygon as one path; holes run against their outer ring, so they stay empty."""
    from matplotlib.path import Path

    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    rings = [ring for polygon in polygons for ring in polygon]
    return Path.make_compound_path(*(Path(ring, closed=True) for ring in rings))


def _stretch(degrees: "Bbox") -> float:
    """How many degrees of longitude are as long as one of latitude."""
    return 1 / math.cos(math.radians((degrees.y0 + degrees.y1) / 2))


def _bars(title: str, unit: str, zones: Sequence[Zone], width: float) -> "Figure":
    top = sorted((zone for zone in zones if zone.number), key=lambda zone: zone.number)[-15:]
    figure = canvas(width, 4.4)
    axes = figure.add_subplot()
    heading(figure, title)
    plain_axes(axes)
    # By place, not by name: several zones have the same one.
    axes.barh(range(len(top)), [zone.number for zone in top], color=BLUE)
    axes.set_yticks(range(len(top)), [f"{zone.name} ({zone.borough})" for zone in top])
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel(unit, fontsize=8, color=INK)
    axes.grid(axis="x", linewidth=0.5, color=FAINT)
    axes.set_axisbelow(True)
    return figure
