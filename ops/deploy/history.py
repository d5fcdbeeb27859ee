"""What was deployed when, and what follows from it; pure."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# What an attempt came to. Only the last record of an attempt counts.
REPLACING = "replacing"  # the container is being replaced; nothing after it: interrupted there
DEPLOYED = "deployed"
REFUSED = "refused"  # before anything was touched
RESTORED = "restored"  # the new one did not work, and the previous one is back
FAILED = "failed"  # neither works


@dataclass(frozen=True)
class Version:
    """An image by its tag, and by the id that tells whether the tag still means it."""

    tag: str
    image: str


@dataclass(frozen=True)
class Record:
    """One line of a location's history.

    Attributes:
        attempt: id of the deploy or rollback that wrote it.
        at: when, UTC, as ISO 8601.
        location: name of the location.
        action: ``deploy`` or ``rollback``.
        version: what was to be deployed.
        by: who asked for it.
        result: one of the results above.
        reason: why, where it is not deployed; what was forced, where it is.
        previous: what ran before, if anything did.
    """

    attempt: str
    at: str
    location: str
    action: str
    version: Version
    by: str
    result: str
    reason: str = ""
    previous: Version | None = None


def to_line(record: Record) -> str:
    """One line of JSON."""
    return json.dumps(dataclasses.asdict(record))


def from_lines(text: str) -> list[Record]:
    """Reads the lines of a history, the oldest first. A line that a crash cut off says nothing and is left out."""
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
    last: dict[str, Record] = {}
    for record in records:
        last[record.attempt] = record
    return list(last.values())


def unverified(records: Iterable[Record]) -> Record | None:
    """The last attempt that touched the container, if it ended there or failed: what runs was never verified."""
    touched = [record for record in attempts(records) if record.result != REFUSED]
    return touched[-1] if touched and touched[-1].result in (REPLACING, FAILED) else None


def good(records: Iterable[Record]) -> list[Version]:
    """The versions to go back through, the one in use last.

    A rollback takes off what it goes back from, so one more goes further back instead of forth.
    """
    stack: list[Version] = []
    for record in attempts(records):
        if record.result != DEPLOYED:
            continue
        if record.action == "rollback":
            while stack and stack[-1] != record.version:
                stack.pop()
        elif record.previous and (not stack or stack[-1] != record.previous):
            # What ran before the first deploy, or what someone started by hand.
            stack.append(record.previous)
        if not stack or stack[-1] != record.version:
            stack.append(record.version)
    return stack


def before_deploy(records: Sequence[Record], running: Version | None) -> Version | None:
    """What to put back where a deploy fails: what runs, unless nobody ever verified it."""
    if attempt := unverified(records):
        proven = good(records)
        return proven[-1] if proven else attempt.previous
    return running


def rollback_target(records: Sequence[Record], running: Version | None) -> Version | None:
    """What a rollback goes to: the last good version that is not what runs; None where there is none."""
    stack = good(records)
    if attempt := unverified(records):
        return stack[-1] if stack else attempt.previous
    if stack and running == stack[-1]:
        stack.pop()
    return stack[-1] if stack else None


def prunable(records: Sequence[Record], needed: Iterable[str], keep: int) -> list[str]:
    """The tags that this history names and nobody needs any more.

    Args:
        records: the whole history of a location.
        needed: tags that a run or a container needs.
        keep: how many of the versions that were deployed last stay, to go back to.
    """
    last_deployed: list[str] = []
    for record in reversed(attempts(records)):
        if record.result == DEPLOYED and record.version.tag not in last_deployed:
            last_deployed.append(record.version.tag)
    stay = {*last_deployed[:keep], *(version.tag for version in good(records)[-keep:]), *needed}
    named = dict.fromkeys(record.version.tag for record in attempts(records))
    return [tag for tag in named if tag not in stay]
