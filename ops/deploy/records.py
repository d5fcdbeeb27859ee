"""The records of the deploys, and what follows from them. Pure functions."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# The result of an attempt, which is that of its last record.
REPLACING = "replacing"  # the container is being replaced; as the last record: interrupted meanwhile
DEPLOYED = "deployed"
REFUSED = "refused"  # before anything was touched
RESTORED = "restored"  # the new version did not work, and the previous one runs again
FAILED = "failed"  # neither version works


@dataclass(frozen=True)
class Version:
    """An image: its tag, and the id that shows whether the tag still refers to it."""

    tag: str
    image: str


@dataclass(frozen=True)
class Record:
    """A line of a location's history."""

    attempt: str  # id of the deploy or rollback that wrote it
    at: str  # UTC, ISO 8601
    location: str
    action: str  # deploy or rollback
    version: Version  # to deploy
    by: str
    result: str  # one of those above
    reason: str = ""  # why it was not deployed, or which breaches were forced
    previous: Version | None = None  # that ran before


def to_line(record: Record) -> str:
    return json.dumps(dataclasses.asdict(record))


def from_lines(text: str) -> list[Record]:
    """Reads the lines of a history, oldest first. A line that was cut by a crash is skipped."""
    records = []
    for line in text.splitlines():
        try:
            read = json.loads(line)
            previous = read.pop("previous")
            version = Version(**read.pop("version"))
            records.append(Record(**read, version=version, previous=Version(**previous) if previous else None))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return records


def attempts(records: Iterable[Record]) -> list[Record]:
    """The last record of each attempt, in the order in which the attempts began."""
    return list({record.attempt: record for record in records}.values())


def unverified(records: Iterable[Record]) -> Record | None:
    """The last attempt that touched the container, if it was interrupted or failed: what runs now is not verified."""
    touched = [record for record in attempts(records) if record.result != REFUSED]
    return touched[-1] if touched and touched[-1].result in (REPLACING, FAILED) else None


def good(records: Iterable[Record]) -> list[Version]:
    """The verified versions, the one in use last. A rollback removes the one that it leaves: a second goes further."""
    stack: list[Version] = []
    for record in attempts(records):
        if record.result != DEPLOYED:
            continue
        if record.action == "rollback":
            while stack and stack[-1] != record.version:
                stack.pop()
        elif record.previous and (not stack or stack[-1] != record.previous):
            # The version before the first deploy, or one that someone started by hand.
            stack.append(record.previous)
        if not stack or stack[-1] != record.version:
            stack.append(record.version)
    return stack


def before_deploy(records: Sequence[Record], running: Version | None) -> Version | None:
    """The version to restore if a deploy fails: the running one, unless it was never verified."""
    if attempt := unverified(records):
        proven = good(records)
        return proven[-1] if proven else attempt.previous
    return running


def rollback_target(records: Sequence[Record], running: Version | None) -> Version | None:
    """The version that a rollback deploys: the last good one that is not running; None if there is none."""
    stack = good(records)
    if attempt := unverified(records):
        return stack[-1] if stack else attempt.previous
    if stack and running == stack[-1]:
        stack.pop()
    return stack[-1] if stack else None


def prunable(records: Sequence[Record], needed: Iterable[str], keep: int) -> list[str]:
    """The tags of a history, without those ``needed`` by a run or a container and the last ``keep`` deployed ones."""
    last_deployed: list[str] = []
    for record in reversed(attempts(records)):
        if record.result == DEPLOYED and record.version.tag not in last_deployed:
            last_deployed.append(record.version.tag)
    stay = {*last_deployed[:keep], *(version.tag for version in good(records)[-keep:]), *needed}
    named = dict.fromkeys(record.version.tag for record in attempts(records))
    return [tag for tag in named if tag not in stay]
