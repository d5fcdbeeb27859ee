"""Settings are checked before anything runs, and a wrong one is named."""

from datetime import date
from pathlib import Path

import pytest
from dbt_location.partitions import daily_partition
from dbt_location.settings import SettingError, read_automation, read_port, read_range, read_reports


def test_the_default_range_is_ninety_days() -> None:
    keys = daily_partition.get_partition_keys()
    assert (len(keys), keys[0], keys[-1]) == (90, "2023-01-01", "2023-03-31")


def test_an_empty_end_is_an_open_end() -> None:
    assert read_range({"TAXI_END_DATE": ""}) == (date(2023, 1, 1), None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"TAXI_END_DATE": "2023-01-01"}, "TAXI_END_DATE=2023-01-01 is not after TAXI_START_DATE=2023-01-01"),
        ({"TAXI_START_DATE": "1.1.2023"}, "TAXI_START_DATE='1.1.2023' is not a date. Write it as YYYY-MM-DD"),
        ({"TAXI_END_DATE": "2023-03-15"}, "TAXI_END_DATE=2023-03-15 is not the first of a month"),
        ({"TAXI_START_DATE": ""}, "TAXI_START_DATE is empty"),
    ],
)
def test_a_wrong_range_is_refused_with_the_settings_name(settings: dict[str, str], message: str) -> None:
    with pytest.raises(SettingError) as refused:
        read_range(settings)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("port", ["", "postgres", "0", "65536"])
def test_a_wrong_port_is_refused_with_the_settings_name(port: str) -> None:
    with pytest.raises(SettingError, match="WAREHOUSE_PORT"):
        read_port("WAREHOUSE_PORT", "5432", {"WAREHOUSE_PORT": port})


def test_the_reports_are_in_the_images_folder_and_read_there_unless_settings_say_otherwise() -> None:
    assert read_reports({}) == (Path("/opt/dagster/reports"), "file:///opt/dagster/reports")
    assert read_reports({"REPORTS_DIR": "/tmp/a b", "REPORTS_URL": "https://reports.example/taxi/"}) == (
        Path("/tmp/a b"),
        "https://reports.example/taxi",
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"REPORTS_DIR": "reports"}, "REPORTS_DIR='reports' is not an absolute path. Write it from the root"),
        ({"REPORTS_URL": "127.0.0.1:3001"}, "REPORTS_URL='127.0.0.1:3001' is not a URL. It starts with http://"),
    ],
)
def test_wrong_settings_of_the_reports_are_refused_with_their_name(settings: dict[str, str], message: str) -> None:
    with pytest.raises(SettingError) as refused:
        read_reports(settings)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(("value", "on"), [("on", True), ("off", False), ("", True)])
def test_automation_is_on_unless_it_is_switched_off(value: str, on: bool) -> None:
    assert read_automation({"TAXI_AUTOMATION": value}) is on


@pytest.mark.parametrize("value", ["yes", "OFF", "0"])
def test_a_switch_that_is_neither_on_nor_off_is_refused_with_the_settings_name(value: str) -> None:
    with pytest.raises(SettingError, match=f"TAXI_AUTOMATION='{value}' is neither on nor off"):
        read_automation({"TAXI_AUTOMATION": value})
