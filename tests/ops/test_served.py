"""What the webserver has loaded is described as the contract wants it, and compared with what it should be."""

import copy
from typing import Any

from ops.contract.served import describe_served, what_is_wrong

COLUMNS = {"columns": [{"name": "pickup_datetime", "type": "timestamp"}]}
TRIPS: dict[str, Any] = {
    "assetKey": {"path": ["taxi_trips"]},
    "isMaterializable": True,
    "dependencies": [{"asset": {"assetKey": {"path": ["site", "files"]}}, "partitionMapping": None}],
    "partitionDefinition": {"type": "TIME_WINDOW", "description": "Monthly, starting 2023-01-01 UTC.", "fmt": "%Y"},
    "partitionKeys": ["2023-01-01"],
    "metadataEntries": [{"label": "note"}, {"label": "dagster/column_schema", "schema": COLUMNS}],
}
ENTRY: dict[str, Any] = {
    "name": "ingestion_location",
    "displayMetadata": [{"key": "host", "value": "x"}, {"key": "image", "value": "ingestion_location:new"}],
    "locationOrLoadError": {"__typename": "RepositoryLocation", "repositories": [{"assetNodes": [TRIPS]}]},
}
BROKEN = {**ENTRY, "locationOrLoadError": {"__typename": "PythonError", "message": "No module named 'x'"}}


def test_an_asset_is_described_with_its_partitions_and_columns() -> None:
    assert describe_served({"ingestion_location": ENTRY}) == [
        {
            "key": "taxi_trips",
            "location": "ingestion_location",
            "materializable": True,
            "partitions": "monthly",
            "partition_keys": ["2023-01-01"],
            "format": "%Y",
            "columns": {"pickup_datetime": "timestamp"},
            "upstream": ["site/files"],
            "mappings": {},
        }
    ]


def test_an_asset_without_partitions_and_columns_has_none() -> None:
    entry = copy.deepcopy(ENTRY)
    (node,) = entry["locationOrLoadError"]["repositories"][0]["assetNodes"]
    node |= {"partitionDefinition": None, "partitionKeys": [], "metadataEntries": []}
    (asset,) = describe_served({"ingestion_location": entry})
    assert (asset["partitions"], asset["partition_keys"], asset["columns"]) == (None, None, {})


def test_a_location_that_does_not_load_has_no_assets() -> None:
    assert describe_served({"ingestion_location": BROKEN}) == []


def test_nothing_is_wrong_with_the_image_and_the_assets_that_it_should_have() -> None:
    assert what_is_wrong(ENTRY, "ingestion_location:new", {"taxi_trips"}) == ""


def test_an_error_of_the_load_is_told() -> None:
    wrong = what_is_wrong(BROKEN, "ingestion_location:new", None)
    assert wrong == "could not load ingestion_location: No module named 'x'"


def test_another_image_than_the_new_one_is_wrong() -> None:
    wrong = what_is_wrong(ENTRY, "ingestion_location:newer", {"taxi_trips"})
    assert wrong == "has ingestion_location of the image ingestion_location:new, not of ingestion_location:newer."


def test_other_assets_than_the_images_are_wrong() -> None:
    wrong = what_is_wrong(ENTRY, "ingestion_location:new", {"taxi_trips", "taxi_zones"})
    assert wrong == "has other assets of ingestion_location than its image: taxi_zones"
