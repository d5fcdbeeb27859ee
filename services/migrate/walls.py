"""Applies instance_walls.sql: what each role may do with Dagster's tables. Run after instance.py.

Connects as a superuser, by libpq's own settings, and acts as the owner of the instance. It does nothing if the file
and the tables have not changed since.
"""

import time
from contextlib import closing
from pathlib import Path

import psycopg2
from psycopg2.errors import LockNotAvailable

FILE = Path(__file__).with_name("instance_walls.sql")
WAIT_SECONDS = 60
# Changes with the file, and with each table that is created anew and so has no rights.
_VERSION = """
select md5(%s || coalesce(string_agg(oid::text, ' ' order by oid), ''))
from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
"""
_LOCK = "lock table event_logs, asset_event_tags, asset_keys, asset_check_executions, runs, run_tags"


def apply_walls(dsn: str = "") -> None:
    """Applies the file, in one transaction.

    ``dsn`` is the libpq connection string of a superuser, without a database. Raises LockNotAvailable if another
    transaction keeps one of the tables for a minute.
    """
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return _apply(dsn)
        except LockNotAvailable:
            if time.monotonic() > end:
                raise
            time.sleep(1)


def _apply(dsn: str) -> None:
    with closing(psycopg2.connect(dsn, dbname="dagster")) as connection, connection, connection.cursor() as cursor:
        cursor.execute("set local role dagster_owner")
        cursor.execute(_VERSION, [FILE.read_text()])
        ((version,),) = cursor.fetchall()
        cursor.execute("select obj_description(oid, 'pg_namespace') from pg_namespace where nspname = 'walls'")
        if cursor.fetchall() == [(version,)]:
            return
        # All locks at once, and given up before a deadlock would end the transaction of a run.
        cursor.execute("set local lock_timeout = '500ms'")
        cursor.execute(_LOCK)
        cursor.execute(FILE.read_text())
        cursor.execute("comment on schema walls is %s", [version])


if __name__ == "__main__":
    apply_walls()
