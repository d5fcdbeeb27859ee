"""Postgres's own counters of the work in a database."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.server import connect

# buffers: pages of 8 KiB that were read, the catalog's included; table_buffers: those of the pipeline's tables and
# their indexes; rows: those read from these tables. Temporary tables count in buffers only.
QUERY = """
select
    (select blks_hit + blks_read from pg_stat_database where datname = current_database()) as buffers,
    (
        select sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit, 0) + coalesce(idx_blks_read, 0))
        from pg_statio_user_tables
    ) as table_buffers,
    (select sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) from pg_stat_user_tables) as rows
"""
NAMES = ("buffers", "table_buffers", "rows")
OTHERS = "select from pg_stat_activity where datname = %s and backend_type = 'client backend'"


@contextmanager
def counting(socket: str, database: str) -> Iterator[dict[str, int]]:
    """Counts the work of other sessions during a ``with``; yields a dictionary that has the figures at its end."""
    counted: dict[str, int] = {}
    # Reading the counters is counted too, and takes more work the more tables there are.
    first, before = _read(socket, database), _read(socket, database)
    yield counted
    after = _read(socket, database)
    counted |= {name: after[name] - before[name] - (before[name] - first[name]) for name in NAMES}


def _read(socket: str, database: str) -> dict[str, int]:
    """Reads the counters when no other session is left, because a backend adds its own counters when it ends."""
    with connect(socket, "postgres") as connection, connection.cursor() as cursor:
        while True:
            cursor.execute(OTHERS, (database,))
            if not cursor.rowcount:
                break
            time.sleep(0.01)
    with connect(socket, database) as connection, connection.cursor() as cursor:
        cursor.execute(QUERY)
        (row,) = cursor.fetchall()
    return dict(zip(NAMES, map(int, row), strict=True))
