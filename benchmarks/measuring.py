"""What the measurements share: what is built, rounds, medians, and results.json with the last figures of each part."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")
DBT_ASSETS = ["stg_trips", "daily_metrics", "location_metrics"]
DAILY_ASSETS = [*DBT_ASSETS, "manhattan_stats"]


def log(text: str) -> None:
    print(text, flush=True)


def dbt_build(first: date, last: date) -> list[str]:
    """Arguments of dbt that build the daily models from first to last, as a run of dbt_location does."""
    build = ["build", "--exclude-resource-type", "unit_test"]
    daily = ["--select", "source:raw_taxis.trips+", "--exclude", "tag:monthly"]
    window = ["--event-time-start", f"{first}", "--event-time-end", f"{last + timedelta(days=1)}"]
    return [*build, *daily, *window, "--project-dir", "analytics", "--profiles-dir", "analytics"]


def median(values: Sequence[float]) -> float:
    """The median, to a hundredth."""
    return round(statistics.median(values), 2)


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Per name, the median over the rounds."""
    return {name: median([each[name] for each in rounds]) for name in rounds[0]}


def in_turns(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measures every way once per round, so that a slow moment of the machine affects all of them.

    A way is a function that returns the seconds that it took.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(1, rounds + 1):
        for name, way in ways.items():
            seconds[name].append(way())
            log(f"round {round_} of {rounds}: {name} {seconds[name][-1]:.2f} s")
    return seconds


def save(part: str, figures: dict[str, Any]) -> None:
    """Prints the figures of a part and writes them; those of the other parts stay."""
    results = json.loads(RESULTS.read_text()) | {part: figures}
    RESULTS.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
    log(json.dumps(figures, indent=2, sort_keys=True))
