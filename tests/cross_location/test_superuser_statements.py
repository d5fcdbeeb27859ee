"""No statement of the platform's superuser has a part that a location wrote, or executes what a location wrote."""

import re
from contextlib import closing

import psycopg2

from ops.backup.dumps import _TABLES
from ops.command import ROOT
from tests.embedded import temporary_databases


def ask(server: str, role: str, statement: str) -> list[tuple[object, ...]]:
    with (
        closing(psycopg2.connect(f"host={server} user={role} dbname=warehouse")) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_the_name_of_a_table_is_no_part_of_what_a_backup_asks_as_the_superuser() -> None:
    with temporary_databases() as server:
        # psql gives a row per line, and the backup puts what is before a row's first | into a list of numbers.
        ask(server, "dbt_location", 'create table analytics."x\n0);alter role dbt_location superuser;--" ()')
        found = ask(server, "postgres", _TABLES)
        assert found
        assert all(str(value).isalnum() for row in found for value in row)


# A view executes its functions as the role that reads it.
def test_no_command_of_the_documentation_reads_the_warehouse_as_the_superuser() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("*_location/**/README.md")]
    commands = [
        line for page in pages for line in page.read_text().splitlines() if "psql" in line and "warehouse" in line
    ]
    assert commands
    assert [line for line in commands if re.search(r"-U[ =]?postgres|--username[ =]postgres", line)] == []
