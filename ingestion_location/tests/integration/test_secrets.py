"""A password of the source is stored nowhere, whether a load succeeds or fails."""

import logging
import sqlite3
import zlib
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest
from helpers.misbehaving_server import Act, send, serving, status
from ingestion_location.defs.trips.new_trip_files import look_for_months
from ingestion_location.defs.trips.taxi_trips import taxi_trips
from ingestion_location.defs.zones.taxi_zones import taxi_zones
from ingestion_location.download import Limits
from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse
from integration.any_files import GOOD_LOOKUP, GOOD_TRIPS
from integration.conftest import Query

SECRET = "s3cr3t"


def stored(folder: Path) -> bytes:
    """All that an instance keeps in a folder: databases, with what is packed in them, and the output of steps."""
    content = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for database in folder.rglob("*.db"):
        connection = sqlite3.connect(database)
        for (table,) in connection.execute("select name from sqlite_master where type = 'table'").fetchall():
            for row in connection.execute(f"select * from {table}"):
                content += b"".join(zlib.decompress(value) for value in row if isinstance(value, bytes))
        connection.close()
    return content


@pytest.mark.parametrize("fails", [None, status(401), status(302, Location="ftp://other/"), send(b"PAR1")])
def test_a_password_of_the_source_is_stored_nowhere(
    fails: Act | None,
    warehouse: Warehouse,
    query: Query,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    pq.write_table(GOOD_TRIPS, tmp_path / "trips")
    trips = (tmp_path / "trips").read_bytes()
    (tmp_path / "instance").mkdir()

    def act(request: object) -> None:
        is_lookup = str(getattr(request, "path", "")).endswith(".csv")
        (fails or send(GOOD_LOOKUP if is_lookup else trips))(request)  # type: ignore[arg-type]

    with serving(act) as site, dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as instance:
        monkeypatch.setenv("TLC_BASE_URL", site.root)
        monkeypatch.setenv("TLC_LOGIN", f"user:{SECRET}")
        tlc = TlcSource.from_env().model_copy(update={"limits": Limits(attempts=1)})
        resources = {"tlc": tlc, "warehouse": warehouse}
        for asset, partition in ((taxi_trips, "2023-01-01"), (taxi_zones, None)):
            dg.materialize(
                [asset], partition_key=partition, resources=resources, instance=instance, raise_on_error=False
            )
        context = dg.build_sensor_context(instance, sensor_name="new_trip_files")
        tick = look_for_months(context, tlc, warehouse, datetime.now(UTC))
        assert all(site.headers("Authorization"))
        kept = stored(tmp_path / "instance")
    assert site.root.encode() in kept
    told = f"{tick} {caplog.text} {capfd.readouterr()}"
    tables = query("select row_to_json(f)::text from raw_taxis.trip_files as f") if not fails else []
    assert SECRET not in f"{kept!r} {told} {tables}"
