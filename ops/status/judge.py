"""What needs a person, and what that person does next. Pure functions on what was found."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ops.status.facts import (
    BACKFILL_FAILED,
    Backfill,
    Check,
    Events,
    Facts,
    Newest,
    Role,
    Run,
    Runs,
    Service,
    Unknown,
    Workspace,
)
from ops.status.failures import Failure, unrepaired
from ops.status.pictures import STALE, WAITING, Picture, pictures
from ops.status.ranges import in_words
from ops.status.unattended import Unattended, unattended

# A daemon's thread beats every half minute, or later while it is busy; Dagster calls it dead after half an hour.
BEAT_SECONDS = 300
# The daemon keeps so many errors of a thread's last five minutes; fewer pass, as after a restart of Postgres.
ERRORS_KEPT = 5
# A location needs about half a minute to start, several on a machine that is short of processors.
START_SECONDS = 300
# A service that Docker has started again so often, and lately, does not come up by itself.
RESTARTS = 3
RESTART_SECONDS = 600
# The automation looks every ten seconds, and waits while something that it builds from is under way.
UNATTENDED_SECONDS = 900
# A queue whose front waits so long while no run goes on does not move.
QUEUE_SECONDS = 600
# Without these services nothing is built.
WORKERS = {"daemon", "docker-proxy", "postgres"}
# Of the disk, and of connections.
FULL = 0.9


@dataclass(frozen=True)
class Problem:
    """Something that needs a person: what it is, and the next step."""

    kind: str
    what: str
    next: str


@dataclass(frozen=True)
class Judgement:
    """What follows from the facts."""

    pictures: tuple[Picture, ...]
    failures: tuple[Failure, ...]
    problems: tuple[Problem, ...]


def judge(facts: Facts) -> Judgement:
    """Derives the assets' states and the failures, and says what needs a person.

    What follows from something worse is not named again: while a service is down, its location, its daemons and what
    only it could have told are no problems of their own.
    """
    runs = facts.runs if isinstance(facts.runs, Runs) else Runs((), (), ())
    events = facts.events if isinstance(facts.events, Events) else None
    workspace = facts.workspace if isinstance(facts.workspace, Workspace) else Workspace((), (), {})
    assets = facts.assets if isinstance(facts.assets, tuple) else ()
    found = pictures(assets, runs.unfinished, runs.failed, events.newest if events else None)
    newest = events.newest if events else {}
    reasons = events.reasons if events else {}
    failures = unrepaired(runs.failed, found, newest, reasons, workspace.last_runs, facts.time)

    problems = list(_services(facts))
    if not any(problem.kind in ("engine", "stack") for problem in problems):
        services = facts.services if isinstance(facts.services, tuple) else ()
        down = {service.name for service in services if service_trouble(service, facts.time)}
        problems += _not_known(facts, down)
        problems += _locations(workspace, down)
        builders = [*_daemons(facts, down), *_instigators(workspace, down)]
        problems += builders
        problems += _failures(failures)
        problems += _backfills(runs.backfills, newest)
        if not builders and not down & WORKERS:
            automated = {one.location for one in workspace.instigators if one.builds_assets and one.running}
            left = unattended(found, newest, automated, runs.backfills)
            problems += _unattended([one for one in left if one.location not in down], facts.time)
        problems += _checks(facts.checks if isinstance(facts.checks, tuple) else (), failures)
        problems += _queue(runs.unfinished, facts.time, down)
        problems += _storage(facts)
    return Judgement(tuple(found), tuple(failures), tuple(problems))


def ago(seconds: float) -> str:
    """A length of time in one unit: ``40 s``, ``3 min``, ``5 h``, ``2 d``."""
    for limit, length, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{max(seconds, 0) // length:.0f} {unit}"
    return f"{seconds // 86400:.0f} d"


def service_trouble(service: Service, now: float) -> Problem | None:
    """What is wrong with a service, if anything; one that starts is given time."""
    logs = f"docker compose logs -n 50 {service.name}"
    age = now - service.since if service.since else 0.0

    def trouble(what: str, next_step: str) -> Problem:
        return Problem("service", f"{service.name} {what}", next_step)

    if service.one_shot:
        failed = service.state in ("exited", "dead") and service.exit_code != 0
        return trouble(f"failed (exit status {service.exit_code})", logs) if failed else None
    if service.state == "absent":
        return trouble("is not there", f"docker compose up -d {service.name}")
    if service.state == "paused":
        return trouble("is paused", f"docker compose unpause {service.name}")
    if service.state == "restarting":
        return trouble(f"ends at every start ({service.restarts} restarts, exit status {service.exit_code})", logs)
    if service.state != "running":
        when = f", {ago(age)} ago" if service.since else ""
        return trouble(
            f"is {service.state} (exit status {service.exit_code}{when})", f"docker compose start {service.name}"
        )
    if service.health == "unhealthy":
        return trouble("is unhealthy", logs)
    if service.restarts >= RESTARTS and age < RESTART_SECONDS:
        return trouble(f"was restarted {service.restarts} times, the last time {ago(age)} ago", logs)
    if service.health == "starting" and age > START_SECONDS:
        return trouble(f"has been starting for {ago(age)}", logs)
    return None


def _services(facts: Facts) -> Iterator[Problem]:
    if isinstance(facts.services, Unknown):
        yield Problem("engine", facts.services.reason, "start Docker")
        return
    lasting = [service for service in facts.services if not service.one_shot]
    if all(service.state == "absent" for service in lasting):
        yield Problem("stack", f"the stack {facts.project} is not up", "make up")
        return
    if not any(service.state in ("running", "paused", "restarting") for service in lasting):
        yield Problem("stack", f"the stack {facts.project} is stopped", "make up")
        return
    for service in facts.services:
        if problem := service_trouble(service, facts.time):
            yield problem


def _not_known(facts: Facts, down: set[str]) -> Iterator[Problem]:
    starting = {
        service.name
        for service in (facts.services if isinstance(facts.services, tuple) else ())
        if service.health == "starting"
    }
    of_postgres = [block.reason for block in (facts.storage, facts.events) if isinstance(block, Unknown)]
    if "postgres" in down:
        return
    if of_postgres:  # and the webserver, which needs it, is no second problem
        yield Problem("unknown", of_postgres[0], "docker compose logs -n 50 postgres")
        return
    blocks = (facts.workspace, facts.daemons, facts.assets, facts.checks, facts.runs)
    of_webserver = [block.reason for block in blocks if isinstance(block, Unknown)]
    if of_webserver and "webserver" not in down:
        if "webserver" in starting:
            yield Problem("unknown", "the webserver is still starting", "make status again in a minute")
        else:
            yield Problem("unknown", of_webserver[0], "docker compose logs -n 50 webserver")


def _locations(workspace: Workspace, down: set[str]) -> Iterator[Problem]:
    for location in workspace.locations:
        if location.name not in down and location.error is not None:
            yield Problem(
                "location",
                f"{location.name} is not loaded: {location.error}",
                f"docker compose logs -n 50 {location.name}",
            )


def _daemons(facts: Facts, down: set[str]) -> Iterator[Problem]:
    if not isinstance(facts.daemons, tuple) or "daemon" in down:
        return
    next_step = "docker compose restart daemon"
    silent = [one for one in facts.daemons if one.beat is not None and facts.time - one.beat > BEAT_SECONDS]
    never = [one for one in facts.daemons if one.beat is None]
    if silent:
        oldest = min(one.beat for one in silent if one.beat is not None)
        who = "the daemon" if len(silent) == len(facts.daemons) else ", ".join(one.name for one in silent)
        yield Problem("daemon", f"{who} gave no heartbeat for {ago(facts.time - oldest)}", next_step)
    if never and not _is_starting(facts, "daemon"):
        yield Problem("daemon", f"{', '.join(one.name for one in never)} never gave a heartbeat", next_step)
    for one in facts.daemons:
        if len(one.errors) >= ERRORS_KEPT and one not in silent:
            yield Problem("daemon", f"{one.name} fails again and again: {one.errors[0]}", next_step)


def _is_starting(facts: Facts, name: str) -> bool:
    services = facts.services if isinstance(facts.services, tuple) else ()
    return any(service.name == name and service.health == "starting" for service in services)


def _instigators(workspace: Workspace, down: set[str]) -> Iterator[Problem]:
    broken = {location.name for location in workspace.locations if location.error is not None} | down
    for one in workspace.instigators:
        if one.runs_by_default and not one.running:
            yield Problem(
                one.kind, f"{one.kind} {one.name} ({one.location}) is stopped", "start it on its page, under Automation"
            )
        elif one.running and one.last_status == "FAILURE" and one.location not in broken:
            yield Problem(
                one.kind,
                f"{one.kind} {one.name} ({one.location}) failed at its last tick: {one.error}",
                f"docker compose logs -n 50 {one.location}",
            )


def _failures(failures: Iterable[Failure]) -> Iterator[Problem]:
    for failure in failures:
        if not failure.retrying:
            yield Problem("run", f"{failure.label} failed", "see its run above, then launch it again")


def _backfills(backfills: Iterable[Backfill], newest: Newest) -> Iterator[Problem]:
    times: dict[str, float] = {}
    for (asset, _), moment in newest.items():
        times[asset] = max(times.get(asset, 0.0), moment.time)
    for backfill in backfills:
        over = backfill.ended or backfill.created
        if backfill.status == BACKFILL_FAILED and any(times.get(asset, 0.0) < over for asset in backfill.assets):
            yield Problem(
                "backfill",
                f"the backfill {backfill.id} of {', '.join(backfill.assets)} failed: {backfill.error}",
                "launch it again",
            )


def _unattended(left: Iterable[Unattended], now: float) -> Iterator[Problem]:
    for one in left:
        age = now - one.since
        if one.automated and age < UNATTENDED_SECONDS:
            continue
        what = f"{', '.join(one.assets)} {in_words(one.ranges)}".strip()
        how = "older than what it is made from" if one.state == STALE else "missing"
        why = f"for {ago(age)}, and nothing builds it" if one.automated else "and nothing builds by itself"
        yield Problem(one.state, f"{what}: {how} {why}", "materialize these partitions")


def _checks(checks: Iterable[Check], failures: Sequence[Failure]) -> Iterator[Problem]:
    named = {failure.run.id for failure in failures if failure.run}
    for check in checks:
        if is_error(check) and check.run_id not in named:
            said = f": {check.description}" if check.description else ""
            yield Problem("check", f"check {check.name} of {check.asset} failed{said}", "see the asset's page, Checks")


def is_error(check: Check) -> bool:
    """Whether a check failed with the severity of an error."""
    return check.status == "FAILED" and check.severity == "ERROR"


def _queue(unfinished: Iterable[Run], now: float, down: set[str]) -> Iterator[Problem]:
    unfinished = list(unfinished)
    waiting = [run for run in unfinished if run.status in WAITING]
    if not waiting or len(waiting) < len(unfinished) or "daemon" in down:
        return
    oldest = now - min(run.created for run in waiting)
    if oldest > QUEUE_SECONDS:
        yield Problem(
            "queue",
            f"no run goes on, and {len(waiting)} are queued, the oldest for {ago(oldest)}",
            "docker compose logs -n 50 daemon",
        )


def share(used: int, limit: int) -> float:
    """The used part of something."""
    return used / limit if limit else 1.0


def is_full(role: Role) -> bool:
    """Whether a role has almost no connections left."""
    return role.limit is not None and share(role.used, role.limit) >= FULL


def _storage(facts: Facts) -> Iterator[Problem]:
    storage = facts.storage
    if isinstance(storage, Unknown):
        return
    full = share(storage.disk_used, storage.disk_used + storage.disk_free)
    if full >= FULL:
        yield Problem("disk", f"the disk is {full:.0%} full", "docker system df says what takes the room")
    who = "docker compose exec postgres psql -U postgres -c 'table pg_stat_activity'"
    for role in filter(is_full, storage.roles):
        yield Problem("connections", f"{role.name} uses {role.used} of its {role.limit} connections", who)
    if share(storage.connections, storage.max_connections) >= FULL:
        yield Problem("connections", f"{storage.connections} of {storage.max_connections} connections are used", who)
