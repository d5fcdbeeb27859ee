"""The data tests as asset checks: what each costs, what each finds, and what a failed one stops."""

from typing import Any

import dagster as dg
import pytest
from dbt_location.defs.dbt_models import get_dbt_partitioned_models
from dbt_location.defs.metrics.manhattan_stats import manhattan_stats
from dbt_location.project import AnalyticsDbt, analytics_project, manifest
from dbt_location.warehouse import Warehouse

DAY = ("2023-01-02", "2023-01-03")
# Whoever writes to a mart from outside makes it disagree with the trips.
MISCOUNT = """
create function analytics.miscount() returns trigger language plpgsql as
'begin new.{column} := new.{column} + 1; return new; end';
create trigger miscount before insert on analytics.{mart} for each row execute function analytics.miscount()
"""


@pytest.fixture
def failed(dbt: Any) -> Any:
    """Tests a mart over a window and returns the kinds of the tests that did not pass, each with its status."""

    def run(mart: str, start: str, end: str) -> dict[str, str]:
        result = dbt(
            *("build", "--select", mart, "--resource-type", "test"),
            *("--event-time-start", start, "--event-time-end", end),
        )
        return {
            r.node.test_metadata.name: str(r.status)
            for r in result.result.results
            if r.status not in ("pass", "success")
        }

    return run


def test_every_test_of_a_windowed_model_reads_its_window_alone(add_trips: Any, build: Any, dbt: Any) -> None:
    add_trips("2023-01-02 12:00")
    build(*DAY)
    window = ("--event-time-start", DAY[0], "--event-time-end", DAY[1])
    options = ("--resource-type", "test", "--exclude", "tag:monthly")
    ran = [result.node for result in dbt("build", *options, *window).result.results]
    tests = [node for node in ran if node.resource_type == "test"]
    assert {manifest()["nodes"][test.attached_node]["name"] for test in tests} >= {"daily_metrics", "location_metrics"}
    for test in tests:
        if column := manifest()["nodes"][test.attached_node]["config"]["meta"].get("window_column"):
            assert f"{column} >= cast('{DAY[0]}" in test.compiled_code, test.name


@pytest.mark.parametrize(("mart", "column"), [("daily_metrics", "trip_count"), ("location_metrics", "trips")])
def test_a_day_with_another_number_of_trips_than_the_source_fails_its_mart(
    add_trips: Any, build: Any, query: Any, failed: Any, mart: str, column: str
) -> None:
    add_trips("2023-01-02 12:00", "2023-01-03 12:00")
    build("2023-01-02", "2023-01-04")
    query(f"update analytics.{mart} set {column} = {column} + 1 where date_of_business = '2023-01-02'")
    assert failed(mart, *DAY) == {"trips_as_in_source": "fail"}
    assert failed(mart, "2023-01-03", "2023-01-04") == {}


@pytest.mark.parametrize("mart", ["daily_metrics", "location_metrics"])
def test_a_day_whose_trips_came_after_its_build_fails_its_mart(
    add_trips: Any, build: Any, failed: Any, mart: str
) -> None:
    add_trips("2023-01-02 12:00")
    build("2023-01-02", "2023-01-04")
    add_trips("2023-01-03 12:00")
    assert failed(mart, "2023-01-03", "2023-01-04") == {"trips_as_in_source": "fail"}


def test_trips_of_zones_that_the_lookup_lacks_are_warned_about(add_trips: Any, build: Any, failed: Any) -> None:
    add_trips("2023-01-02 12:00", zone=900, to=901)
    build(*DAY)
    assert failed("location_metrics", *DAY) == {"relationships": "warn"}


def test_an_implausible_average_is_warned_about(add_trips: Any, build: Any, failed: Any) -> None:
    add_trips("2023-01-02 12:00", minutes=500)
    build(*DAY)
    assert failed("daily_metrics", *DAY) == {"in_range": "warn"}


@pytest.fixture
def run_day(server: str) -> Any:
    """Materializes the models and the metrics of a day in one run."""

    def run() -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [get_dbt_partitioned_models(), manhattan_stats],
            partition_key=DAY[0],
            resources={
                "dbt": AnalyticsDbt(project_dir=str(analytics_project.project_dir)),
                "warehouse": Warehouse(host=server, port=5432, database="warehouse", user="dbt_location", password=""),
            },
            instance=dg.DagsterInstance.ephemeral(),
            raise_on_error=False,
        )

    return run


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key}


def test_an_error_stops_the_metrics_downstream_of_it(add_trips: Any, build: Any, query: Any, run_day: Any) -> None:
    add_trips("2023-01-02 12:00")
    build(*DAY)
    query(MISCOUNT.format(mart="location_metrics", column="trips"))
    result = run_day()
    (check,) = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert (check.asset_key.to_user_string(), check.severity) == ("location_metrics", dg.AssetCheckSeverity.ERROR)
    assert not result.success
    assert "manhattan_stats" not in materialized(result)


def test_a_warning_shows_and_stops_nothing(add_trips: Any, build: Any, run_day: Any) -> None:
    add_trips("2023-01-02 12:00", minutes=500)
    build(*DAY)
    result = run_day()
    (check,) = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert (check.asset_key.to_user_string(), check.severity) == ("daily_metrics", dg.AssetCheckSeverity.WARN)
    assert result.success
    assert "manhattan_stats" in materialized(result)
