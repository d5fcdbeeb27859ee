"""The location's settings, read from the environment and checked before anything else runs.

As a command it only checks them: python -m dbt_location.settings
"""

import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings

# What is wrong with a value that does not have its type, and the next step.
MESSAGES = {
    "taxi_start_date": "is not a date. Write it as YYYY-MM-DD, for example TAXI_START_DATE=2023-01-01.",
    "taxi_end_date": "is not a date. Write it as YYYY-MM-DD, for example TAXI_END_DATE=2023-04-01.",
    "taxi_automation": "is neither on nor off. Set it to one of them.",
    "taxi_lock_wait_seconds": "is not a number of seconds from 1 to 600. Usually it is 300.",
    "warehouse_port": "is not a port. Set it to a number from 1 to 65535, usually 5432.",
}


class SettingError(ValueError):
    """A setting that the location cannot start with; the message names it and says what to write instead."""


class Settings(BaseSettings):
    """The environment's values; a variable that is not set, or empty, has its default.

    Attributes:
        taxi_end_date: first day after the range; None, an open end, if the variable is empty.
        taxi_lock_wait_seconds: how long a session waits for a lock that another one holds.
        reports_url: where the folder of the reports is read, without a trailing slash; by default the folder's own URL.
    """

    taxi_start_date: date = date(2023, 1, 1)
    taxi_end_date: date | None = date(2023, 4, 1)
    taxi_automation: Literal["on", "off"] = "on"
    taxi_lock_wait_seconds: Annotated[int, Field(ge=1, le=600)] = 300
    reports_dir: Path = Path("/opt/dagster/reports")
    reports_url: str = ""
    warehouse_host: str = "localhost"
    warehouse_port: Annotated[int, Field(ge=1, le=65_535)] = 5432
    warehouse_database: str = "warehouse"
    warehouse_user: str = "dbt_location"
    warehouse_password: str = ""

    @model_validator(mode="before")
    @classmethod
    def _empty_is_not_set(cls, values: dict[str, str]) -> dict[str, str | None]:
        filled = {name: value.strip() or None for name, value in values.items()}
        return {name: value for name, value in filled.items() if value or name == "taxi_end_date"}

    @field_validator("reports_dir")
    @classmethod
    def _is_absolute(cls, value: Path) -> Path:
        if not value.is_absolute():
            raise ValueError(
                f"REPORTS_DIR='{value}' is not an absolute path. Write it from the root, beginning with /."
            )
        return value

    @model_validator(mode="after")
    def _is_range_of_months(self) -> Self:
        start, end = self.taxi_start_date, self.taxi_end_date
        for name, day in (("TAXI_START_DATE", start), ("TAXI_END_DATE", end)):
            if day is not None and day.day != 1:
                raise ValueError(
                    f"{name}={day} is not the first of a month, and the trips come in whole months. "
                    f"Write {name}={day.replace(day=1)}."
                )
        if end is not None and end <= start:
            raise ValueError(
                f"TAXI_END_DATE={end} is not after TAXI_START_DATE={start}. The end is exclusive: set it to the first "
                "day after the range, or leave it empty for an open end."
            )
        return self

    @model_validator(mode="after")
    def _is_url(self) -> Self:
        self.reports_url = self.reports_url.rstrip("/") or self.reports_dir.as_uri()
        if urlsplit(self.reports_url).scheme not in ("http", "https", "file"):
            raise ValueError(
                f"REPORTS_URL={self.reports_url!r} is not a URL. It starts with http://, https:// or file://."
            )
        return self


def read_settings() -> Settings:
    """Reads the settings from the environment, or raises a SettingError with a line for each wrong one."""
    try:
        return Settings()
    except ValidationError as invalid:
        raise SettingError("\n".join(map(_message, invalid.errors()))) from None


def _message(error: Any) -> str:
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    name = error["loc"][0]
    return f"{name.upper()}={error['input']!r} {MESSAGES[name]}"


if __name__ == "__main__":
    try:
        read_settings()
    except SettingError as error:
        sys.exit(f"dbt_location: {error}")
