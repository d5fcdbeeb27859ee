"""Creates databases, roles, schemas and grants, at every start. Idempotent: a second run changes nothing.

Connects as a superuser, by libpq's own settings (PGHOST, PGUSER, …). Each location has a login role of its name. Its
``warehouse.sql`` says what that role owns and may do in the database ``warehouse``; platform_location, which has no
data, has none. What the roles may do in the database ``dagster`` is in dagster.sql and, once Dagster has created its
tables, in instance_walls.sql (walls.py).
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
# The role of webserver and daemon, and the one of the location that has no warehouse.sql.
INSTANCE_ROLE = "dagster"
HOUSEKEEPING_ROLE = "platform_location"
# The role of the service alerts, which reads.
ALERTS_ROLE = "alerts"
# Nobody logs in with these: the owner of the instance, and the group role of all locations.
OWNER, LOCATIONS = "dagster_owner", "dagster_locations"
# A client can vanish without a word, with its node or its network. Its session would keep its locks for two hours, and
# what is launched in its place would wait for them. So the server looks after each client itself, even while a
# statement waits for a lock, and ends a session within about a minute. A client of the role may set others.
SESSION_SETTINGS = {
    "client_connection_check_interval": "5s",
    "tcp_keepalives_idle": "30s",
    "tcp_keepalives_interval": "10s",
    "tcp_keepalives_count": "3",
    # While an answer is on its way, the kernel sends no keepalives and repeats the answer, by default for 15 minutes.
    "tcp_user_timeout": "60s",
}


class ConnectionLimitError(RuntimeError):
    """A role has no connection limit, or the limits exceed what the server has; the message names the file."""


def location_roles() -> list[str]:
    return sorted(path.parent.name for path in ROOT.glob("*_location/warehouse.sql"))


def login_roles() -> list[str]:
    return [INSTANCE_ROLE, ALERTS_ROLE, HOUSEKEEPING_ROLE, *location_roles()]


def apply(dsn: str = "", credentials: Path | None = None) -> None:
    """Creates what is missing and sets all rights.

    Args:
        dsn: libpq connection string of a superuser, without a database; empty means libpq's environment.
        credentials: folder with one folder per role, which holds the role's password file; None sets no passwords, for
            a server that trusts its socket.
    """
    roles = login_roles()
    with closing(psycopg2.connect(dsn, dbname="postgres")) as server:
        server.autocommit = True  # create database cannot run in a transaction
        with server.cursor() as cursor:
            for role in (OWNER, LOCATIONS):
                _create(cursor, "select from pg_roles where rolname = %s", "create role {} nologin", role)
            for role in roles:
                _create(cursor, "select from pg_roles where rolname = %s", "create role {} login", role)
                # A role can change its own settings and password. Here they are reset.
                cursor.execute(sql.SQL("alter role {} reset all").format(sql.Identifier(role)))
                for name, value in SESSION_SETTINGS.items():
                    setting = sql.SQL("alter role {} set {} = {}")
                    cursor.execute(setting.format(*map(sql.Identifier, (role, name)), sql.Literal(value)))
                if role not in (INSTANCE_ROLE, ALERTS_ROLE):
                    grant = "grant {} to {} with inherit true, set false"
                    cursor.execute(sql.SQL(grant).format(sql.Identifier(LOCATIONS), sql.Identifier(role)))
            # By default every role may connect to every database.
            cursor.execute("revoke connect on database postgres, template1 from public")
            if credentials is not None:
                _set_passwords(cursor, roles, credentials)
            for database in ("dagster", "warehouse"):
                _create(cursor, "select from pg_database where datname = %s", "create database {}", database)
            # A role's settings for one database take precedence over those above.
            cursor.execute(
                "select rolname, datname from pg_db_role_setting join pg_roles on pg_roles.oid = setrole"
                " join pg_database on pg_database.oid = setdatabase where rolname = any(%s)",
                (roles,),
            )
            for names in cursor.fetchall():
                reset = sql.SQL("alter role {} in database {} reset all")
                cursor.execute(reset.format(*map(sql.Identifier, names)))
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
            path = f"{role}/warehouse.sql" if role in location_roles() else "services/migrate/dagster.sql"
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
    files = {role: credentials / role / "pgpass" for role in roles}
    # Before the locations had their own roles in the instance, all had the password of this role. It is replaced.
    shared = any(_stored_password(files[role], INSTANCE_ROLE) for role in roles if role != INSTANCE_ROLE)
    for role, path in files.items():
        stored = None if shared and role == INSTANCE_ROLE else _stored_password(path, role)
        set_password(cursor, role, path, stored or secrets.token_hex(24))


def set_password(cursor: Cursor, role: str, path: Path, password: str) -> None:
    """Sets a role's password, and writes the password file with one line for each database that the role uses."""
    # Iterations slow down guessing, which 192 random bits do not need. Dagster connects for almost every event, and
    # the default of 4096 iterations takes 2.2 ms of the client's CPU each time.
    cursor.execute("set scram_iterations = 1")
    # Encrypted here, so that the server's log never has the password itself.
    secret = encrypt_password(password, role, cursor, "scram-sha-256")
    cursor.execute(sql.SQL("alter role {} password %s").format(sql.Identifier(role)), (secret,))
    databases = ["dagster", "warehouse"] if role in location_roles() else ["dagster"]
    # Renamed, so that a reader sees the old file or the new one. libpq ignores a password file that others may read.
    path.parent.mkdir(exist_ok=True)
    new = path.with_name("pgpass.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text("".join(f"*:*:{database}:{role}:{password}\n" for database in databases))
    new.replace(path)


def _stored_password(path: Path, role: str) -> str | None:
    for line in path.read_text().splitlines() if path.exists() else ():
        *_, user, password = line.split(":")
        if user == role:
            return password
    return None


def rotate(role: str, credentials: Path, dsn: str = "") -> None:
    """Gives a role a new password, in Postgres and in its file."""
    with closing(psycopg2.connect(dsn, dbname="postgres")) as server:
        server.autocommit = True
        with server.cursor() as cursor:
            set_password(cursor, role, credentials / role / "pgpass", secrets.token_hex(24))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--credentials", type=Path, help="folder of the roles' password files")
    parser.add_argument("--rotate", metavar="ROLE", choices=login_roles(), help="only give this role a new password")
    given = parser.parse_args()
    if given.rotate:
        rotate(given.rotate, given.credentials)
        return
    try:
        apply(credentials=given.credentials)
    except ConnectionLimitError as error:
        sys.exit(f"warehouse: {error}")


if __name__ == "__main__":
    main()
