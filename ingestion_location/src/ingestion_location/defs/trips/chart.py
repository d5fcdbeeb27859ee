"""The bar chart on an asset's page."""

import base64
import io
from collections.abc import Mapping
from datetime import date

# Legible in the light and the dark theme of Dagster's UI.
_INK, _BAR = "#7a8194", "#5b7bd5"


def bars_by_day(title: str, counts: Mapping[date, int]) -> str:
    """Draws a bar per day of a month and returns the chart as Markdown with an inline PNG."""
    # Imported here, because the import takes a fifth of the definitions' load time and only a load draws a chart.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.2), dpi=80, layout="constrained")
    figure.patch.set_alpha(0)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.bar([day.day for day in counts], list(counts.values()), color=_BAR, width=0.8)
    axes.set_title(title, loc="left", fontsize=9, color=_INK)
    axes.set_xticks([day.day for day in counts if day.day % 5 == 0 or day.day == 1])
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(labelsize=7, colors=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return f"![{title}](data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()})"
