"""What Postgres itself counts of the work in a database."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

from psycopg2 import sql

from benchmarks.histories import History, connect

# Work of all backends in the database, and of it the work on the pipeline's own tables, temporary ones apart.
QUERY = """
select
    (select blks_hit + blks_read from pg_stat_database where datname = current_database()) as buffers,
    (
        select sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit, 0) + coalesce(idx_blks_read, 0))
        from pg_statio_user_tables
    ) as table_buffers,
    (select sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) from pg_stat_user_tables) as rows
"""


@dataclass
class Counted:
    """Work that was done in a database.

    Attributes:
        buffers: pages of 8 KiB looked at, the catalog's included.
        table_buffers: of these, pages of the pipeline's tables and their indexes.
        rows: rows read from the pipeline's tables.
    """

    buffers: int = 0
    table_buffers: int = 0
    rows: int = 0


@contextmanager
def counting(history: History) -> Iterator[Counted]:
    """Counts what others do in a history's warehouse meanwhile; the figures are there when the ``with`` ends."""
    counted = Counted()
    # Reading the counters is counted as well, and costs more where there are more tables.
    first, before = _read(history), _read(history)
    yield counted
    after = _read(history)
    for name in (field.name for field in fields(Counted)):
        reading = getattr(before, name) - getattr(first, name)
        setattr(counted, name, getattr(after, name) - getattr(before, name) - reading)


def _read(history: History) -> Counted:
    """Reads the counters once no other backend is there, for a backend adds its own when it ends."""
    _wait_until_alone(history)
    connection = connect(history.socket, history.name)
    with connection.cursor() as cursor:
        cursor.execute(QUERY)
        ((buffers, table_buffers, rows),) = cursor.fetchall()
    connection.close()
    return Counted(buffers, int(table_buffers), int(rows))


def _wait_until_alone(history: History) -> None:
    connection = connect(history.socket, "postgres")
    with connection.cursor() as cursor:
        while True:
            cursor.execute(
                sql.SQL("select from pg_stat_activity where datname = {} and backend_type = 'client backend'").format(
                    sql.Literal(history.name)
                )
            )
            if not cursor.fetchall():
                break
            time.sleep(0.01)
    connection.close()
