"""Decides what needs a person, and what that person does next. Pure functions of the facts."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

from ops.lineage import Asset, Lineage, Newest
from ops.status.facts import (
    BACKFILL_FAILED,
    BACKFILL_IN_PROGRESS,
    Backups,
    Events,
    Facts,
    Role,
    Runs,
    Service,
    Unknown,
    Workspace,
    known,
)
from ops.status.failures import Failure, unresolved
from ops.status.overdue import Overdue, overdue
from ops.status.partitions import MISSING, OUTDATED, STALE, WAITING, AssetStatus, asset_statuses, format_ranges

# A thread of the daemon sends a heartbeat every half minute, less often while it is busy; Dagster calls it dead after
# half an hour.
BEAT_SECONDS = 300
# The daemon keeps at most this many errors of a thread's last five minutes; fewer are transient, as after a restart of
# Postgres.
ERRORS_KEPT = 5
# A location takes half a minute to start, several minutes on a busy machine.
START_SECONDS = 300
# A service that Docker restarted this often, the last time within this time, does not recover on its own.
RESTARTS = 3
RESTART_SECONDS = 600
# The automation looks every ten seconds, and waits while something upstream is being built.
OVERDUE_SECONDS = 900
# How long the oldest queued run may wait while no run is in progress.
QUEUE_SECONDS = 600
# The alerts are evaluated every half minute.
EVALUATION_SECONDS = 300
# How long a receiver of alerts may take nothing.
UNSENT_SECONDS = 600
# Without these services nothing is built.
WORKERS = {"daemon", "docker-proxy", "postgres"}
# A kind of notice.
NOT_JUDGED = "not judged"
# The used share of the disk, or of connections, that needs a person.
FULL = 0.9


# A segment of the log is archived within seconds; a repository that is away for a moment does no harm.
WAITING_SECONDS = 180
# How late a backup may be: the service tries again every ten minutes, and a large database takes hours.
LATE_SECONDS = 6 * 3600
# A backfill requests its next runs within seconds of the end of those before.
HANGING_SECONDS = 900
# How long before its end a certificate is to be renewed; an ACME client does it weeks before.
CERTIFICATE_SECONDS = 7 * 86_400
# What changes in the description of a problem while it lasts.
_CHANGES = re.compile(r"\d+(%| (s|min|h|d)\b)")


@dataclass(frozen=True)
class Problem:
    """What needs a person, why, and the next step.

    ``location`` and ``assets`` are those that it concerns, if any. ``about`` names it among those of its kind, for
    descriptions in which more than times and shares change while it lasts.
    """

    kind: str
    what: str
    next: str
    location: str = ""
    assets: tuple[str, ...] = ()
    about: str = ""

    @property
    def id(self) -> str:
        """The same for as long as the problem lasts."""
        return f"{self.kind} {self.about or _CHANGES.sub('#', self.what)}"


@dataclass(frozen=True)
class Judgement:
    statuses: tuple[AssetStatus, ...]
    failures: tuple[Failure, ...]
    problems: tuple[Problem, ...]
    notices: tuple[Problem, ...] = ()  # of optional actions
    late: tuple[Overdue, ...] | None = None  # None: while the automation or what builds has a problem of its own


def judge(facts: Facts) -> Judgement:
    """Finds the problems. A consequence of another problem is not reported.

    While a service is down, its location, its daemons and everything that only this service knows are left out.
    """
    runs = known(facts.runs, Runs())
    newest = facts.events.newest if isinstance(facts.events, Events) else None
    workspace = known(facts.workspace, Workspace())
    statuses = asset_statuses(known(facts.assets, ()), runs.unfinished, runs.failed, newest)
    newest = newest or {}
    late: tuple[Overdue, ...] | None = None
    failures = unresolved(facts, statuses, newest)
    lineage = Lineage([status.asset for status in statuses], newest)

    problems = list(_services(facts))
    if not any(problem.kind in ("engine", "stack") for problem in problems):
        services = known(facts.services, ())
        down = {service.name for service in services if service_problem(service, facts.time)}
        starting = {service.name for service in services if service.health == "starting"}
        problems += _unknown(facts, down, starting)
        problems += _locations(workspace, down)
        problems += _policies(facts, workspace, down)
        automation = [*_daemons(facts, down, starting), *_instigators(workspace, down)]
        problems += automation
        problems += _failures(failures)
        problems += _backfills(facts, runs, newest)
        problems += _late(facts, newest)
        if not automation and not down & WORKERS:
            found = overdue(statuses, lineage, workspace.automated, runs)
            late = tuple(one for one in found if one.location not in down and _is_late(one, facts.time))
            problems += _overdue(late, facts.time)
            problems += _hanging(facts, runs, down)
        problems += _checks(facts, failures)
        problems += _queue(runs, facts.time, down)
        problems += _storage(facts)
        problems += _backups(facts, down, starting)
        problems += _alerts(facts, down, starting)
        problems += _certificate(facts)
    notices = (
        *_outdated(statuses, lineage, facts.time),
        *_not_judged(known(facts.assets, ())),
        *_not_backed_up(facts.backups),
    )
    return Judgement(tuple(statuses), tuple(failures), tuple(problems), notices, late)


def is_hidden(problem: Problem, facts: Facts, judgement: Judgement) -> bool:
    """Whether a problem that was reported before, and is not now, may still be there.

    It is then either a consequence of another problem, or it is about something that is not known now.
    """
    if isinstance(facts.services, Unknown) or any(one.kind == "stack" for one in judgement.problems):
        return True
    if problem.kind in ("engine", "stack", "service"):
        return False
    if problem.kind == "certificate":
        return isinstance(facts.certificate, Unknown)
    if any(isinstance(getattr(facts, part.name), Unknown) for part in fields(facts) if part.name != "certificate"):
        return True
    down = {service.name for service in facts.services if service_problem(service, facts.time)}
    workspace = known(facts.workspace, Workspace())
    away = down | {one.name for one in workspace.locations if one.error is not None or one.loading}
    if problem.location in away or (problem.kind, "daemon" in down) == ("daemon", True):
        return True
    if problem.kind == "run" and any(
        one.run is None and {*one.assets} & {*problem.assets} for one in judgement.failures
    ):
        return True  # it may have failed before the runs that are read
    automation = {"daemon", "sensor", "schedule"}
    return problem.kind in (STALE, MISSING, "backfill") and bool(
        down & WORKERS or any(one.kind in automation for one in judgement.problems)
    )


def duration(seconds: float) -> str:
    for limit, length, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{max(seconds, 0) // length:.0f} {unit}"
    return f"{seconds // 86400:.0f} d"


def service_problem(service: Service, now: float) -> Problem | None:
    """The problem of a service, if any; a service that is starting gets some time."""
    what, next_step = "", _logs(service.name)
    age = now - service.since if service.since else 0.0
    status = f"exit status {service.exit_code}"
    if service.one_shot:
        if service.state in ("exited", "dead") and service.exit_code != 0:
            what = f"failed ({status})"
    elif service.state == "absent":
        what, next_step = "has no container", f"docker compose up -d {service.name}"
    elif service.state == "paused":
        what, next_step = "is paused", f"docker compose unpause {service.name}"
    elif service.state == "restarting":
        what = f"exits at every start ({service.restarts} restarts, {status})"
    elif service.state != "running":
        when = f", {duration(age)} ago" if service.since else ""
        what, next_step = f"is {service.state} ({status}{when})", f"docker compose start {service.name}"
    elif service.health == "unhealthy":
        what = "is unhealthy"
    elif service.restarts >= RESTARTS and age < RESTART_SECONDS:
        what = f"was restarted {service.restarts} times, the last time {duration(age)} ago"
    elif service.health == "starting" and age > START_SECONDS:
        what = f"has been starting for {duration(age)}"
    location = re.sub("_(gateway|policy)$", "", service.name)
    return Problem("service", f"{service.name} {what}", next_step, location, about=service.name) if what else None


def _logs(service: str) -> str:
    return f"docker compose logs -n 50 {service}"


def _services(facts: Facts) -> Iterator[Problem]:
    if isinstance(facts.services, Unknown):
        yield Problem("engine", facts.services.reason, "start Docker")
        return
    states = {service.state for service in facts.services if not service.one_shot}
    if not states & {"running", "paused", "restarting"}:
        state = "not up" if states <= {"absent"} else "stopped"
        yield Problem("stack", f"the stack {facts.project} is {state}", "make up")
    else:
        yield from filter(None, (service_problem(service, facts.time) for service in facts.services))


def _unknown(facts: Facts, down: set[str], starting: set[str]) -> Iterator[Problem]:
    of_postgres = [part.reason for part in (facts.storage, facts.events) if isinstance(part, Unknown)]
    parts = (facts.workspace, facts.daemons, facts.assets, facts.checks, facts.runs)
    of_webserver = [part.reason for part in parts if isinstance(part, Unknown)]
    if "postgres" in down:
        return
    if of_postgres:  # the webserver needs Postgres, so it is not a second problem
        yield Problem("unknown", of_postgres[0], _logs("postgres"))
    elif of_webserver and "webserver" in starting - down:
        yield Problem("unknown", "the webserver is still starting", "make status again in a minute")
    elif of_webserver and "webserver" not in down:
        yield Problem("unknown", of_webserver[0], _logs("webserver"))


def _locations(workspace: Workspace, down: set[str]) -> Iterator[Problem]:
    for location in workspace.locations:
        if location.name not in down and location.error is not None:
            what = f"{location.name} is not loaded: {location.error}"
            yield Problem("location", what, _logs(location.name), location.name, about=location.name)


def _policies(facts: Facts, workspace: Workspace, down: set[str]) -> Iterator[Problem]:
    """No run of a location is launched without a policy that can be read."""
    if isinstance(facts.policies, Unknown):
        if "daemon" not in down:
            yield Problem("policy", f"the run policies are not known: {facts.policies.reason}", _logs("daemon"))
        return
    for location in workspace.locations:
        if location.name not in facts.policies:
            what = f"{location.name} has no run policy, so none of its runs is launched"
            yield Problem("policy", what, "make up", location.name)
    for name, reason in facts.policies.items():
        if reason:
            yield Problem("policy", f"no run of {name} is launched: {reason}", "make up", name)


def _daemons(facts: Facts, down: set[str], starting: set[str]) -> Iterator[Problem]:
    if "daemon" in down:
        return
    daemons, now = known(facts.daemons, ()), facts.time
    next_step = "docker compose restart daemon"
    silent = {one.name: now - one.beat for one in daemons if one.beat is not None and now - one.beat > BEAT_SECONDS}
    never = [one.name for one in daemons if one.beat is None]
    if silent:
        who = "the daemon" if len(silent) == len(daemons) else ", ".join(silent)
        yield Problem("daemon", f"{who} has sent no heartbeat for {duration(max(silent.values()))}", next_step)
    if never and "daemon" not in starting:
        yield Problem("daemon", f"{', '.join(never)} never sent a heartbeat", next_step)
    for one in daemons:
        if len(one.errors) >= ERRORS_KEPT and one.name not in silent:
            yield Problem("daemon", f"{one.name} keeps failing: {one.errors[0]}", next_step)


def _instigators(workspace: Workspace, down: set[str]) -> Iterator[Problem]:
    broken = {location.name for location in workspace.locations if location.error is not None} | down
    for one in workspace.instigators:
        name = f"{one.kind} {one.name} ({one.location})"
        if one.runs_by_default and not one.running:
            next_step = "start it on its page, under Automation"
            yield Problem(one.kind, f"{name} is stopped", next_step, one.location, about=f"{name} is stopped")
        elif one.running and one.last_status == "FAILURE" and one.location not in broken:
            what = f"{name} failed at its last tick: {one.error}"
            yield Problem(one.kind, what, _logs(one.location), one.location, about=f"{name} failed")


def _failures(failures: Iterable[Failure]) -> Iterator[Problem]:
    for failure in failures:
        if not failure.retrying:
            about = failure.run.id if failure.run else f"older {failure.label}"
            next_step = "see its run above, then launch it again"
            yield Problem("run", f"{failure.label} failed", next_step, failure.location, failure.assets, about)


def _location(facts: Facts, asset: str) -> str:
    return next((one.location for one in known(facts.assets, ()) if one.key == asset), "")


def _backfills(facts: Facts, runs: Runs, newest: Newest) -> Iterator[Problem]:
    built: dict[str, float] = {}
    for (asset, _), materialization in newest.items():
        built[asset] = max(built.get(asset, 0.0), materialization.time)
    for backfill in runs.backfills:
        end = backfill.ended or backfill.created
        if backfill.status == BACKFILL_FAILED and any(built.get(asset, 0.0) < end for asset in backfill.assets):
            what = f"the backfill {backfill.id} of {', '.join(backfill.assets)} failed: {backfill.error}"
            location = _location(facts, backfill.assets[0])
            yield Problem("backfill", what, "launch it again", location, backfill.assets, backfill.id)


def _hanging(facts: Facts, runs: Runs, down: set[str]) -> Iterator[Problem]:
    """A backfill in progress of which nothing happens, although everything that it needs is there."""
    if not isinstance(facts.events, Events):
        return
    in_progress = {run.backfill for run in runs.unfinished}
    for backfill in runs.backfills:
        locations = {_location(facts, asset) for asset in backfill.assets}
        if backfill.status != BACKFILL_IN_PROGRESS or backfill.id in in_progress or locations & {"", *down}:
            continue
        signs = [one.time for (asset, _), one in facts.events.newest.items() if asset in backfill.assets]
        signs += [run.ended or run.created for run in runs.failed if run.backfill == backfill.id]
        age = facts.time - max(backfill.created, *signs, 0.0)
        if age > HANGING_SECONDS:
            what = f"the backfill {backfill.id} of {', '.join(backfill.assets)} hangs: it has no run in progress, and"
            what += f" nothing of it was built for {duration(age)}"
            next_step = "cancel it and launch it again"
            yield Problem("backfill", what, next_step, min(locations, default=""), backfill.assets, backfill.id)


def _late(facts: Facts, newest: Newest) -> Iterator[Problem]:
    for asset in known(facts.assets, ()):
        if asset.late:
            built = [one.time for (key, _), one in newest.items() if key == asset.key]
            age = f", its newest data is {duration(facts.time - max(built))} old" if built else ""
            what = f"{asset.key} is late by its freshness policy{age}"
            yield Problem("late", what, "see its runs and sensors", asset.location, (asset.key,), asset.key)


def _certificate(facts: Facts) -> Iterator[Problem]:
    end = facts.certificate
    if isinstance(end, Unknown) or end is None or (left := end - facts.time) > CERTIFICATE_SECONDS:
        return
    when = f"ends in {duration(left)}" if left > 0 else f"ended {duration(-left)} ago"
    yield Problem("certificate", f"the door's certificate {when}", "renew it (docs/access.md)", about="door")


def _is_late(one: Overdue, now: float) -> bool:
    return not one.automated or now - one.since >= OVERDUE_SECONDS


def _overdue(late: Iterable[Overdue], now: float) -> Iterator[Problem]:
    for one in late:
        age = now - one.since
        what = f"{', '.join(one.assets)} {format_ranges(one.ranges)}".strip()
        state = "older than its upstream data" if one.state == STALE else "missing"
        why = f"for {duration(age)}, and nothing builds it" if one.automated else "and automation is off"
        about = ", ".join(one.assets)
        next_step = "materialize these partitions"
        yield Problem(one.state, f"{what}: {state} {why}", next_step, one.location, one.assets, about)


def _outdated(statuses: Iterable[AssetStatus], lineage: Lineage, now: float) -> Iterator[Problem]:
    """A notice, not a problem: one zone's new name does not require years to be built again."""
    found: dict[str, list[str]] = {}
    for status in statuses:
        for upstream in {lineage.outdated_by(status.asset.key, key) for key in status.keys(OUTDATED)} - {None}:
            found.setdefault(str(upstream), []).append(status.asset.key)
    for upstream, assets in found.items():
        age = duration(now - lineage.newest[upstream, None].time)
        yield Problem("outdated", f"{upstream} was built {age} ago, after {', '.join(assets)}", "make rebuild")


def _not_judged(assets: Iterable[Asset]) -> Iterator[Problem]:
    for asset in assets:
        for parent in asset.not_judged:
            what = f"{asset.key}: its dependency on {parent} is not judged"
            yield Problem(NOT_JUDGED, what, "declare another mapping")


def _checks(facts: Facts, failures: Sequence[Failure]) -> Iterator[Problem]:
    named = {failure.run.id for failure in failures if failure.run}
    for check in known(facts.checks, ()):
        if check.is_error and check.run_id not in named:
            what = f"check {check.name} of {check.asset} failed"
            reason = f": {check.description}" if check.description else ""
            location, about = _location(facts, check.asset), f"{check.asset} {check.name}"
            yield Problem("check", what + reason, "see the asset's page, Checks", location, (check.asset,), about)


def _queue(runs: Runs, now: float, down: set[str]) -> Iterator[Problem]:
    waiting = [run.created for run in runs.unfinished if run.status in WAITING]
    if not waiting or len(waiting) < len(runs.unfinished) or "daemon" in down:
        return
    oldest = now - min(waiting)
    if oldest > QUEUE_SECONDS:
        what = f"no run is in progress, and {len(waiting)} are queued, the oldest for {duration(oldest)}"
        yield Problem("queue", what, _logs("daemon"), about="queue")


def _alerts(facts: Facts, down: set[str], starting: set[str]) -> Iterator[Problem]:
    """Whether alerts would be sent, if there are receivers."""
    alerts, now, next_step = facts.alerts, facts.time, _logs("alerts")
    if "alerts" in down | starting:
        return
    if isinstance(alerts, Unknown):
        yield Problem("alerts", f"whether alerts are sent is not known: {alerts.reason}", next_step)
        return
    if alerts.evaluated is None or now - alerts.evaluated > EVALUATION_SECONDS:
        since = f"for {duration(now - alerts.evaluated)}" if alerts.evaluated else "yet"
        yield Problem("alerts", f"the alerts were not evaluated {since}", next_step, about="evaluation")
    for text, begun in alerts.troubles:
        if now - begun > UNSENT_SECONDS:
            yield Problem("alerts", text, "correct it (docs/alerts.md), then make alerts-test", about=text)


def share(used: int, limit: int) -> float:
    return used / limit if limit else 1.0


def is_full(role: Role) -> bool:
    return role.limit is not None and share(role.used, role.limit) >= FULL


def _storage(facts: Facts) -> Iterator[Problem]:
    storage = facts.storage
    if isinstance(storage, Unknown):
        return
    used = share(storage.disk_used, storage.disk_used + storage.disk_free)
    if used >= FULL:
        yield Problem("disk", f"the disk is {used:.0%} full", "docker system df shows what uses the space")
    activity = "docker compose exec postgres psql -U postgres -c 'table pg_stat_activity'"
    for role in filter(is_full, storage.roles):
        yield Problem(
            "connections", f"{role.name} uses {role.used} of its {role.limit} connections", activity, about=role.name
        )
    if share(storage.connections, storage.max_connections) >= FULL:
        what = f"{storage.connections} of {storage.max_connections} connections are used"
        yield Problem("connections", what, activity, about="all")


def _backups(facts: Facts, down: set[str], starting: set[str]) -> Iterator[Problem]:
    found, now = facts.backups, facts.time
    if isinstance(found, Unknown):
        if not {"backups", "postgres"} & (down | starting):
            yield Problem("backup", f"the state of the backups is not known: {found.reason}", _logs("backups"))
        return
    logs = _logs("backups")
    if found.waiting_since and now - found.waiting_since > WAITING_SECONDS:
        what = f"the log has not been archived for {duration(now - found.waiting_since)}, {found.waiting} segments wait"
        yield Problem("backup", what, _logs("postgres"), about="archive")
    if found.dropped:
        what = f"a part of the log was not archived: no moment of the last {duration(now - found.dropped)} can be"
        yield Problem("backup", f"{what} restored until the next backup", logs)
    if found.failed:
        yield Problem("backup", f"the last backup failed: {found.failed}", logs, about="failed")
    started = next((one.since for one in known(facts.services, ()) if one.name == "backups"), None)
    if not found.repositories and started and now - started > LATE_SECONDS:
        yield Problem("backup", f"no backup was made for {duration(now - started)}: there is no repository", logs)
    for one in found.repositories:
        last, limit = (one.newest, found.interval + LATE_SECONDS) if one.newest else (started, LATE_SECONDS)
        if one.error and (one.backups or not one.answers):
            yield Problem("backup", f"the repository {one.key} cannot be used: {one.error}", logs)
        elif last and now - last > limit:
            yield Problem("backup", f"no backup was made for {duration(now - last)} in the repository {one.key}", logs)
    if rehearsal := found.rehearsal:
        for wrong in rehearsal["found"]:
            yield Problem("backup", f"the last rehearsal of a restore found: {wrong}", "docs/backup.md")
        age = now - rehearsal["ended"]
        if found.rehearsal_interval and age > found.rehearsal_interval + LATE_SECONDS:
            yield Problem("backup", f"no restore was rehearsed for {duration(age)}", logs)


def _not_backed_up(found: Backups | Unknown) -> Iterator[Problem]:
    if not isinstance(found, Backups):
        return
    if not found.elsewhere:
        what = "the backups are on the disk of Postgres, and lost with it"
        yield Problem("backup", what, "docs/backup.md")
    for volume in found.volumes:
        what = f"the volume {volume['name']} is not backed up now: {volume['problem']}"
        yield Problem("backup", what, "docs/backup.md")
