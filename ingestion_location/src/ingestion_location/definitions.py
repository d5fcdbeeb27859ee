"""What this code location offers to Dagster."""

import dagster as dg

from ingestion_location.source import TlcSource
from ingestion_location.trip_file_sensor import new_trip_files
from ingestion_location.trips import taxi_trips
from ingestion_location.warehouse import Warehouse
from ingestion_location.zone_file_sensor import new_zone_files
from ingestion_location.zones import taxi_zones

defs = dg.Definitions(
    assets=[taxi_trips, taxi_zones],
    sensors=[new_trip_files, new_zone_files],
    resources={"tlc": TlcSource.from_env(), "warehouse": Warehouse.from_env()},
    # A run is a container or a process of its own and its steps are few: a second Python per step would only cost time.
    executor=dg.in_process_executor,
)
