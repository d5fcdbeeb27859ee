"""The assets, as Dagster runs them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import dagster as dg
import pytest
from dbt_location.defs.dbt_models import get_dbt_partitioned_models, get_dbt_unpartitioned_models
from dbt_location.defs.metrics.manhattan_stats import manhattan_stats


class Built(NamedTuple):
    """A run of one day of the daily assets, the run of two days that came next, and the days that a model then has."""

    one_day: dg.ExecuteInProcessResult
    two_days: dg.ExecuteInProcessResult
    days: int


_built: list[Built] = []


@pytest.fixture
def built(add_trips: Any, materialize: Callable[..., dg.ExecuteInProcessResult], query: Any) -> Built:
    """The runs, for the first test that needs them; each starts dbt."""
    if not _built:
        add_trips("2023-01-01 12:00", "2023-01-01 12:00", "2023-01-02 12:00", "2023-01-03 12:00")
        assert materialize(get_dbt_unpartitioned_models()).success
        one_day = materialize(get_dbt_partitioned_models(), days=("2023-01-01", "2023-01-01"))
        two_days = materialize(get_dbt_partitioned_models(), manhattan_stats, days=("2023-01-01", "2023-01-02"))
        ((days,),) = query("select count(*) from analytics.daily_metrics")
        _built.append(Built(one_day, two_days, days))
    return _built[0]


def test_one_run_over_a_range_materializes_every_day_of_every_daily_asset(built: Built) -> None:
    events = built.two_days.get_asset_materialization_events()
    found = [event.step_materialization_data.materialization for event in events]
    assert {(event.asset_key.to_user_string(), event.partition) for event in found} == {
        (asset, day)
        for asset in ("stg_trips", "daily_metrics", "location_metrics", "manhattan_stats")
        for day in ("2023-01-01", "2023-01-02")
    }
    assert built.days == 2


def test_a_failed_dbt_test_is_a_failed_check_of_its_model(
    query: Any, materialize: Callable[..., dg.ExecuteInProcessResult]
) -> None:
    query("insert into raw_taxis.zones select * from raw_taxis.zones")
    result = materialize(get_dbt_unpartitioned_models())
    failed = {check.check_name for check in result.get_asset_check_evaluations() if not check.passed}
    assert failed == {"unique_stg_zones_zone_id"}


def test_a_run_of_days_whose_month_is_not_loaded_fails_with_the_month(
    query: Any, materialize: Callable[..., dg.ExecuteInProcessResult]
) -> None:
    query("delete from raw_taxis.trip_files where month = '2023-02-01'")
    result = materialize(get_dbt_partitioned_models(), days=("2023-01-31", "2023-02-01"))
    (failed,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert "months of taxi_trips that are not loaded: 2023-02. Nothing was built." in str(failed.error)


def test_a_model_says_how_many_rows_it_wrote(built: Built) -> None:
    assert {
        asset: (metadata.get("rows_written"), metadata.get("dagster/partition_row_count"))
        for asset, metadata in recorded(built.one_day).items()
    } == {"stg_trips": (None, None), "daily_metrics": (1, 1), "location_metrics": (1, 1)}
    assert recorded(built.two_days)["daily_metrics"]["rows_written"] == 2
    assert "dagster/partition_row_count" not in recorded(built.two_days)["daily_metrics"]


def recorded(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """Metadata of the materializations, the last one of each asset, by asset key."""
    return {
        event.asset_key.to_user_string(): {
            name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


def test_a_column_shows_the_columns_that_it_comes_from_across_the_locations(built: Built) -> None:
    lineage = {
        f"{asset}.{column}": sorted(f"{dep.asset_key.to_user_string()}.{dep.column_name}" for dep in deps)
        for asset, metadata in recorded(built.one_day).items()
        for column, deps in metadata["dagster/column_lineage"].deps_by_column.items()
    }
    assert lineage["stg_trips.duration"] == ["taxi_trips.dropoff_datetime", "taxi_trips.pickup_datetime"]
    assert lineage["daily_metrics.pct_over_30_min"] == ["stg_trips.duration"]
    assert lineage["location_metrics.destination_borough"] == ["stg_zones.borough"]
