"""Creates databases, roles, schemas and grants, at every start. Idempotent: a second run changes nothing.

Connects as a superuser, by libpq's own settings (PGHOST, PGUSER, …). Each location with a ``warehouse.sql`` has a login
role of its name; the file says what that role owns and may do in the database ``warehouse``.
"""

import argparse
import secrets
import sys
from contextlib import closing
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812, psycopg2's own class name is lower case
from psycopg2.extensions import encrypt_password

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
INSTANCE_ROLE = "dagster"


class ConnectionLimitError(RuntimeError):
    """A role has no connection limit, or the limits exceed what the server has; the message names the file."""


def location_roles() -> list[str]:
    return sorted(path.parent.name for path in ROOT.glob("*_location/warehouse.sql"))


def apply(dsn: str = "", credentials: Path | None = None) -> None:
    """Creates what is missing and sets all rights.

    Args:
        dsn: libpq connection string of a superuser, without a database; empty means libpq's environment.
        credentials: folder with one folder per role, which holds the role's password file; None sets no passwords, for
            a server that trusts its socket.
    """
    roles = [INSTANCE_ROLE, *location_roles()]
    with closing(psycopg2.connect(dsn, dbname="postgres")) as server:
        server.autocommit = True  # create database cannot run in a transaction
        with server.cursor() as cursor:
            for role in roles:
                _create(cursor, "select from pg_roles where rolname = %s", "create role {} login", role)
            if credentials is not None:
                _set_passwords(cursor, roles, credentials)
            for database in ("dagster", "warehouse"):
                _create(cursor, "select from pg_database where datname = %s", "create database {}", database)
    _run_file(dsn, "dagster", FOLDER / "dagster.sql")
    _run_file(dsn, "warehouse", FOLDER / "warehouse.sql")
    for role in location_roles():
        _run_file(dsn, "warehouse", ROOT / role / "warehouse.sql")
    with closing(psycopg2.connect(dsn, dbname="postgres")) as server, server.cursor() as cursor:
        _check_connection_limits(cursor, roles)


def _create(cursor: Cursor, find: str, create: str, name: str) -> None:
    cursor.execute(find, (name,))
    if cursor.fetchone() is None:
        cursor.execute(sql.SQL(create).format(sql.Identifier(name)))


def _run_file(dsn: str, database: str, path: Path) -> None:
    with closing(psycopg2.connect(dsn, dbname=database)) as server, server, server.cursor() as cursor:
        cursor.execute(path.read_text())


def _check_connection_limits(cursor: Cursor, roles: list[str]) -> None:
    """Checks that no role can use up another one's connections: each has a limit, and the server has room for all."""
    cursor.execute("select rolname, rolconnlimit from pg_roles where rolname = any(%s)", (roles,))
    limits: dict[str, int] = dict(cursor.fetchall())
    cursor.execute(
        "select sum(case name when 'max_connections' then setting::int else -setting::int end) from pg_settings"
        " where name in ('max_connections', 'superuser_reserved_connections', 'reserved_connections')"
    )
    ((room,),) = cursor.fetchall()
    for role, limit in limits.items():
        if limit < 0:
            path = "services/migrate/dagster.sql" if role == INSTANCE_ROLE else f"{role}/warehouse.sql"
            raise ConnectionLimitError(
                f"The role {role} has no limit of connections, so it could use up all of them. "
                f"Add to {path}: alter role {role} connection limit 10;"
            )
    if sum(limits.values()) > room:
        each = ", ".join(f"{role} {limit}" for role, limit in sorted(limits.items()))
        raise ConnectionLimitError(
            f"The roles may have {sum(limits.values())} connections together ({each}), and Postgres has {room} for "
            "them. Raise max_connections of the postgres service in docker-compose.yml, or lower a limit in "
            "<location>/warehouse.sql."
        )


def _set_passwords(cursor: Cursor, roles: list[str], credentials: Path) -> None:
    passwords = {role: _stored_or_new_password(credentials / role / "pgpass", role) for role in roles}
    # Iterations slow down guessing, which 192 random bits do not need. Dagster connects for almost every event, and
    # the default of 4096 takes 2.2 ms of the client's CPU each time.
    cursor.execute("set scram_iterations = 1")
    for role, password in passwords.items():
        # Encrypted here, so that the server's log never has the password itself.
        secret = encrypt_password(password, role, cursor, "scram-sha-256")
        cursor.execute(sql.SQL("alter role {} password %s").format(sql.Identifier(role)), (secret,))
    for role, password in passwords.items():
        lines = [f"*:*:dagster:{INSTANCE_ROLE}:{passwords[INSTANCE_ROLE]}"]
        if role != INSTANCE_ROLE:
            lines.append(f"*:*:warehouse:{role}:{password}")
        path = credentials / role / "pgpass"
        path.touch(mode=0o600)  # libpq ignores a password file that others may read
        path.write_text("\n".join(lines) + "\n")


def _stored_or_new_password(path: Path, role: str) -> str:
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
