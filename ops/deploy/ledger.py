"""The history of the deploys and their lock. Both are on the engine, so every clone and every CI job shares them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ops.command import OpsError, inspect, run
from ops.deploy.records import Record, from_lines, to_line

# Where the volume is mounted. docker-compose.yml does not declare the volume, so only `make destroy` removes it.
FOLDER = "/deployments"


@dataclass(frozen=True)
class Ledger:
    """The history of one location, which only this process may write."""

    location: str
    container: str

    def read(self) -> list[Record]:
        script = 'cat "$0" 2>/dev/null || true'
        return from_lines(run("docker", "exec", self.container, "sh", "-c", script, self._file))

    def append(self, record: Record) -> None:
        """Adds a record. It begins with a line break, since a crash may have cut the record before it."""
        script = 'cat >> "$0" && sync "$0"'
        line = f"\n{to_line(record)}\n"
        run("docker", "exec", "--interactive", self.container, "sh", "-c", script, self._file, stdin=line)

    def forget(self) -> None:
        run("docker", "exec", self.container, "rm", "-f", self._file)

    @property
    def _file(self) -> str:
        return f"{FOLDER}/{self.location}.jsonl"


def read_all(project: str, toolbox: str) -> list[Record]:
    """The records of all locations, read without the lock."""
    if inspect("volume", f"{project}_deployments") is None:
        return []
    mount = f"{project}_deployments:{FOLDER}:ro"
    script = f"cat {FOLDER}/*.jsonl 2>/dev/null || true"
    return from_lines(run(*_ON_TOOLBOX, "--volume", mount, toolbox, "sh", "-c", script))


_ON_TOOLBOX = ("docker", "run", "--rm", "--pull", "never", "--network", "none", "--user", "root")


@contextmanager
def locked(project: str, location: str, toolbox: str, by: str) -> Iterator[Ledger]:
    """Locks a location, so that nobody else deploys it, from any machine, and opens its history.

    The lock is a container with a unique name, which exits when its standard input is closed. This process and every
    command that it starts hold the other end of that pipe, so the lock ends when all of them have ended, however they
    end, and not earlier.
    """
    container = f"{project}-{location}-deploy"
    # With the project's label, so that `make down` and `make destroy` stop it.
    labels = ("--label", f"project={project}", "--label", f"deployed-by={by}")
    mount = ("--volume", f"{project}_deployments:{FOLDER}")
    start = (*_ON_TOOLBOX, "--interactive", "--init", "--name", container, *labels, *mount, toolbox)
    command = [*start, "sh", "-c", "echo locked; exec cat"]
    pipe = subprocess.PIPE
    reading, writing = os.pipe()
    try:
        # In a session of its own: Ctrl-C must reach only the deploy, which cleans up before it releases the lock.
        holder = subprocess.Popen(command, stdin=reading, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    finally:
        os.close(reading)
    os.set_inheritable(writing, True)
    try:
        assert holder.stdout
        assert holder.stderr
        if holder.stdout.readline() != "locked\n":
            message = holder.stderr.read().strip()
            if "already in use" in message:
                raise OpsError(_held(container, location))
            raise OpsError(f"The history of the deploys cannot be opened: {message}")
        yield Ledger(location, container)
    finally:
        os.close(writing)
        holder.wait()


def _held(container: str, location: str) -> str:
    holder = inspect("container", container) or {"Config": {"Labels": {}}, "Created": "?"}
    by = holder["Config"]["Labels"].get("deployed-by", "someone")
    step = f"Try again when that has ended; if that machine is gone for good: docker rm --force {container}"
    return f"{location} is being deployed by {by} since {holder['Created'][:19]} UTC. {step}"
