"""The compose stack and its Postgres, driven from the host by the commands that anyone could type."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from typing import IO, Any

from ops.command import ROOT

Ask = Callable[[str], "list[str]"]
DATABASES = ("dagster", "warehouse")
_IN_POSTGRES = ("docker", "compose", "exec", "-T", "postgres")
_END = "end of the answer"


class OperationError(RuntimeError):
    """What was asked for was not done; the message says why, what is there now, and the next step."""


def run(*command: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None) -> str:
    """Runs a command in the project's folder and returns what it prints, unless that goes to a file.

    Raises:
        OperationError: it failed; the message is what it said.
    """
    ended = subprocess.run(
        command, cwd=ROOT, stdin=stdin or subprocess.DEVNULL, stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE
    )
    if ended.returncode != 0:
        said = ended.stderr.decode(errors="replace").strip()
        raise OperationError(f"{' '.join(command[:6])} … failed (exit code {ended.returncode}): {said}")
    return "" if stdout else ended.stdout.decode()


def settings() -> dict[str, Any]:
    """The compose model with all settings filled in, .env included."""
    model: dict[str, Any] = json.loads(run("docker", "compose", "config", "--format", "json"))
    return model


def running(service: str) -> bool:
    """Whether a service's container runs."""
    return service in run("docker", "compose", "ps", "--services", "--status", "running").split()


def in_postgres(*command: str, **environment: str) -> list[str]:
    """The command line that runs a command in the container of the postgres service, as the superuser."""
    env = [part for name, value in {"PGUSER": "postgres", **environment}.items() for part in ("-e", f"{name}={value}")]
    return [*_IN_POSTGRES[:-1], *env, _IN_POSTGRES[-1], *command]


def query(database: str, statement: str) -> list[str]:
    """Runs a statement as the superuser and returns its rows, the columns of one joined by ``|``.

    Raises:
        OperationError: the server refused, or is not there.
    """
    return run(*in_postgres("psql", "-d", database, "-v", "ON_ERROR_STOP=1", "-qtAXc", statement)).splitlines()


@contextlib.contextmanager
def session(database: str) -> Iterator[Ask]:
    """Opens a session of the superuser that stays open from one statement to the next, and yields what asks it.

    What asks it takes a statement, and returns and raises what ``query`` does.
    """
    psql = subprocess.Popen(
        in_postgres("psql", "-d", database, "-v", "ON_ERROR_STOP=1", "-qtAX"),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert psql.stdin is not None
    assert psql.stdout is not None
    to_psql, from_psql = psql.stdin, psql.stdout

    def ask(statement: str) -> list[str]:
        with contextlib.suppress(BrokenPipeError):  # what psql said at its end is read below
            to_psql.write(f"{statement};\nselect '{_END}';\n")
            to_psql.flush()
        rows: list[str] = []
        for line in from_psql:
            if line.rstrip("\n") == _END:
                return rows
            rows.append(line.rstrip("\n"))
        raise OperationError(f"Postgres: {' '.join(rows)}")

    try:
        yield ask
    finally:
        # An open transaction ends with its session, and the session with its input.
        with contextlib.suppress(BrokenPipeError):
            to_psql.close()
        from_psql.close()
        psql.wait()
