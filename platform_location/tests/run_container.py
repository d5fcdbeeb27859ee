"""A run's container as Docker describes it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from platform_location.settings import Settings

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SETTINGS = Settings.model_construct(reap_succeeded_after_seconds=300, reap_failed_after_seconds=86_400)


def inspected(
    run_id: str, container_id: str = "c", state: str = "exited", seconds_ago: float = 0, **more: Any
) -> dict[str, Any]:
    """Describes a container that ended so many seconds ago."""
    ended = f"{NOW - timedelta(seconds=seconds_ago):%Y-%m-%dT%H:%M:%S}.123456789Z"
    status = {"Status": state, "FinishedAt": ended, "ExitCode": 1, "OOMKilled": False, "Error": "", **more}
    if state == "created":
        status["FinishedAt"] = "0001-01-01T00:00:00Z"
    return {
        "Id": container_id,
        "Name": f"/mine-run-{run_id}",
        "Created": ended,
        "Config": {"Labels": {"dagster/run_id": run_id}},
        "HostConfig": {"Memory": 2 << 30},
        "State": status,
    }
