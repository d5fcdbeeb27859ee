"""What the sensors that watch the source have in common: their memory, their patience, and the runs there are."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

import dagster as dg
import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812, psycopg2's own class name is lower case

from ingestion_location import passing
from ingestion_location.download import SourceError
from ingestion_location.published import SourceBusy
from ingestion_location.settings import read_automation, read_source_interval
from ingestion_location.warehouse import Warehouse

INTERVAL_SECONDS = read_source_interval()
LONGEST_WAIT_SECONDS = 6 * 3600
# On the runs that a sensor asks for: the version of the files that they load.
VERSION = "ingestion_location/version"
# Switched off, the sensors are still there to be started by hand.
DEFAULT_STATUS = dg.DefaultSensorStatus.RUNNING if read_automation() else dg.DefaultSensorStatus.STOPPED

UNFINISHED = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Watch:
    """What a sensor remembers from tick to tick; its cursor, as JSON that a person can read.

    Attributes:
        found: what the last look found, in a sentence.
        after: per list of files, the one that was looked at last, where the list is longer than a tick's looks.
        failures: looks in a row that the source did not answer.
        next_look: not before this moment; None where nothing is wrong.
    """

    found: str = ""
    after: Mapping[str, str] = field(default_factory=dict)
    failures: int = 0
    next_look: datetime | None = None

    @classmethod
    def from_cursor(cls, cursor: str | None) -> "Watch":
        """Reads a cursor; one that cannot be read is a fresh start, which costs a round of looks and nothing else."""
        try:
            state = json.loads(cursor or "{}")
            next_look = datetime.fromisoformat(state["next_look"]) if state.get("next_look") else None
            return cls(state.get("found", ""), state.get("after", {}), state.get("failures", 0), next_look)
        except (ValueError, TypeError, AttributeError):
            return cls()

    def cursor(self) -> str:
        """This as a cursor."""
        next_look = self.next_look.isoformat() if self.next_look else None
        return json.dumps(
            {"found": self.found, "after": self.after, "failures": self.failures, "next_look": next_look},
            ensure_ascii=False,
        )

    def waits(self, now: datetime) -> bool:
        """Whether the source is to be left alone."""
        return self.next_look is not None and now < self.next_look

    def answered(self, found: str, after: Mapping[str, str]) -> "Watch":
        """This after a look that the source answered."""
        return Watch(found, after)

    def refused(self, error: SourceError, found: str, after: Mapping[str, str], now: datetime) -> "Watch":
        """This after a look that the source did not answer: the next one is twice as far away every time."""
        seconds = INTERVAL_SECONDS * 2.0 ** (self.failures + 1)
        if isinstance(error, SourceBusy) and error.retry_after is not None:
            seconds = max(seconds, error.retry_after)
        next_look = now + timedelta(seconds=min(seconds, LONGEST_WAIT_SECONDS))
        found = f"{found}; then stopped asking: {error}. Next look at {next_look:%Y-%m-%d %H:%M:%S} UTC"
        return replace(self, found=found, after=after, failures=self.failures + 1, next_look=next_look)

    def result(self, requests: Sequence[dg.RunRequest] = ()) -> dg.SensorResult:
        """What the tick returns."""
        return dg.SensorResult(
            run_requests=list(requests), skip_reason=None if requests else self.found, cursor=self.cursor()
        )


class Runs:
    """The runs that load an asset already, or that a sensor asked for before."""

    def __init__(self, context: dg.SensorEvaluationContext, asset: str) -> None:
        """Looks up the unfinished runs of the asset, whoever launched them."""
        self._instance = context.instance
        self._sensor = context.sensor_name
        self._unfinished = {
            run.tags.get("dagster/partition")
            for run in self._instance.get_runs(filters=dg.RunsFilter(statuses=list(UNFINISHED)))
            if dg.AssetKey(asset) in (run.asset_selection or ())
        }

    def is_loading(self, partition: str | None) -> bool:
        """Whether an unfinished run loads the partition."""
        return partition in self._unfinished

    def asked_before(self, version: str) -> "Asked | None":
        """What came of the runs that the sensor asked for, to load this version."""
        tags = {VERSION: version, "dagster/sensor_name": self._sensor}
        records = self._instance.get_run_records(filters=dg.RunsFilter(tags=tags))
        if not records:
            return None
        last = records[0]
        # The retry of a run that was lost has the key of that one.
        tries = len({record.dagster_run.tags.get("dagster/run_key") for record in records})
        wait = min(INTERVAL_SECONDS * 2.0**tries, LONGEST_WAIT_SECONDS)
        passes = passing.is_marked(last.dagster_run)
        again = last.update_timestamp + timedelta(seconds=wait) if passes else None
        return Asked(last.dagster_run.status, tries, again)


@dataclass(frozen=True)
class Asked:
    """What came of the runs that a sensor asked for, to load one version of a file.

    Attributes:
        status: of the last one.
        tries: runs asked for.
        again: when to ask again, twice as long after every failure; None where the failure does not pass by itself.
    """

    status: dg.DagsterRunStatus
    tries: int
    again: datetime | None

    def is_due(self, now: datetime) -> bool:
        """Whether to ask again."""
        return self.again is not None and now >= self.again

    def said(self) -> str:
        """Why there is no run now."""
        if self.again is not None:
            return f"failed in passing, to be requested again after {self.again:%Y-%m-%d %H:%M:%S} UTC"
        return f"requested before in vain, launch by hand (last run {self.status.value})"


def request_load(asset: str, version: str, partition: str | None = None, tries: int = 0) -> dg.RunRequest:
    """Requests a run that loads a version of an asset's files; Dagster launches one per version and number of tries.

    The asset is named although it is the sensor's only one: without it the run would not say what it loads.
    """
    return dg.RunRequest(
        run_key=f"{version} {tries + 1}" if tries else version,
        partition_key=partition,
        asset_selection=[dg.AssetKey(asset)],
        tags={VERSION: version},
    )


def read_ledger(warehouse: Warehouse, read: Callable[[Cursor], T]) -> T:
    """Reads a ledger for a tick.

    Raises:
        RuntimeError: the warehouse does not answer; so the tick fails, and says that the next one tries again.
    """
    try:
        with warehouse.transaction() as connection, connection.cursor() as cursor:
            return read(cursor)
    except psycopg2.Error as error:
        said = " ".join(str(error).split())
        raise RuntimeError(
            f"The warehouse {warehouse.host}:{warehouse.port} does not say what is loaded ({said}). "
            "Nothing was requested. Check WAREHOUSE_HOST and the server; the next tick tries again."
        ) from error


def listed(names: Sequence[str], most: int = 3) -> str:
    """Names for a sentence: 2023-01, 2023-02, 2023-03 and 9 more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
