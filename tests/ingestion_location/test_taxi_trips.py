"""The asset, as Dagster runs it: what it records, and how it fails."""

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from ingestion_location.definitions import defs
from ingestion_location.source import TlcSource
from ingestion_location.trip_schema import COLUMNS
from ingestion_location.trips import taxi_trips
from ingestion_location.warehouse import Warehouse

Materialize = Callable[[str], dg.ExecuteInProcessResult]
JANUARY = "2023-01-01"


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
def materialize(warehouse: Warehouse) -> Materialize:
    """Materializes January from the site with this root."""

    def run(base_url: str) -> dg.ExecuteInProcessResult:
        tlc = TlcSource(base_url=base_url, taxi_type="yellow")
        return dg.materialize(
            [taxi_trips],
            partition_key=JANUARY,
            resources={"tlc": tlc, "warehouse": warehouse},
            instance=dg.DagsterInstance.ephemeral(),
            raise_on_error=False,
        )

    return run


def reason(result: dg.ExecuteInProcessResult) -> str:
    """What the failure of the run says."""
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    return str(failure.user_failure_data.description)


@pytest.fixture
def answer() -> Iterator[Callable[..., str]]:
    """Starts a site that answers every request the same way, and returns its root."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, body: bytes = b"", length: int | None = None) -> str:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_load_records_rows_strays_and_the_url(materialize: Materialize, write_trips: Callable[..., Path]) -> None:
    site = write_trips("2023-01", trip("2023-01-05"), trip("2023-01-06"), trip("2022-12-31"))
    result = materialize(site.as_uri())
    (event,) = result.asset_materializations_for_node("taxi_trips")
    recorded = {name: event.metadata[name].value for name in ("dagster/partition_row_count", "stray_trips", "url")}
    assert recorded == {
        "dagster/partition_row_count": 2,
        "stray_trips": 1,
        "url": f"{site.as_uri()}/trip-data/yellow_tripdata_2023-01.parquet",
    }


def test_a_column_that_no_one_knows_is_recorded(materialize: Materialize, write_trips: Callable[..., Path]) -> None:
    result = materialize(write_trips("2023-01", trip("2023-01-05", mood="good")).as_uri())
    (event,) = result.asset_materializations_for_node("taxi_trips")
    assert event.metadata["unknown_columns"].value == ["mood"]


def test_the_published_columns_are_the_columns_of_the_table(
    materialize: Materialize, write_trips: Callable[..., Path], query: Any
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


NOT_PARQUET = b"<html>Please log in</html>"


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ((404,), "the source does not have this file (HTTP 404). The TLC publishes a month about two months late"),
        ((403,), "the source does not have this file (HTTP 403). The TLC publishes a month about two months late"),
        ((410,), "the source answered HTTP 410"),
        ((200, NOT_PARQUET), "this is not a parquet file"),
    ],
)
def test_what_the_source_answers_wrong_fails_with_the_url_and_what_to_do(
    materialize: Materialize, answer: Callable[..., str], answers: tuple[Any, ...], message: str
) -> None:
    site = answer(*answers)
    url = f"{site}/trip-data/yellow_tripdata_2023-01.parquet"
    assert reason(materialize(site)).startswith(f"{url}: {message}")


def test_a_download_that_breaks_off_fails_with_the_url(materialize: Materialize, answer: Callable[..., str]) -> None:
    site = answer(200, b"PAR1", 1_000)
    assert reason(materialize(site)).startswith(f"{site}/trip-data/yellow_tripdata_2023-01.parquet: ")


def test_an_unreachable_source_fails_with_the_url_and_the_setting(materialize: Materialize) -> None:
    said = reason(materialize("http://127.0.0.1:9"))
    url = "http://127.0.0.1:9/trip-data/yellow_tripdata_2023-01.parquet"
    assert said.startswith(f"{url}: the source cannot be reached (")
    assert "Connection refused" in said
    assert "TLC_BASE_URL" in said


def test_a_file_without_a_mandatory_column_fails_with_both(
    materialize: Materialize, write_trips: Callable[..., Path]
) -> None:
    site = write_trips("2023-01", trip("2023-01-05"), without="total_amount")
    said = reason(materialize(site.as_uri()))
    assert said.startswith(f"{site.as_uri()}/trip-data/yellow_tripdata_2023-01.parquet: the mandatory column total_amo")


def test_a_value_that_does_not_fit_fails_with_the_file_and_the_column(
    materialize: Materialize, write_trips: Callable[..., Path]
) -> None:
    site = write_trips("2023-01", trip("2023-01-05", passenger_count=1.5))
    said = reason(materialize(site.as_uri()))
    assert said.startswith(f"{site.as_uri()}/trip-data/yellow_tripdata_2023-01.parquet: column passenger_count ")


@pytest.mark.parametrize("broken", ["missing", "not parquet", "a value"])
def test_a_reload_that_fails_leaves_the_month_that_was_there(
    materialize: Materialize, write_trips: Callable[..., Path], query: Any, broken: str
) -> None:
    site = write_trips("2023-01", trip("2023-01-05"), trip("2023-01-06"))
    file = site / "trip-data/yellow_tripdata_2023-01.parquet"
    assert materialize(site.as_uri()).success
    if broken == "missing":
        file.unlink()
    elif broken == "not parquet":
        file.write_bytes(NOT_PARQUET)
    else:
        write_trips("2023-01", trip("2023-01-05", passenger_count=1.5))
    assert not materialize(site.as_uri()).success
    assert query("select count(*) from raw_taxis.trips") == [(2,)]
