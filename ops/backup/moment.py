"""Restores the whole Postgres cluster from the repository of the service `backups`, to a moment or to the last commit.

Each restore begins a new timeline. A moment is restored on the timeline that was current at that moment, from a backup
that this timeline contains.
"""

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ops import compose
from ops.command import CommandError, OpsError, log, run

# How long Postgres may apply the log without reaching the moment.
_RECOVERY_SECONDS = 24 * 3600
_NOT_REACHED = "recovery ended before configured recovery target was reached"
# pgBackRest's errors for a file with a wrong checksum, form or key, and for one that is missing.
_DAMAGED = re.compile(r"ERROR: \[0(26|28|29|55|95)\]")
# The volume may hold a cluster, a damaged one, or what an interrupted restore left. Nothing uses it now.
_RESTORE = """
rm --force "$PGDATA/postmaster.pid"
test -s "$PGDATA/PG_VERSION" || find "$PGDATA" -mindepth 1 -delete
exec pgbackrest restore --delta "$@"
"""


@dataclass(frozen=True)
class Timeline:
    """A timeline of the cluster: its number, when it began, and where (LSN) each of its ancestors ended."""

    number: int
    began: float
    ancestors: Mapping[int, int]

    def contains(self, backup: Mapping[str, Any]) -> bool:
        timeline, end = int(backup["archive"]["start"][:8], 16), lsn(backup["lsn"]["stop"])
        return timeline == self.number or end <= self.ancestors.get(timeline, -1)


class _DamagedError(OpsError):
    """A file of a backup is damaged or missing."""


@dataclass(frozen=True)
class Start:
    """Where a recovery starts: a backup in a repository, and the timeline that it follows.

    ``stop`` is the position in the log (LSN) where the backup ended, ``stopped`` the time, in seconds since 1970.
    ``archived`` is the last segment of the timeline's log that the repository has, without the timeline's digits; empty
    if it has none.
    """

    repository: int
    label: str
    timeline: int
    stop: int
    stopped: float
    archived: str


def lsn(text: str) -> int:
    """A position in the log, such as ``0/3000028``, as a number."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def parse(text: str) -> datetime:
    """A moment such as ``2026-01-31 12:00``, in this machine's time zone unless it names one; raises OpsError."""
    try:
        moment = datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise OpsError(f'TO={text!r} is not a moment. Give one such as TO="2026-01-31 12:00".') from None
    if moment > datetime.now(UTC):
        raise OpsError(f"TO={text!r} is in the future. Leave TO out to restore everything that is archived.")
    return moment


def choose(
    backups: Sequence[Mapping[str, Any]], timelines: Iterable[Timeline], moment: datetime | None
) -> tuple[list[Mapping[str, Any]], int]:
    """The backups from which a moment (None: the end) can be reached, and the timeline to follow.

    ``backups`` are pgBackRest's of one repository, oldest first. The result has the newest first, and none if no backup
    is old enough.
    """
    limit = moment.timestamp() if moment else float("inf")
    first = Timeline(1, 0, {})
    timeline = max((one for one in [first, *timelines] if one.began <= limit), key=lambda one: one.number)
    fitting = [one for one in backups if one["timestamp"]["stop"] <= limit and timeline.contains(one)]
    return fitting[::-1], timeline.number


def find_starts(moment: datetime | None) -> list[Start]:
    """Asks the repositories for backups of one cluster to start from; raises OpsError if none has one.

    The first is the newest of the first repository that has one. The others follow, the newest first.
    """
    # Not strict: the errors in it have line ends.
    (stanza,) = json.loads(_pgbackrest("info", "--output=json"), strict=False) or [{}]
    backups = [one for one in stanza.get("backup", []) if not one["error"]]
    clusters = {(one["repo-key"], one["id"]): one["system-id"] for one in stanza.get("db", [])}
    starts, restored = [], None
    for repository in (one["key"] for one in stanza.get("repo", [])):
        # The newest cluster first, where the repository has had several.
        for archive in reversed(stanza["archive"]):
            of_it = [one for one in backups if one["database"] == archive["database"]]
            cluster = clusters.get((repository, archive["database"]["id"]))
            if archive["database"]["repo-key"] != repository or not of_it or restored not in (None, cluster):
                continue
            timelines = _timelines(repository, f"archive/{stanza['name']}/{archive['id']}")
            fitting, timeline = choose(of_it, timelines, moment)
            archived = last_segment(archive["max"], timeline)
            starts += [
                Start(repository, one["label"], timeline, lsn(one["lsn"]["stop"]), one["timestamp"]["stop"], archived)
                for one in fitting
            ]
            if fitting:
                restored = cluster
                break
    if starts:
        return [starts[0], *sorted(starts[1:], key=lambda one: one.stopped, reverse=True)]
    if not backups:
        reasons = ", ".join(f"repository {one['key']}: {_reason(one['status'])}" for one in stanza.get("repo", []))
        raise OpsError(
            f"There is no backup to restore from ({reasons or 'no repository'}). Nothing was changed. "
            "BACKUP_REPOSITORY and BACKUP_SETTINGS_DIR say where backups are (docs/backup.md)."
        )
    oldest = datetime.fromtimestamp(min(one["timestamp"]["stop"] for one in backups)).astimezone()
    raise OpsError(f"The oldest backup is of {oldest:%Y-%m-%d %H:%M:%S %Z}. Nothing was changed. Give a later moment.")


def last_segment(newest: str | None, timeline: int) -> str:
    """The name of a repository's newest segment without its timeline, or nothing if it is of another timeline."""
    return newest[8:] if newest and int(newest[:8], 16) == timeline else ""


def _reason(status: Mapping[str, Any]) -> str:
    """What pgBackRest says about a repository, in one line."""
    message = str(status["message"])
    if "FormatError" in message or "CryptoError" in message:
        return "it cannot be read: it is encrypted with another key than that of BACKUP_SETTINGS_DIR, or damaged"
    return message.splitlines()[0]


def recover(starts: Sequence[Start], moment: datetime | None) -> None:
    """Replaces the cluster, whose Postgres is stopped, and starts Postgres; returns when it has recovered.

    It passes over damaged backups. The log leads from an older one to the same moment, unless a part of it is missing.
    """
    for number, start in enumerate(starts):
        log(f"restoring from the backup {start.label} to {moment or 'the last commit that is archived'}")
        try:
            to_the_end = _recover_from(start, moment)
        except _DamagedError as error:
            log(f"the backup {start.label} of repository {start.repository} cannot be restored: {error}")
            continue
        reached = lsn(compose.query("postgres", "select pg_current_wal_lsn()")[0])
        if missed := [one.label for one in starts[:number] if one.stop > reached]:
            raise OpsError(
                f"A part of the log between the backups {start.label} and {missed[-1]} is missing. All commits until "
                "then are restored, and those after it are not. To continue with what is restored: make up"
            )
        # Postgres takes a segment that it cannot get for the end of the log, whatever the reason.
        segment = compose.query("postgres", "select pg_walfile_name(pg_current_wal_lsn())")[0][8:]
        last = max(one.archived for one in starts if one.timeline == start.timeline)
        if to_the_end and segment < last:
            raise OpsError(
                f"A part of the log is missing or damaged: it was applied up to segment {start.timeline:08X}{segment}, "
                f"and goes on to {start.timeline:08X}{last}. All commits until then are restored, and those after it "
                "are not. To continue with what is restored: make up"
            )
        return
    raise OpsError(
        "All these backups are damaged, and Postgres's volume may be incomplete. When one is mended, the same command, "
        "with FORCE=1, tries again."
    )


def _recover_from(start: Start, moment: datetime | None) -> bool:
    """Recovers; returns whether it went to the end of the log instead of to a moment."""
    options = [f"--repo={start.repository}", f"--set={start.label}", f"--target-timeline={start.timeline}"]
    # The log comes from any repository: one that was left out for a time lacks a part, which another one has.
    options.append('--recovery-option=restore_command=pgbackrest archive-get %f "%p"')
    if moment:
        target = f"--target={moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00"
        _restore(*options, "--type=time", target, "--target-action=promote")
        if _recovered():
            return False
        log("There is no commit after that moment: everything that is archived is restored.")
        run("docker", "compose", "stop", "postgres")
    _restore(*options, "--type=default")
    if not _recovered():
        raise OpsError("Postgres did not recover. See: docker compose logs -n 50 postgres")
    return True


def _restore(*options: str) -> None:
    try:
        compose.run_in("postgres", "sh", "-c", _RESTORE, "restore", *options)
    except CommandError as error:
        if _DAMAGED.search(str(error)):
            raise _DamagedError(str(error)) from None
        again = "Postgres's volume may be incomplete. The same command, with FORCE=1, tries again."
        raise OpsError(f"{error}\n{again}") from None


def _recovered() -> bool:
    """Starts Postgres and waits for the end of its recovery; false if the log ended before the moment."""
    began = time.time()
    run("docker", "compose", "up", "--detach", "--no-deps", "postgres")
    while time.time() < began + _RECOVERY_SECONDS:
        try:
            if compose.query("postgres", "select pg_is_in_recovery()") == ["f"]:
                return True
        except CommandError:  # it is starting, or restarting
            since = str(int(began))
            said = run("docker", "compose", "logs", "--no-log-prefix", "--since", since, "postgres")
            if _NOT_REACHED in said:
                return False
            if fatal := [
                line for line in said.splitlines() if "FATAL: " in line and "the database system is" not in line
            ]:
                raise OpsError(
                    f"Postgres does not recover: {fatal[0]}. The same command, with FORCE=1, tries again. "
                    "See: docker compose logs postgres"
                ) from None
        time.sleep(1)
    raise OpsError(
        f"Postgres has not recovered in {_RECOVERY_SECONDS // 3600} hours. See: docker compose logs postgres"
    )


def _timelines(repository: int, folder: str) -> list[Timeline]:
    listed = _pgbackrest("repo-ls", f"--repo={repository}", "--output=json", "--filter=\\.history$", folder)
    found = []
    for name, file in json.loads(listed).items():
        if name.endswith(".history"):
            history = _pgbackrest("repo-get", f"--repo={repository}", f"{folder}/{name}")
            rows = [line.split() for line in history.splitlines() if line.strip() and line.lstrip()[0] != "#"]
            found.append(Timeline(int(name[:8], 16), file["time"], {int(row[0]): lsn(row[1]) for row in rows}))
    return found


def _pgbackrest(*arguments: str) -> str:
    return compose.run_in("postgres", "pgbackrest", *arguments)
