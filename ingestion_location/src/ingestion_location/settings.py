"""The location's settings, read from the environment and checked before anything else runs.

As a command it only checks them: python -m ingestion_location.settings
"""

import os
import sys
from collections.abc import Mapping
from datetime import date
from urllib.parse import urlsplit

DEFAULT_BASE_URL = "https://d37ci6vzurychx.cloudfront.net"
TAXI_TYPES = ("yellow", "green")


class SettingError(ValueError):
    """A setting that the location cannot start with; the message names it and says what to write instead."""


def read_date(name: str, default: str, env: Mapping[str, str] = os.environ) -> date | None:
    """Reads a date setting; None where it is set but empty.

    Raises:
        SettingError: the value is not a date.
    """
    value = env.get(name, default).strip()
    if not value:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise SettingError(
            f"{name}={value!r} is not a date. Write it as YYYY-MM-DD, for example {name}={default}."
        ) from None


def read_month_range(env: Mapping[str, str] = os.environ) -> tuple[date, date | None]:
    """Reads TAXI_START_DATE (inclusive) and TAXI_END_DATE (exclusive; empty is None, an open end).

    Raises:
        SettingError: a date is not one or not the first of a month, or the end is not after the start.
    """
    start = read_date("TAXI_START_DATE", "2023-01-01", env)
    end = read_date("TAXI_END_DATE", "2023-04-01", env)
    if start is None:
        raise SettingError("TAXI_START_DATE is empty. Set it to the first day of the range, as YYYY-MM-DD.")
    for name, day in (("TAXI_START_DATE", start), ("TAXI_END_DATE", end)):
        if day is not None and day.day != 1:
            raise SettingError(
                f"{name}={day} is not the first of a month, and the TLC publishes whole months. "
                f"Write {name}={day.replace(day=1)}."
            )
    if end is not None and end <= start:
        raise SettingError(
            f"TAXI_END_DATE={end} is not after TAXI_START_DATE={start}. The end is exclusive: set it to the first day "
            "after the range, or leave it empty for an open end."
        )
    return start, end


def read_port(name: str, default: str, env: Mapping[str, str] = os.environ) -> int:
    """Reads a TCP port.

    Raises:
        SettingError: the value is not a port.
    """
    value = env.get(name, default)
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise SettingError(f"{name}={value!r} is not a port. Set it to a number from 1 to 65535, usually {default}.")
    return int(value)


def read_source(env: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Reads TLC_BASE_URL, without a trailing slash, and TLC_TAXI_TYPE; unset or empty is the default.

    Raises:
        SettingError: the URL is not one, or the taxi type is unknown.
    """
    base_url = (env.get("TLC_BASE_URL", "").strip() or DEFAULT_BASE_URL).rstrip("/")
    if urlsplit(base_url).scheme not in ("http", "https", "file"):
        raise SettingError(f"TLC_BASE_URL={base_url!r} is not a URL. It starts with https://, http:// or file://.")
    taxi_type = env.get("TLC_TAXI_TYPE", "").strip() or "yellow"
    if taxi_type not in TAXI_TYPES:
        raise SettingError(f"TLC_TAXI_TYPE={taxi_type!r} is not a taxi type. Set it to yellow or green.")
    return base_url, taxi_type


def read_automation(env: Mapping[str, str] = os.environ) -> bool:
    """Reads TAXI_AUTOMATION: whether the sensors run without anyone having started them; unset or empty is on.

    Raises:
        SettingError: the value is neither on nor off.
    """
    value = env.get("TAXI_AUTOMATION", "").strip() or "on"
    if value not in ("on", "off"):
        raise SettingError(f"TAXI_AUTOMATION={value!r} is neither on nor off. Set it to one of them.")
    return value == "on"


def read_source_interval(env: Mapping[str, str] = os.environ) -> int:
    """Reads TAXI_SOURCE_INTERVAL_SECONDS: how often the sensors look at the source; unset or empty is 300.

    Raises:
        SettingError: the value is not a number of seconds between 10 and a day.
    """
    value = env.get("TAXI_SOURCE_INTERVAL_SECONDS", "").strip() or "300"
    if not value.isdecimal() or not 10 <= int(value) <= 86_400:
        raise SettingError(
            f"TAXI_SOURCE_INTERVAL_SECONDS={value!r} is not a number of seconds from 10 to 86400. Usually it is 300."
        )
    return int(value)


if __name__ == "__main__":
    try:
        read_month_range()
        read_source()
        read_automation()
        read_source_interval()
        read_port("WAREHOUSE_PORT", "5432")
    except SettingError as error:
        sys.exit(f"ingestion_location: {error}")
