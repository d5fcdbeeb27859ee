"""The facts and what follows from them as text of at most 100 columns, in colour where that is wanted."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import TypeVar

from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ops.command import printable
from ops.status.facts import (
    BACKFILL_IN_PROGRESS,
    Alerts,
    Backups,
    Check,
    Daemon,
    Facts,
    Run,
    Runs,
    Service,
    Storage,
    Unknown,
    Workspace,
)
from ops.status.failures import Failure
from ops.status.judge import BEAT_SECONDS, FULL, Judgement, Problem, duration, is_full, service_problem, share
from ops.status.partitions import BUILT, FAILED, MISSING, RUNNING, STATES, AssetStatus, format_ranges

T = TypeVar("T")

WIDTH = 100
# The number of entries of a list that are shown, of ranges, and of characters of a message; JSON has everything.
MOST = 10
MOST_RANGES = 12
MOST_CHARACTERS = 280

COLOURS = {BUILT: "green", FAILED: "red", MISSING: ""}  # of the other states: yellow
WORDS = {RUNNING: "building"}
SOURCE_WORDS = {BUILT: "loaded", RUNNING: "loading"}


def screen(facts: Facts, judgement: Judgement, colour: bool = False) -> str:
    blocks = _blocks(facts, judgement)
    if any(problem.kind in ("engine", "stack") for problem in judgement.problems):
        blocks = blocks[:1]
    output = io.StringIO()
    console = Console(file=output, width=WIDTH, color_system="standard" if colour else None, no_color=not colour)
    when = datetime.fromtimestamp(facts.time).astimezone()
    console.print(text("   ".join(filter(None, [facts.project, f"{when:%Y-%m-%d %H:%M:%S %Z}", facts.url]))))
    # Consecutive blocks that are unknown for the same reason are one.
    for block, members in groupby(blocks, key=lambda titled: titled[1]):
        titles = [title for title, _ in members]
        content = text(f"not known: {block.reason}", "yellow") if isinstance(block, Unknown) else block
        console.print("", text(", ".join(titles), "bold"), Padding(content, (0, 0, 0, 2)), sep="\n")
    console.print()
    for notice in judgement.notices:
        console.print(text(verdict(notice, "notice"), "yellow"))
    for problem in judgement.problems:
        console.print(text(verdict(problem), "red"))
    if not judgement.problems:
        console.print(text("nothing needs a person", "green"))
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines())


def verdict(problem: Problem, title: str = "needs a person") -> str:
    """A problem as one line; a long one is shortened in what is wrong, not in the next step."""
    head, tail = f"{title}: ", f"; next: {problem.next}"
    return head + shorten(problem.what, max(WIDTH - len(head) - len(tail), 30)) + tail


def text(value: str, colour: str = "", most: int = MOST_CHARACTERS) -> Text:
    """Text of any origin, made safe for a terminal: without markup and control characters, in one line."""
    safe = printable(value).replace("\n", r"\n").replace("\t", r"\t")
    return Text(shorten(safe, most), colour, overflow="fold")


def shorten(value: str, most: int) -> str:
    """A text of at most so many characters, without its middle where it is longer."""
    if len(value) <= most:
        return value
    head = max(most - 1, 0) * 2 // 3
    tail = max(most - 1 - head, 0)
    return f"{value[:head]}…{value[len(value) - tail :]}"


def _blocks(facts: Facts, judgement: Judgement) -> list[tuple[str, Unknown | Group]]:
    def block(part: T | Unknown, write: Callable[[T], Iterable[RenderableType]]) -> Unknown | Group:
        return part if isinstance(part, Unknown) else Group(*write(part))

    now, workspace = facts.time, facts.workspace
    return [
        ("Services", block(facts.services, lambda services: _services(services, now))),
        ("Code locations", block(workspace, lambda found: _locations(found, now))),
        ("Daemon", block(facts.daemons, lambda daemons: _daemons(daemons, now))),
        ("Data", block(facts.assets, lambda _: _data(judgement.statuses))),
        ("Runs", block(facts.runs, lambda runs: _runs(runs, now))),
        ("Unresolved failures", block(facts.runs, lambda _: _failures(judgement.failures, facts.url, now))),
        ("Asset checks", block(facts.checks, _checks)),
        ("Sensors and schedules", block(workspace, lambda found: _instigators(found, now))),
        ("Disk and connections", block(facts.storage, _storage)),
        ("Backups", block(facts.backups, lambda found: _backups(found, now))),
        ("Alerts", block(facts.alerts, lambda alerts: _alerts(alerts, now))),
    ]


def _when(time: float | None, now: float) -> str:
    """A time of today by its hour, an older one by its date, and how long ago it was."""
    if time is None:
        return ""
    then, today = datetime.fromtimestamp(time).astimezone(), datetime.fromtimestamp(now).astimezone()
    clock = f"{then:%H:%M:%S}" if then.date() == today.date() else f"{then:%Y-%m-%d %H:%M}"
    return f"{clock} ({duration(now - time)})"


def _table(rows: Sequence[Sequence[Text]]) -> Iterator[Table]:
    table = Table.grid(padding=(0, 2))
    for row in rows:
        table.add_row(*row)
    if rows:  # an empty table would be an empty line
        yield table


def _more(entries: Sequence[object]) -> list[Text]:
    return [text(f"and {len(entries) - MOST} more")] if len(entries) > MOST else []


def _services(services: Iterable[Service], now: float) -> Iterator[RenderableType]:
    rows = [[text(title) for title in ("service", "state", "image", "since", "restarts")]]
    for service in services:
        state = service.health if service.state == "running" and service.health else service.state
        if service.state == "exited" and service.one_shot and service.exit_code == 0:
            state = "done"
        good = state in ("healthy", "running", "done")
        colour = "red" if service_problem(service, now) else "green" if good else "yellow"
        cells = [text(service.image), text(_when(service.since, now)), text(str(service.restarts))]
        rows.append([text(service.name), text(state, colour), *cells])
    yield from _table(rows)


def _locations(workspace: Workspace, now: float) -> Iterator[RenderableType]:
    rows = []
    for location in workspace.locations:
        state, colour = ("loading", "yellow") if location.loading else ("loaded", "green")
        detail = f"since {_when(location.since, now)}"
        if location.error is not None:
            state, colour, detail = "error", "red", location.error
        rows.append([text(location.name), text(state, colour), text(detail)])
    yield from _table(rows)


def _daemons(daemons: Sequence[Daemon], now: float) -> Iterator[RenderableType]:
    ages = {one.name: now - one.beat for one in daemons if one.beat is not None}
    recent = {name: age for name, age in ages.items() if age <= BEAT_SECONDS}
    if recent:
        oldest = duration(max(recent.values()))
        yield text(f"{len(recent)} of {len(daemons)} threads sent a heartbeat in the last {oldest}")
    for one in daemons:
        if one.name not in recent:
            beat = f"{duration(ages[one.name])} ago" if one.name in ages else "never"
            yield text(f"{one.name}: last heartbeat {beat}", "red")
        if one.errors:
            yield text(f"{one.name}, latest error: {one.errors[0]}", "yellow")


def _data(statuses: Iterable[AssetStatus]) -> Iterator[RenderableType]:
    grouped: dict[tuple[object, ...], list[AssetStatus]] = {}
    for status in statuses:
        asset = status.asset
        states = [(state, status.count(state), tuple(status.ranges(state))) for state in STATES]
        grouped.setdefault((asset.location, asset.cadence, not asset.parents, *states), []).append(status)
    for members in grouped.values():
        first = members[0]
        cadence = f"{first.asset.cadence}, " if first.asset.kind else ""
        yield text(f"{', '.join(one.asset.key for one in members)} ({cadence}{first.asset.location})", most=1000)
        table = Table.grid(padding=(0, 2))
        table.add_column(min_width=8)
        for state in STATES:
            if number := first.count(state):
                ranges = f"{format_ranges(first.ranges(state), MOST_RANGES)} ({number})" if first.asset.kind else ""
                word = (WORDS if first.asset.parents else SOURCE_WORDS).get(state, state)
                table.add_row(text(word, COLOURS.get(state, "yellow")), text(ranges, most=1000))
        yield Padding(table, (0, 0, 0, 2))


def _runs(runs: Runs, now: float) -> Iterator[RenderableType]:
    backfills = [backfill for backfill in runs.backfills if backfill.status == BACKFILL_IN_PROGRESS]
    if not runs.unfinished and not backfills:
        yield text("no run is in progress or queued")
    ordered = sorted(runs.unfinished, key=lambda run: (run.status == "QUEUED", run.created))
    yield from _table([_run(run, now) for run in ordered[:MOST]])
    yield from _more(ordered)
    for backfill in backfills:
        what = f"backfill {backfill.id} of {backfill.partitions} partitions, since {_when(backfill.created, now)}"
        yield text(f"{what}: {', '.join(backfill.assets)}")


def _run(run: Run, now: float) -> list[Text]:
    partitions = format_ranges([(run.first, run.last)]) if run.first and run.last else ""
    since = f"since {_when(run.started or run.created, now)}"
    what = f"{', '.join(run.assets) or run.job} {partitions}".strip()
    return [text(run.status.lower(), "yellow"), text(since), text(run.location), text(what)]


def _failures(failures: Sequence[Failure], url: str | None, now: float) -> Iterator[RenderableType]:
    if not failures:
        yield text("none")
    for failure in failures[:MOST]:
        when = f", {_when(failure.run.ended, now)}" if failure.run and failure.run.ended else ""
        retry = ", will be retried" if failure.retrying else ""
        label = text(failure.label, "yellow" if failure.retrying else "red")
        yield Text.assemble(label, text(f" ({failure.location}){when}{retry}"), overflow="fold")
        if failure.reason:
            yield Padding(text(failure.reason), (0, 0, 0, 2))
        if failure.run and url:
            yield Padding(text(f"{url}/runs/{failure.run.id}"), (0, 0, 0, 2))
    yield from _more(failures)


def _checks(checks: Sequence[Check]) -> Iterator[RenderableType]:
    errors = [check for check in checks if check.is_error]
    count = [check.status for check in checks].count
    passed, failed, in_progress = count("SUCCEEDED"), count("FAILED"), count("IN_PROGRESS")
    not_executed = len(checks) - passed - failed - in_progress
    parts = [f"{passed} passed", f"{failed - len(errors)} warnings", f"{len(errors)} errors"]
    parts += [f"{in_progress} in progress"] if in_progress else []
    parts += [f"{not_executed} not executed"] if not_executed else []
    yield text(f"{', '.join(parts)} on the newest materializations")
    for check in errors[:MOST]:
        yield text(f"{check.asset}: {check.name}: {check.description}".rstrip(": "), "red")
    yield from _more(errors)


def _instigators(workspace: Workspace, now: float) -> Iterator[RenderableType]:
    if not workspace.instigators:
        yield text("none")
    rows = []
    for one in workspace.instigators:
        state, colour = ("running", "green") if one.running else ("stopped", "red" if one.runs_by_default else "yellow")
        tick = f"last tick {_when(one.last_tick, now)}: {(one.last_status or '').lower()}" if one.last_tick else ""
        detail = "  ".join(filter(None, [tick, one.error]))
        rows.append([text(one.name), text(state, colour), text(one.location), text(detail)])
    yield from _table(rows)


def _alerts(alerts: Alerts, now: float) -> Iterator[RenderableType]:
    evaluated = f"last evaluation {_when(alerts.evaluated, now)}" if alerts.evaluated else "no evaluation yet"
    who = ", ".join(alerts.receivers) or "no alerts are sent, because there are no receivers: docs/alerts.md"
    waiting = f"; {alerts.waiting} lines wait" if alerts.waiting and alerts.receivers else ""
    yield text(f"{evaluated}{waiting}")
    yield text(who, "" if alerts.receivers else "yellow")
    for name, until in alerts.silences:
        yield text(f"{name} is silenced for another {duration(until - now)}", "yellow")
    for trouble, _ in alerts.troubles:
        yield text(trouble, "red")


def _storage(storage: Storage) -> Iterator[RenderableType]:
    total = storage.disk_used + storage.disk_free
    used = share(storage.disk_used, total)
    disk = f"{used:.0%} of {decimal(total)} used, {decimal(storage.disk_free)} free"
    databases = ", ".join(f"{name} {decimal(number)}" for name, number in sorted(storage.databases.items()))
    limits = {role.name: "" if role.limit is None else f"/{role.limit}" for role in storage.roles}
    roles = ", ".join(f"{role.name} {role.used}{limits[role.name]}" for role in storage.roles)
    connections = f"{storage.connections} of {storage.max_connections}: {roles}"
    full = share(storage.connections, storage.max_connections) >= FULL or any(map(is_full, storage.roles))
    yield from _table(
        [
            [text("disk"), text(disk, "red" if used >= FULL else "")],
            [text("databases"), text(databases, most=1000)],
            [text("connections"), text(connections, "red" if full else "", most=1000)],
        ]
    )


def _backups(found: Backups, now: float) -> Iterator[RenderableType]:
    rows = []
    for one in found.repositories:
        newest = f"{one.backups} backups, the newest {_when(one.newest, now)}" if one.newest else "no backup yet"
        cipher = "encrypted" if one.encrypted else "not encrypted"
        rows.append([text(f"repository {one.key}"), text(f"{newest}, {decimal(one.size)}, {cipher}")])
    archived = f"archived {_when(found.archived, now)}" if found.archived else "nothing archived yet"
    waiting = f", {found.waiting} segments wait" if found.waiting else ""
    rows.append([text("log"), text(archived + waiting)])
    if found.rehearsal:
        wrong = len(found.rehearsal["found"])
        result = f"{wrong} errors" if wrong else "a restore worked"
        when = _when(found.rehearsal["ended"], now)
        rows.append([text("rehearsal"), text(f"{result}, {when}", "red" if wrong else "")])
    if not found.checksums:
        rows.append([text("checksums"), text("off: docker compose restart postgres adds them", "yellow")])
    yield from _table(rows)
