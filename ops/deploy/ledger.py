"""Where the history is kept, and the lock: both on the engine, so that every clone and every CI job sees the same."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ops.command import ROOT, CommandError, inspect, run
from ops.deploy.history import Record, from_lines, to_line

# A volume of its own: docker-compose.yml does not know it, so only `make destroy` removes it.
FOLDER = "/deployments"


class LockedError(RuntimeError):
    """Someone else deploys this location right now."""


@dataclass(frozen=True)
class Ledger:
    """The history of one location, while this process alone may write it."""

    location: str
    container: str

    def read(self) -> list[Record]:
        """All records, the oldest first."""
        script = 'cat "$0" 2>/dev/null || true'
        return from_lines(run("docker", "exec", self.container, "sh", "-c", script, self._file))

    def append(self, record: Record) -> None:
        """Adds a record. It begins with an end of line, for the one before may have been cut off by a crash."""
        script = 'cat >> "$0" && sync "$0"'
        line = f"\n{to_line(record)}\n"
        run("docker", "exec", "--interactive", self.container, "sh", "-c", script, self._file, stdin=line)

    def forget(self) -> None:
        """Removes the history."""
        run("docker", "exec", self.container, "rm", "-f", self._file)

    @property
    def _file(self) -> str:
        return f"{FOLDER}/{self.location}.jsonl"


def volume(project: str) -> str:
    """The volume of all histories."""
    return f"{project}_deployments"


def read_all(project: str, toolbox: str) -> list[Record]:
    """The records of all locations, without taking a lock."""
    if inspect("volume", volume(project)) is None:
        return []
    mount = f"{volume(project)}:{FOLDER}:ro"
    script = f"cat {FOLDER}/*.jsonl 2>/dev/null || true"
    return from_lines(run(*_ON_TOOLBOX, "--volume", mount, toolbox, "sh", "-c", script))


_ON_TOOLBOX = ("docker", "run", "--rm", "--pull", "never", "--network", "none", "--user", "root")


@contextmanager
def locked(project: str, location: str, toolbox: str, by: str) -> Iterator[Ledger]:
    """Keeps everyone else from deploying a location, on whatever machine they are.

    The lock is a container of a name that only one can have, and it lives as long as its standard input is open. This
    process holds the other end, and every command that it starts does, too: so the lock is gone when all of them have
    ended, however they ended, and not before.

    Raises:
        LockedError: someone else has it.
        CommandError: the engine or the platform's image is not there.
    """
    container = f"{project}-{location}-deploy"
    # Of the project, so `make down` and `make destroy` end it.
    labels = ("--label", f"project={project}", "--label", f"deployed-by={by}")
    mount = ("--volume", f"{volume(project)}:{FOLDER}")
    reading, writing = os.pipe()
    try:
        holder = subprocess.Popen(
            [
                *(*_ON_TOOLBOX, "--interactive", "--init", "--name", container, *labels, *mount, toolbox),
                *("sh", "-c", "echo locked; exec cat"),
            ],
            cwd=ROOT,
            stdin=reading,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the deploy, which puts things right before it lets go.
            start_new_session=True,
        )
    finally:
        os.close(reading)
    os.set_inheritable(writing, True)
    try:
        assert holder.stdout
        assert holder.stderr
        if holder.stdout.readline() != "locked\n":
            said = holder.stderr.read().strip()
            if "already in use" in said:
                raise LockedError(_who(container, location))
            raise CommandError(f"The history of the deploys cannot be opened: {said}")
        yield Ledger(location, container)
    finally:
        os.close(writing)
        holder.wait()


def _who(container: str, location: str) -> str:
    holder = inspect("container", container) or {"Config": {"Labels": {}}, "Created": "?"}
    by = holder["Config"]["Labels"].get("deployed-by", "someone")
    return (
        f"{location} is being deployed by {by} since {holder['Created'][:19]} UTC. Try again when that has ended; "
        f"where that machine is gone for good: docker rm --force {container}"
    )
