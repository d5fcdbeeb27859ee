"""The tag that says who launched a run. Only this sets it: not a request, and not the code of a location.

Dagster's UI shows it as the one who launched a run or a backfill. Runs of schedules and sensors have none.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from dagster import DagsterInstance
from dagster._core.instance.runs.run_domain import RunDomain
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.storage.tags import (
    BACKFILL_ID_TAG,
    POOL_TAG_PREFIX,
    REPOSITORY_LABEL_TAG,
    SCHEDULE_NAME_TAG,
    SENSOR_NAME_TAG,
    USER_TAG,
)

# Who asks in this context; None outside of a request, as in the daemon.
_USER: ContextVar[str | None] = ContextVar("user", default=None)


@contextmanager
def user(name: str) -> Iterator[None]:
    """All runs and backfills that are created within are this user's; an empty name is nobody's."""
    token = _USER.set(name)
    try:
        yield
    finally:
        _USER.reset(token)


def with_user(tags: Mapping[str, str], inherited: str | None = None) -> dict[str, str]:
    """Tags with the user of this request; outside of one, with the user that they inherit."""
    asking = _USER.get()
    name = inherited if asking is None else asking
    return {key: value for key, value in tags.items() if key != USER_TAG} | ({USER_TAG: name} if name else {})


class MarkingRunDomain(RunDomain):
    """Creates all runs, also those that execute another one again."""

    def construct_run_with_snapshots(self, *args: Any, **given: Any) -> DagsterRun:
        # Which location and pools a run is of, for lists in the UI: Dagster writes these tags where nobody brings them.
        own = (REPOSITORY_LABEL_TAG, POOL_TAG_PREFIX)
        tags = {key: value for key, value in given["tags"].items() if not key.startswith(own)}
        given["tags"] = with_user(tags, _inherited(self._instance, tags, given["parent_run_id"]))
        return super().construct_run_with_snapshots(*args, **given)


def _inherited(instance: DagsterInstance, tags: Mapping[str, str], parent: str | None) -> str | None:
    """The user of the run that is retried, or of the backfill that the daemon launches runs of."""
    if parent:
        run = instance.get_run_by_id(parent)
        return run.tags.get(USER_TAG) if run else None
    # A schedule or sensor may ask for any tag, except these of its own.
    if BACKFILL_ID_TAG in tags and not {SCHEDULE_NAME_TAG, SENSOR_NAME_TAG} & set(tags):
        backfill = instance.get_backfill(tags[BACKFILL_ID_TAG])
        return backfill.tags.get(USER_TAG) if backfill else None
    return None
