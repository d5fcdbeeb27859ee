"""The common part of the sensors that watch the source: their state, and the runs that they request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

import dagster as dg
import psycopg2
from pydantic import BaseModel, ValidationError

from ingestion_location.ledger import Ledger, Row
from ingestion_location.load_errors import is_transient_failure
from ingestion_location.settings import read_settings
from ingestion_location.source_errors import SourceBusy, SourceError
from ingestion_location.warehouse import Warehouse

_settings = read_settings()
INTERVAL_SECONDS = _settings.taxi_source_interval_seconds
LONGEST_WAIT_SECONDS = 6 * 3600
# Tag on the runs that a sensor requests: the version of the files that they load.
VERSION = "ingestion_location/version"
# Sensors that are off can still be started by hand.
DEFAULT_STATUS = dg.DefaultSensorStatus.RUNNING if _settings.taxi_automation == "on" else dg.DefaultSensorStatus.STOPPED

# Arguments of the decorator of both sensors.
OPTIONS: dict[str, Any] = {"minimum_interval_seconds": INTERVAL_SECONDS, "default_status": DEFAULT_STATUS}

FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
UNFINISHED = [status for status in dg.DagsterRunStatus if status not in FINISHED]


class SensorState(BaseModel, frozen=True):
    """What a sensor remembers between ticks; its cursor, as JSON that a person can read.

    Attributes:
        found: result of the last tick, in a sentence.
        after: per list of files, the last one that was checked.
        failures: ticks in a row that ended with an error of the source.
        next_look: earliest time of the next request to the source; None without failures.
        source: the source that failures and wait belong to; None in a cursor of an earlier version.
    """

    found: str = ""
    after: Mapping[str, str] = {}
    failures: int = 0
    next_look: datetime | None = None
    source: str | None = None

    @classmethod
    def from_cursor(cls, cursor: str | None, source: str) -> Self:
        """Reads a cursor for a tick that asks this source; the wait for another source is not one for this one.

        A cursor that cannot be read is a fresh start, which only costs a round of requests.
        """
        try:
            state = cls.model_validate_json(cursor or "{}")
        except ValidationError:
            state = cls()
        if state.source not in (None, source):
            state = cls(after=state.after)
        return state.model_copy(update={"source": source})

    def is_waiting(self, now: datetime) -> bool:
        return self.next_look is not None and now < self.next_look

    def after_error(self, error: SourceError, found: str, after: Mapping[str, str], now: datetime) -> "SensorState":
        """The state after a tick that the source ended with an error: the wait doubles with every such tick."""
        failures = self.failures + 1
        seconds = INTERVAL_SECONDS * 2.0**failures
        if isinstance(error, SourceBusy) and error.retry_after is not None:
            seconds = max(seconds, error.retry_after)
        next_look = now + timedelta(seconds=min(seconds, LONGEST_WAIT_SECONDS))
        found = f"{found}; then stopped: {error}. Next look at {next_look:%Y-%m-%d %H:%M:%S} UTC"
        update = {"found": found, "after": after, "failures": failures, "next_look": next_look}
        return self.model_copy(update=update)

    def result(self, requests: Sequence[dg.RunRequest] = ()) -> dg.SensorResult:
        return dg.SensorResult(
            run_requests=list(requests), skip_reason=None if requests else self.found, cursor=self.model_dump_json()
        )


@dataclass(frozen=True)
class EarlierRequest:
    """The requests of a sensor to load one version of a file, and their last run.

    ``retry_at`` is None if its failure is not transient.
    """

    run_id: str
    status: dg.DagsterRunStatus
    attempts: int
    retry_at: datetime | None

    def is_due(self, now: datetime, lost: bool, loaded_by: str | None) -> bool:
        """Whether to request it again.

        Args:
            lost: Dagster or the warehouse does not have what it loads. A run that succeeded left both with it, so it
                was wiped or removed since.
            loaded_by: id of the run that loaded what the warehouse has, as the ledger says. If it is another run, the
                source had another version in between. If it is this one, the source says one version and sends
                another, and a further request would change nothing.
        """
        if self.status is dg.DagsterRunStatus.SUCCESS:
            return lost or loaded_by != self.run_id
        return self.retry_at is not None and now >= self.retry_at

    def __str__(self) -> str:
        if self.retry_at is not None:
            return f"failed transiently, to be requested again after {self.retry_at:%Y-%m-%d %H:%M:%S} UTC"
        return f"requested before and not loaded, launch by hand (last run {self.status.value})"


class Loads:
    """The loads of an asset: unfinished ones, recorded ones, and those that the sensor requests.

    Create it before the ledger is read: a load that ends in between is then in the ledger and still counts as
    unfinished.
    """

    def __init__(self, context: dg.SensorEvaluationContext, asset: str) -> None:
        self._asset = dg.AssetKey(asset)
        self._instance = context.instance
        self._sensor = context.sensor_name
        self._unfinished = {
            run.tags.get("dagster/partition")
            for run in self._instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED))
            if self._asset in (run.asset_selection or ())
        }
        self._recorded: set[str | None] = {*self._instance.get_materialized_partitions(self._asset)}
        if self._instance.get_latest_materialization_event(self._asset):
            self._recorded.add(None)

    def is_loading(self, partition: str | None) -> bool:
        return partition in self._unfinished

    def is_recorded(self, partition: str | None) -> bool:
        """Whether Dagster knows a materialization, which is not so for an asset that was wiped."""
        return partition in self._recorded

    def earlier_request(self, version: str) -> EarlierRequest | None:
        tags = {VERSION: version, "dagster/sensor_name": self._sensor}
        records = self._instance.get_run_records(filters=dg.RunsFilter(tags=tags))
        if not records:
            return None
        last = records[0]
        # A run that Dagster retried, because its worker was lost, has the key of the first one.
        attempts = len({record.dagster_run.tags.get("dagster/run_key") for record in records})
        wait = timedelta(seconds=min(INTERVAL_SECONDS * 2.0**attempts, LONGEST_WAIT_SECONDS))
        run = last.dagster_run
        retry_at = last.update_timestamp + wait if is_transient_failure(run) else None
        return EarlierRequest(run.run_id, run.status, attempts, retry_at)

    def request(
        self,
        version: str,
        earlier: EarlierRequest | None,
        partition: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> dg.RunRequest:
        """Requests a run that loads a version of the asset's files, with this config of the asset.

        Dagster launches one run per run key, here version and attempt: a version is requested again only after a
        transient failure, or where it was lost or replaced. The asset is named, although it is the sensor's only one,
        so that the run has a selection.
        """
        key = f"{version} {earlier.attempts + 1}" if earlier else version
        tags = {VERSION: version}
        run_config = {"ops": {self._asset.to_python_identifier(): {"config": config}}} if config else {}
        return dg.RunRequest(
            run_key=key, partition_key=partition, asset_selection=[self._asset], tags=tags, run_config=run_config
        )


def read_ledger(warehouse: Warehouse, ledger: Ledger[Row]) -> list[Row]:
    """Reads a ledger for a tick, which fails with a RuntimeError if the warehouse does not answer."""
    try:
        with warehouse.transaction() as connection, connection.cursor() as cursor:
            return ledger.read(cursor)
    except psycopg2.Error as error:
        reason = " ".join(str(error).split())
        raise RuntimeError(
            f"The ledger in the warehouse {warehouse.host}:{warehouse.port} cannot be read ({reason}). "
            "Nothing was requested. Check WAREHOUSE_HOST and the server; the next tick tries again."
        ) from error
