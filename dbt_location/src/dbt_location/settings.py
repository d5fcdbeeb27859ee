"""The location's settings, read from the environment and checked before anything else runs.

As a command it only checks them: python -m dbt_location.settings
"""

import sys
from datetime import date
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

EXAMPLES = {"TAXI_START_DATE": "2023-01-01", "TAXI_END_DATE": "2023-04-01"}


class SettingError(ValueError):
    """A setting that the location cannot start with; the message names it and says what to write instead."""


class Settings(BaseSettings):
    """The settings, each named like its variable in lower case; unset or empty is the default.

    Attributes:
        taxi_start_date: first day of the range, the first of a month.
        taxi_end_date: first day after the range, the first of a month; None, where the variable is set and empty, is an
            open end.
        taxi_automation: whether the sensors run from the start; ``on`` or ``off``.
        reports_dir: folder of the monthly reports, an absolute path.
        reports_url: where that folder is read, without a trailing slash; by default the folder's own URL.
        warehouse_password: empty leaves the choice to libpq, which reads the file that PGPASSFILE names.
    """

    model_config = SettingsConfigDict(validate_default=False)

    taxi_start_date: date = date(2023, 1, 1)
    taxi_end_date: date | None = date(2023, 4, 1)
    taxi_automation: bool = True
    reports_dir: Path = Path("/opt/dagster/reports")
    reports_url: str = ""
    warehouse_host: str = "localhost"
    warehouse_port: int = 5432
    warehouse_database: str = "warehouse"
    warehouse_user: str = "dbt_location"
    warehouse_password: str = ""

    @model_validator(mode="before")
    @classmethod
    def _leave_empty_ones_out(cls, given: dict[str, str]) -> dict[str, str]:
        return {name: value.strip() for name, value in given.items() if value.strip() or name == "taxi_end_date"}

    @field_validator("taxi_start_date", "taxi_end_date", mode="before")
    @classmethod
    def _check_month(cls, value: str, info: ValidationInfo) -> date | None:
        name = (info.field_name or "").upper()
        if not value:
            return None
        try:
            day = date.fromisoformat(value)
        except ValueError:
            raise ValueError(
                f"{name}={value!r} is not a date. Write it as YYYY-MM-DD, for example {name}={EXAMPLES[name]}."
            ) from None
        if day.day != 1:
            raise ValueError(
                f"{name}={value} is not the first of a month, and the trips come in whole months. "
                f"Write {name}={day.replace(day=1)}."
            )
        return day

    @field_validator("taxi_automation", mode="before")
    @classmethod
    def _check_switch(cls, value: str) -> bool:
        if value not in ("on", "off"):
            raise ValueError(f"TAXI_AUTOMATION={value!r} is neither on nor off. Set it to one of them.")
        return value == "on"

    @field_validator("reports_dir", mode="before")
    @classmethod
    def _check_folder(cls, value: str) -> str:
        if not Path(value).is_absolute():
            raise ValueError(
                f"REPORTS_DIR={value!r} is not an absolute path. Write it from the root, beginning with /."
            )
        return value

    @field_validator("reports_url", mode="before")
    @classmethod
    def _check_url(cls, value: str) -> str:
        url = value.rstrip("/")
        if urlsplit(url).scheme not in ("http", "https", "file"):
            raise ValueError(f"REPORTS_URL={url!r} is not a URL. It starts with http://, https:// or file://.")
        return url

    @field_validator("warehouse_port", mode="before")
    @classmethod
    def _check_port(cls, value: str) -> int:
        if not value.isdecimal() or not 0 < int(value) < 65536:
            raise ValueError(
                f"WAREHOUSE_PORT={value!r} is not a port. Set it to a number from 1 to 65535, usually 5432."
            )
        return int(value)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.taxi_end_date is not None and self.taxi_end_date <= self.taxi_start_date:
            raise ValueError(
                f"TAXI_END_DATE={self.taxi_end_date} is not after TAXI_START_DATE={self.taxi_start_date}. The end is "
                "exclusive: set it to the first day after the range, or leave it empty for an open end."
            )
        self.reports_url = self.reports_url or self.reports_dir.as_uri()
        return self


def read_settings() -> Settings:
    """Reads the settings from the environment.

    Raises:
        SettingError: some are wrong; the message has a line for each.
    """
    try:
        return Settings()
    except ValidationError as error:
        messages: list[Any] = [problem["ctx"]["error"] for problem in error.errors()]
        raise SettingError("\n".join(map(str, messages))) from None


if __name__ == "__main__":
    try:
        read_settings()
    except SettingError as error:
        sys.exit(f"dbt_location: {error}")
