"""What a tick of the automation sees of an event that is stored while it begins, on the embedded Postgres."""

import logging
import threading
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
from dagster._core.definitions.automation_tick_evaluation_context import AutomationTickEvaluationContext

from ops.command import ROOT
from tests.cross_location.instance_roles import Instance, temporary_instance

SETTLE = "DAGSTER_AUTOMATION_TICK_SETTLE_SECONDS"


@dg.asset
def loaded() -> None: ...


@dg.asset(deps=[loaded], automation_condition=dg.AutomationCondition.any_deps_updated())
def built() -> None: ...


GRAPH = dg.Definitions([loaded, built]).resolve_asset_graph()


@pytest.fixture
def instance() -> Iterator[Instance]:
    with temporary_instance() as started:
        yield started


class HalfStored:
    """A materialization whose event is stored, and that its asset does not have yet."""

    def __init__(self, host: Any) -> None:
        self._storage, self._rest = host.event_log_storage, threading.Event()
        self._stored = threading.Event()
        self._store_asset_event = self._storage._store_asset_event
        self._storage._store_asset_event = self._wait
        self._run = threading.Thread(
            target=host.report_runless_asset_event, args=(dg.AssetMaterialization("loaded"),), daemon=True
        )
        self._run.start()
        assert self._stored.wait(10)

    def _wait(self, *arguments: Any) -> None:
        self._stored.set()
        assert self._rest.wait(10)
        self._store_asset_event(*arguments)

    def store_the_rest(self) -> None:
        self._rest.set()
        self._run.join(10)


def tick(instance: Instance, cursor: AssetDaemonCursor, logger: logging.Logger) -> tuple[bool, AssetDaemonCursor]:
    """Whether a tick requests the asset, and the cursor for the next one."""
    context = AutomationTickEvaluationContext(
        evaluation_id=cursor.evaluation_id + 1,
        instance=instance.host,
        asset_graph=GRAPH,
        cursor=cursor,
        materialize_run_tags={},
        observe_run_tags={},
        auto_observe_asset_keys=set(),
        asset_selection=dg.AssetSelection.all(),
        logger=logger,
        emit_backfills=True,
    )
    requests, cursor, _evaluations = context.evaluate()
    return bool(requests), cursor


def seen_by_two_ticks(instance: Instance) -> list[bool]:
    """Whether each of two ticks requests what is built from a load that is half stored when the first one begins.

    The load is stored whole while the first tick waits, if it does, and after it otherwise.
    """
    logger = logging.getLogger("tick")
    _, cursor = tick(instance, AssetDaemonCursor.empty(), logger)
    half = HalfStored(instance.host)

    class Waits(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if record.getMessage().startswith("Sleeping"):
                half.store_the_rest()
            return True

    waits = Waits()
    logger.setLevel(logging.INFO)
    logger.addFilter(waits)
    first, cursor = tick(instance, cursor, logger)
    logger.removeFilter(waits)
    half.store_the_rest()
    second, _ = tick(instance, cursor, logger)
    return [first, second]


def test_a_load_that_is_half_stored_when_a_tick_begins_is_seen(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["daemon"]
    monkeypatch.setenv(SETTLE, daemon["environment"][SETTLE])
    assert seen_by_two_ticks(instance) == [True, False]


def test_without_the_setting_no_tick_ever_sees_it(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTLE, raising=False)
    assert seen_by_two_ticks(instance) == [False, False]
