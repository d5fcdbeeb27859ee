"""The metrics' tables and pictures, on a mart of a few rows."""

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from typing import Any

import dagster as dg
import psycopg2
import pytest
from dbt_location.defs.dbt_models import get_dbt_monthly_models
from dbt_location.defs.metrics.borough_flows_chart import borough_flows_chart
from dbt_location.defs.metrics.manhattan_stats import LOCK, manhattan_stats, replace_days
from dbt_location.defs.metrics.zone_map import zone_map
from dbt_location.warehouse import Warehouse
from integration.conftest import failure

Materialize = Callable[..., dg.ExecuteInProcessResult]
DAYS = [f"2023-01-{day:02}" for day in range(1, 32)]
FIRST, SECOND, THIRD = (date(2023, 1, day) for day in (1, 2, 3))


@pytest.fixture(autouse=True)
def mart(location_metrics: Callable[[str], None], instance: dg.DagsterInstance) -> None:
    """A whole January of location_metrics with trips on three days, one of which has none in Manhattan; and zones."""
    location_metrics(
        """
        (date '2023-01-01', 4, 'Manhattan', 'Queens', false, 2, 1, 30::numeric, 25.5::numeric, 0),
        (date '2023-01-01', 4, 'Manhattan', 'N/A', false, 1, 1, 40::numeric, 4.5::numeric, 1),
        (date '2023-01-01', 7, 'Queens', 'Queens', false, 9, 8, 110::numeric, 900::numeric, 2),
        (date '2023-01-02', 4, 'Manhattan', 'Queens', false, 1, 0, null, 7::numeric, 0),
        (date '2023-01-03', 265, 'N/A', 'EWR', false, 5, 5, 10::numeric, 10::numeric, 0),
        (date '2023-02-01', 1, 'EWR', 'EWR', true, 3, 3, 10::numeric, 10::numeric, 0)
        """
    )
    for day in DAYS:
        for model in ("stg_trips", "location_metrics"):
            instance.report_runless_asset_event(dg.AssetMaterialization(model, partition=day))


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    assert result.success
    materialized = result.asset_materializations_for_node(asset)[0]
    return {name: value.value for name, value in materialized.metadata.items()}


def test_manhattan_stats_has_manhattans_pickups_beside_the_whole_citys(query: Any, materialize: Materialize) -> None:
    assert materialize(manhattan_stats, days=("2023-01-01", "2023-01-01")).success
    assert query(
        "select trips, revenue, average_duration, round(pct_over_30_min, 4), city_trips, city_revenue,"
        " city_average_duration, city_pct_over_30_min from metrics.manhattan_stats"
    ) == [(3, 30, 35, Decimal("0.3333"), 12, 930, 18, Decimal("0.25"))]


def test_manhattan_stats_has_no_average_of_a_day_whose_trips_have_no_duration(
    query: Any, materialize: Materialize
) -> None:
    assert materialize(manhattan_stats, days=("2023-01-02", "2023-01-02")).success
    assert query("select trips, average_duration, city_average_duration from metrics.manhattan_stats") == [
        (1, None, None)
    ]


def test_a_day_without_pickups_in_manhattan_has_no_row(query: Any, materialize: Materialize) -> None:
    assert materialize(manhattan_stats, days=("2023-01-01", "2023-01-03")).success
    assert query("select date_of_business from metrics.manhattan_stats order by 1") == [(FIRST,), (SECOND,)]


def test_manhattan_stats_shows_its_row_count_and_a_chart(materialize: Materialize) -> None:
    said = metadata(materialize(manhattan_stats, days=("2023-01-01", "2023-01-02")), "manhattan_stats")
    assert (said["dagster/row_count"], said["rows_in_window"]) == (2, 2)
    assert re.match(r"!\[Trips picked up in Manhattan, .*\]\(data:image/png;base64,", said["manhattan_and_city"])


def replace(warehouse: Warehouse, start: date, end: date) -> list[Any]:
    return replace_days(warehouse, start, end)[0]


def test_a_day_that_lost_its_trips_loses_its_row_and_the_others_stay(query: Any, warehouse: Warehouse) -> None:
    replace(warehouse, FIRST, THIRD)
    query("delete from analytics.location_metrics")
    replace(warehouse, FIRST, SECOND)
    assert query("select date_of_business from metrics.manhattan_stats") == [(SECOND,)]


def test_windows_in_any_order_and_twice_leave_what_one_build_leaves(query: Any, warehouse: Warehouse) -> None:
    rows = "select * from metrics.manhattan_stats order by 1"
    for start, end in [(SECOND, THIRD), (FIRST, THIRD), (FIRST, SECOND), (SECOND, THIRD)]:
        replace(warehouse, start, end)
    piecemeal = query(rows)
    query("drop table metrics.manhattan_stats")
    replace(warehouse, FIRST, THIRD)
    assert piecemeal == query(rows)


def test_first_builds_at_once_leave_one_table_with_all_their_rows(query: Any, warehouse: Warehouse) -> None:
    together = threading.Barrier(4)

    def build(start: date, end: date) -> None:
        together.wait(timeout=30)
        replace(warehouse, start, end)

    # Postgres's error depends on how far the other session has come, so once is not enough.
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            query("drop table if exists metrics.manhattan_stats")
            ends = [pool.submit(build, *days) for days in [(FIRST, SECOND), (SECOND, THIRD)] * 2]
            for end in ends:
                end.result(timeout=60)
            assert query("select date_of_business from metrics.manhattan_stats order by 1") == [(FIRST,), (SECOND,)]


def test_a_build_that_waited_for_another_reads_what_the_mart_says_after_the_wait(
    query: Any, warehouse: Warehouse
) -> None:
    replace(warehouse, FIRST, SECOND)
    with ThreadPoolExecutor(1) as pool:
        with warehouse.transaction() as connection:
            with connection.cursor() as cursor:
                cursor.execute(LOCK)
            second = pool.submit(replace, warehouse, FIRST, SECOND)
            while query("select 1 from pg_locks where not granted") == []:
                assert not second.done()
            query("update analytics.location_metrics set trips = 100 * trips")
        (row,) = second.result(timeout=60)
    assert (row.trips, query("select trips from metrics.manhattan_stats")) == (300, [(300,)])


def test_a_missing_model_is_named_with_what_to_do(query: Any, built: None, materialize: Materialize) -> None:
    query("drop view analytics.stg_zones")
    said = failure(materialize(zone_map, month="2023-01-01"))
    assert said.startswith(
        'relation "analytics.stg_zones" does not exist. Nothing was changed. Materialize the dbt models'
    )


@pytest.fixture
def built(build_month: Callable[[str, str], None]) -> None:
    """January of the monthly models."""
    build_month("2023-01-01", "2023-02-01")


def test_zone_pickups_are_a_months_pickups_by_zone_and_the_map_says_how_many_have_no_shape(
    query: Any, built: None, materialize: Materialize
) -> None:
    said = metadata(materialize(zone_map, month="2023-01-01"), "zone_map")
    assert query("select zone_id, zone, borough, pickups, revenue, has_shape from metrics.zone_pickups order by 1") == [
        (4, "Alphabet City", "Manhattan", 4, 37, True),
        (7, "Astoria", "Queens", 9, 900, True),
        (265, "Outside of NYC", "N/A", 5, 10, False),
    ]
    assert (said["pickups"], said["zones_without_shape"], said["pickups_without_shape"]) == (18, 1, 5)
    assert said["drawn_as"] == "map"
    title = "Pickups per taxi zone, January 2023 (without 5 of 18 in zones that have no shape)"
    assert said["zone_map"].startswith(f"![{title}](data:image/png;base64,")


def test_zone_map_is_bars_and_says_so_where_no_zone_has_a_shape(
    query: Any, build_month: Any, materialize: Materialize
) -> None:
    query("update raw_taxis.zones set geometry = null")
    build_month("2023-01-01", "2023-02-01")
    said = metadata(materialize(zone_map, month="2023-01-01"), "zone_map")
    assert (said["drawn_as"], said["pickups_without_shape"]) == ("bars, as no zone has a shape", 18)
    assert said["zone_map"].startswith("![Pickups per taxi zone, January 2023](data:image/png;base64,")


def test_zone_pickups_call_a_zone_that_the_lookup_lacks_unknown(query: Any, build_month: Any) -> None:
    query("update analytics.location_metrics set pickup_zone_id = 999 where pickup_zone_id = 7")
    build_month("2023-01-01", "2023-02-01")
    assert query("select zone, borough, pickups from metrics.zone_pickups where zone_id = 999") == [
        ("Unknown", "Unknown", 9)
    ]


def test_borough_flows_are_a_months_trips_from_borough_to_borough(
    query: Any, built: None, materialize: Materialize
) -> None:
    said = metadata(materialize(borough_flows_chart, month="2023-01-01"), "borough_flows_chart")
    assert query("select pickup_borough, dropoff_borough, trips from metrics.borough_flows order by 1, 2") == [
        ("Manhattan", "N/A", 1),
        ("Manhattan", "Queens", 3),
        ("N/A", "EWR", 5),
        ("Queens", "Queens", 9),
    ]
    title = "Trips from borough (down) to borough (across), January 2023"
    assert said["borough_flows"].startswith(f"![{title}](data:image/png;base64,")


def test_a_month_without_trips_leaves_no_rows_and_a_map(query: Any, materialize: Materialize) -> None:
    query("delete from analytics.location_metrics")
    result = materialize(get_dbt_monthly_models(), zone_map, borough_flows_chart, month="2023-01-01")
    assert (metadata(result, "zone_map")["pickups"], metadata(result, "borough_flows_chart")["trips"]) == (0, 0)
    assert query("select 1 from metrics.zone_pickups union all select 1 from metrics.borough_flows") == []


def test_the_definitions_load_without_matplotlib() -> None:
    code = "import sys, dbt_location.definitions; print('matplotlib' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout == "False\n"


@pytest.mark.parametrize(
    ("asset", "table"),
    [
        (zone_map, "metrics.zone_pickups"),
        (borough_flows_chart, "metrics.borough_flows"),
        (manhattan_stats, "analytics.location_metrics"),
    ],
)
def test_a_table_is_not_replaced_before_the_event_of_what_is_made_from_it_is_stored(
    query: Any,
    built: None,
    instance: dg.DagsterInstance,
    materialize: Materialize,
    monkeypatch: pytest.MonkeyPatch,
    asset: dg.AssetsDefinition,
    table: str,
) -> None:
    waits: list[bool] = []

    def store(event: dg.EventLogEntry) -> None:
        if event.is_dagster_event and event.get_dagster_event().is_step_materialization:
            try:
                query(f"lock table {table} in row exclusive mode nowait")
            except psycopg2.errors.LockNotAvailable:
                waits.append(True)
            else:
                waits.append(False)
        store_event(event)

    store_event = instance.event_log_storage.store_event
    monkeypatch.setattr(instance.event_log_storage, "store_event", store)
    by_day = asset is manhattan_stats
    assert (materialize(asset, days=(DAYS[0], DAYS[0])) if by_day else materialize(asset, month="2023-01-01")).success
    assert waits == [True]
