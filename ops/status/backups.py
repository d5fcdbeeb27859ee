"""What the service `backups` says of the backups and of the archiving of Postgres's log."""

import json

from ops.command import run
from ops.status.facts import Backups, Repository


def backups(container: str) -> Backups:
    """Asks the service, by the id of its container."""
    return read_backups(run("docker", "exec", container, "backups", "state", timeout=60))


def read_backups(state: str) -> Backups:
    """What the service prints about itself."""
    found = json.loads(state)
    archiver = found.pop("archiver")
    return Backups(
        repositories=tuple(
            Repository(
                key=one["key"],
                backups=len(one["backups"]),
                newest=max((each["stop"] for each in one["backups"]), default=None),
                size=sum(each["bytes"] for each in one["backups"]),
                encrypted=one["encrypted"],
                error=one["error"],
                answers=one["answers"],
            )
            for one in found.pop("repositories")
        ),
        volumes=tuple(found.pop("volumes")),
        **{name: archiver[name] for name in ("archived", "waiting", "waiting_since", "checksums")},
        **found,
    )
