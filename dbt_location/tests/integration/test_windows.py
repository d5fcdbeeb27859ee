"""A build replaces its window and nothing else, so any order, repetition or overlap leaves the same tables."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from integration.conftest import ANALYTICS, PARSED

MODELS = ("daily_metrics", "location_metrics")
NOONS = [f"2023-01-0{day} 12:00" for day in (1, 2, 3, 4)]


def days(table: Any) -> list[int]:
    return [row[0].day for row in table("daily_metrics")]


def test_the_first_build_writes_its_window_only(add_trips: Any, build: Any, table: Any) -> None:
    add_trips(*NOONS)
    build("2023-01-02", "2023-01-03")
    assert days(table) == [2]


def test_a_build_leaves_the_days_around_its_window_alone(add_trips: Any, build: Any, query: Any, table: Any) -> None:
    add_trips(*NOONS)
    build("2023-01-01", "2023-01-05")
    query("truncate raw_taxis.trips")
    add_trips(*NOONS, *NOONS)
    build("2023-01-02", "2023-01-03")
    assert [row[1] for row in table("daily_metrics")] == [1, 2, 1, 1]


def test_a_day_that_lost_its_trips_loses_its_rows(add_trips: Any, build: Any, query: Any, table: Any) -> None:
    add_trips(*NOONS)
    build("2023-01-01", "2023-01-05")
    query("delete from raw_taxis.trips where pickup_datetime < '2023-01-02'")
    build("2023-01-01", "2023-01-02")
    assert days(table) == [2, 3, 4]
    assert date(2023, 1, 1) not in {row[0] for row in table("location_metrics")}


WINDOWS = [("2023-01-01", "2023-01-03"), ("2023-01-02", "2023-01-05"), ("2023-01-04", "2023-01-05")]


@pytest.mark.drill
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)], ids=str)
def test_overlapping_windows_in_any_order_leave_what_one_build_leaves(
    add_trips: Any, build: Any, query: Any, table: Any, order: tuple[int, ...]
) -> None:
    add_trips(*NOONS, *NOONS[:2], zone=1)
    for index in (*order, order[0]):
        build(*WINDOWS[index])
    piecemeal = [table(model) for model in MODELS]
    query("drop table analytics.daily_metrics; drop table analytics.location_metrics")
    build("2023-01-01", "2023-01-05")
    assert piecemeal == [table(model) for model in MODELS]


def test_a_full_refresh_of_a_window_keeps_the_other_days(add_trips: Any, build: Any, table: Any) -> None:
    add_trips(*NOONS)
    build("2023-01-01", "2023-01-05")
    build("2023-01-02", "2023-01-03", "--exclude", "tag:monthly", "--full-refresh")
    assert days(table) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("option", "variable"),
    [(["--empty"], {}), (["--sample", "1 day"], {}), ([], {"DBT_EMPTY": "1"}), ([], {"DBT_SAMPLE": "1 day"})],
    ids=str,
)
def test_an_option_that_lets_models_read_a_part_of_their_rows_is_refused_and_changes_nothing(
    add_trips: Any,
    build: Any,
    dbt: Any,
    query: Any,
    monkeypatch: pytest.MonkeyPatch,
    option: list[str],
    variable: dict[str, str],
) -> None:
    add_trips(*NOONS)
    window = ("--event-time-start", "2023-01-01", "--event-time-end", "2023-02-01")
    build("2023-01-01", "2023-02-01", "--exclude", "resource_type:unit_test")
    tables = ("analytics.daily_metrics", "analytics.location_metrics", "metrics.zone_pickups", "metrics.monthly_totals")
    before = [query(f"select xmin::text, * from {table} order by 2, 3") for table in tables]
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    for command in ("build", "run"):
        result = dbt(command, *window, *option)
        assert not result.success
        assert "replace their window with what they read" in str(result.exception)
    assert [query(f"select xmin::text, * from {table} order by 2, 3") for table in tables] == before


def test_the_zones_which_have_no_window_are_built_with_no_rows_read(query: Any, dbt: Any) -> None:
    assert dbt("run", "--select", "stg_zones", "--empty").success


def test_a_window_that_cuts_a_day_is_refused(add_trips: Any, dbt: Any) -> None:
    add_trips(*NOONS)
    result = dbt("build", "--event-time-start", "2023-01-01T06:00:00", "--event-time-end", "2023-01-02")
    assert not result.success
    assert "is not midnight. The models are built by whole days" in str(result.exception)


def test_without_a_window_dbt_builds_the_configured_range(add_trips: Any, dbt: Any, table: Any) -> None:
    add_trips("2022-12-31 12:00", *NOONS, "2023-03-31 12:00", "2023-04-01 12:00")
    assert dbt("build").success
    assert [f"{row[0]}" for row in table("daily_metrics")][::4] == ["2023-01-01", "2023-03-31"]


def test_another_window_does_not_make_dbt_parse_the_project_again(build: Any, target: Path) -> None:
    build("2023-01-01", "2023-01-02")
    log = target / "dbt.log"
    before = len(log.read_text())
    build("2023-01-02", "2023-01-03")
    said = log.read_text()[before:]
    assert "Partial parsing enabled, no changes found, skipping parsing" in said


def test_a_window_that_cuts_a_month_is_refused_for_the_monthly_models_before_anything_is_built(
    query: Any, dbt: Any
) -> None:
    result = dbt("build", "--event-time-start", "2023-01-01", "--event-time-end", "2023-01-15")
    assert not result.success
    assert "cuts a month, and these models are built by whole months: " in str(result.exception)
    assert query("select to_regclass('analytics.daily_metrics')") == [(None,)]


def test_monthly_models_of_several_months_have_a_row_per_month_even_without_trips(
    add_trips: Any, dbt: Any, query: Any
) -> None:
    add_trips("2023-01-31 12:00", "2023-03-01 12:00")
    assert dbt("build").success
    assert query("select to_char(month, 'MM'), trips from metrics.monthly_totals order by 1") == [
        ("01", 1),
        ("02", 0),
        ("03", 1),
    ]


def test_a_month_that_lost_its_trips_loses_its_rows_and_the_others_stay(add_trips: Any, dbt: Any, query: Any) -> None:
    add_trips("2023-01-31 12:00", "2023-02-01 12:00")
    assert dbt("build").success
    query("truncate raw_taxis.trips")
    assert dbt("build", "--event-time-start", "2023-01-01", "--event-time-end", "2023-02-01").success
    for model in ("zone_pickups", "borough_flows"):
        assert query(f"select month from metrics.{model}") == [(date(2023, 2, 1),)]
    assert query("select month, trips from metrics.monthly_totals where trips > 0") == [(date(2023, 2, 1), 1)]


@pytest.fixture
def start_build(target: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts a build of a window in a process of its own."""

    def start(first: str, end: str, *options: str) -> subprocess.Popen[bytes]:
        command = [
            str(Path(sys.executable).with_name("dbt")),
            "build",
            "--exclude-resource-type",
            "unit_test",
            *options,
        ]
        command += ["--project-dir", str(ANALYTICS), "--profiles-dir", str(ANALYTICS)]
        command += ["--event-time-start", first, "--event-time-end", end]
        folder = tempfile.mkdtemp(dir=tmp_path)
        shutil.copy(target / PARSED, folder)
        return subprocess.Popen([*command, "--target-path", folder, "--log-path", folder])

    return start


@pytest.mark.drill
def test_two_builds_of_one_window_at_once_leave_one_right_table(
    add_trips: Any, build: Any, table: Any, start_build: Any
) -> None:
    add_trips(*NOONS)
    build("2023-01-01", "2023-01-05")
    at_once = [start_build("2023-01-01", "2023-01-05", "--exclude", "tag:monthly") for _ in range(2)]
    assert [process.wait(timeout=120) for process in at_once] == [0, 0]
    assert days(table) == [1, 2, 3, 4]


@contextmanager
def held(server: str, model: str) -> Iterator[None]:
    """Makes the builds of a model wait, as another build of it does."""
    with closing(psycopg2.connect(host=server, user="postgres", dbname="warehouse")) as other:
        with other.cursor() as cursor:
            cursor.execute("insert into analytics.model_locks values (%s) on conflict do nothing", [model])
            cursor.execute("select from analytics.model_locks where model = %s for update", [model])
        yield


def wait_for_builds(query: Any, *builds: subprocess.Popen[bytes]) -> None:
    """Waits until all builds wait for a lock; they have looked for their tables then."""
    while query("select count(*) from pg_locks where not granted") != [(len(builds),)]:
        assert [process.poll() for process in builds] == [None] * len(builds)
        time.sleep(0.1)


@pytest.mark.drill
def test_a_build_waits_for_another_one_that_has_not_dropped_the_old_view_yet(
    add_trips: Any, build: Any, query: Any, table: Any, server: str, start_build: Any
) -> None:
    add_trips(*NOONS)
    build("2023-01-01", "2023-01-05")
    with held(server, "analytics.stg_trips"):
        waiting = start_build("2023-01-01", "2023-01-05", "--select", "stg_trips", "daily_metrics")
        wait_for_builds(query, waiting)
        # dbt commits first, and drops it afterwards.
        query("create view analytics.stg_trips__dbt_backup as select 1 as old")
    assert waiting.wait(timeout=120) == 0
    assert days(table) == [1, 2, 3, 4]


@pytest.mark.drill
@pytest.mark.parametrize(
    ("model", "waits_in"),
    [("daily_metrics", "analytics.stg_trips"), ("monthly_totals", "metrics.monthly_totals")],
)
def test_two_first_builds_at_once_leave_one_table_with_the_windows_of_both(
    add_trips: Any, build: Any, query: Any, server: str, start_build: Any, model: str, waits_in: str
) -> None:
    add_trips("2023-01-31 12:00", "2023-02-01 12:00")
    if model == "monthly_totals":
        build("2023-01-01", "2023-03-01")
    upstream = ["--select", model, *(["stg_trips"] if model == "daily_metrics" else [])]
    with held(server, waits_in):
        windows = [("2023-01-01", "2023-02-01"), ("2023-02-01", "2023-03-01")]
        at_once = [start_build(*window, *upstream) for window in windows]
        wait_for_builds(query, *at_once)
    assert [process.wait(timeout=120) for process in at_once] == [0, 0]
    schema, column = ("metrics", "month") if model == "monthly_totals" else ("analytics", "date_of_business")
    assert query(f"select to_char({column}, 'MM') from {schema}.{model} order by 1") == [("01",), ("02",)]
