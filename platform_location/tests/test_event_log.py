"""Which events pruning may delete, and from which instance."""

import pytest
from dagster import DagsterInstance
from platform_location.event_log import PRUNED, PRUNED_AFTER_SUCCESS, StorageError, prune_events


def test_events_of_assets_checks_statuses_and_failures_are_never_among_the_pruned_types() -> None:
    from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS, FAILURE_EVENTS, PIPELINE_EVENTS
    from dagster._core.execution.stats import RUN_STATS_EVENT_TYPES

    kept = ASSET_CHECK_EVENTS | ASSET_EVENTS | FAILURE_EVENTS | PIPELINE_EVENTS | RUN_STATS_EVENT_TYPES
    assert [event_type for event_type in (*PRUNED, *PRUNED_AFTER_SUCCESS) if event_type in kept] == []


def test_an_instance_that_is_not_on_one_postgres_is_refused() -> None:
    with pytest.raises(StorageError, match=r"Set storage: postgres: in dagster\.yaml"):
        prune_events(DagsterInstance.ephemeral(), 0, dry_run=True)
