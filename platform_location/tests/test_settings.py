"""Settings are checked before anything runs, and a wrong one is named."""

import pytest
from platform_location.settings import (
    Reaping,
    SettingError,
    read_dagster_url,
    read_history_days,
    read_housekeeping,
    read_reaping,
    read_webhook_url,
)


def test_without_any_setting_house_is_kept_and_nobody_is_notified() -> None:
    assert (read_housekeeping({}), read_reaping({}), read_history_days({}), read_webhook_url({})) == (
        True,
        Reaping(interval=60, succeeded_after=300, failed_after=86_400),
        30,
        None,
    )


def test_an_empty_setting_is_the_default() -> None:
    empty = {"HISTORY_DAYS": "", "NOTIFY_WEBHOOK_URL": " ", "DAGSTER_URL": "", "HOUSEKEEPING": ""}
    assert (read_history_days(empty), read_webhook_url(empty), read_dagster_url(empty), read_housekeeping(empty)) == (
        30,
        None,
        "http://127.0.0.1:3000",
        True,
    )


@pytest.mark.parametrize("value", ["soon", "-1", "1.5", "999999999", "٣"])
def test_an_age_that_is_no_number_of_seconds_is_refused_with_the_settings_name(value: str) -> None:
    with pytest.raises(SettingError, match=r"^REAP_FAILED_AFTER_SECONDS='.*' is not a number of seconds from 0 to"):
        read_reaping({"REAP_FAILED_AFTER_SECONDS": value})


def test_no_history_at_all_is_refused() -> None:
    with pytest.raises(SettingError, match=r"^HISTORY_DAYS='0' is not a number of days from 1 to 3660"):
        read_history_days({"HISTORY_DAYS": "0"})


def test_a_switch_that_is_neither_on_nor_off_is_refused() -> None:
    with pytest.raises(SettingError, match=r"^HOUSEKEEPING='yes' is neither on nor off"):
        read_housekeeping({"HOUSEKEEPING": "yes"})


@pytest.mark.parametrize("value", ["example.com/hook", "ftp://example.com", "http://", "http://example.com:port"])
def test_a_webhook_that_is_no_url_is_refused_without_repeating_it(value: str) -> None:
    with pytest.raises(SettingError) as refused:
        read_webhook_url({"NOTIFY_WEBHOOK_URL": value})
    assert str(refused.value) == "NOTIFY_WEBHOOK_URL is not a URL. It starts with http:// or https:// and names a host."


def test_the_uis_address_loses_its_trailing_slash() -> None:
    assert read_dagster_url({"DAGSTER_URL": "https://dagster.example/"}) == "https://dagster.example"
