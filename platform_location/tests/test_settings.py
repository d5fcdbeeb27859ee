"""Settings are checked before anything runs, and a wrong one is named."""

import subprocess
import sys

import pytest
from platform_location.settings import SettingError, Settings, read_settings

NAMES = [name.upper() for name in Settings.model_fields]


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def defaults() -> dict[str, object]:
    return {
        "housekeeping": "on",
        "reap_interval_seconds": 60,
        "reap_succeeded_after_seconds": 300,
        "reap_failed_after_seconds": 86_400,
        "history_days": 30,
        "notify_webhook_url": None,
        "dagster_url": "http://127.0.0.1:3000",
    }


def test_without_any_setting_housekeeping_is_on_and_nobody_is_notified() -> None:
    assert read_settings().model_dump() == defaults()


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_setting_is_the_default(monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, empty)
    assert read_settings().model_dump() == defaults()


def test_a_setting_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUSEKEEPING", "off")
    monkeypatch.setenv("REAP_FAILED_AFTER_SECONDS", "0")
    monkeypatch.setenv("NOTIFY_WEBHOOK_URL", "https://example.com/hook/")
    settings = read_settings()
    assert (settings.housekeeping, settings.reap_failed_after_seconds, settings.notify_webhook_url) == (
        "off",
        0,
        "https://example.com/hook/",
    )


@pytest.mark.parametrize("value", ["soon", "-1", "1.5", "999999999", "٣"])
def test_an_age_that_is_no_number_of_seconds_is_refused_with_the_settings_name(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("REAP_FAILED_AFTER_SECONDS", value)
    with pytest.raises(SettingError, match=r"^REAP_FAILED_AFTER_SECONDS='.*' is not a number of seconds from 0 to"):
        read_settings()


def test_no_history_at_all_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HISTORY_DAYS", "0")
    with pytest.raises(SettingError, match=r"^HISTORY_DAYS='0' is not a number of days from 1 to 3660"):
        read_settings()


def test_a_switch_that_is_neither_on_nor_off_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUSEKEEPING", "yes")
    with pytest.raises(SettingError, match=r"^HOUSEKEEPING='yes' is neither on nor off"):
        read_settings()


@pytest.mark.parametrize("value", ["example.com/hook", "ftp://example.com", "http://", "http://example.com:port"])
def test_a_webhook_that_is_no_url_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("NOTIFY_WEBHOOK_URL", value)
    with pytest.raises(SettingError) as refused:
        read_settings()
    assert str(refused.value) == "NOTIFY_WEBHOOK_URL is not a URL. It starts with http:// or https:// and names a host."
    assert refused.value.__suppress_context__


def test_the_uis_address_loses_its_trailing_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_URL", "https://dagster.example/")
    assert read_settings().dagster_url == "https://dagster.example"


def test_the_check_at_the_start_names_every_wrong_setting_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HISTORY_DAYS", "0")
    monkeypatch.setenv("DAGSTER_URL", "here")
    ended = subprocess.run([sys.executable, "-m", "platform_location.settings"], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (
        1,
        "platform_location: HISTORY_DAYS='0' is not a number of days from 1 to 3660. Usually it is 30.\n"
        "DAGSTER_URL is not a URL. It starts with http:// or https:// and names a host.\n",
    )
