"""A window whose month is not loaded is refused before any model runs, and the month is named."""

from typing import Any

import pytest


def unload(query: Any, *months: str) -> None:
    """Takes months out of the ledger of the loads."""
    for month in months:
        query(f"delete from raw_taxis.trip_files where month = '{month}-01'")


def refused(dbt: Any, *arguments: str) -> str:
    """Runs dbt, which has to fail, and returns what it says."""
    result = dbt("build", *arguments)
    assert not result.success
    return str(result.exception)


def of(start: str, end: str) -> tuple[str, ...]:
    return "--event-time-start", start, "--event-time-end", end


@pytest.mark.parametrize(
    ("window", "missing"),
    [
        (of("2023-01-31", "2023-02-02"), "2023-02"),
        (of("2023-02-28", "2023-03-01"), "2023-02"),
        (of("2023-01-01", "2023-04-01"), "2023-02, 2023-03"),
        ((), "2023-02, 2023-03"),
    ],
    ids=["first day", "last day", "all", "the configured range"],
)
def test_a_window_that_reaches_into_a_month_that_is_not_loaded_is_refused_with_its_name(
    add_trips: Any, query: Any, dbt: Any, window: tuple[str, ...], missing: str
) -> None:
    unload(query, "2023-02", "2023-03")
    assert f"months of taxi_trips that are not loaded: {missing}. Nothing was built." in refused(dbt, *window)
    assert query("select to_regclass('analytics.daily_metrics')") == [(None,)]


def test_a_window_beside_a_month_that_is_not_loaded_is_built(query: Any, build: Any) -> None:
    unload(query, "2022-12", "2023-02")
    build("2023-01-01", "2023-02-01")


def test_a_warehouse_without_any_load_is_refused_with_the_first_month(query: Any, dbt: Any) -> None:
    query("drop table raw_taxis.trip_files")
    assert "not loaded: 2023-01. Nothing was built." in refused(dbt, *of("2023-01-05", "2023-01-08"))


def test_an_open_end_is_the_end_of_the_last_month_that_is_loaded(
    query: Any, dbt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_END_DATE", "")
    assert dbt("build").success
    unload(query, "2023-02")
    assert "not loaded: 2023-02. Nothing was built." in refused(dbt)


def test_what_has_no_day_is_built_without_any_month(query: Any, dbt: Any) -> None:
    query("delete from raw_taxis.trip_files")
    assert dbt("build", "--select", "stg_zones").success
