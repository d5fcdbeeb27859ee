"""Applies the databases, roles, schemas and grants of this folder, at every start: a second run changes nothing.

Connects as a superuser, by libpq's own settings (PGHOST, PGUSER, …). Every ``*_location.sql`` is one location: a login
role of the file's name, and what that role owns and may do in the database ``warehouse``.
"""

import argparse
import secrets
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case
from psycopg2.extensions import encrypt_password

FOLDER = Path(__file__).resolve().parent
INSTANCE_ROLE = "dagster"


def location_roles() -> list[str]:
    """The login roles of the locations, one per ``*_location.sql`` in this folder."""
    return sorted(path.stem for path in FOLDER.glob("*_location.sql"))


def apply(dsn: str = "", credentials: Path | None = None) -> None:
    """Creates what is missing and sets all rights.

    Args:
        dsn: libpq connection string of a superuser, without a database; empty means libpq's environment.
        credentials: folder with one folder per role, where each role's password file is kept; None leaves the roles
            without passwords, for a server that trusts its socket.

    Raises:
        psycopg2.Error: the server refused a statement.
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
        _run_file(dsn, "warehouse", FOLDER / f"{role}.sql")


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


def _set_passwords(server: Connection, roles: list[str], credentials: Path) -> None:
    passwords = {role: _kept_password(credentials / role / "pgpass", role) for role in roles}
    with server.cursor() as cursor:
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
    apply(credentials=parser.parse_args().credentials)
