"""Settings are checked before anything runs, and a wrong one is named."""

from datetime import date

import pytest
from ingestion_location.partitions import monthly_partition
from ingestion_location.settings import (
    DEFAULT_BASE_URL,
    SettingError,
    read_automation,
    read_month_range,
    read_port,
    read_source_interval,
)
from ingestion_location.source import TlcSource


def test_the_default_range_is_three_months() -> None:
    assert read_month_range({}) == (date(2023, 1, 1), date(2023, 4, 1))


def test_the_default_partitions_are_the_first_days_of_three_months() -> None:
    assert monthly_partition.get_partition_keys() == ["2023-01-01", "2023-02-01", "2023-03-01"]


def test_an_empty_end_is_an_open_end() -> None:
    assert read_month_range({"TAXI_END_DATE": ""}) == (date(2023, 1, 1), None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"TAXI_END_DATE": "2022-12-01"}, "TAXI_END_DATE=2022-12-01 is not after TAXI_START_DATE=2023-01-01"),
        ({"TAXI_END_DATE": "2023-01-01"}, "TAXI_END_DATE=2023-01-01 is not after TAXI_START_DATE=2023-01-01"),
        ({"TAXI_START_DATE": "January"}, "TAXI_START_DATE='January' is not a date. Write it as YYYY-MM-DD"),
        ({"TAXI_END_DATE": "2023-02-30"}, "TAXI_END_DATE='2023-02-30' is not a date. Write it as YYYY-MM-DD"),
        ({"TAXI_START_DATE": "2023-01-15"}, "TAXI_START_DATE=2023-01-15 is not the first of a month"),
        ({"TAXI_START_DATE": ""}, "TAXI_START_DATE is empty"),
    ],
)
def test_a_wrong_range_is_refused_with_the_settings_name(settings: dict[str, str], message: str) -> None:
    with pytest.raises(SettingError) as refused:
        read_month_range(settings)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"TLC_TAXI_TYPE": "blue"}, "TLC_TAXI_TYPE='blue' is not a taxi type. Set it to yellow or green."),
        ({"TLC_BASE_URL": "tlc.example"}, "TLC_BASE_URL='tlc.example' is not a URL."),
    ],
)
def test_a_wrong_source_is_refused_with_the_settings_name(settings: dict[str, str], message: str) -> None:
    with pytest.raises(SettingError) as refused:
        TlcSource.from_env(settings)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("port", ["", "postgres", "0", "65536"])
def test_a_wrong_port_is_refused_with_the_settings_name(port: str) -> None:
    with pytest.raises(SettingError, match="WAREHOUSE_PORT"):
        read_port("WAREHOUSE_PORT", "5432", {"WAREHOUSE_PORT": port})


def test_an_empty_base_url_is_the_tlcs_own_site() -> None:
    assert TlcSource.from_env({"TLC_BASE_URL": ""}).base_url == DEFAULT_BASE_URL


def test_the_files_have_the_paths_of_the_tlcs_site() -> None:
    tlc = TlcSource.from_env({"TLC_BASE_URL": "http://copy.example/", "TLC_TAXI_TYPE": "green"})
    assert (tlc.trips_url(date(2023, 1, 1)), tlc.zones_url) == (
        "http://copy.example/trip-data/green_tripdata_2023-01.parquet",
        "http://copy.example/misc/taxi_zone_lookup.csv",
    )


@pytest.mark.parametrize(("value", "on"), [("on", True), ("off", False), ("", True)])
def test_automation_is_on_unless_it_is_switched_off(value: str, on: bool) -> None:
    assert read_automation({"TAXI_AUTOMATION": value}) is on


@pytest.mark.parametrize("value", ["yes", "OFF", "0"])
def test_a_switch_that_is_neither_on_nor_off_is_refused_with_the_settings_name(value: str) -> None:
    with pytest.raises(SettingError, match=f"TAXI_AUTOMATION='{value}' is neither on nor off"):
        read_automation({"TAXI_AUTOMATION": value})


def test_the_source_is_looked_at_every_five_minutes_unless_told_otherwise() -> None:
    settings: list[dict[str, str]] = [{}, {"TAXI_SOURCE_INTERVAL_SECONDS": ""}, {"TAXI_SOURCE_INTERVAL_SECONDS": "30"}]
    assert [read_source_interval(setting) for setting in settings] == [300, 300, 30]


@pytest.mark.parametrize("value", ["often", "9", "86401", "30.5", "-30"])
def test_a_wrong_interval_is_refused_with_the_settings_name(value: str) -> None:
    with pytest.raises(SettingError, match=f"TAXI_SOURCE_INTERVAL_SECONDS='{value}' is not a number of seconds"):
        read_source_interval({"TAXI_SOURCE_INTERVAL_SECONDS": value})
