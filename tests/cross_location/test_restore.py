"""What a location wrote in its schema is executed as the location alone, when a backup is made of it and restored."""

import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from demo.server import INSTALLED
from ops.backup.fill import fill
from ops.environment import own_environment
from tests.embedded import temporary_databases

# Each attack has a schema of its name. There, kept(value) and fired() make a role of this name wherever a session that
# may do so executes them. A function that is not volatile may not make a role, but may call one that does.
PREPARED = """
set search_path to {attack};
create function grab() returns void language plpgsql as $$
begin
    begin
        reset role;
        reset session authorization;
    exception when others then null;
    end;
    create role {attack};
exception when others then null;
end $$;
create function kept(value integer) returns integer language plpgsql immutable as $$
begin
    perform {attack}.grab();
    return value;
end $$;
create function fired() returns trigger language plpgsql as $$
begin
    perform {attack}.grab();
    return new;
end $$;
"""
ATTACKS = {
    "check_of_a_column": "create table rows (value integer check (kept(value) = value))",
    "check_that_is_not_validated": """
        create table rows (value integer);
        alter table rows add constraint later check (kept(value) = value) not valid""",
    "check_of_a_domain": """
        create domain number as integer check (kept(value) = value);
        create table rows (value number)""",
    "check_of_a_domain_in_a_row_type": """
        create domain number as integer check (kept(value) = value);
        create type numbers as (first number);
        create table rows (value integer, more numbers default row(1))""",
    "generated_column": """
        create table rows (value integer, generated integer generated always as (kept(value)) stored)""",
    "default_of_a_column": "create table rows (value integer, more integer default kept(1))",
    "key_of_a_partition": """
        create table rows (value integer) partition by list (kept(value));
        create table part partition of rows for values in (1)""",
    "constant_in_the_check_of_a_partition": """
        create table rows (value integer) partition by list (value);
        create table part (value integer, check (kept(1) = 1));
        alter table rows attach partition part for values in (1)""",
    "first_value_of_an_aggregate": """
        create domain number as integer check (kept(value) = value);
        create function add(total number, value integer) returns number language sql immutable
        as 'select total + value';
        create aggregate total(integer) (sfunc = add, stype = number, initcond = '1');
        create table rows (value integer)""",
    "expression_of_an_index": """
        create table rows (value integer);
        create index on rows (kept(value)) where kept(value) = value""",
    "expression_of_statistics": """
        create table rows (value integer, other integer);
        create statistics more on kept(value), other from rows""",
    "trigger_on_rows": """
        create table rows (value integer);
        create trigger fired before insert on rows for each row execute function fired();
        alter table rows enable always trigger fired""",
    "rule_of_a_table": """
        create table rows (value integer);
        create rule fired as on insert to rows do also select grab()""",
    "policy_of_a_table": """
        create table rows (value integer);
        create policy visible on rows using (kept(value) = value);
        alter table rows enable row level security""",
    "view_of_a_table": """
        create table rows (value integer);
        create view seen as select kept(value) from rows""",
    "materialized_view": """
        create table rows (value integer);
        create materialized view seen as select kept(1) as value""",
}
# What two locations have in common, and what an owner may do to itself: all of it comes back.
# Some read these characters as the end of a line.
NAMES = [f"x{separator}999999; 1 1 TABLE - x postgres" for separator in "\n\r\v\f\x1c\x85\u2028"]
INGESTION = """
create table raw_taxis.trips (id integer primary key, kind text);
insert into raw_taxis.trips values (1, 'first');
revoke insert on raw_taxis.trips from ingestion_location;
grant select on raw_taxis.trips to dbt_location with grant option;
grant references on raw_taxis.trips to dbt_location;
create table raw_taxis.calls (caller text);
create function raw_taxis.call() returns void language sql security definer
as 'insert into raw_taxis.calls values (session_user)';
revoke all on function raw_taxis.call() from public;
"""
DBT = """
grant select on raw_taxis.trips to platform_location;
create view analytics.trips as select id from raw_taxis.trips;
create materialized view analytics.kinds as select kind from raw_taxis.trips;
create table analytics.trip_of (id integer generated always as identity references raw_taxis.trips);
insert into analytics.trip_of default values;
comment on table analytics.trip_of is 'trips';
select lo_from_bytea(0, 'large');
create function analytics.try_to_call() returns boolean language plpgsql as $$
begin
    perform raw_taxis.call();
    return true;
exception when insufficient_privilege then
    return true;
end $$;
create table analytics.tries (number integer check (analytics.try_to_call()));
insert into analytics.tries values (1);
"""


@dataclass
class Restored:
    """A server with the warehouse, and what a dump of it was restored into."""

    server: str

    def ask(self, database: str, statements: str, role: str = "postgres") -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(f"host={self.server} user={role} dbname={database}")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statements)
                return cursor.fetchall() if cursor.description else []

    def program(self, name: str, *arguments: str) -> list[str]:
        return ["env", f"PGHOST={self.server}", "PGUSER=postgres", f"{INSTALLED}/bin/{name}", *arguments]

    def dump(self, *arguments: str) -> str:
        command = self.program("pg_dump", *arguments)
        return subprocess.run(command, env=own_environment(), check=True, capture_output=True, text=True).stdout

    def restore(self, database: str, folder: Path) -> None:
        dump = str(folder / f"{database}.dump")
        self.dump("--format=custom", f"--file={dump}", database)
        self.ask("postgres", f"create database {database}_restoring template template0")
        fill(f"{database}_restoring", dump, self.program)
        self.ask(f"{database}_restoring", "analyze")


@pytest.fixture(scope="module")
def restored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restored]:
    folder = tmp_path_factory.mktemp("dumps")
    with temporary_databases() as server:
        stack = Restored(server)
        for attack, statements in ATTACKS.items():
            stack.ask("warehouse", f"create schema {attack} authorization dbt_location")
            insert = "insert into rows (value) values (1)"
            stack.ask("warehouse", f"{PREPARED.format(attack=attack)}{statements}; {insert}", "dbt_location")
        stack.ask("warehouse", INGESTION, "ingestion_location")
        stack.ask("warehouse", DBT, "dbt_location")
        for name in NAMES:
            stack.ask("warehouse", f'create table analytics."{name}" ()', "dbt_location")
        for database in ("warehouse", "dagster"):
            stack.restore(database, folder)
        yield stack


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_location_wrote_gets_no_rights_of_the_superuser_by_a_backup_or_a_restore(
    restored: Restored, attack: str
) -> None:
    assert restored.ask("postgres", f"select rolname from pg_roles where rolname = '{attack}'") == []


def test_what_a_location_wrote_calls_no_function_of_others_during_a_restore_that_it_may_not_call(
    restored: Restored,
) -> None:
    assert restored.ask("warehouse_restoring", "select * from raw_taxis.calls") == []


def test_a_name_that_looks_like_an_entry_of_the_dump_is_restored_as_a_name(restored: Restored) -> None:
    found = restored.ask(
        "warehouse_restoring", "select relname from pg_class where relname like 'x%TABLE - x postgres'"
    )
    assert {name for (name,) in found} == set(NAMES)


@pytest.mark.parametrize("database", ["warehouse", "dagster"])
def test_a_restored_database_has_the_objects_owners_rights_and_rows_of_its_dump(
    restored: Restored, database: str
) -> None:
    plain = ("--format=plain", "--restrict-key=none")
    assert restored.dump(*plain, f"{database}_restoring") == restored.dump(*plain, database)
