"""What was built serves what it should: the definitions load without a network, a database or a setting."""

import dagster as dg
from ingestion_location.definitions import defs


def test_the_definitions_have_their_assets_and_sensors() -> None:
    repository = defs.get_repository_def()
    assert {key.to_user_string() for key in repository.asset_graph.materializable_asset_keys} == {
        "taxi_trips",
        "taxi_zones",
    }
    assert {sensor.name for sensor in repository.sensor_defs} == {"new_trip_files", "new_zone_files"}


def test_every_asset_has_the_resources_that_it_names() -> None:
    dg.Definitions.validate_loadable(defs)
