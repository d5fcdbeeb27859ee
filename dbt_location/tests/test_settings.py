"""Settings are checked before anything runs, and a wrong one is named."""

from pathlib import Path

import pytest
from dbt_location.partitions import daily_partition
from dbt_location.settings import SettingError, read_settings

NAMES = (
    "TAXI_START_DATE",
    "TAXI_END_DATE",
    "TAXI_AUTOMATION",
    "TAXI_LOCK_WAIT_SECONDS",
    "REPORTS_DIR",
    "REPORTS_URL",
    "WAREHOUSE_PORT",
)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def refused(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> str:
    """What the location says of these settings, one of which is wrong."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingError) as refusal:
        read_settings()
    return str(refusal.value)


def test_the_default_range_is_ninety_days() -> None:
    keys = daily_partition.get_partition_keys()
    assert (len(keys), keys[0], keys[-1]) == (90, "2023-01-01", "2023-03-31")


def test_an_empty_end_is_an_open_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_END_DATE", "")
    assert read_settings().taxi_end_date is None


@pytest.mark.parametrize("name", [name for name in NAMES if name != "TAXI_END_DATE"])
def test_every_other_setting_that_is_empty_has_its_default(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    default = read_settings()
    monkeypatch.setenv(name, " ")
    assert read_settings() == default


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"TAXI_END_DATE": "2023-01-01"}, "TAXI_END_DATE=2023-01-01 is not after TAXI_START_DATE=2023-01-01"),
        ({"TAXI_START_DATE": "1.1.2023"}, "TAXI_START_DATE='1.1.2023' is not a date. Write it as YYYY-MM-DD"),
        ({"TAXI_END_DATE": "2023-03-15"}, "TAXI_END_DATE=2023-03-15 is not the first of a month"),
        ({"TAXI_LOCK_WAIT_SECONDS": "long"}, "TAXI_LOCK_WAIT_SECONDS='long' is not a number of seconds from 1 to 600."),
        ({"WAREHOUSE_PORT": "postgres"}, "WAREHOUSE_PORT='postgres' is not a port. Set it to a number from 1 to 65535"),
        ({"WAREHOUSE_PORT": "0"}, "WAREHOUSE_PORT='0' is not a port"),
        ({"WAREHOUSE_PORT": "65536"}, "WAREHOUSE_PORT='65536' is not a port"),
        ({"REPORTS_DIR": "reports"}, "REPORTS_DIR='reports' is not an absolute path. Write it from the root"),
        ({"REPORTS_URL": "127.0.0.1:3001"}, "REPORTS_URL='127.0.0.1:3001' is not a URL. It starts with http://"),
        ({"TAXI_AUTOMATION": "yes"}, "TAXI_AUTOMATION='yes' is neither on nor off"),
        ({"TAXI_AUTOMATION": "OFF"}, "TAXI_AUTOMATION='OFF' is neither on nor off"),
        ({"TAXI_AUTOMATION": "0"}, "TAXI_AUTOMATION='0' is neither on nor off"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name_and_what_to_write(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], message: str
) -> None:
    assert refused(monkeypatch, settings).startswith(message)


def test_all_wrong_settings_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = refused(monkeypatch, {"TAXI_AUTOMATION": "yes", "WAREHOUSE_PORT": "postgres"}).splitlines()
    assert [line.partition("=")[0] for line in lines] == ["TAXI_AUTOMATION", "WAREHOUSE_PORT"]


def test_the_reports_are_in_the_images_folder_and_read_there_by_default() -> None:
    settings = read_settings()
    assert (settings.reports_dir, settings.reports_url) == (
        Path("/opt/dagster/reports"),
        "file:///opt/dagster/reports",
    )


def test_the_folder_of_the_reports_and_its_url_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTS_DIR", "/tmp/a b")
    assert read_settings().reports_url == "file:///tmp/a%20b"
    monkeypatch.setenv("REPORTS_URL", "https://reports.example/taxi/")
    assert read_settings().reports_url == "https://reports.example/taxi"


@pytest.mark.parametrize(("value", "switch"), [("on", "on"), ("off", "off"), ("", "on")])
def test_automation_is_on_unless_it_is_switched_off(monkeypatch: pytest.MonkeyPatch, value: str, switch: str) -> None:
    monkeypatch.setenv("TAXI_AUTOMATION", value)
    assert read_settings().taxi_automation == switch
