"""A month that differs too much from its neighbours is a warning; one with a day without trips is an error."""

import math
from datetime import date
from typing import Any

import dagster as dg
import pytest
from ingestion_location.defs.trips.checks import CHECKS, evaluate
from ingestion_location.defs.trips.trip_ledger import LoadedTripFile
from ingestion_location.defs.trips.trip_schema import Absurd

BY_DAY = {date(2023, 2, day): 10 for day in range(1, 29)}


def month(number: int = 2, trips: int = 1_000, strays: int = 0, **columns: list[str]) -> LoadedTripFile:
    """A month's row of the ledger."""
    return LoadedTripFile(
        month=date(2023, number, 1),
        url="",
        etag=None,
        last_modified=None,
        bytes=0,
        sha256="",
        rows=trips + strays,
        strays=strays,
        unknown_columns=columns.get("unknown", []),
        missing_columns=columns.get("missing", []),
        run_id="",
    )


def failed(*arguments: Any) -> dict[str, tuple[dg.AssetCheckSeverity, dict[str, Any]]]:
    """The checks that a month without absurd numbers fails: severity and metadata of each."""
    return failed_with({}, *arguments)


def failed_with(absurd: dict[str, Absurd], *arguments: Any) -> dict[str, tuple[dg.AssetCheckSeverity, dict[str, Any]]]:
    return {
        str(result.check_name): (result.severity, {name: value.value for name, value in result.metadata.items()})
        for result in evaluate(*arguments, absurd=absurd)
        if not result.passed
    }


def test_a_month_like_its_neighbours_passes_every_check() -> None:
    results = evaluate(month(), [month(1, 1_900), month(3, 600)], BY_DAY, absurd={})
    assert [(result.check_name, result.passed) for result in results] == [(check.name, True) for check in CHECKS]


def test_a_month_without_neighbours_passes_every_check() -> None:
    assert failed(month(), [], BY_DAY) == {}


@pytest.mark.parametrize("other", [2_001, 499, 0])
def test_a_month_with_half_or_twice_the_trips_of_a_neighbour_is_a_warning(other: int) -> None:
    ((severity, metadata),) = failed(month(), [month(1), month(3, other)], BY_DAY).values()
    assert (severity, metadata["neighbours"]) == (dg.AssetCheckSeverity.WARN, {"2023-01": 1_000, "2023-03": other})


def test_more_than_a_hundredth_of_strays_is_a_warning() -> None:
    assert failed(month(trips=990, strays=10), [], BY_DAY) == {}
    (severity, metadata) = failed(month(trips=989, strays=11), [], BY_DAY)["few_strays"]
    assert (severity, metadata["strays"], metadata["share"]) == (dg.AssetCheckSeverity.WARN, 11, 0.011)


@pytest.mark.parametrize("columns", [{"unknown": ["mood"]}, {"missing": ["extra"]}])
def test_a_column_too_many_or_too_few_is_a_warning_that_names_it(columns: dict[str, list[str]]) -> None:
    (severity, metadata) = failed(month(2, 1_000, 0, **columns), [], BY_DAY)["known_columns"]
    assert (severity, metadata) == (
        dg.AssetCheckSeverity.WARN,
        {"month": "2023-02", "unknown": [], "missing": [], **columns},
    )


@pytest.mark.parametrize(("largest", "shown"), [(-20_000.0, -20_000.0), (math.nan, "nan"), (math.inf, "inf")])
def test_absurd_numbers_are_a_warning_with_their_column_count_and_largest(largest: float, shown: object) -> None:
    found = failed_with({"total_amount": Absurd(2, largest)}, month(), [], BY_DAY)
    (severity, metadata) = found["no_absurd_numbers"]
    assert severity == dg.AssetCheckSeverity.WARN
    assert metadata["absurd"] == {"total_amount": {"trips": 2, "largest": shown, "bound": 10_000}}


def test_a_day_without_trips_is_an_error_that_names_it() -> None:
    (severity, metadata) = failed(month(), [], {**BY_DAY, date(2023, 2, 14): 0})["every_day_has_trips"]
    assert (severity, metadata["days_without_trips"]) == (dg.AssetCheckSeverity.ERROR, ["2023-02-14"])


def test_a_month_without_trips_is_an_error() -> None:
    assert set(failed(month(trips=0), [], dict.fromkeys(BY_DAY, 0))) == {"every_day_has_trips"}
