"""A table of numbers in which the colour says how large."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dbt_location.pictures.chart import INK, canvas, heading, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# White is readable on each of them, and each stands out from a white page and from a black one.
COLOURS = ("#7f8aa1", "#5474cf", "#2440a8")


def heat_map(
    title: str, rows: Sequence[str], columns: Sequence[str], numbers: Mapping[tuple[str, str], int]
) -> "Figure":
    """Draws a number per row, top down, and column; at least one of each. A pair that is not there has no number."""
    from matplotlib.colors import LinearSegmentedColormap, LogNorm
    from matplotlib.patches import Rectangle

    figure = canvas(8.4, 1.0 + 0.42 * len(rows))
    axes = figure.add_subplot()
    heading(figure, title)
    plain_axes(axes)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=9, top=True, labeltop=True, bottom=False, labelbottom=False)
    # Logarithmic: most trips stay within a borough, and the others would all look alike.
    scale = LogNorm(1, max([10, *numbers.values()]))
    colour = LinearSegmentedColormap.from_list("cells", COLOURS)
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            number = numbers.get((row, column), 0)
            if number:
                axes.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, color=colour(scale(number)), linewidth=0))
            text = f"{number:,}" if number else "\N{EN DASH}"
            style: dict[str, Any] = {"color": "white", "fontweight": "bold"} if number else {"color": INK}
            axes.text(x, y, text, ha="center", va="center", fontsize=9, **style)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    return figure
