"""The location's settings, read from the environment and checked before anything else runs.

As a command it only checks them: python -m platform_location.settings
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

DAY_SECONDS = 86_400


class SettingError(ValueError):
    """A setting that the location cannot start with; the message names it and says what to write instead."""


@dataclass(frozen=True)
class Reaping:
    """When run containers are removed.

    Attributes:
        interval: seconds between two looks.
        succeeded_after: seconds from the end of the container of a run that succeeded to its removal.
        failed_after: the same for every other run that has ended.
    """

    interval: int
    succeeded_after: int
    failed_after: int


def read_housekeeping(env: Mapping[str, str] = os.environ) -> bool:
    """Reads HOUSEKEEPING: whether containers are reaped and history is pruned without anyone having started it.

    Raises:
        SettingError: the value is neither on nor off.
    """
    value = env.get("HOUSEKEEPING", "").strip() or "on"
    if value not in ("on", "off"):
        raise SettingError(f"HOUSEKEEPING={value!r} is neither on nor off. Set it to one of them.")
    return value == "on"


def read_reaping(env: Mapping[str, str] = os.environ) -> Reaping:
    """Reads REAP_INTERVAL_SECONDS, REAP_SUCCEEDED_AFTER_SECONDS and REAP_FAILED_AFTER_SECONDS; unset or empty is the
    default.

    Raises:
        SettingError: one of them is not a number of seconds in its range.
    """
    year = 366 * DAY_SECONDS
    return Reaping(
        interval=_read_number("REAP_INTERVAL_SECONDS", 60, 10, 3600, "seconds", env),
        succeeded_after=_read_number("REAP_SUCCEEDED_AFTER_SECONDS", 300, 0, year, "seconds", env),
        failed_after=_read_number("REAP_FAILED_AFTER_SECONDS", DAY_SECONDS, 0, year, "seconds", env),
    )


def read_history_days(env: Mapping[str, str] = os.environ) -> int:
    """Reads HISTORY_DAYS: for how many days after its end a run keeps its whole log; unset or empty is 30.

    Raises:
        SettingError: the value is not a number of days from 1 to 3660.
    """
    return _read_number("HISTORY_DAYS", 30, 1, 3660, "days", env)


def read_webhook_url(env: Mapping[str, str] = os.environ) -> str | None:
    """Reads NOTIFY_WEBHOOK_URL: who is told of a failed run; None where nobody is.

    Raises:
        SettingError: the value is not a URL of http or https.
    """
    return _read_url("NOTIFY_WEBHOOK_URL", None, env)


def read_dagster_url(env: Mapping[str, str] = os.environ) -> str:
    """Reads DAGSTER_URL, without a trailing slash: where people see the UI; unset or empty is http://127.0.0.1:3000.

    Raises:
        SettingError: the value is not a URL of http or https.
    """
    return (_read_url("DAGSTER_URL", "http://127.0.0.1:3000", env) or "").rstrip("/")


def _read_number(name: str, default: int, least: int, most: int, unit: str, env: Mapping[str, str]) -> int:
    value = env.get(name, "").strip() or f"{default}"
    if not value.isascii() or not value.isdecimal() or not least <= int(value) <= most:
        raise SettingError(
            f"{name}={value!r} is not a number of {unit} from {least} to {most}. Usually it is {default}."
        )
    return int(value)


def _read_url(name: str, default: str | None, env: Mapping[str, str]) -> str | None:
    value = env.get(name, "").strip() or default
    # Such a URL often is a secret, so the message does not repeat it.
    problem = f"{name} is not a URL. It starts with http:// or https:// and names a host."
    try:
        parts = urlsplit(value or "http://none")
        parts.port  # noqa: B018, it raises where there is a port that is none
    except ValueError:
        raise SettingError(problem) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError(problem)
    return value


if __name__ == "__main__":
    try:
        read_housekeeping()
        read_reaping()
        read_history_days()
        read_webhook_url()
        read_dagster_url()
    except SettingError as error:
        sys.exit(f"platform_location: {error}")
