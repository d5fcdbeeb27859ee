"""The asset as Dagster runs it: what it records, what it skips, and how it fails."""

import hashlib
import logging
import math
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.misbehaving_server import send, serving, status
from ingestion_location.definitions import defs
from ingestion_location.defs.trips.taxi_trips import FRESHNESS, TripsConfig, taxi_trips
from ingestion_location.defs.trips.trip_file import BATCH_ROWS
from ingestion_location.defs.trips.trip_schema import COLUMNS
from ingestion_location.download import Limits
from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse

Materialize = Callable[..., dg.ExecuteInProcessResult]
WriteTrips = Callable[..., Path]
Trip = dict[str, Any]
JANUARY = "2023-01-01"
LIMITS = Limits(attempts=1, longest_wait_seconds=0.01)
FILE = "trip-data/yellow_tripdata_2023-01.parquet"


def trip(pickup: str, **values: Any) -> dict[str, Any]:
    """A yellow trip of ten minutes, of zone 1 to zone 2 for 10 dollars, but for what is given."""
    time = datetime.fromisoformat(pickup)
    return {
        "VendorID": 1,
        "tpep_pickup_datetime": time,
        "tpep_dropoff_datetime": time + timedelta(minutes=10),
        "PULocationID": 1,
        "DOLocationID": 2,
        "total_amount": 10.0,
        **values,
    }


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


@pytest.fixture
def materialize(warehouse: Warehouse, instance: dg.DagsterInstance) -> Materialize:
    """Materializes January from the site with this root and this config."""

    def run(base_url: str, *, partition: str = JANUARY, **config: bool) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [taxi_trips],
            partition_key=partition,
            resources={
                "tlc": TlcSource(base_url=base_url, taxi_type="yellow", limits=LIMITS),
                "warehouse": warehouse,
            },
            run_config=dg.RunConfig({"taxi_trips": TripsConfig(**config)}),
            instance=instance,
            raise_on_error=False,
        )

    return run


def recorded(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata of the materialization."""
    (event,) = result.asset_materializations_for_node("taxi_trips")
    return {name: value.value for name, value in event.metadata.items()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The message of the run's failure."""
    (failed,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failed.user_failure_data is not None
    return str(failed.user_failure_data.description)


def test_a_load_records_what_was_loaded_and_from_where(materialize: Materialize, write_trips: WriteTrips) -> None:
    site = write_trips(
        "2023-01",
        trip("2023-01-05T10:00:00", passenger_count=1),
        trip("2023-01-06T11:00:00", passenger_count=None),
        trip("2022-12-31"),
    )
    content = (site / FILE).read_bytes()
    metadata = recorded(materialize(site.as_uri(), accept_strays=True))
    expected = {
        "dagster/row_count": 2,
        "dagster/partition_row_count": 2,
        "rows": 3,
        "stray_trips": 1,
        "bytes": len(content),
        "url": f"{site.as_uri()}/{FILE}",
        "sha256": hashlib.sha256(content).hexdigest(),
        "first_pickup": "2023-01-05 10:00:00",
        "last_pickup": "2023-01-06 11:00:00",
        "unknown_columns": [],
    }
    assert {name: metadata[name] for name in expected} == expected
    assert metadata["nulls"]["passenger_count"] == 1
    assert list(metadata["seconds"]) == ["download", "copy", "index", "swap", "commit"]
    assert metadata["trips_per_day"].startswith("![Trips per day, January 2023](data:image/png;base64,")


def test_a_load_over_http_records_the_etag(materialize: Materialize, write_trips: WriteTrips) -> None:
    content = (write_trips("2023-01", trip("2023-01-05")) / FILE).read_bytes()
    with serving(send(content, ETag='"1"', Last_Modified="Tue, 03 Jan 2023 00:00:00 GMT")) as site:
        metadata = recorded(materialize(site.root))
    assert (metadata["etag"], metadata["last_modified"]) == ('"1"', "Tue, 03 Jan 2023 00:00:00 GMT")


def test_the_row_count_is_that_of_the_whole_table(materialize: Materialize, write_trips: WriteTrips) -> None:
    site = write_trips("2023-01", trip("2023-01-05"))
    write_trips("2023-02", trip("2023-02-05"), trip("2023-02-06"))
    materialize(site.as_uri())
    assert recorded(materialize(site.as_uri(), partition="2023-02-01"))["dagster/row_count"] == 3


def test_the_ledger_says_the_same_as_the_tables(materialize: Materialize, write_trips: WriteTrips, query: Any) -> None:
    site = write_trips("2023-01", trip("2023-01-05", mood="good"), trip("2022-12-31", mood="bad"))
    result = materialize(site.as_uri(), accept_strays=True)
    assert query(
        "select month::text, url, bytes, sha256, rows, strays, unknown_columns, run_id, loaded_at <= now()"
        " from raw_taxis.trip_files"
    ) == [
        (
            JANUARY,
            f"{site.as_uri()}/{FILE}",
            (site / FILE).stat().st_size,
            hashlib.sha256((site / FILE).read_bytes()).hexdigest(),
            2,
            1,
            ["mood"],
            result.run_id,
            True,
        )
    ]


def test_an_unknown_column_is_a_warning(materialize: Materialize, write_trips: WriteTrips) -> None:
    result = materialize(write_trips("2023-01", trip("2023-01-05", mood="good")).as_uri())
    assert result.success
    assert recorded(result)["unknown_columns"] == ["mood"]
    (check,) = [check for check in result.get_asset_check_evaluations() if check.check_name == "known_columns"]
    assert (check.passed, check.metadata["unknown"].value) == (False, ["mood"])


def test_a_load_evaluates_every_check(materialize: Materialize, write_trips: WriteTrips) -> None:
    days = [trip(f"2023-01-{day:02}") for day in range(1, 32)]
    checks = materialize(write_trips("2023-01", *days).as_uri()).get_asset_check_evaluations()
    assert {check.check_name: check.passed for check in checks} == {
        "row_count_near_neighbours": True,
        "few_strays": True,
        # Such a file has fewer columns than the TLC's.
        "known_columns": False,
        "no_absurd_numbers": True,
        "every_day_has_trips": True,
    }


def test_an_absurd_number_is_loaded_with_a_warning_in_the_log_the_metadata_and_a_check(
    materialize: Materialize, write_trips: WriteTrips, instance: dg.DagsterInstance, query: Any
) -> None:
    site = write_trips("2023-01", trip("2023-01-05"), trip("2023-01-05", total_amount=-20_000.0))
    result = materialize(site.as_uri())
    assert query("select sum(total_amount) from raw_taxis.trips") == [(-19_990.0,)]
    absurd = {"total_amount": {"trips": 1, "largest": -20_000.0, "bound": 10_000.0}}
    assert recorded(result)["absurd_numbers"] == absurd
    (check,) = [each for each in result.get_asset_check_evaluations() if each.check_name == "no_absurd_numbers"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.metadata["absurd"].value == absurd
    (warning,) = [entry.user_message for entry in instance.all_logs(result.run_id) if entry.level == logging.WARNING]
    assert warning == (
        f"{site.as_uri()}/{FILE}: column total_amount: numbers beyond 10,000 in 1 of the trips, the largest -20,000.0. "
        "They are loaded and in all sums."
    )


def test_the_published_columns_are_the_columns_of_the_table(
    materialize: Materialize, write_trips: WriteTrips, query: Any
) -> None:
    assert materialize(write_trips("2023-01", trip("2023-01-05")).as_uri()).success
    published: Any = defs.resolve_asset_graph().get(dg.AssetKey("taxi_trips")).metadata["dagster/column_schema"]
    in_table = query(
        "select attname, format_type(atttypid, null) from pg_attribute"
        " where attrelid = 'raw_taxis.trips'::regclass and attnum > 0 order by attnum"
    )
    names = [(column.name, column.type) for column in published.columns]
    assert names == [(name, kind.replace(" without time zone", "")) for name, kind in in_table]
    assert len(names) == len(COLUMNS)


def test_a_month_counts_as_late_only_when_the_two_months_that_the_tlc_takes_are_over() -> None:
    window: Any = FRESHNESS
    assert window.warn_window.to_timedelta() > timedelta(days=62)


# --- skipping ---------------------------------------------------------------------------------------------------------


def test_an_unchanged_month_is_skipped_on_request_and_its_checks_are_evaluated_again(
    materialize: Materialize, write_trips: WriteTrips, query: Any
) -> None:
    site = write_trips("2023-01", trip("2023-01-05"))
    materialize(site.as_uri())
    before = query("select run_id, loaded_at from raw_taxis.trip_files")
    result = materialize(site.as_uri(), skip_unchanged=True)
    assert result.success
    assert result.asset_materializations_for_node("taxi_trips") == []
    assert len(result.get_asset_check_evaluations()) == 5
    assert query("select run_id, loaded_at from raw_taxis.trip_files") == before


def test_an_unchanged_month_that_dagster_lacks_is_recorded_from_the_ledger_without_a_load(
    materialize: Materialize, write_trips: WriteTrips, instance: dg.DagsterInstance, query: Any
) -> None:
    site = write_trips("2023-01", trip("2023-01-05"), trip("2023-01-06"))
    loaded = materialize(site.as_uri())
    instance.wipe_assets([dg.AssetKey("taxi_trips")])
    before = query("select *, (select min(xmin::text) from raw_taxis.trips) from raw_taxis.trip_files")
    again = recorded(materialize(site.as_uri(), skip_unchanged=True))
    of_a_load = {"first_pickup", "last_pickup", "seconds", "rows_per_second", "nulls"}
    assert again == {name: value for name, value in recorded(loaded).items() if name not in of_a_load}
    assert (again["rows"], again["loaded_by_run"]) == (2, loaded.run_id)
    assert query("select *, (select min(xmin::text) from raw_taxis.trips) from raw_taxis.trip_files") == before
    assert instance.get_materialized_partitions(dg.AssetKey("taxi_trips")) == {JANUARY}


def test_a_month_that_the_warehouse_lacks_is_loaded_although_dagster_has_it(
    materialize: Materialize, write_trips: WriteTrips, query: Any
) -> None:
    site = write_trips("2023-01", trip("2023-01-05"))
    materialize(site.as_uri())
    query("drop table raw_taxis.trips, raw_taxis.stray_trips, raw_taxis.trip_files; select 1")
    assert recorded(materialize(site.as_uri(), skip_unchanged=True))["rows"] == 1
    assert query("select count(*) from raw_taxis.trips") == [(1,)]


def test_an_unchanged_month_is_loaded_again_without_the_request(
    materialize: Materialize, write_trips: WriteTrips
) -> None:
    site = write_trips("2023-01", trip("2023-01-05"))
    materialize(site.as_uri())
    assert recorded(materialize(site.as_uri()))["rows"] == 1


def test_a_changed_month_is_loaded_again(materialize: Materialize, write_trips: WriteTrips, query: Any) -> None:
    site = write_trips("2023-01", trip("2023-01-05"))
    materialize(site.as_uri())
    write_trips("2023-01", trip("2023-01-05"), trip("2023-01-06"))
    assert recorded(materialize(site.as_uri(), skip_unchanged=True))["rows"] == 2
    assert query("select count(*) from raw_taxis.trips") == [(2,)]


def test_a_month_that_was_never_loaded_is_not_skipped(materialize: Materialize, write_trips: WriteTrips) -> None:
    site = write_trips("2023-01", trip("2023-01-05"))
    assert recorded(materialize(site.as_uri(), skip_unchanged=True))["rows"] == 1


def test_a_month_that_the_server_says_is_unchanged_is_not_downloaded(
    materialize: Materialize, write_trips: WriteTrips
) -> None:
    content = (write_trips("2023-01", trip("2023-01-05")) / FILE).read_bytes()
    with serving(send(content, ETag='"1"'), status(304)) as site:
        materialize(site.root)
        assert materialize(site.root, skip_unchanged=True).success
        assert site.headers("If-None-Match") == [None, '"1"']


# --- failing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (status(404), "the source does not have this file (HTTP 404). The TLC publishes a month about two"),
        (status(500), "the source answered HTTP 500. Gave up after 1 attempts; nothing was loaded."),
        (send(b"<html>Please log in</html>"), "this is not a parquet file but a web page"),
        (send(b""), "the file is empty"),
        (send(b"PAR1 and a bit", length=8), "the file is cut off: its 8 bytes"),
        (send(b"PAR1", length=1_000), "the source cannot be reached or broke off ("),
    ],
    ids=["404", "500", "web page", "empty", "longer than announced", "cut"],
)
def test_a_wrong_answer_of_the_source_fails_with_the_url_and_the_next_step(
    materialize: Materialize, answer: Any, expected: str
) -> None:
    with serving(answer) as site:
        message = failure(materialize(site.root))
        assert message.startswith(f"{site.root}/{FILE}: {expected}")


def test_a_file_without_a_mandatory_column_fails_with_both(materialize: Materialize, write_trips: WriteTrips) -> None:
    site = write_trips("2023-01", trip("2023-01-05"), without="total_amount")
    message = failure(materialize(site.as_uri()))
    assert message.startswith(f"{site.as_uri()}/{FILE}: the mandatory column total_amount ")


def test_a_value_that_does_not_fit_fails_with_the_file_and_the_column(
    materialize: Materialize, write_trips: WriteTrips
) -> None:
    site = write_trips("2023-01", trip("2023-01-05", passenger_count=1.5))
    message = failure(materialize(site.as_uri()))
    assert message.startswith(
        f"{site.as_uri()}/{FILE}: column passenger_count (passenger_count, smallint), row 1: the v"
    )


def test_a_warehouse_that_is_not_there_fails_with_its_address(write_trips: WriteTrips) -> None:
    nowhere = Warehouse(host="127.0.0.1", port=9, database="warehouse", user="ingestion_location", password="")
    result = dg.materialize(
        [taxi_trips],
        partition_key=JANUARY,
        resources={
            "tlc": TlcSource(base_url=write_trips("2023-01", trip("2023-01-05")).as_uri(), taxi_type="yellow"),
            "warehouse": nowhere,
        },
        instance=dg.DagsterInstance.ephemeral(),
        raise_on_error=False,
    )
    message = failure(result)
    assert message.startswith(
        "2023-01: the warehouse 127.0.0.1:9 cannot be reached, or the connection to it was lost ("
    )


BREAKS: dict[str, Callable[[Path, WriteTrips], object]] = {
    "missing": lambda file, write: file.unlink(),
    "empty": lambda file, write: file.write_bytes(b""),
    "not parquet": lambda file, write: file.write_bytes(b"<html>Please log in</html>"),
    "truncated": lambda file, write: os.truncate(file, file.stat().st_size - 1),
    "a column": lambda file, write: write("2023-01", trip("2023-01-05"), without="total_amount"),
    "not a number": lambda file, write: write("2023-01", trip("2023-01-05"), trip("2023-01-05", total_amount=math.nan)),
    "a value": lambda file, write: write("2023-01", trip("2023-01-05"), trip("2023-01-05", PULocationID=70_000)),
}


@pytest.mark.parametrize("broken", BREAKS.values(), ids=BREAKS)
def test_a_reload_that_fails_leaves_the_month_that_was_there(
    materialize: Materialize, write_trips: WriteTrips, query: Any, broken: Callable[[Path, WriteTrips], object]
) -> None:
    site = write_trips("2023-01", trip("2023-01-05"), trip("2023-01-06"))
    assert materialize(site.as_uri()).success
    ledger = query("select * from raw_taxis.trip_files")
    broken(site / FILE, write_trips)
    assert not materialize(site.as_uri()).success
    assert query("select count(*) from raw_taxis.trips") == [(2,)]
    assert query("select * from raw_taxis.trip_files") == ledger


# Trips of the file, and how the message counts them.
OTHER_MONTHS = {
    "another month": ([trip("2023-02-05")] * 20 + [trip("2023-01-31")], "1 of its 21 trips were picked up in 2023-01"),
    "more than a tenth": ([trip("2023-02-05")] * 2 + [trip("2023-01-31")] * 17, "17 of its 19 trips"),
    "no pickup time": ([trip("2023-01-05") | {"tpep_pickup_datetime": None}] * 3, "0 of its 3 trips"),
    "no trips": ([], "0 of its 0 trips"),
}


@pytest.mark.parametrize("there", [True, False], ids=["reloaded", "first load"])
@pytest.mark.parametrize(("trips", "counts"), OTHER_MONTHS.values(), ids=OTHER_MONTHS)
def test_the_file_of_another_month_is_refused_and_leaves_what_was_there(
    materialize: Materialize, write_trips: WriteTrips, query: Any, trips: list[Trip], counts: str, there: bool
) -> None:
    site = write_trips("2023-01", trip("2023-01-05"), trip("2023-01-06"))
    if there:
        assert materialize(site.as_uri()).success
    columns = pq.read_schema(site / FILE)
    pq.write_table(pa.Table.from_pylist(trips, schema=columns), site / FILE)
    message = failure(materialize(site.as_uri(), skip_unchanged=True))
    assert message.startswith(f"{site.as_uri()}/{FILE}: {counts}")
    assert message.endswith("launch the run with the config {ops: {taxi_trips: {config: {accept_strays: true}}}}.")
    assert query("select count(*), (select count(*) from raw_taxis.stray_trips) from raw_taxis.trips") == [
        (2 if there else 0, 0)
    ]
    assert query("select rows from raw_taxis.trip_files") == ([(2,)] if there else [])
    assert query("select count(*) from pg_class where relname like 'trips_2023%' and relkind = 'r'") == [(int(there),)]


def test_the_file_of_another_month_is_refused_after_its_first_trips(
    materialize: Materialize, write_trips: WriteTrips
) -> None:
    site = write_trips("2023-01", *[trip("2023-02-05")] * (BATCH_ROWS + 1), *[trip("2023-01-05")] * BATCH_ROWS)
    assert failure(materialize(site.as_uri())).startswith(
        f"{site.as_uri()}/{FILE}: at most 16,385 of its 32,769 trips were picked up in 2023-01, and at least 16,384 "
        "outside of it or at an unknown time. "
    )


def test_a_tenth_of_strays_is_not_too_many(materialize: Materialize, write_trips: WriteTrips) -> None:
    site = write_trips("2023-01", trip("2023-02-05"), *[trip("2023-01-05")] * 9)
    assert materialize(site.as_uri()).success


def test_strays_that_are_accepted_are_loaded_and_then_skipped_as_unchanged(
    materialize: Materialize, write_trips: WriteTrips, query: Any
) -> None:
    site = write_trips("2023-01", trip("2023-02-05"), trip("2023-01-05"))
    assert materialize(site.as_uri(), accept_strays=True).success
    assert query("select rows, strays from raw_taxis.trip_files") == [(2, 1)]
    assert materialize(site.as_uri(), skip_unchanged=True).success


def test_a_connection_that_the_server_ends_during_a_load_leaves_the_month_and_is_reported(
    materialize: Materialize, write_trips: WriteTrips, query: Any, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = write_trips("2023-01", trip("2023-01-05"))
    assert materialize(site.as_uri()).success
    write_trips("2023-01", *[trip("2023-01-05")] * 10)

    def end_the_others(*arguments: Any) -> None:
        with psycopg2.connect(host=server, user="postgres", dbname="warehouse") as connection:
            connection.cursor().execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'ingestion_location'"
            )

    monkeypatch.setattr("ingestion_location.progress.Progress.add", end_the_others)
    message = failure(materialize(site.as_uri()))
    assert "cannot be reached, or the connection to it was lost (" in message
    assert query("select count(*) from raw_taxis.trips") == [(1,)]
