"""Gives a location's role in Postgres a new password while its runs are active: `make rotate-password LOCATION=…`.

Runs and code servers read the password file at each new connection, but a role has only one password. A connection that
read the old file would fail against the new password, and the other way round; no order of the two changes avoids this,
and a team's code may not retry. So during the change, Postgres accepts this role without a password from one address
only: that of the location's gateway, which only this location can reach.
"""

import getpass
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from typer import Argument

from ops import compose
from ops.command import OpsError, inspect, log, run
from ops.deploy.ledger import locked
from ops.locations import LOCATIONS, LocationError

# The role of webserver and daemon.
HOST_ROLE = "dagster"
# A connection that has read the file reaches Postgres within milliseconds; a busy machine takes longer.
_GRACE_SECONDS = 10
_RELOAD_SECONDS = 30
# Replaces the lines of a role in pg_hba.conf: $0 is the role, $1 the mark of its new lines, the rest are these lines.
# They are removed after two minutes, even if the command was killed.
_SET_LINES = """
set -e
cd "$PGDATA"
umask 077
mark=$1
shift
# $1 is a pattern of the lines to remove; the rest are new lines.
replace() {
  gone=$1
  shift
  { for line; do echo "$line $mark"; done; sed "/$gone/d" pg_hba.conf; } > pg_hba.new
  chown --reference=pg_hba.conf pg_hba.new
  mv pg_hba.new pg_hba.conf
}
replace "# make rotate-password LOCATION=$0 " "$@"
if [ $# != 0 ]; then
  { sleep 120; replace "$mark"; psql --command 'select pg_reload_conf()'; } > /dev/null 2>&1 &
fi
"""
_LOGIN = """
import sys, psycopg2
psycopg2.connect(host="postgres", dbname="dagster", user=sys.argv[1], passfile=f"/credentials/{sys.argv[1]}/pgpass")
"""


def rotate_password(
    location: Annotated[
        str, Argument(metavar="LOCATION", help="Name of the location, or dagster for webserver and daemon.")
    ],
) -> None:
    """Give a role of the stack a new password; no run fails. An interrupted rotation is repeated."""
    if location not in (*LOCATIONS, HOST_ROLE):
        names = ", ".join(LOCATIONS)
        raise LocationError(f"LOCATION={location!r} is not a location. Give one of {names}, or {HOST_ROLE}.")
    if not compose.is_running("postgres"):
        raise OpsError("Postgres does not run, so no password was changed. Start the stack: make up")
    stack = compose.config()
    with locked(stack["name"], location, stack["services"]["webserver"]["image"], getpass.getuser()):
        services = ("webserver", "daemon") if location == HOST_ROLE else (f"{location}_gateway",)
        addresses = [address for service in services for address in _addresses(stack["name"], service)]
        with _trusted(location, addresses):
            apply = ("python", "-m", "services.migrate.apply", "--credentials=/credentials")
            compose.run_in("migrate", *apply, f"--rotate={location}")
            time.sleep(_GRACE_SECONDS)
        compose.run_in("migrate", "python", "-c", _LOGIN, location)
    log(f"{location} has a new password, which its containers use from now on.")


def _addresses(project: str, service: str) -> list[str]:
    """The addresses of a service's containers in the network of Postgres."""
    networks = [
        container["NetworkSettings"]["Networks"][f"{project}_platform"]
        for id in run("docker", "compose", "ps", "--quiet", service).split()
        if (container := inspect("container", id))
    ]
    return [f"{network['IPAddress']}/32" for network in networks if network["IPAddress"]]


@contextmanager
def _trusted(role: str, addresses: list[str]) -> Iterator[None]:
    """Lets a role log in without a password from these addresses during a ``with``."""
    try:
        # The first line that fits decides.
        _set_lines(role, *(f"host all {role} {address} trust" for address in addresses))
        yield
    finally:
        _set_lines(role)


def _set_lines(role: str, *lines: str) -> None:
    before = compose.query("postgres", "select pg_conf_load_time()")
    mark = f"# make rotate-password LOCATION={role} {secrets.token_hex(4)}"
    run(*compose.in_postgres("sh", "-c", _SET_LINES, role, mark, *lines))
    if errors := compose.query("postgres", "select error from pg_hba_file_rules where error is not null"):
        raise OpsError(f"Postgres cannot read its pg_hba.conf: {errors[0]}. It keeps the rules that it has.")
    compose.query("postgres", "select pg_reload_conf()")
    end = time.monotonic() + _RELOAD_SECONDS
    while compose.query("postgres", "select pg_conf_load_time()") == before:
        if time.monotonic() > end:
            raise OpsError(f"Postgres has not read its pg_hba.conf within {_RELOAD_SECONDS} s. Repeat the command.")
        time.sleep(0.2)
