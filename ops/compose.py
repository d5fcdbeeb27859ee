"""The compose stack and its Postgres, driven from this machine by `docker compose`."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from ops.command import ROOT, OpsError, run, show

Ask = Callable[[str], "list[str]"]
# Gives the command line for a program of Postgres and its arguments; variables of its environment have names.
Command = Callable[..., "list[str]"]
DATABASES = ("dagster", "warehouse")
# The user of all images (useradd in each Dockerfile). In Kubernetes it owns the reports, too.
USER = 10001
_IN_POSTGRES = ("docker", "compose", "exec", "-T", "-e", "PGUSER=postgres")
_RUN = ("docker", "compose", "run", "--rm", "--no-deps", "-T")
_END = "end of the answer"


def config(env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The compose project with all settings filled in; ``env`` takes precedence over this process and .env."""
    return dict(json.loads(run("docker", "compose", "config", "--format", "json", env=env)))


def containers(project: str, service: str, *options: str) -> list[str]:
    """The ids of a service's running containers; ``--all`` adds the others.

    It asks the engine, which takes a tenth of the CPU time of `docker compose ps`.
    """
    labels = {"project": project, "service": service, "oneoff": "False"}
    filters = [f"--filter=label=com.docker.compose.{label}={value}" for label, value in labels.items()]
    return run("docker", "ps", "--quiet", "--no-trunc", *filters, *options).split()


def is_running(service: str) -> bool:
    return service in run("docker", "compose", "ps", "--services", "--status", "running").split()


def run_in(service: str, *command: str, stdin: str = "", stdout: IO[bytes] | None = None) -> str:
    """Runs a command in a new container of a service, without starting other services, and returns its output.

    A file that is given as ``stdout`` gets the output instead.
    """
    return run(*_RUN, service, *command, stdin=stdin, stdout=stdout)


def run_once(service: str, *command: str, env: Mapping[str, str] | None = None) -> None:
    """Runs a one-shot service as it is configured now, or with another command, and leaves no container of it.

    Compose recreates everything that depends on a service that it recreates, but nothing that depends on one that it
    creates. So the next start of the stack must not find a container of a service that has changed since.
    """
    run("docker", "compose", "rm", "--force", service, env=env)
    run(*_RUN, service, *command, env=env)


def build_one_shots() -> None:
    """Builds the image of the one-shot services, and removes their containers; `run_once` explains why."""
    show("docker", "compose", "build", "--quiet", "migrate")
    services = config()["services"]
    image = services["migrate"]["image"]
    run("docker", "compose", "rm", "--force", *(name for name in services if services[name].get("image") == image))


def in_postgres(*command: str, **environment: str) -> list[str]:
    """The command line that runs a command in Postgres's container, as the superuser."""
    variables = [part for name, value in environment.items() for part in ("-e", f"{name}={value}")]
    return [*_IN_POSTGRES, *variables, "postgres", *command]


def query(database: str, statement: str, command: Command = in_postgres) -> list[str]:
    """Runs SQL as the superuser and returns its rows, the columns of each joined by ``|``."""
    return run(*command("psql", "-d", database, "-v", "ON_ERROR_STOP=1", "-qtAXc", statement)).splitlines()


@contextlib.contextmanager
def session(database: str, command: Command = in_postgres) -> Iterator[Ask]:
    """Opens a superuser's session, and yields the function that runs a statement in it, as ``query`` does."""
    line = command("psql", "-d", database, "-v", "ON_ERROR_STOP=1", "-qtAX")
    pipe = subprocess.PIPE
    psql = subprocess.Popen(line, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
    assert psql.stdin is not None
    assert psql.stdout is not None
    to_psql, from_psql = psql.stdin, psql.stdout

    def ask(statement: str) -> list[str]:
        with contextlib.suppress(BrokenPipeError):  # psql has ended; its last words are read below
            to_psql.write(f"{statement};\nselect '{_END}';\n")
            to_psql.flush()
        rows: list[str] = []
        for line in from_psql:
            if line.rstrip("\n") == _END:
                return rows
            rows.append(line.rstrip("\n"))
        raise OpsError(f"Postgres: {' '.join(rows)}")

    try:
        yield ask
    finally:
        # The end of psql's input ends the session, which rolls an open transaction back.
        with contextlib.suppress(BrokenPipeError):
            to_psql.close()
        from_psql.close()
        psql.wait()
