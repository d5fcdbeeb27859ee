"""A run whose failure is transient is tagged, so that the sensor requests the load again."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from helpers.misbehaving_server import Act, send, serving, status
from ingestion_location.defs.trips.taxi_trips import taxi_trips
from ingestion_location.defs.zones.taxi_zones import taxi_zones
from ingestion_location.load_errors import is_transient_failure
from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse

NOWHERE = Warehouse(host="127.0.0.1", port=1, database="warehouse", user="ingestion_location", password="")


def failed_run(asset: Any, root: str, warehouse: Warehouse) -> dg.DagsterRun:
    instance = dg.DagsterInstance.ephemeral()
    resources = {"tlc": TlcSource(base_url=root, taxi_type="yellow"), "warehouse": warehouse}
    partition = "2023-01-01" if asset is taxi_trips else None
    ended = dg.materialize(
        [asset], partition_key=partition, resources=resources, instance=instance, raise_on_error=False
    )
    assert not ended.success
    (run,) = instance.get_runs()
    return run


@pytest.mark.parametrize("asset", [taxi_trips, taxi_zones])
@pytest.mark.parametrize(
    ("act", "transient"),
    [(status(503, Retry_After="3600"), True), (status(404), False), (status(401), False), (send(b"no such"), False)],
)
def test_a_load_that_the_source_refused_for_now_failed_transiently_and_no_other(
    warehouse: Warehouse, asset: Any, act: Act, transient: bool
) -> None:
    with serving(act) as site:
        assert is_transient_failure(failed_run(asset, site.root, warehouse)) is transient


def test_a_load_that_did_not_reach_the_warehouse_failed_transiently(write_trips: Callable[..., Path]) -> None:
    times = {"tpep_pickup_datetime": datetime(2023, 1, 5), "tpep_dropoff_datetime": datetime(2023, 1, 5, 1)}
    ids = {"VendorID": 1, "PULocationID": 1, "DOLocationID": 2}
    site = write_trips("2023-01", {**times, **ids, "total_amount": 10.0})
    assert is_transient_failure(failed_run(taxi_trips, site.as_uri(), NOWHERE))
