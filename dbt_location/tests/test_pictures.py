"""The pictures: what they are of can be seen on them, on a light page and on a dark one."""

import io
import json
from datetime import date
from typing import Any

import pytest
from dbt_location.pictures.chart import Panel, lines_by_day, png
from dbt_location.pictures.choropleth import Zone, zone_chart
from dbt_location.pictures.heat_map import heat_map
from matplotlib.text import Text
from PIL import Image

Ring = list[tuple[float, float]]


def square(west: float, south: float, side: float, *, clockwise: bool = False) -> Ring:
    ring = [
        (west, south),
        (west + side, south),
        (west + side, south + side),
        (west, south + side),
        (west, south),
    ]
    return ring[::-1] if clockwise else ring


def zone(*rings: Ring, number: int = 5, borough: str = "Queens") -> Zone:
    return Zone("Astoria", borough, False, number, json.dumps({"type": "Polygon", "coordinates": rings}))


def picture(figure: Any) -> Image.Image:
    return Image.open(io.BytesIO(png(figure, 100))).convert("RGBA")


def coloured(figure: Any) -> Image.Image:
    """Where the map, above its scale, has a colour: 255 there, 0 elsewhere."""
    drawn = picture(figure)
    drawn = drawn.crop((0, 0, drawn.width, drawn.height - 80))
    saturation = drawn.convert("RGB").convert("HSV").getchannel("S").point(lambda value: 255 * (value > 90))
    return Image.composite(saturation, Image.new("L", drawn.size), drawn.getchannel("A"))


FIGURES = {
    "lines": lambda: lines_by_day([date(2023, 1, 1)], [Panel("Trips per day", {"Manhattan": [1], "whole city": [2]})]),
    "map": lambda: zone_chart("Pickups", "pickups", [zone(square(-74, 40, 0.1))]),
    "bars": lambda: zone_chart("Pickups", "pickups", [zone(square(-74, 40, 0.1))._replace(geometry=None)]),
    "heat map": lambda: heat_map("Trips", ["Bronx"], ["Queens"], {("Bronx", "Queens"): 7}),
}


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_a_picture_has_no_ground_of_its_own(figure: Any) -> None:
    drawn = picture(figure())
    corners = [drawn.getpixel((x, y)) for x in (0, drawn.width - 1) for y in (0, drawn.height - 1)]
    assert [corner[3] for corner in corners if isinstance(corner, tuple)] == [0, 0, 0, 0]


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_a_picture_has_no_ink_that_a_black_or_a_white_page_would_swallow(figure: Any) -> None:
    drawn = picture(figure())
    opaque = drawn.getchannel("A").point(lambda alpha: 255 * (alpha > 200))
    lightness = drawn.convert("L").histogram(opaque)
    # White is on coloured cells and on labels with an edge of their own.
    assert sum(lightness[:40]) == 0
    assert sum(lightness[230:]) < 0.1 * sum(lightness)


@pytest.mark.parametrize(("latitude", "width_by_height"), [(0, 1), (60, 0.5)])
def test_a_degree_of_longitude_is_as_wide_as_it_is_at_that_latitude(latitude: float, width_by_height: float) -> None:
    box = coloured(zone_chart("", "pickups", [zone(square(-74, latitude - 0.5, 1))], titled=False)).getbbox()
    assert box
    left, upper, right, lower = box
    assert (right - left) / (lower - upper) == pytest.approx(width_by_height, rel=0.02)


def share_coloured(*zones: Zone) -> float:
    """How much of the box around the coloured zones is coloured."""
    map_ = coloured(zone_chart("", "pickups", zones, titled=False))
    inside = map_.crop(map_.getbbox())
    return inside.histogram()[255] / (inside.width * inside.height)


def test_a_hole_in_a_zone_stays_empty() -> None:
    whole, hole = square(-74, 40, 0.4), square(-73.9, 40.1, 0.2, clockwise=True)
    assert share_coloured(zone(whole, hole)) == pytest.approx(0.75, abs=0.02)


def test_a_zone_of_several_parts_has_all_of_them() -> None:
    west, east = square(-74, 40, 0.1), square(-73.8, 40, 0.1)
    parts = json.dumps({"type": "MultiPolygon", "coordinates": [[west], [east]]})
    assert share_coloured(zone(west)._replace(geometry=parts)) == pytest.approx(2 / 3, abs=0.02)


def test_a_zone_without_pickups_has_no_colour() -> None:
    west, middle, east = square(-74, 40, 0.1), square(-73.9, 40, 0.1), square(-73.8, 40, 0.1)
    assert share_coloured(zone(west), zone(middle, number=0), zone(east)) == pytest.approx(2 / 3, abs=0.02)


def test_manhattan_is_shown_once_in_the_city_and_once_larger() -> None:
    zones = [zone(square(-74, 40, 0.1), borough="Manhattan"), zone(square(-73.9, 40, 0.1))]
    figure = zone_chart("Pickups", "pickups", zones)
    assert [axes.texts[0].get_text() for axes in figure.axes if axes.texts] == ["Manhattan", "New York City"]


@pytest.mark.parametrize(("numbers", "scale"), [((1, 10_000), "LogNorm"), ((90, 140), "Normalize")])
def test_the_scale_is_logarithmic_where_the_numbers_are_far_apart(numbers: tuple[int, int], scale: str) -> None:
    zones = [zone(square(-74 + index, 40, 1), number=number) for index, number in enumerate(numbers)]
    (shapes,) = [
        collection
        for collection in zone_chart("Pickups", "pickups", zones).axes[0].collections
        if collection.get_array() is not None
    ]
    assert type(shapes.norm).__name__ == scale


# Texts that matplotlib would take for formulas, valid or not, and characters that its font lacks.
ODD = [r"$x$ $\foo$ 5$", "$", r"$\frac{", "\u4e2d\u6587 \U0001f696 \x1b[31m\x07"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("geometry", [True, False])
def test_a_text_of_the_data_is_drawn_as_it_is(name: str, geometry: bool) -> None:
    shape = json.dumps({"type": "Polygon", "coordinates": [square(0, 0, 1)]}) if geometry else None
    figures = [
        zone_chart(name, name, [Zone(name, name, True, number, shape) for number in (1, 20_000)]),
        heat_map(name, [name], [name], {(name, name): 20_000}),
        lines_by_day([date(2023, 1, 1), date(2023, 1, 2)], [Panel(name, {name: [1, None]})], legend=True),
    ]
    for figure in figures:
        png(figure, 50)
        texts = [text for text in figure.findobj(Text) if text.get_text()]
        assert any(text.get_text() == name for text in texts)
        assert not any(text.get_parse_math() for text in texts)
        assert not any("mathdefault" in text.get_text() for text in texts)
