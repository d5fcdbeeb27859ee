"""The location's settings, read from the environment and checked before anything else runs.

As a command it only checks them: python -m ingestion_location.settings
"""

import os
import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ingestion_location.bounds import Bounds
from ingestion_location.urls import without_secrets

# The location's own secrets, one file each: `make secret` writes them. SECRETS_DIR is another folder, for tests.
SECRETS = "/run/secrets"
# What is wrong with a value that does not have its type, and the next step.
MESSAGES = {
    "taxi_start_date": "is not a date. Write it as YYYY-MM-DD, for example TAXI_START_DATE=2023-01-01.",
    "taxi_end_date": "is not a date. Write it as YYYY-MM-DD, for example TAXI_END_DATE=2023-04-01.",
    "taxi_automation": "is neither on nor off. Set it to one of them.",
    "taxi_lock_wait_seconds": "is not a number of seconds from 1 to 600. Usually it is 300.",
    "taxi_source_interval_seconds": "is not a number of seconds from 10 to 86400. Usually it is 300.",
    "tlc_taxi_type": "is not a taxi type. Set it to yellow or green.",
    "warehouse_port": "is not a port. Set it to a number from 1 to 65535, usually 5432.",
    **dict.fromkeys(Bounds.model_fields, "is not a whole number above 0. Leave it empty for the default."),
}


class SettingError(ValueError):
    """A setting that the location cannot start with; the message names it and says what to write instead."""


class Settings(Bounds):
    """The environment's values and the secrets; one that is not set, or empty, has its default.

    Attributes:
        taxi_end_date: first day after the range; None, an open end, if the variable is empty.
        taxi_lock_wait_seconds: how long a load waits for other roles' readers before it ends them.
        tlc_base_url: root of the source, without a trailing slash.
        tlc_login: ``user:password`` for the source; None for a source without login. A secret: it is shown nowhere.
    """

    model_config = SettingsConfigDict(env_ignore_empty=False)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The secrets first, so that an empty variable does not hide one.
        return init_settings, file_secret_settings, env_settings

    taxi_start_date: date = date(2023, 1, 1)
    taxi_end_date: date | None = date(2023, 4, 1)
    taxi_automation: Literal["on", "off"] = "on"
    taxi_lock_wait_seconds: Annotated[int, Field(ge=1, le=600)] = 300
    taxi_source_interval_seconds: Annotated[int, Field(ge=10, le=86_400)] = 300
    tlc_base_url: str = "https://d37ci6vzurychx.cloudfront.net"
    tlc_login: str | None = None
    tlc_taxi_type: Literal["yellow", "green"] = "yellow"
    warehouse_host: str = "localhost"
    warehouse_port: Annotated[int, Field(ge=1, le=65_535)] = 5432
    warehouse_database: str = "warehouse"
    warehouse_user: str = "ingestion_location"
    warehouse_password: str = ""

    @model_validator(mode="before")
    @classmethod
    def _empty_is_not_set(cls, values: dict[str, str]) -> dict[str, str | None]:
        filled = {name: value.strip() or None for name, value in values.items()}
        return {name: value for name, value in filled.items() if value or name == "taxi_end_date"}

    @field_validator("tlc_base_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        url = value.rstrip("/")
        # An invalid URL is not shown if it may contain a password.
        shown = "TLC_BASE_URL" if "@" in url or "?" in url else f"TLC_BASE_URL={url!r}"
        try:
            parts = urlsplit(url)
            is_url = parts.scheme == "file" or bool(parts.scheme in ("http", "https") and parts.hostname)
            assert parts.port != 0
        except (ValueError, AssertionError):
            is_url = False
        if not is_url:
            raise ValueError(f"{shown} is not a URL. It starts with https://, http:// or file://.")
        if "@" in parts.netloc:
            raise ValueError(
                f"TLC_BASE_URL={without_secrets(url)!r} has a user, and everybody who inspects the container can read "
                "a setting. Write it without, and give user:password as a secret: "
                "make secret LOCATION=ingestion_location NAME=tlc_login (without Docker: TLC_LOGIN)"
            )
        if parts.query or parts.fragment:
            raise ValueError(
                f"TLC_BASE_URL={without_secrets(url)!r} is followed by a query or a fragment. The files' paths are put "
                "behind it: write it without."
            )
        return url

    @field_validator("tlc_login")
    @classmethod
    def _is_login(cls, value: str | None) -> str | None:
        if value and not (value.isascii() and value.isprintable()):
            raise ValueError("the secret tlc_login has a character that is not printable ASCII. Write user:password.")
        return value

    @model_validator(mode="after")
    def _is_range_of_months(self) -> Self:
        start, end = self.taxi_start_date, self.taxi_end_date
        for name, day in (("TAXI_START_DATE", start), ("TAXI_END_DATE", end)):
            if day is not None and day.day != 1:
                raise ValueError(
                    f"{name}={day} is not the first of a month, and the TLC publishes whole months. "
                    f"Write {name}={day.replace(day=1)}."
                )
        if end is not None and end <= start:
            raise ValueError(
                f"TAXI_END_DATE={end} is not after TAXI_START_DATE={start}. The end is exclusive: set it to the first "
                "day after the range, or leave it empty for an open end."
            )
        return self


def read_settings() -> Settings:
    """Reads settings and secrets, or raises a SettingError that names the first wrong one."""
    folder = Path(os.environ.get("SECRETS_DIR") or SECRETS)
    # A dictionary, because type checkers know only the fields. pydantic-settings warns about a missing folder.
    secrets: dict[str, Any] = {"_secrets_dir": folder} if folder.is_dir() else {}
    try:
        return Settings(**secrets)
    except ValidationError as invalid:
        error = invalid.errors()[0]
        if error["type"] == "value_error":
            raise SettingError(str(error["ctx"]["error"])) from None
        name = str(error["loc"][0])
        raise SettingError(f"{name.upper()}={error['input']!r} {MESSAGES[name]}") from None


if __name__ == "__main__":
    try:
        read_settings()
    except SettingError as error:
        sys.exit(f"ingestion_location: {error}")
