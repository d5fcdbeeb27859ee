"""The location's settings, read from the environment and checked before anything else runs.

As a command it only checks them: python -m ingestion_location.settings
"""

import sys
from datetime import date
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

DEFAULT_BASE_URL = "https://d37ci6vzurychx.cloudfront.net"
EXAMPLES = {"TAXI_START_DATE": "2023-01-01", "TAXI_END_DATE": "2023-04-01"}


class SettingError(ValueError):
    """A setting that the location cannot start with; the message names it and says what to write instead."""


class Settings(BaseSettings):
    """The environment's values; a variable that is not set, or empty, has its default.

    Attributes:
        taxi_start_date: first day of the range, the first of a month.
        taxi_end_date: first day after the range, the first of a month; None, where the variable is set and empty, is an
            open end.
        taxi_automation: whether the sensors run from the start; ``on`` or ``off``.
        taxi_source_interval_seconds: time between two looks at the source.
        tlc_base_url: root of the source, without a trailing slash.
        tlc_taxi_type: ``yellow`` or ``green``.
        warehouse_password: empty leaves the choice to libpq, which reads the file that PGPASSFILE names.
    """

    # The validators below take the environment's text.
    model_config = SettingsConfigDict(validate_default=False)

    taxi_start_date: date = date(2023, 1, 1)
    taxi_end_date: date | None = date(2023, 4, 1)
    taxi_automation: bool = True
    taxi_source_interval_seconds: int = 300
    tlc_base_url: str = DEFAULT_BASE_URL
    tlc_taxi_type: str = "yellow"
    warehouse_host: str = "localhost"
    warehouse_port: int = 5432
    warehouse_database: str = "warehouse"
    warehouse_user: str = "ingestion_location"
    warehouse_password: str = ""

    @model_validator(mode="before")
    @classmethod
    def _empty_is_not_set(cls, values: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in values.items() if value.strip() or name == "taxi_end_date"}

    @field_validator("taxi_start_date", "taxi_end_date", mode="before")
    @classmethod
    def _first_of_a_month(cls, value: str, info: ValidationInfo) -> date | None:
        name, value = str(info.field_name).upper(), value.strip()
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
                f"{name}={day} is not the first of a month, and the TLC publishes whole months. "
                f"Write {name}={day.replace(day=1)}."
            )
        return day

    @model_validator(mode="after")
    def _end_after_start(self) -> Self:
        if self.taxi_end_date is not None and self.taxi_end_date <= self.taxi_start_date:
            raise ValueError(
                f"TAXI_END_DATE={self.taxi_end_date} is not after TAXI_START_DATE={self.taxi_start_date}. The end is "
                "exclusive: set it to the first day after the range, or leave it empty for an open end."
            )
        return self

    @field_validator("taxi_automation", mode="before")
    @classmethod
    def _on_or_off(cls, value: str) -> bool:
        if value not in ("on", "off"):
            raise ValueError(f"TAXI_AUTOMATION={value!r} is neither on nor off. Set it to one of them.")
        return value == "on"

    @field_validator("taxi_source_interval_seconds", mode="before")
    @classmethod
    def _seconds_up_to_a_day(cls, value: str) -> int:
        if not value.isdecimal() or not 10 <= int(value) <= 86_400:
            raise ValueError(
                f"TAXI_SOURCE_INTERVAL_SECONDS={value!r} is not a number of seconds from 10 to 86400. Usually it is "
                "300."
            )
        return int(value)

    @field_validator("tlc_base_url", mode="before")
    @classmethod
    def _url(cls, value: str) -> str:
        url = value.strip().rstrip("/")
        if urlsplit(url).scheme not in ("http", "https", "file"):
            raise ValueError(f"TLC_BASE_URL={url!r} is not a URL. It starts with https://, http:// or file://.")
        return url

    @field_validator("tlc_taxi_type", mode="before")
    @classmethod
    def _yellow_or_green(cls, value: str) -> str:
        if value not in ("yellow", "green"):
            raise ValueError(f"TLC_TAXI_TYPE={value!r} is not a taxi type. Set it to yellow or green.")
        return value

    @field_validator("warehouse_port", mode="before")
    @classmethod
    def _port(cls, value: str) -> int:
        if not value.isdecimal() or not 0 < int(value) < 65536:
            raise ValueError(
                f"WAREHOUSE_PORT={value!r} is not a port. Set it to a number from 1 to 65535, usually 5432."
            )
        return int(value)


def read_settings() -> Settings:
    """Reads the settings from the environment.

    Raises:
        SettingError: a setting is wrong.
    """
    try:
        return Settings()
    except ValidationError as error:
        first: dict[str, Any] = dict(error.errors()[0])
        raise SettingError(str(first["ctx"]["error"])) from None


if __name__ == "__main__":
    try:
        read_settings()
    except SettingError as error:
        sys.exit(f"ingestion_location: {error}")
