"""Settings are checked before anything runs, and a wrong one is named."""

import subprocess
import sys
from pathlib import Path

import pytest
from platform_location.settings import SettingError, Settings, read_settings

NAMES = [name.upper() for name in Settings.model_fields]


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))


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
    settings = read_settings()
    assert (settings.housekeeping, settings.reap_failed_after_seconds) == ("off", 0)


def test_a_secret_is_read_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As compose passes it on.
    monkeypatch.setenv("NOTIFY_WEBHOOK_URL", "")
    (tmp_path / "notify_webhook_url").write_text("https://example.com/hook/\n")
    assert read_settings().notify_webhook_url == "https://example.com/hook/"


def test_a_webhook_in_the_environment_is_refused_with_the_command_that_makes_it_a_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFY_WEBHOOK_URL", "https://example.com/token")
    with pytest.raises(SettingError) as refused:
        read_settings()
    assert str(refused.value).endswith("make secret LOCATION=platform_location NAME=notify_webhook_url")
    assert "token" not in str(refused.value)


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


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("example.com/hook", "is not a URL. It starts with http:// or https:// and names a host."),
        ("ftp://example.com", "is not a URL. It starts with http:// or https:// and names a host."),
        ("http://", "is not a URL. It starts with http:// or https:// and names a host."),
        ("http://example.com:port", "is not a URL. It starts with http:// or https:// and names a host."),
        ("http://[example.com", "is not a URL. It starts with http:// or https:// and names a host."),
        (
            "http://example.com/a hook",
            "has a space, or a character that a URL cannot have. Write it as %20 and the like.",
        ),
        (
            "http://example.com/a\nhook",
            "has a space, or a character that a URL cannot have. Write it as %20 and the like.",
        ),
        ("http://example.com/ä", "has a space, or a character that a URL cannot have. Write it as %20 and the like."),
        (
            "http://me:pw@example.com/",
            "has a user, which is not sent. Put what the receiver asks for into path or query.",
        ),
    ],
)
def test_a_webhook_that_cannot_be_posted_to_is_refused_without_repeating_it(
    tmp_path: Path, value: str, why: str
) -> None:
    (tmp_path / "notify_webhook_url").write_text(value)
    with pytest.raises(SettingError) as refused:
        read_settings()
    assert str(refused.value) == f"the secret notify_webhook_url {why}"
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
