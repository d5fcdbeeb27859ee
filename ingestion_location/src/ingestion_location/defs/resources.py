"""The resources of all assets and sensors, and the executor of all runs."""

import dagster as dg

from ingestion_location.source import TlcSource
from ingestion_location.warehouse import Warehouse

defs = dg.Definitions(
    resources={"tlc": TlcSource.from_env(), "warehouse": Warehouse.from_env()},
    # Each run is a container or a process of its own with few steps: another Python process per step only costs time.
    executor=dg.in_process_executor,
)
