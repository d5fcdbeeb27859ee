"""Settings are checked before anything runs, and a wrong one is named."""

from datetime import date
from pathlib import Path

import pytest
from ingestion_location.partitions import monthly_partition
from ingestion_location.settings import SettingError, Settings, read_settings
from ingestion_location.source import TlcSource


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def refusal(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> str:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError) as refused:
        read_settings()
    return str(refused.value)


def test_the_default_range_is_three_months() -> None:
    settings = read_settings()
    assert (settings.taxi_start_date, settings.taxi_end_date) == (date(2023, 1, 1), date(2023, 4, 1))


def test_the_default_partitions_are_the_first_days_of_three_months() -> None:
    assert monthly_partition.get_partition_keys() == ["2023-01-01", "2023-02-01", "2023-03-01"]


def test_an_empty_end_is_an_open_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_END_DATE", "")
    assert read_settings().taxi_end_date is None


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name != "taxi_end_date"])
def test_any_other_empty_setting_has_its_default(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name.upper(), "")
    assert getattr(read_settings(), name) == Settings.model_fields[name].default


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TAXI_END_DATE", "2022-12-01", "TAXI_END_DATE=2022-12-01 is not after TAXI_START_DATE=2023-01-01"),
        ("TAXI_END_DATE", "2023-01-01", "TAXI_END_DATE=2023-01-01 is not after TAXI_START_DATE=2023-01-01"),
        ("TAXI_START_DATE", "January", "TAXI_START_DATE='January' is not a date. Write it as YYYY-MM-DD"),
        ("TAXI_END_DATE", "2023-02-30", "TAXI_END_DATE='2023-02-30' is not a date. Write it as YYYY-MM-DD"),
        ("TAXI_START_DATE", "2023-01-15", "TAXI_START_DATE=2023-01-15 is not the first of a month"),
        ("TLC_TAXI_TYPE", "blue", "TLC_TAXI_TYPE='blue' is not a taxi type. Set it to yellow or green."),
        ("TLC_BASE_URL", "tlc.example", "TLC_BASE_URL='tlc.example' is not a URL."),
        (
            "TLC_BASE_URL",
            "https://me:pw@host/x/",
            "TLC_BASE_URL='https://host/x' has a user, and everybody who inspects",
        ),
        ("TLC_BASE_URL", "https://me@host", "TLC_BASE_URL='https://host' has a user, and everybody who inspects"),
        (
            "TLC_LOGIN",
            "me:p\nw",
            "the secret tlc_login has a character that is not printable ASCII. Write user:password.",
        ),
        ("TAXI_AUTOMATION", "yes", "TAXI_AUTOMATION='yes' is neither on nor off."),
        ("TAXI_AUTOMATION", "OFF", "TAXI_AUTOMATION='OFF' is neither on nor off."),
        ("TAXI_LOCK_WAIT_SECONDS", "0", "TAXI_LOCK_WAIT_SECONDS='0' is not a number of seconds from 1 to 600."),
        ("TAXI_AUTOMATION", "0", "TAXI_AUTOMATION='0' is neither on nor off."),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    assert refusal(monkeypatch, name, value).startswith(message)


def test_the_login_is_read_from_the_file_of_its_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("TLC_LOGIN", "")
    (tmp_path / "tlc_login").write_text("me:p:w\n")
    assert read_settings().tlc_login == "me:p:w"


@pytest.mark.parametrize("value", ["often", "9", "86401", "30.5", "-30"])
def test_a_wrong_interval_is_refused_with_the_settings_name(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    message = refusal(monkeypatch, "TAXI_SOURCE_INTERVAL_SECONDS", value)
    assert message.startswith(f"TAXI_SOURCE_INTERVAL_SECONDS='{value}' is not a number of seconds")


@pytest.mark.parametrize("value", ["postgres", "0", "65536"])
def test_a_wrong_port_is_refused_with_the_settings_name(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert refusal(monkeypatch, "WAREHOUSE_PORT", value).startswith(f"WAREHOUSE_PORT='{value}' is not a port.")


def test_the_files_have_the_paths_of_the_tlcs_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLC_BASE_URL", "http://copy.example/")
    monkeypatch.setenv("TLC_TAXI_TYPE", "green")
    tlc = TlcSource.from_env()
    assert (tlc.trips_url(date(2023, 1, 1)), tlc.zones_url) == (
        "http://copy.example/trip-data/green_tripdata_2023-01.parquet",
        "http://copy.example/misc/taxi_zone_lookup.csv",
    )


@pytest.mark.parametrize("value", ["on", "off"])
def test_automation_is_switched_on_and_off(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TAXI_AUTOMATION", value)
    assert read_settings().taxi_automation == value


def test_the_interval_of_the_sensors_is_that_of_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_SOURCE_INTERVAL_SECONDS", "30")
    assert read_settings().taxi_source_interval_seconds == 30
