"""The location's settings, read from the environment and checked before anything else runs.

As a command it only checks them: python -m dbt_location.settings
"""

import os
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit


class SettingError(ValueError):
    """A setting that the location cannot start with; the message names it and says what to write instead."""


def _read_month_start(name: str, default: str, env: Mapping[str, str]) -> date | None:
    value = env.get(name, default).strip()
    if not value:
        return None
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise SettingError(
            f"{name}={value!r} is not a date. Write it as YYYY-MM-DD, for example {name}={default}."
        ) from None
    if day.day != 1:
        raise SettingError(
            f"{name}={value} is not the first of a month, and the trips come in whole months. "
            f"Write {name}={day.replace(day=1)}."
        )
    return day


def read_range(env: Mapping[str, str] = os.environ) -> tuple[date, date | None]:
    """Reads TAXI_START_DATE (inclusive) and TAXI_END_DATE (exclusive; empty is None, an open end).

    Raises:
        SettingError: a date is not one or not the first of a month, or the end is not after the start.
    """
    start = _read_month_start("TAXI_START_DATE", "2023-01-01", env)
    end = _read_month_start("TAXI_END_DATE", "2023-04-01", env)
    if start is None:
        raise SettingError("TAXI_START_DATE is empty. Set it to the first day of the range, as YYYY-MM-DD.")
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


def read_reports(env: Mapping[str, str] = os.environ) -> tuple[Path, str]:
    """Reads REPORTS_DIR, the folder of the monthly reports, and REPORTS_URL, where it is read, without a last slash.

    Unset or empty, the folder is the images' own, and the URL is the folder's.

    Raises:
        SettingError: the folder is no absolute path, or the URL is not one.
    """
    folder = env.get("REPORTS_DIR", "").strip() or "/opt/dagster/reports"
    if not Path(folder).is_absolute():
        raise SettingError(f"REPORTS_DIR={folder!r} is not an absolute path. Write it from the root, beginning with /.")
    url = env.get("REPORTS_URL", "").strip().rstrip("/") or Path(folder).as_uri()
    if urlsplit(url).scheme not in ("http", "https", "file"):
        raise SettingError(f"REPORTS_URL={url!r} is not a URL. It starts with http://, https:// or file://.")
    return Path(folder), url


def read_automation(env: Mapping[str, str] = os.environ) -> bool:
    """Reads TAXI_AUTOMATION: whether the sensors run without anyone having started them; unset or empty is on.

    Raises:
        SettingError: the value is neither on nor off.
    """
    value = env.get("TAXI_AUTOMATION", "").strip() or "on"
    if value not in ("on", "off"):
        raise SettingError(f"TAXI_AUTOMATION={value!r} is neither on nor off. Set it to one of them.")
    return value == "on"


if __name__ == "__main__":
    try:
        read_range()
        read_automation()
        read_port("WAREHOUSE_PORT", "5432")
        read_reports()
    except SettingError as error:
        sys.exit(f"dbt_location: {error}")
