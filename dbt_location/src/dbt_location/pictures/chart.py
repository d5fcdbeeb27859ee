"""Small charts for an asset's page and for a report, readable on a light page and on a dark one.

matplotlib is imported where something is drawn: it takes most of a second, which no start of a code server should.
"""

import base64
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.dates import DateLocator
    from matplotlib.figure import Figure

# Of middle lightness, on a transparent ground.
INK, FAINT, BLUE, AMBER = "#7a8194", "#7a819455", "#5b7bd5", "#c98a3a"
# Dots per inch: of an asset's page, and of a report, which phones show with two or three dots for one.
PAGE_DPI, REPORT_DPI = 100, 200


class Panel(NamedTuple):
    """One chart among several: a title, one value per date of each line (None is a gap), and how a value is written."""

    title: str
    lines: Mapping[str, Sequence[float | None]]
    number: str = "{x:,.0f}"


def canvas(width: float, height: float) -> "Figure":
    """An empty figure without ground, in inches."""
    from matplotlib import rcParams
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Every text is drawn as it is: a $ in the name of a zone begins no formula.
    rcParams["text.parse_math"] = False
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    FigureCanvasAgg(figure)
    return figure


def heading(figure: "Figure", title: str) -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK, fontweight="bold")


def plain_axes(axes: "Axes") -> None:
    """Draws the axes in ink, without ground."""
    axes.patch.set_alpha(0)
    axes.tick_params(labelsize=8, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)


def png(figure: "Figure", dpi: int) -> bytes:
    picture = io.BytesIO()
    with warnings.catch_warnings():
        # A character that the font lacks is drawn as a box; there would be a warning for each.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")
        figure.savefig(picture, format="png", dpi=dpi)
    return picture.getvalue()


def data_url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def markdown(title: str, figure: "Figure") -> str:
    """The figure as Markdown with the picture inside, as an asset's page shows it."""
    return f"![{title}]({data_url(png(figure, PAGE_DPI))})"


def lines_by_day(days: Sequence[date], panels: Sequence[Panel], *, legend: bool = False) -> "Figure":
    """Draws charts of one value per day (in order, at least one) and line, two in a row; the first line is in front."""
    from matplotlib.dates import DayLocator

    return _lines(days, panels, legend, margin=0.5, locator_of_few=DayLocator, form="%b %d\n%Y")


def lines_by_month(months: Sequence[date], panels: Sequence[Panel]) -> "Figure":
    """Draws the same of one value per month, given the first days of all months from the first to the last."""
    from matplotlib.dates import MonthLocator

    return _lines(months, panels, legend=False, margin=15, locator_of_few=MonthLocator, form="%b\n%Y")


def _lines(
    dates: Sequence[date],
    panels: Sequence[Panel],
    legend: bool,
    margin: float,
    locator_of_few: Callable[[], "DateLocator"],
    form: str,
) -> "Figure":
    """``margin`` is in days; ``locator_of_few`` and ``form`` say where ticks are, and what, if there are few dates."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, DateFormatter, date2num

    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = canvas(4.2 * columns, 2.3 * rows)
    for position, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, position)
        plain_axes(axes)
        axes.set_title(panel.title, loc="left", fontsize=10, color=INK, fontweight="bold")
        for order, (name, values) in enumerate(panel.lines.items()):
            heights = [float("nan") if value is None else float(value) for value in values]
            marker = "o" if len(dates) <= 31 else ""
            (line,) = axes.plot(date2num(dates), heights, marker=marker, markersize=2.4, linewidth=1.6)
            line.set(color=(BLUE, AMBER)[order], label=name, zorder=3 - order)
        axes.set_xlim(date2num(dates[0]) - margin, date2num(dates[-1]) + margin)
        axes.set_ylim(bottom=0)
        axes.set_ylim(top=1.08 * axes.get_ylim()[1])
        axes.yaxis.set_major_formatter(panel.number)
        axes.grid(axis="y", linewidth=0.5, color=FAINT)
        axes.set_axisbelow(True)
        # Of few dates the automatic ticks would lie between them.
        few = len(dates) < 7
        locator = locator_of_few() if few else AutoDateLocator(minticks=2, maxticks=7)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(DateFormatter(form) if few else ConciseDateFormatter(locator))
        axes.xaxis.get_offset_text().set(color=INK, fontsize=8)
    if legend:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9, labelcolor=INK, frameon=False)
    return figure
