"""The location's settings, read from the environment and checked before anything else runs.

As a command it only checks them: python -m platform_location.settings
"""

import sys
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

DAY_SECONDS = 86_400
YEAR_SECONDS = 366 * DAY_SECONDS
# What is wrong with a value that does not have its type, and the next step.
MESSAGES = {
    "housekeeping": "is neither on nor off. Set it to one of them.",
    "reap_interval_seconds": "is not a number of seconds from 10 to 3600. Usually it is 60.",
    "reap_succeeded_after_seconds": f"is not a number of seconds from 0 to {YEAR_SECONDS}. Usually it is 300.",
    "reap_failed_after_seconds": f"is not a number of seconds from 0 to {YEAR_SECONDS}. Usually it is {DAY_SECONDS}.",
    "history_days": "is not a number of days from 1 to 3660. Usually it is 30.",
}


class SettingError(ValueError):
    """A setting that the location cannot start with; the message names it and says what to write instead."""


class Settings(BaseSettings):
    """The environment's values; one that is not set, or empty, has its default.

    Attributes:
        housekeeping: whether the reaper and the nightly pruning start with the location.
        reap_succeeded_after_seconds: from the end of the container of a run that succeeded to its removal.
        reap_failed_after_seconds: the same for every other run that has ended.
        history_days: how many days after its end a run keeps its whole log.
    """

    model_config = SettingsConfigDict(validate_default=False)

    housekeeping: Literal["on", "off"] = "on"
    reap_interval_seconds: Annotated[int, Field(ge=10, le=3600)] = 60
    reap_succeeded_after_seconds: Annotated[int, Field(ge=0, le=YEAR_SECONDS)] = 300
    reap_failed_after_seconds: Annotated[int, Field(ge=0, le=YEAR_SECONDS)] = DAY_SECONDS
    history_days: Annotated[int, Field(ge=1, le=3660)] = 30

    @model_validator(mode="before")
    @classmethod
    def _empty_is_not_set(cls, values: dict[str, str]) -> dict[str, str]:
        return {name: value.strip() for name, value in values.items() if value.strip()}


def read_settings() -> Settings:
    """Reads the settings, or raises a SettingError with a line for each wrong one."""
    try:
        return Settings()
    except ValidationError as invalid:
        raise SettingError("\n".join(map(_message, invalid.errors()))) from None


def _message(error: Any) -> str:
    name = error["loc"][0]
    return f"{name.upper()}={error['input']!r} {MESSAGES[name]}"


if __name__ == "__main__":
    try:
        read_settings()
    except SettingError as error:
        sys.exit(f"platform_location: {error}")
