"""The location's settings, read from the environment and checked before anything else runs.

As a command it only checks them: python -m platform_location.settings
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

DAY_SECONDS = 86_400
YEAR_SECONDS = 366 * DAY_SECONDS
# The location's own secrets, one file each: `make secret` writes them. SECRETS_DIR is another folder, for tests.
SECRETS = "/run/secrets"
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
    """The environment's values and the secrets; one that is not set, or empty, has its default.

    Attributes:
        housekeeping: whether the reaper and the nightly pruning start with the location.
        reap_succeeded_after_seconds: from the end of the container of a run that succeeded to its removal.
        reap_failed_after_seconds: the same for every other run that has ended.
        history_days: how many days after its end a run keeps its whole log.
        notify_webhook_url: receiver of notifications of failed runs, or None. Always a secret.
        dagster_url: where people see the UI, without a trailing slash.
    """

    # Pydantic's own message repeats the input, and a webhook's URL is often a secret. An empty variable is ignored, so
    # that it does not hide a secret.
    model_config = SettingsConfigDict(validate_default=False, hide_input_in_errors=True, env_ignore_empty=True)

    housekeeping: Literal["on", "off"] = "on"
    reap_interval_seconds: Annotated[int, Field(ge=10, le=3600)] = 60
    reap_succeeded_after_seconds: Annotated[int, Field(ge=0, le=YEAR_SECONDS)] = 300
    reap_failed_after_seconds: Annotated[int, Field(ge=0, le=YEAR_SECONDS)] = DAY_SECONDS
    history_days: Annotated[int, Field(ge=1, le=3660)] = 30
    notify_webhook_url: str | None = None
    dagster_url: str = "http://127.0.0.1:3000"

    @model_validator(mode="before")
    @classmethod
    def _empty_is_not_set(cls, values: dict[str, str]) -> dict[str, str]:
        return {name: value.strip() for name, value in values.items() if value.strip()}

    @field_validator("notify_webhook_url", "dagster_url", mode="before")
    @classmethod
    def _check_url(cls, value: str, info: ValidationInfo) -> str:
        try:
            parts = urlsplit(value)
            is_url = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # the port is not a number
            is_url = False
        name = "the secret notify_webhook_url" if info.field_name == "notify_webhook_url" else "DAGSTER_URL"
        if not is_url:
            raise ValueError(f"{name} is not a URL. It starts with http:// or https:// and names a host.")
        if not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError(
                f"{name} has a space, or a character that a URL cannot have. Write it as %20 and the like."
            )
        if "@" in parts.netloc:
            raise ValueError(
                f"{name} has a user, which is not sent. Put what the receiver asks for into path or query."
            )
        return value.rstrip("/") if info.field_name == "dagster_url" else value


def read_settings() -> Settings:
    """Reads settings and secrets, or raises a SettingError with a line for each wrong one."""
    if os.environ.get("NOTIFY_WEBHOOK_URL", "").strip():
        raise SettingError(
            "NOTIFY_WEBHOOK_URL is not a setting any more, as everybody who inspects the container can read a setting. "
            "Remove it from .env and the shell, and give the URL as a secret: "
            "make secret LOCATION=platform_location NAME=notify_webhook_url"
        )
    folder = Path(os.environ.get("SECRETS_DIR") or SECRETS)
    # A dictionary, because type checkers know only the fields. pydantic-settings warns about a missing folder.
    secrets: dict[str, Any] = {"_secrets_dir": folder} if folder.is_dir() else {}
    try:
        return Settings(**secrets)
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
        sys.exit(f"platform_location: {error}")
