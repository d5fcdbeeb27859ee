"""The asset checks of ``taxi_trips``, evaluated by each load from the ledger and the trips per day."""

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from ingestion_location.defs.trips.trip_ledger import LoadedTripFile
from ingestion_location.defs.trips.trip_schema import BOUNDS, Absurd

ASSET = dg.AssetKey("taxi_trips")
# Neighbouring months of the TLC's files differ by less than this factor, except for March and April 2020.
NEIGHBOUR_RATIO = 2.0
# The TLC's files have a few strays per 10,000 trips.
STRAY_SHARE = 0.01

CHECKS = (
    dg.AssetCheckSpec(
        "row_count_near_neighbours",
        asset=ASSET,
        description=f"Neither less than 1/{NEIGHBOUR_RATIO:g} nor more than {NEIGHBOUR_RATIO:g} times the trips of the "
        "loaded months beside it.",
    ),
    dg.AssetCheckSpec(
        "few_strays",
        asset=ASSET,
        description=f"At most {STRAY_SHARE:.0%} of the file's trips were picked up outside its month.",
    ),
    dg.AssetCheckSpec(
        "known_columns",
        asset=ASSET,
        description="The file has exactly the columns that a file of its month should have.",
    ),
    dg.AssetCheckSpec(
        "no_absurd_numbers",
        asset=ASSET,
        description="No number, positive or negative, is above the bound of its column: "
        + ", ".join(f"{name} {bound:,.0f}" for name, bound in BOUNDS.items()),
    ),
    dg.AssetCheckSpec("every_day_has_trips", asset=ASSET, description="No day of the month is without trips."),
)


def evaluate(
    loaded: LoadedTripFile,
    neighbours: Sequence[LoadedTripFile],
    by_day: Mapping[date, int],
    *,
    absurd: Mapping[str, Absurd],
) -> list[dg.AssetCheckResult]:
    """Evaluates all checks for a month.

    Args:
        neighbours: the months before and after it, if they are loaded.
        by_day: its trips per day.
        absurd: its absurd numbers, per column that has any.
    """
    month = f"{loaded.month:%Y-%m}"
    far = [other for other in neighbours if not _near(loaded.trips, other.trips)]
    stray_share = loaded.strays / loaded.rows if loaded.rows else 0.0
    empty_days = [f"{day}" for day, trips in by_day.items() if not trips]
    warn, error = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
    columns = {"unknown": list(loaded.unknown_columns), "missing": list(loaded.missing_columns)}
    trips = {f"{other.month:%Y-%m}": other.trips for other in neighbours}
    # Name, whether the check passed, its severity, metadata.
    results: list[tuple[str, bool, dg.AssetCheckSeverity, dict[str, Any]]] = [
        ("row_count_near_neighbours", not far, warn, {"trips": loaded.trips, "neighbours": trips}),
        ("few_strays", stray_share <= STRAY_SHARE, warn, {"strays": loaded.strays, "share": stray_share}),
        ("known_columns", not any(columns.values()), warn, columns),
        ("no_absurd_numbers", not absurd, warn, {"absurd": describe(absurd)}),
        ("every_day_has_trips", not empty_days, error, {"days_without_trips": empty_days}),
    ]
    return [
        dg.AssetCheckResult(
            asset_key=ASSET, check_name=name, passed=passed, severity=severity, metadata={"month": month, **metadata}
        )
        for name, passed, severity, metadata in results
    ]


def describe(absurd: Mapping[str, Absurd]) -> dict[str, dict[str, int | float | str]]:
    """The absurd numbers as metadata: per column its trips, the largest number, and the bound."""
    return {
        name: {
            "trips": found.trips,
            # Months that an earlier version loaded may have NaN and infinity, which JSON lacks.
            "largest": found.largest if math.isfinite(found.largest) else f"{found.largest}",
            "bound": BOUNDS[name],
        }
        for name, found in absurd.items()
    }


def _near(trips: int, other: int) -> bool:
    return trips * NEIGHBOUR_RATIO >= other and other * NEIGHBOUR_RATIO >= trips
