"""The facts and what follows from them as text of at most 100 columns; colour where it is wanted."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from ops.status.facts import BACKFILL_GOES_ON, Backfill, Facts, Run, Service, Unknown
from ops.status.failures import Failure
from ops.status.judge import (
    BEAT_SECONDS,
    FULL,
    Judgement,
    Problem,
    ago,
    is_error,
    is_full,
    service_trouble,
    share,
)
from ops.status.pictures import (
    BUILT,
    FAILED,
    MISSING,
    QUEUED,
    RUNNING,
    STALE,
    STATES,
    UNKNOWN,
    Picture,
)
from ops.status.ranges import in_words

WIDTH = 100
# Of a list that says much of the same, so many are shown; JSON has all.
MOST = 10
MOST_RANGES = 12

GREEN, YELLOW, RED, BOLD = "32", "33", "31", "1"
COLOURS = {BUILT: GREEN, RUNNING: YELLOW, QUEUED: YELLOW, STALE: YELLOW, FAILED: RED, UNKNOWN: YELLOW, MISSING: ""}


@dataclass(frozen=True)
class Text:
    """Writes the screen."""

    _facts: Facts
    _judgement: Judgement
    _colour: bool

    def screen(self) -> str:
        """All of it; the last lines say whether anything needs a person."""
        facts = self._facts
        blocks: list[tuple[str, Iterable[str]]] = []
        if isinstance(facts.services, Unknown):
            blocks = [("Services", [self._unknown(facts.services)])]
        else:
            blocks = [
                ("Services", self._services(facts.services)),
                ("Code locations", self._locations()),
                ("Daemon", self._daemons()),
                ("Data", self._data()),
                ("Runs", self._runs()),
                ("Failures that nobody repaired", self._failures()),
                ("Asset checks", self._checks()),
                ("Sensors and schedules", self._instigators()),
                ("Disk and connections", self._storage()),
            ]
            if any(problem.kind == "stack" for problem in self._judgement.problems):
                blocks = blocks[:1]
        lines = [self._head()]
        for title, block in _merged(blocks):
            titles = (self._paint(line, BOLD) for line in textwrap.wrap(title, WIDTH))
            lines += ["", *titles, *(f"  {line}" for line in block)]
        return "\n".join([*lines, "", *self._verdict()])

    def _paint(self, text: str, colour: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._colour and colour else text

    def _head(self) -> str:
        when = datetime.fromtimestamp(self._facts.time).astimezone()
        return "   ".join(filter(None, [self._facts.project, f"{when:%Y-%m-%d %H:%M:%S %Z}", self._facts.url]))

    def _when(self, time: float | None) -> str:
        """A time of today by its hour, an older one by its day, and how long ago."""
        if time is None:
            return ""
        then, now = (datetime.fromtimestamp(moment).astimezone() for moment in (time, self._facts.time))
        clock = f"{then:%H:%M:%S}" if then.date() == now.date() else f"{then:%Y-%m-%d %H:%M}"
        return f"{clock} ({ago(self._facts.time - time)})"

    def _services(self, services: Sequence[Service]) -> Iterator[str]:
        rows = [("service", "state", "image", "since", "restarts")]
        for service in services:
            state = service.health if service.state == "running" and service.health else service.state
            if service.state == "exited" and service.one_shot and service.exit_code == 0:
                state = "done"
            rows.append((service.name, state, service.image, self._when(service.since), str(service.restarts)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        widths[2] = min(widths[2], WIDTH - 2 - 2 * 4 - sum(widths) + widths[2])
        for place, row in enumerate(rows):
            cells = [shorten(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)]
            if place:
                service = services[place - 1]
                wrong = service_trouble(service, self._facts.time)
                colour = RED if wrong else GREEN if row[1] in ("healthy", "running", "done") else YELLOW
                cells[1] = self._paint(cells[1], colour)
            yield "  ".join(cells).rstrip()

    def _unknown(self, block: Unknown) -> str:
        return self._paint(cut(f"not known: {block.reason}", WIDTH - 2), YELLOW)

    def _locations(self) -> Iterator[str]:
        workspace = self._facts.workspace
        if isinstance(workspace, Unknown):
            yield self._unknown(workspace)
            return
        width = max((len(location.name) for location in workspace.locations), default=0)
        for location in workspace.locations:
            state, colour = ("loading", YELLOW) if location.loading else ("loaded", GREEN)
            if location.error is not None:
                state, colour = "error", RED
            said = f"since {self._when(location.since)}" if location.error is None else location.error
            room = WIDTH - 2 - width - 4 - len(state)
            yield f"{location.name.ljust(width)}  {self._paint(state, colour)}  {cut(said, room)}"

    def _daemons(self) -> Iterator[str]:
        daemons = self._facts.daemons
        if isinstance(daemons, Unknown):
            yield self._unknown(daemons)
            return
        now = self._facts.time
        good = [one for one in daemons if one.beat is not None and now - one.beat <= BEAT_SECONDS]
        if good:
            oldest = now - min(one.beat for one in good if one.beat is not None)
            yield f"{len(good)} of {len(daemons)} threads gave a heartbeat in the last {ago(oldest)}"
        for one in daemons:
            if one not in good:
                beat = "never" if one.beat is None else f"{ago(now - one.beat)} ago"
                yield self._paint(f"{one.name}: last heartbeat {beat}", RED)
            if one.errors:
                yield self._paint(cut(f"{one.name}, lately: {one.errors[0]}", WIDTH - 2), YELLOW)

    def _data(self) -> Iterator[str]:
        if isinstance(self._facts.assets, Unknown):
            yield self._unknown(self._facts.assets)
            return
        grouped: dict[tuple[object, ...], list[Picture]] = {}
        for picture in self._judgement.pictures:
            asset = picture.asset
            states = (
                tuple((state, tuple(picture.ranges(state))) for state in STATES) if asset.kind else picture.states[None]
            )
            grouped.setdefault((asset.location, asset.cadence, picture.is_source, states), []).append(picture)
        for members in grouped.values():
            first = members[0]
            names = ", ".join(member.asset.key for member in members)
            kind = f"{first.asset.cadence}, " if first.asset.kind else ""
            yield from textwrap.wrap(f"{names} ({kind}{first.asset.location})", WIDTH - 2, subsequent_indent="  ")
            for state in STATES:
                if number := first.count(state):
                    yield from self._state(first, state, number)

    def _state(self, picture: Picture, state: str, number: int) -> Iterator[str]:
        word = state
        if picture.is_source:
            word = {BUILT: "loaded", RUNNING: "loading"}.get(state, state)
        elif state == RUNNING:
            word = "building"
        label = f"  {self._paint(word.ljust(8), COLOURS[state])}"
        if not picture.asset.kind:
            yield label.rstrip()
            return
        said = f"{in_words(picture.ranges(state), MOST_RANGES)} ({number})"
        first, *rest = textwrap.wrap(said, WIDTH - 14)
        yield f"{label}  {first}"
        yield from (f"{'':12}{line}" for line in rest)

    def _runs(self) -> Iterator[str]:
        runs = self._facts.runs
        if isinstance(runs, Unknown):
            yield self._unknown(runs)
            return
        going = [backfill for backfill in runs.backfills if backfill.status == BACKFILL_GOES_ON]
        if not runs.unfinished and not going:
            yield "none runs, none is queued"
        # The oldest first: that is the order in which they come to their end.
        ordered = sorted(runs.unfinished, key=lambda run: (run.status == "QUEUED", run.created))
        for run in ordered[:MOST]:
            yield self._run(run)
        if len(ordered) > MOST:
            yield f"and {len(ordered) - MOST} more"
        yield from map(self._backfill, going)

    def _run(self, run: Run) -> str:
        since = self._when(run.started or run.created)
        partitions = in_words([(run.first, run.last)]) if run.first and run.last else ""
        head = f"{run.status.lower().ljust(8)}  since {since}  {run.location}"
        what = f"{', '.join(run.assets) or run.job}"
        room = WIDTH - 2 - len(head) - 2 - (len(partitions) + 2 if partitions else 0)
        line = f"{head}  {shorten(what, room)}  {partitions}".rstrip()
        return self._paint(line[:8], YELLOW) + line[8:]

    def _backfill(self, backfill: Backfill) -> str:
        what = f"backfill {backfill.id} of {backfill.partitions} partitions, since {self._when(backfill.created)}"
        return shorten(f"{what}: {', '.join(backfill.assets)}", WIDTH - 2)

    def _failures(self) -> Iterator[str]:
        if isinstance(self._facts.runs, Unknown):
            yield self._unknown(self._facts.runs)
            return
        failures = self._judgement.failures
        if not failures:
            yield "none"
        for failure in failures[:MOST]:
            yield from self._failure(failure)
        if len(failures) > MOST:
            yield f"and {len(failures) - MOST} more"

    def _failure(self, failure: Failure) -> Iterator[str]:
        when = f", {self._when(failure.run.ended)}" if failure.run and failure.run.ended else ""
        tail = f" ({failure.location}){when}" + (", about to be launched again" if failure.retrying else "")
        label = shorten(failure.label, WIDTH - 2 - len(tail))
        yield self._paint(label, YELLOW if failure.retrying else RED) + tail
        if failure.reason:
            wrapped = textwrap.wrap(failure.reason, WIDTH - 4, break_on_hyphens=False, max_lines=3, placeholder="…")
            yield from (f"  {line}" for line in wrapped)
        if failure.run and self._facts.url:
            yield f"  {self._facts.url}/runs/{failure.run.id}"

    def _checks(self) -> Iterator[str]:
        checks = self._facts.checks
        if isinstance(checks, Unknown):
            yield self._unknown(checks)
            return
        errors = [check for check in checks if is_error(check)]
        passed = sum(check.status == "SUCCEEDED" for check in checks)
        warnings = sum(check.status == "FAILED" for check in checks) - len(errors)
        busy = sum(check.status == "IN_PROGRESS" for check in checks)
        rest = len(checks) - passed - warnings - len(errors) - busy
        parts = [f"{passed} passed", f"{warnings} warnings", f"{len(errors)} errors"]
        parts += [f"{busy} in progress"] if busy else []
        parts += [f"{rest} not executed"] if rest else []
        yield ", ".join(parts) + " on the newest materializations"
        for check in errors[:MOST]:
            said = shorten(f"{check.asset}: {check.name}: {check.description}".rstrip(": "), WIDTH - 2)
            yield self._paint(said, RED)
        if len(errors) > MOST:
            yield f"and {len(errors) - MOST} more"

    def _instigators(self) -> Iterator[str]:
        workspace = self._facts.workspace
        if isinstance(workspace, Unknown):
            yield self._unknown(workspace)
            return
        width = max((len(one.name) for one in workspace.instigators), default=0)
        places = max((len(one.location) for one in workspace.instigators), default=0)
        for one in workspace.instigators:
            state = "running" if one.running else "stopped"
            colour = GREEN if one.running else RED if one.runs_by_default else YELLOW
            tick = f"last tick {self._when(one.last_tick)}: {(one.last_status or '').lower()}" if one.last_tick else ""
            said = "  ".join(filter(None, [one.location.ljust(places), tick, one.error]))
            yield f"{one.name.ljust(width)}  {self._paint(state, colour)}  {cut(said, WIDTH - 13 - width)}"
        if not workspace.instigators:
            yield "none"

    def _storage(self) -> Iterator[str]:
        storage = self._facts.storage
        if isinstance(storage, Unknown):
            yield self._unknown(storage)
            return
        total = storage.disk_used + storage.disk_free
        full = share(storage.disk_used, total)
        said = f"disk {full:.0%} of {size(total)} used, {size(storage.disk_free)} free"
        databases = ", ".join(f"{name} {size(number)}" for name, number in sorted(storage.databases.items()))
        yield f"{self._paint(said, RED if full >= FULL else '')}; databases: {databases}"
        roles = [
            f"{role.name} {role.used}" + (f" of {role.limit}" if role.limit is not None else "")
            for role in storage.roles
        ]
        spent = share(storage.connections, storage.max_connections) >= FULL or any(map(is_full, storage.roles))
        said = f"connections {storage.connections} of {storage.max_connections}: {', '.join(roles)}"
        for line in textwrap.wrap(said, WIDTH - 2, subsequent_indent="  "):
            yield self._paint(line, RED if spent else "")

    def _verdict(self) -> Iterator[str]:
        problems = self._judgement.problems
        if not problems:
            yield self._paint("nothing needs a person", GREEN)
        for problem in problems:
            yield self._paint(verdict(problem), RED)


def _merged(blocks: Iterable[tuple[str, Iterable[str]]]) -> Iterator[tuple[str, list[str]]]:
    """The blocks, in which several in a row that are not known for the same reason are one."""
    for lines, members in groupby(((title, list(block)) for title, block in blocks), key=lambda block: block[1]):
        titles = [title for title, _ in members]
        if len(lines) == 1 and "not known: " in lines[0]:
            yield ", ".join(titles), lines
        else:
            yield from ((title, lines) for title in titles)


def verdict(problem: Problem) -> str:
    """A problem as one line; what is wrong is cut where the line gets too long, and the next step is not."""
    head, tail = "needs a person: ", f"; next: {problem.next}"
    return head + shorten(problem.what, max(WIDTH - len(head) - len(tail), 30)) + tail


def cut(text: str, width: int) -> str:
    """A text of at most so many characters, without its end where it is longer."""
    return text if len(text) <= width else f"{text[: max(width - 1, 0)]}…"


def shorten(text: str, width: int) -> str:
    """A text of at most so many characters, without its middle where it is longer."""
    if len(text) <= width:
        return text
    head = max(width - 1, 0) * 2 // 3
    tail = max(width - 1 - head, 0)
    return f"{text[:head]}…{text[len(text) - tail :]}"


def size(number: int) -> str:
    """A number of bytes in the unit that fits: ``12 MB``, ``1.5 GB``."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
