"""Applies the databases, roles, schemas and grants, at every start: a second run changes nothing.

Connects as a superuser, by libpq's own settings (PGHOST, PGUSER, …). The databases are in this folder. Every location
with a ``warehouse.sql`` has a login role of the location's name; the file says what that role owns and may do in the
database ``warehouse``.
"""

import argparse
import secrets
import sys
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case
from psycopg2.extensions import encrypt_password

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
INSTANCE_ROLE = "dagster"


class ConnectionLimitError(RuntimeError):
    """A role's limit of connections is missing, or all of them are too many; the message names the files."""


def location_roles() -> list[str]:
    """The login roles of the locations: one for each that has a ``warehouse.sql``."""
    return sorted(path.parent.name for path in ROOT.glob("*_location/warehouse.sql"))


def apply(dsn: str = "", credentials: Path | None = None) -> None:
    """Creates what is missing and sets all rights.

    Args:
        dsn: libpq connection string of a superuser, without a database; empty means libpq's environment.
        credentials: folder with one folder per role, where each role's password file is kept; None leaves the roles
            without passwords, for a server that trusts its socket.

    Raises:
        psycopg2.Error: the server refused a statement.
        ConnectionLimitError: a role has no limit of connections, or the server cannot keep them all.
    """
    roles = [INSTANCE_ROLE, *location_roles()]
    server = psycopg2.connect(dsn, dbname="postgres")
    server.autocommit = True  # create database cannot run in a transaction
    try:
        for role in roles:
            _create_role(server, role)
        if credentials is not None:
            _set_passwords(server, roles, credentials)
        for database in ("dagster", "warehouse"):
            _create_database(server, database)
    finally:
        server.close()

    _run_file(dsn, "dagster", FOLDER / "dagster.sql")
    _run_file(dsn, "warehouse", FOLDER / "warehouse.sql")
    for role in location_roles():
        _run_file(dsn, "warehouse", ROOT / role / "warehouse.sql")
    _check_connection_limits(dsn, roles)


def _create_role(server: Connection, role: str) -> None:
    with server.cursor() as cursor:
        cursor.execute("select from pg_roles where rolname = %s", (role,))
        if cursor.fetchone() is None:
            cursor.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))


def _create_database(server: Connection, database: str) -> None:
    with server.cursor() as cursor:
        cursor.execute("select from pg_database where datname = %s", (database,))
        if cursor.fetchone() is None:
            cursor.execute(sql.SQL("create database {}").format(sql.Identifier(database)))


def _run_file(dsn: str, database: str, path: Path) -> None:
    connection = psycopg2.connect(dsn, dbname=database)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(path.read_text())
    finally:
        connection.close()


def _check_connection_limits(dsn: str, roles: list[str]) -> None:
    """Checks that no role can take another one's connections: each has a limit, and the server has room for all."""
    connection = psycopg2.connect(dsn, dbname="postgres")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("select rolname, rolconnlimit from pg_roles where rolname = any(%s)", (roles,))
            limits: dict[str, int] = dict(cursor.fetchall())
            cursor.execute(
                "select sum(case name when 'max_connections' then setting::int else -setting::int end) from pg_settings"
                " where name in ('max_connections', 'superuser_reserved_connections', 'reserved_connections')"
            )
            ((room,),) = cursor.fetchall()
    finally:
        connection.close()
    for role, limit in limits.items():
        if limit < 0:
            raise ConnectionLimitError(
                f"The role {role} has no limit of connections, so it could take everyone's. "
                f"Add to {_sql_file(role)}: alter role {role} connection limit 10;"
            )
    if sum(limits.values()) > room:
        each = ", ".join(f"{role} {limit}" for role, limit in sorted(limits.items()))
        raise ConnectionLimitError(
            f"The roles may have {sum(limits.values())} connections together ({each}), and Postgres has {room} for "
            "them. Raise max_connections of the postgres service in docker-compose.yml, or lower a limit in "
            "<location>/warehouse.sql."
        )


def _sql_file(role: str) -> str:
    return "services/migrate/dagster.sql" if role == INSTANCE_ROLE else f"{role}/warehouse.sql"


def _set_passwords(server: Connection, roles: list[str], credentials: Path) -> None:
    passwords = {role: _kept_password(credentials / role / "pgpass", role) for role in roles}
    with server.cursor() as cursor:
        # Dagster connects anew for almost every event, and each connection counts these. They slow down whoever guesses
        # passwords, which 192 random bits do not need; 4096, the default, is 2.2 ms of the client's CPU, 1 is none.
        cursor.execute("set scram_iterations = 1")
        for role, password in passwords.items():
            # Encrypted here, so that the password itself is in no log of the server.
            secret = encrypt_password(password, role, server, "scram-sha-256")
            cursor.execute(sql.SQL("alter role {} password %s").format(sql.Identifier(role)), (secret,))
    for role, password in passwords.items():
        lines = [f"*:*:dagster:{INSTANCE_ROLE}:{passwords[INSTANCE_ROLE]}"]
        if role != INSTANCE_ROLE:
            lines.append(f"*:*:warehouse:{role}:{password}")
        path = credentials / role / "pgpass"
        path.touch(mode=0o600)  # libpq ignores a password file that others may read
        path.write_text("\n".join(lines) + "\n")


def _kept_password(path: Path, role: str) -> str:
    """The role's password in its password file, or a new one where there is none yet."""
    if path.exists():
        for line in path.read_text().splitlines():
            *_, user, password = line.split(":")
            if user == role:
                return password
    return secrets.token_hex(24)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--credentials", type=Path, help="folder of the roles' password files")
    try:
        apply(credentials=parser.parse_args().credentials)
    except ConnectionLimitError as error:
        sys.exit(f"warehouse: {error}")
