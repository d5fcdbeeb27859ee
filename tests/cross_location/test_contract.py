"""dbt_location's needs match what ingestion_location offers, and the comparison names every breach."""

import copy

import pytest

from ops.contract.compare import Asset, breaches
from ops.contract.workspace import describe_workspace

TRIPS: Asset = {
    "key": "taxi_trips",
    "location": "ingestion_location",
    "materializable": True,
    "partitions": "monthly",
    "partition_keys": ["2023-01-01", "2023-02-01"],
    "columns": {"pickup_datetime": "timestamp", "total_amount": "double precision"},
    "upstream": [],
    "format": "%Y-%m-%d",
    "mappings": {},
}
NEED: Asset = {**TRIPS, "location": "dbt_location", "materializable": False}


@pytest.fixture(scope="module")
def workspace() -> list[Asset]:
    return describe_workspace()


def test_both_locations_as_they_are_keep_the_contract(workspace: list[Asset]) -> None:
    assert breaches(workspace) == []


def test_dbt_location_declares_taxi_trips_with_partitions_and_columns(workspace: list[Asset]) -> None:
    (need,) = [asset for asset in workspace if asset["key"] == "taxi_trips" and not asset["materializable"]]
    assert (need["partitions"], len(need["partition_keys"]), "total_amount" in need["columns"]) == ("monthly", 3, True)


def test_every_asset_of_the_project_has_one_owner(workspace: list[Asset]) -> None:
    owners = {asset["key"]: asset["location"] for asset in workspace if asset["materializable"]}
    assert owners == {
        "taxi_trips": "ingestion_location",
        "taxi_zones": "ingestion_location",
        "stg_trips": "dbt_location",
        "stg_zones": "dbt_location",
        "daily_metrics": "dbt_location",
        "location_metrics": "dbt_location",
        "manhattan_stats": "dbt_location",
        "zone_pickups": "dbt_location",
        "borough_flows": "dbt_location",
        "monthly_totals": "dbt_location",
        "zone_map": "dbt_location",
        "borough_flows_chart": "dbt_location",
        "monthly_report": "dbt_location",
    }


def test_dbt_location_declares_the_shapes_of_the_zones_that_its_map_needs(workspace: list[Asset]) -> None:
    (need,) = [asset for asset in workspace if asset["key"] == "taxi_zones" and not asset["materializable"]]
    assert need["columns"]["geometry"] == "text"


def test_lineage_crosses_from_dbt_location_to_ingestion_location(workspace: list[Asset]) -> None:
    upstream = {asset["key"]: asset["upstream"] for asset in workspace if asset["location"] == "dbt_location"}
    assert (upstream["stg_trips"], upstream["stg_zones"]) == (["taxi_trips"], ["taxi_zones"])


def test_a_producer_that_offers_more_keeps_the_contract() -> None:
    more = {**TRIPS, "columns": {**TRIPS["columns"], "airport_fee": "double precision"}}
    more["partition_keys"] = [*TRIPS["partition_keys"], "2023-03-01"]
    assert breaches([more, NEED]) == []


def test_a_missing_column_is_a_breach_that_names_it() -> None:
    less = {**TRIPS, "columns": {"pickup_datetime": "timestamp"}}
    assert breaches([less, NEED]) == [
        "taxi_trips: dbt_location needs the column total_amount, and ingestion_location has no such column."
    ]


def test_another_type_is_a_breach_that_names_both() -> None:
    other = {**TRIPS, "columns": {**TRIPS["columns"], "total_amount": "text"}}
    assert breaches([other, NEED]) == [
        "taxi_trips: dbt_location needs the column total_amount as double precision, and ingestion_location has text."
    ]


def test_partitions_of_another_kind_are_a_breach() -> None:
    daily = {**TRIPS, "partitions": "daily"}
    assert breaches([daily, NEED]) == [
        "taxi_trips: dbt_location needs partitions monthly, and ingestion_location has daily."
    ]


def test_a_missing_partition_is_a_breach_that_names_it() -> None:
    short = {**TRIPS, "partition_keys": ["2023-01-01"]}
    assert breaches([short, NEED])[0].startswith(
        "taxi_trips: dbt_location needs the partitions 2023-02-01 to 2023-02-01 (1), and ingestion_location has no such"
    )


def test_a_key_that_no_one_materializes_is_a_breach() -> None:
    assert breaches([NEED]) == ["taxi_trips: dbt_location needs it, and no location materializes it."]


def test_two_owners_of_one_key_are_a_breach() -> None:
    second = copy.deepcopy({**TRIPS, "location": "dbt_location"})
    assert breaches([TRIPS, second])[0].startswith(
        "taxi_trips: both ingestion_location and dbt_location materialize it"
    )
