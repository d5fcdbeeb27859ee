"""What is known about the stack, as it was found. Times are seconds since 1970, sizes bytes."""

from collections.abc import Mapping
from dataclasses import dataclass

Key = str | None  # of a partition; None is the whole of an asset that has none

BACKFILL_GOES_ON = "REQUESTED"
BACKFILL_FAILED = "FAILED"


@dataclass(frozen=True)
class Unknown:
    """What could not be found out, and the first line of why."""

    reason: str


@dataclass(frozen=True)
class Service:
    """A service of the compose project; ``state`` is Docker's, or ``absent`` where there is no container."""

    name: str
    state: str
    health: str | None = None  # None: it has no health check, or does not run
    image: str = ""
    since: float | None = None  # when it took its state, or was started
    restarts: int = 0
    exit_code: int = 0
    one_shot: bool = False  # it is meant to end


@dataclass(frozen=True)
class Location:
    """A code location as the webserver has it; ``error`` is the first line of what kept it from loading."""

    name: str
    error: str | None
    since: float
    loading: bool = False


@dataclass(frozen=True)
class Instigator:
    """A sensor or a schedule, and its last tick that has ended."""

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
    """What the code locations define; ``last_runs`` is the newest run of each job that is not of assets."""

    locations: tuple[Location, ...]
    instigators: tuple[Instigator, ...]
    last_runs: Mapping[tuple[str, str], str]  # (location, job) to run id


@dataclass(frozen=True)
class Daemon:
    """One of the daemon's threads; ``errors`` are those of its last five minutes, the newest first, five at most."""

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


@dataclass(frozen=True)
class Asset:
    """An asset with the states that Dagster has of its partitions; partitions in none of them are missing."""

    key: str
    location: str
    parents: tuple[str, ...] = ()
    materializable: bool = True  # False: only declared, since the location that makes it is not loaded or there is none
    kind: str | None = None  # type of its partitions: TIME_WINDOW, STATIC, …; None: it has none
    cadence: str = ""  # daily, monthly, …
    fmt: str = ""  # of the partition keys, where they are times
    keys: tuple[str, ...] = ()  # in order
    materialized: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    in_progress: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Run:
    """A run; ``first`` and ``last`` are the ends of its partitions, both None where it has none."""

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
    will_retry: bool = False  # the daemon launches it again


@dataclass(frozen=True)
class Backfill:
    """A backfill that goes on, or one that failed itself, beyond its runs."""

    id: str
    status: str
    assets: tuple[str, ...]
    partitions: int | None
    created: float
    ended: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Runs:
    """The runs that are not over, the newest that failed, and the newest backfills."""

    unfinished: tuple[Run, ...]
    failed: tuple[Run, ...]  # the newest first
    backfills: tuple[Backfill, ...]


@dataclass(frozen=True)
class Moment:
    """The newest materialization of something: its place in the event log, where later is larger, and its time."""

    id: int
    time: float


Newest = Mapping[tuple[str, Key], Moment]  # by asset and partition


@dataclass(frozen=True)
class Events:
    """What the event log has: the newest materializations, and why runs failed, by their ids."""

    newest: Newest
    reasons: Mapping[str, str]


@dataclass(frozen=True)
class Role:
    """A role that logs in; ``limit`` is None where it has none."""

    name: str
    used: int
    limit: int | None


@dataclass(frozen=True)
class Storage:
    """The disk that Postgres writes to, the databases' sizes, and the connections."""

    disk_used: int
    disk_free: int
    databases: Mapping[str, int]
    connections: int
    max_connections: int
    roles: tuple[Role, ...]


@dataclass(frozen=True)
class Facts:
    """All of it."""

    time: float
    project: str
    url: str | None  # of the webserver
    services: tuple[Service, ...] | Unknown
    workspace: Workspace | Unknown
    daemons: tuple[Daemon, ...] | Unknown
    assets: tuple[Asset, ...] | Unknown
    checks: tuple[Check, ...] | Unknown
    runs: Runs | Unknown
    events: Events | Unknown
    storage: Storage | Unknown
