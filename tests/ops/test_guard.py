"""A deploy is stopped by what it would break, both ways, and by nothing else."""

from typing import Any

from ops.contract.compare import Asset, new_breaches

INGESTION, DBT, OTHER = "ingestion_location", "dbt_location", "other_location"


def asset(location: str, key: str, *columns: str, made: bool) -> Asset:
    described: dict[str, Any] = {"partitions": None, "partition_keys": None, "format": None}
    described |= {"upstream": [], "mappings": {}}
    return {
        **described,
        "key": key,
        "location": location,
        "materializable": made,
        "columns": dict.fromkeys(columns, "text"),
    }


TRIPS = asset(INGESTION, "trips", "id", "fare", made=True)
ZONES = asset(INGESTION, "zones", "id", made=True)
NEEDS_TRIPS = asset(DBT, "trips", "id", "fare", made=False)
NEEDS_ZONES = asset(DBT, "zones", "id", made=False)
NOW = [TRIPS, ZONES, NEEDS_TRIPS, NEEDS_ZONES]
WITHOUT_FARE = asset(INGESTION, "trips", "id", made=True)
NO_FARE = "trips: dbt_location needs the column fare, and ingestion_location has no such column."


def test_the_same_again_breaks_nothing() -> None:
    assert new_breaches(INGESTION, NOW, [TRIPS, ZONES], []) == []


def test_a_producer_that_drops_a_column_that_another_needs_is_stopped() -> None:
    assert new_breaches(INGESTION, NOW, [WITHOUT_FARE, ZONES], []) == [NO_FARE]


def test_a_producer_that_drops_an_asset_that_another_needs_is_stopped() -> None:
    assert new_breaches(INGESTION, NOW, [TRIPS], []) == [
        "zones: dbt_location needs it, and no location materializes it."
    ]


def test_a_consumer_that_needs_a_column_that_is_not_there_is_stopped() -> None:
    needs_tip = asset(DBT, "trips", "tip", made=False)
    assert new_breaches(DBT, NOW, [needs_tip, NEEDS_ZONES], []) == [
        "trips: dbt_location needs the column tip, and ingestion_location has no such column."
    ]


def test_one_more_column_and_one_more_asset_stop_nothing() -> None:
    more = [asset(INGESTION, "trips", "id", "fare", "tip", made=True), ZONES, asset(INGESTION, "weather", made=True)]
    assert new_breaches(INGESTION, NOW, more, []) == []


def test_an_asset_that_another_location_makes_already_is_stopped() -> None:
    (breach,) = new_breaches(DBT, NOW, [NEEDS_TRIPS, asset(DBT, "zones", made=True)], [])
    assert breach.startswith("zones: both ingestion_location and dbt_location materialize it")


def test_what_is_broken_already_stops_no_deploy_that_leaves_it_so() -> None:
    broken = [WITHOUT_FARE, ZONES, NEEDS_TRIPS, NEEDS_ZONES]
    assert new_breaches(DBT, broken, [NEEDS_TRIPS, NEEDS_ZONES], []) == []


def test_what_is_broken_between_two_others_stops_no_third_one() -> None:
    broken = [WITHOUT_FARE, ZONES, NEEDS_TRIPS, NEEDS_ZONES]
    assert new_breaches(OTHER, broken, [asset(OTHER, "news", made=True)], [OTHER]) == []


def test_a_location_that_is_down_keeps_no_other_from_being_deployed() -> None:
    assert new_breaches(DBT, [NEEDS_TRIPS, NEEDS_ZONES], [NEEDS_TRIPS, NEEDS_ZONES], [INGESTION]) == []


def test_a_location_that_is_down_comes_back_with_all_that_the_others_need() -> None:
    now = [NEEDS_TRIPS, NEEDS_ZONES]
    assert new_breaches(INGESTION, now, [TRIPS, ZONES], [INGESTION]) == []
    assert new_breaches(INGESTION, now, [TRIPS], [INGESTION]) == [
        "zones: dbt_location needs it, and no location materializes it."
    ]


LAST = "LastPartitionMapping"
DAYS = {"partitions": "daily", "partition_keys": ["2023-01-01"], "format": "%Y-%m-%d"}
DAILY_TRIPS = {**TRIPS, **DAYS}
NEEDS_DAILY_TRIPS = {**NEEDS_TRIPS, **DAYS}
REPORT = {
    **asset(DBT, "report", made=True),
    **DAYS,
    "upstream": ["trips"],
    "mappings": {"trips": [LAST, "Maps to the last."]},
}


def test_a_dependency_that_cannot_be_judged_is_stopped_by_name() -> None:
    (breach,) = new_breaches(DBT, [DAILY_TRIPS], [NEEDS_DAILY_TRIPS, REPORT], [])
    assert breach.startswith(
        f"report: the partitions that it is made from are not known: its dependency on trips has a {LAST}"
    )


def test_a_dependency_of_another_location_that_cannot_be_judged_stops_nobody_else() -> None:
    now = [DAILY_TRIPS, NEEDS_DAILY_TRIPS, REPORT]
    assert new_breaches(OTHER, now, [asset(OTHER, "news", made=True)], []) == []
    assert new_breaches(INGESTION, [NEEDS_DAILY_TRIPS, REPORT], [DAILY_TRIPS], [INGESTION]) == []
