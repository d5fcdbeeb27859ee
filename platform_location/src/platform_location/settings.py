"""The location's settings, read from the environment and checked before anything else runs.

As a command it only checks them: python -m platform_location.settings
"""

import sys
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

DAY_SECONDS = 86_400
YEAR_SECONDS = 366 * DAY_SECONDS
# Per number its unit, and the least and the most that it can be.
NUMBERS = {
    "reap_interval_seconds": ("seconds", 10, 3600),
    "reap_succeeded_after_seconds": ("seconds", 0, YEAR_SECONDS),
    "reap_failed_after_seconds": ("seconds", 0, YEAR_SECONDS),
    "history_days": ("days", 1, 3660),
}


class SettingError(ValueError):
    """A setting that the location cannot start with; the message names it and says what to write instead."""


class Settings(BaseSettings):
    """The settings, each named like its variable in lower case; unset or empty is the default.

    Attributes:
        housekeeping: ``on`` starts the reaper and the nightly pruning with the location, ``off`` does not.
        reap_interval_seconds: seconds between two ticks of the reaper.
        reap_succeeded_after_seconds: seconds from the end of the container of a run that succeeded to its removal.
        reap_failed_after_seconds: the same for every other run that has ended.
        history_days: days after its end for which a run keeps its whole log.
        notify_webhook_url: who is notified of a failed run; None where nobody is.
        dagster_url: where people see the UI, without a trailing slash.
    """

    # Pydantic's own message repeats the input, and a webhook's URL often is a secret.
    model_config = SettingsConfigDict(validate_default=False, hide_input_in_errors=True)

    housekeeping: bool = True
    reap_interval_seconds: int = 60
    reap_succeeded_after_seconds: int = 300
    reap_failed_after_seconds: int = DAY_SECONDS
    history_days: int = 30
    notify_webhook_url: str | None = None
    dagster_url: str = "http://127.0.0.1:3000"

    @model_validator(mode="before")
    @classmethod
    def _leave_empty_ones_out(cls, given: dict[str, str]) -> dict[str, str]:
        return {name: value.strip() for name, value in given.items() if value.strip()}

    @field_validator("housekeeping", mode="before")
    @classmethod
    def _check_switch(cls, value: str) -> bool:
        if value not in ("on", "off"):
            raise ValueError(f"HOUSEKEEPING={value!r} is neither on nor off. Set it to one of them.")
        return value == "on"

    @field_validator(*NUMBERS, mode="before")
    @classmethod
    def _check_number(cls, value: str, info: ValidationInfo) -> int:
        name = info.field_name or ""
        unit, least, most = NUMBERS[name]
        if not value.isascii() or not value.isdecimal() or not least <= int(value) <= most:
            raise ValueError(
                f"{name.upper()}={value!r} is not a number of {unit} from {least} to {most}. "
                f"Usually it is {cls.model_fields[name].default}."
            )
        return int(value)

    @field_validator("notify_webhook_url", "dagster_url", mode="before")
    @classmethod
    def _check_url(cls, value: str, info: ValidationInfo) -> str:
        try:
            parts = urlsplit(value)
            is_url = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # the port is not a number
            is_url = False
        if not is_url:
            name = (info.field_name or "").upper()
            raise ValueError(f"{name} is not a URL. It starts with http:// or https:// and names a host.")
        return value.rstrip("/") if info.field_name == "dagster_url" else value


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
        sys.exit(f"platform_location: {error}")
