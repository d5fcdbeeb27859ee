"""The facts that `make status` collects about the stack. Times are seconds since 1970, sizes are bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ops.lineage import Asset, Newest

T = TypeVar("T")

BACKFILL_IN_PROGRESS = "REQUESTED"
BACKFILL_FAILED = "FAILED"


@dataclass(frozen=True)
class Unknown:
    """A part that could not be found out; ``reason`` is one line."""

    reason: str


def known(part: T | Unknown, otherwise: T) -> T:
    return otherwise if isinstance(part, Unknown) else part


@dataclass(frozen=True)
class Service:
    """A service of the compose project; ``state`` is Docker's, or ``absent`` if it has no container."""

    name: str
    state: str
    health: str | None = None  # None: it has no health check or is not running
    image: str = ""
    since: float | None = None  # when it started, or ended
    restarts: int = 0
    exit_code: int = 0
    one_shot: bool = False  # it is meant to end


@dataclass(frozen=True)
class Location:
    """A code location as the webserver has it; ``error`` is the first line of why it could not be loaded."""

    name: str
    error: str | None
    since: float
    loading: bool = False


@dataclass(frozen=True)
class Instigator:
    """A sensor or a schedule, with its last completed tick."""

    name: str
    location: str
    kind: str  # sensor or schedule
    running: bool
    runs_by_default: bool
    builds_assets: bool = False  # it evaluates the assets' automation conditions
    last_tick: float | None = None
    last_status: str | None = None
    error: str | None = None  # first line of the last tick's error


@dataclass(frozen=True)
class Workspace:
    """What the code locations define; ``last_runs`` has the newest run of each job that is not an asset job."""

    locations: tuple[Location, ...] = ()
    instigators: tuple[Instigator, ...] = ()
    last_runs: Mapping[tuple[str, str], str] | None = None  # (location, job) to run id

    @property
    def automated(self) -> set[str]:
        """The locations whose automation is on."""
        return {one.location for one in self.instigators if one.builds_assets and one.running}


@dataclass(frozen=True)
class Daemon:
    """One of the daemon's threads; ``errors`` are those of the last five minutes, newest first, five at most."""

    name: str
    beat: float | None
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """The newest execution of an asset check on the asset's newest materialization."""

    asset: str
    name: str
    status: str
    severity: str | None
    run_id: str
    description: str

    @property
    def is_error(self) -> bool:
        return self.status == "FAILED" and self.severity == "ERROR"


@dataclass(frozen=True)
class Run:
    """A run; ``first`` and ``last`` are the ends of its range of partitions, both None where it has none."""

    id: str
    status: str
    location: str
    job: str
    assets: tuple[str, ...]
    created: float
    first: str | None = None
    last: str | None = None
    started: float | None = None
    ended: float | None = None
    will_retry: bool = False  # the daemon will launch it again
    backfill: str | None = None  # the id of the backfill that launched it


@dataclass(frozen=True)
class Backfill:
    id: str
    status: str
    assets: tuple[str, ...]
    partitions: int | None
    created: float
    ended: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Runs:
    """The unfinished runs, the newest failed ones, newest first, and the newest backfills."""

    unfinished: tuple[Run, ...] = ()
    failed: tuple[Run, ...] = ()
    backfills: tuple[Backfill, ...] = ()

    @property
    def in_backfill(self) -> set[str]:
        """The assets of the backfills in progress, which may still launch runs for them."""
        return {asset for one in self.backfills if one.status == BACKFILL_IN_PROGRESS for asset in one.assets}


@dataclass(frozen=True)
class Events:
    """From the event log: the newest materializations, and why runs failed, by run id."""

    newest: Newest
    reasons: Mapping[str, str]


@dataclass(frozen=True)
class Role:
    """A role that logs in, and its connections; ``limit`` is None where it has none."""

    name: str
    used: int
    limit: int | None


@dataclass(frozen=True)
class Storage:
    disk_used: int
    disk_free: int
    databases: Mapping[str, int]
    connections: int
    max_connections: int
    roles: tuple[Role, ...]


@dataclass(frozen=True)
class Repository:
    """A repository of backups; ``newest`` is when the newest backup ended, ``error`` why none can be made.

    One that does not answer is away or refuses, and nothing is known of its backups.
    """

    key: int
    backups: int
    newest: float | None
    size: int
    encrypted: bool
    error: str | None = None
    answers: bool = True


@dataclass(frozen=True)
class Backups:
    """The backups, and the archiving of Postgres's log, of which ``waiting`` segments are not archived yet."""

    repositories: tuple[Repository, ...]
    elsewhere: bool  # one of the repositories is on another disk or machine
    archived: float | None = None  # when the newest segment was archived
    waiting: int = 0
    waiting_since: float | None = None
    dropped: float | None = None  # since when segments were dropped, until the next backup
    failed: str = ""  # why the last backup failed
    checksums: bool = True
    interval: int = 24 * 3600  # seconds from one backup to the next
    rehearsal: Mapping[str, Any] | None = None  # of a restore: started, ended, and what was found to be wrong
    rehearsal_interval: int = 24 * 3600  # 0: never
    volumes: tuple[Mapping[str, str], ...] = ()  # that are not backed up now: name and problem


@dataclass(frozen=True)
class Alerts:
    """The state of the service `alerts`: its last evaluation, the receivers, silences, and what was not accepted."""

    evaluated: float | None
    receivers: tuple[str, ...] = ()
    silences: tuple[tuple[str, float], ...] = ()  # a name, and until when
    waiting: int = 0  # lines that some receiver has not accepted
    troubles: tuple[tuple[str, float], ...] = ()  # what keeps alerts from being sent, and since when


@dataclass(frozen=True)
class Facts:
    time: float
    project: str
    url: str | None  # of the webserver
    services: tuple[Service, ...] | Unknown
    workspace: Workspace | Unknown = Unknown("not asked")
    daemons: tuple[Daemon, ...] | Unknown = Unknown("not asked")
    assets: tuple[Asset, ...] | Unknown = Unknown("not asked")
    checks: tuple[Check, ...] | Unknown = Unknown("not asked")
    runs: Runs | Unknown = Unknown("not asked")
    events: Events | Unknown = Unknown("not asked")
    storage: Storage | Unknown = Unknown("not asked")
    # The locations that have a run policy, each with why it cannot be used; an empty reason where it can.
    alerts: Alerts | Unknown = Unknown("not asked")
    policies: Mapping[str, str] | Unknown = Unknown("not asked")
    backups: Backups | Unknown = Unknown("not asked")
    certificate: float | Unknown | None = Unknown("not asked")  # when that of the door ends; None without one
