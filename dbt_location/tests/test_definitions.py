"""What the location offers to Dagster, and what it says that it needs."""

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dbt_location.definitions import defs
from dbt_location.partitions import BACKFILL_POLICY, MAX_DAYS_PER_RUN, backfill_policy, daily_partition
from dbt_location.project import manifest
from dbt_location.sources import source_assets

GRAPH = defs.resolve_asset_graph()
DAILY = ("stg_trips", "daily_metrics", "location_metrics", "manhattan_stats")
TABLES = ("zone_pickups", "borough_flows", "monthly_totals")
MONTHLY = (*TABLES, "zone_map", "borough_flows_chart", "monthly_report")


def node(key: str) -> Any:
    return GRAPH.get(dg.AssetKey(key))


@pytest.mark.parametrize("key", DAILY)
def test_what_hangs_on_the_trips_is_partitioned_by_day(key: str) -> None:
    assert isinstance(node(key).partitions_def, dg.DailyPartitionsDefinition)


# The runs that Dagster cuts a backfill of every day of every daily asset into, as JSON: first day, last day, assets.
BACKFILL = f"""
import json
import dagster as dg
from dagster._core.definitions.automation_tick_evaluation_context import build_run_requests_with_backfill_policies
from dagster._core.definitions.events import AssetKeyPartitionKey
from dbt_location.definitions import defs
from dbt_location.partitions import daily_partition
days = [AssetKeyPartitionKey(dg.AssetKey(key), day) for key in {DAILY} for day in daily_partition.get_partition_keys()]
with dg.DagsterInstance.ephemeral() as instance:
    runs = build_run_requests_with_backfill_policies(days, defs.resolve_asset_graph(), instance)
bounds = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
assets = [sorted(key.path[-1] for key in run.asset_selection) for run in runs]
print(json.dumps([[*(run.tags[bound] for bound in bounds), keys] for run, keys in zip(runs, assets)]))
"""


@pytest.fixture
def backfill() -> Callable[[str, str], list[tuple[date, date, list[str]]]]:
    """The runs of a backfill of the whole configured range, which is read when the location is imported."""

    def runs(start: str, end: str) -> list[tuple[date, date, list[str]]]:
        env = os.environ | {"TAXI_START_DATE": start, "TAXI_END_DATE": end}
        output = subprocess.run([sys.executable, "-c", BACKFILL], env=env, stdout=subprocess.PIPE, check=True).stdout
        return [(date.fromisoformat(first), date.fromisoformat(last), keys) for first, last, keys in json.loads(output)]

    return runs


def test_ninety_days_are_one_run_of_all_daily_assets(backfill: Any) -> None:
    assert backfill("2023-01-01", "2023-04-01") == [(date(2023, 1, 1), date(2023, 3, 31), sorted(DAILY))]


def test_ninety_days_need_no_daemon_to_be_one_run() -> None:
    # `dagster asset materialize --partition-range` refuses every other policy.
    assert {node(key).backfill_policy for key in DAILY} == {dg.BackfillPolicy.single_run()}


def test_ten_years_are_runs_of_at_most_a_year_that_follow_on_each_other(backfill: Any) -> None:
    runs = backfill("2015-01-01", "2025-01-01")
    assert (runs[0][0], runs[-1][1], len(runs)) == (date(2015, 1, 1), date(2024, 12, 31), 10)
    for first, last, assets in runs:
        assert (last - first).days < MAX_DAYS_PER_RUN
        assert assets == sorted(DAILY)
    assert all(later[0] - earlier[1] == timedelta(days=1) for earlier, later in pairwise(runs))


def test_an_open_end_sets_a_limit_too() -> None:
    limited = dg.BackfillPolicy.multi_run(max_partitions_per_run=MAX_DAYS_PER_RUN)
    assert backfill_policy(date(2023, 1, 1), None) == limited


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
def test_the_days_of_a_run_are_stored_together(monkeypatch: pytest.MonkeyPatch) -> None:
    @dg.asset(partitions_def=daily_partition, backfill_policy=BACKFILL_POLICY)
    def daily_asset() -> None: ...

    stored: list[int] = []
    with dg.DagsterInstance.ephemeral() as instance:
        store = instance.event_log_storage.store_event_batch

        def watch(events: Sequence[dg.EventLogEntry]) -> None:
            stored.append(sum(event.get_dagster_event().is_step_materialization for event in events))
            store(events)

        monkeypatch.setattr(instance.event_log_storage, "store_event_batch", watch)
        days = {
            "dagster/asset_partition_range_start": "2023-01-01",
            "dagster/asset_partition_range_end": "2023-03-31",
        }
        assert dg.materialize([daily_asset], instance=instance, tags=days).success
    assert max(stored) == 90


@pytest.mark.parametrize("key", MONTHLY)
def test_metrics_of_a_month_are_partitioned_by_month_and_each_month_is_a_run(key: str) -> None:
    assert isinstance(node(key).partitions_def, dg.MonthlyPartitionsDefinition)
    assert node(key).backfill_policy == dg.BackfillPolicy.multi_run(1)


def test_a_month_is_one_run_of_its_tables_its_pictures_and_its_page() -> None:
    from dagster._core.definitions.automation_tick_evaluation_context import build_run_requests_with_backfill_policies
    from dagster._core.definitions.events import AssetKeyPartitionKey

    months = [
        AssetKeyPartitionKey(dg.AssetKey(key), month) for key in MONTHLY for month in ("2023-01-01", "2023-02-01")
    ]
    with dg.DagsterInstance.ephemeral() as instance:
        runs = build_run_requests_with_backfill_policies(months, GRAPH, instance)
    assert [{key.path[-1] for key in run.asset_selection or ()} for run in runs] == [set(MONTHLY)] * 2


def test_the_zones_have_no_partitions() -> None:
    assert (node("taxi_zones").partitions_def, node("stg_zones").partitions_def) == (None, None)


def test_taxi_trips_is_external_and_monthly() -> None:
    trips = node("taxi_trips")
    assert (trips.is_materializable, trips.partitions_def.get_partition_keys()) == (
        False,
        ["2023-01-01", "2023-02-01", "2023-03-01"],
    )


def test_taxi_trips_carries_the_columns_of_the_sources_file() -> None:
    (trips,) = [spec for spec in source_assets(manifest()) if spec.key == dg.AssetKey("taxi_trips")]
    columns = {column.name: column.type for column in trips.metadata["dagster/column_schema"].columns}
    assert (columns["pickup_datetime"], columns["total_amount"]) == ("timestamp", "double precision")


@pytest.mark.parametrize(
    ("key", "upstream"),
    [
        ("stg_trips", ["taxi_trips"]),
        ("stg_zones", ["taxi_zones"]),
        ("daily_metrics", ["stg_trips"]),
        ("location_metrics", ["stg_trips", "stg_zones"]),
        ("manhattan_stats", ["location_metrics"]),
        ("zone_pickups", ["location_metrics", "stg_zones"]),
        ("borough_flows", ["location_metrics"]),
        ("monthly_totals", ["location_metrics"]),
        ("zone_map", ["stg_zones", "zone_pickups"]),
        ("borough_flows_chart", ["borough_flows"]),
        (
            "monthly_report",
            ["borough_flows", "location_metrics", "monthly_totals", "stg_zones", "zone_pickups"],
        ),
    ],
)
def test_lineage_runs_from_the_sources_to_the_metrics(key: str, upstream: list[str]) -> None:
    assert sorted(parent.to_user_string() for parent in node(key).parent_keys) == upstream


def test_a_day_of_the_trips_depends_on_its_month() -> None:
    mapping = GRAPH.get_partition_mapping(dg.AssetKey("stg_trips"), dg.AssetKey("taxi_trips"))
    days = node("stg_trips").partitions_def.subset_with_partition_keys(["2023-01-31", "2023-02-01"])
    months = mapping.get_upstream_mapped_partitions_result_for_partitions(
        days, node("stg_trips").partitions_def, node("taxi_trips").partitions_def
    )
    assert sorted(months.partitions_subset.get_partition_keys()) == ["2023-01-01", "2023-02-01"]


@pytest.mark.parametrize("key", [*TABLES, "monthly_report"])
def test_metrics_of_a_month_depend_on_all_its_days(key: str) -> None:
    mapping = GRAPH.get_partition_mapping(dg.AssetKey(key), dg.AssetKey("location_metrics"))
    days = mapping.get_upstream_mapped_partitions_result_for_partitions(
        node(key).partitions_def.subset_with_partition_keys(["2023-02-01"]),
        node(key).partitions_def,
        node("location_metrics").partitions_def,
    )
    assert sorted(days.partitions_subset.get_partition_keys()) == [f"2023-02-{day:02}" for day in range(1, 29)]


@pytest.mark.parametrize("key", ["manhattan_stats", *MONTHLY])
def test_every_metric_says_whose_it_is_and_what_it_is(key: str) -> None:
    metric = node(key)
    assert (metric.group_name, metric.owners, metric.tags["layer"]) == ("metrics", ["team:analytics"], "metrics")
    assert metric.description


@pytest.mark.parametrize("key", ["manhattan_stats", *TABLES])
def test_every_metric_that_is_a_table_says_what_it_looks_like(key: str) -> None:
    metric = node(key)
    assert "postgres" in metric.kinds
    assert metric.metadata["dagster/table_name"] == f"warehouse.metrics.{key}"
    assert all(column.description for column in metric.metadata["dagster/column_schema"].columns)


def test_dbt_tests_are_asset_checks() -> None:
    names = {f"{key.asset_key.to_user_string()}: {key.name}" for key in GRAPH.asset_check_keys}
    assert "daily_metrics: unique_daily_metrics_date_of_business" in names


def test_a_source_that_names_no_asset_is_refused_by_name() -> None:
    changed: dict[str, Any] = copy.deepcopy(dict(manifest()))
    changed["sources"]["source.analytics.raw_taxis.trips"]["config"]["meta"] = {}
    with pytest.raises(ValueError, match=r"The dbt source raw_taxis.trips names no asset"):
        list(source_assets(changed))


def test_a_source_with_unknown_partitions_is_refused_by_name() -> None:
    changed: dict[str, Any] = copy.deepcopy(dict(manifest()))
    changed["sources"]["source.analytics.raw_taxis.trips"]["config"]["meta"]["dagster"]["partitions"] = "hourly"
    with pytest.raises(ValueError, match=r"raw_taxis.trips has partitions 'hourly'. Write one of daily, monthly"):
        list(source_assets(changed))


def test_every_incremental_model_reads_its_window_and_replaces_it() -> None:
    models = [model for model in manifest()["nodes"].values() if model["config"]["materialized"] == "incremental"]
    assert models
    for model in models:
        assert model["config"]["incremental_strategy"] == "window", model["name"]
        assert "in_window('pickup_datetime')" in model["raw_code"] or (
            "in_window('date_of_business')" in model["raw_code"] and model["config"]["schema"] == "metrics"
        ), model["name"]


def test_a_file_that_is_dropped_into_a_folder_of_defs_is_loaded(tmp_path: Path) -> None:
    location = Path(__file__).parents[1]
    shutil.copy(location / "pyproject.toml", tmp_path)
    for folder in ("src", "analytics"):
        shutil.copytree(location / folder, tmp_path / folder)
    (tmp_path / "src/dbt_location/defs/metrics/tips.py").write_text(
        "import dagster as dg\n\n\n@dg.asset(deps=['daily_metrics'])\ndef tips() -> None: ...\n"
    )
    code = (
        "import dagster as dg; from dbt_location.definitions import defs; "
        "print([key.to_user_string() for key in defs.resolve_asset_graph().get(dg.AssetKey('tips')).parent_keys])"
    )
    env = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
    output = subprocess.run([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert output.splitlines()[-1] == "['daily_metrics']"


def test_nothing_is_defined_twice() -> None:
    assets: list[Any] = [*(defs.assets or ())]
    keys = [key for asset in assets for key in (asset.keys if isinstance(asset, dg.AssetsDefinition) else [asset.key])]
    assert sorted(keys) == sorted(GRAPH.get_all_asset_keys())
    assert [sensor.name for sensor in defs.sensors or ()] == ["automatic_builds"]


def test_the_definitions_have_the_locations_resources_and_run_in_one_process() -> None:
    assert set(defs.resources or ()) == {"dbt", "warehouse", "reports"}
    assert defs.executor is dg.in_process_executor


def test_the_version_of_dbt_is_known_without_asking_the_network() -> None:
    from importlib.metadata import version

    assert str(defs.resources["dbt"]._cli_version) == version("dbt-core")  # type: ignore[index]
