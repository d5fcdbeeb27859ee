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
    }


def test_without_any_setting_housekeeping_is_on() -> None:
    assert read_settings().model_dump() == defaults()


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_setting_is_the_default(monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, empty)
    assert read_settings().model_dump() == defaults()


def test_a_setting_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUSEKEEPING", "off")
    monkeypatch.setenv("REAP_FAILED_AFTER_SECONDS", "0")
    settings = read_settings()
    assert (settings.housekeeping, settings.reap_failed_after_seconds) == ("off", 0)


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


def test_the_check_at_the_start_names_every_wrong_setting_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HISTORY_DAYS", "0")
    monkeypatch.setenv("HOUSEKEEPING", "yes")
    ended = subprocess.run([sys.executable, "-m", "platform_location.settings"], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (
        1,
        "platform_location: HOUSEKEEPING='yes' is neither on nor off. Set it to one of them.\n"
        "HISTORY_DAYS='0' is not a number of days from 1 to 3660. Usually it is 30.\n",
    )
