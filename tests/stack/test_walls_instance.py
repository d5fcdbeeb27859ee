"""What a location's code may do to the instance, from a container as its runs have; every statement is tried
on an embedded Postgres by tests/cross_location/test_instance_walls.py."""

import json

import pytest

from ops.locations import LOCATIONS
from tests.stack.attacker import run_as
from tests.stack.conftest import Stack

# By name: the database, who connects (an empty name is the container's own role), and the statement.
REFUSED = {
    "queue a run": ("dagster", "", "insert into runs (run_id, status, run_body) values ('new', 'QUEUED', '{}')"),
    "delete runs": ("dagster", "", "delete from runs"),
    "delete the events that partitions are known by": (
        "dagster",
        "",
        "do $$ declare gone int; begin delete from event_logs where asset_key is not null; get diagnostics gone ="
        " row_count; if gone = 0 then raise insufficient_privilege using message = 'permission denied'; end if; end $$",
    ),
    "drop a table": ("dagster", "", "drop table runs cascade"),
    "stop the sensors": ("dagster", "", "update instigators set status = 'STOPPED'"),
    "zero the pools": ("dagster", "", 'update concurrency_limits set "limit" = 0'),
    "forge a heartbeat": ("dagster", "", "update daemon_heartbeats set timestamp = now()"),
    "report another's asset": (
        "dagster",
        "",
        "insert into event_logs (run_id, event, dagster_event_type, timestamp, asset_key, partition)"
        " select run_id, event, dagster_event_type, now(), asset_key, partition from event_logs"
        " join run_tags using (run_id) where dagster_event_type = 'ASSET_MATERIALIZATION'"
        " and key = '.dagster/repository' and value not like '%' || session_user limit 1",
    ),
    "end the daemon's connections": (
        "dagster",
        "",
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'dagster'",
    ),
    "drop the database": ("dagster", "", "drop database warehouse"),
    "connect to postgres": ("postgres", "", "select 1"),
    "connect to template1": ("template1", "", "select 1"),
    "connect as the platform": ("dagster", "dagster", "select 1"),
    "connect as the superuser": ("dagster", "postgres", "select 1"),
    "connect as the owner": ("dagster", "dagster_owner", "select 1"),
}
TRY_ALL = """
import json, os, sys, psycopg2
said = {}
for name, (database, user, statement) in json.loads(sys.argv[1]).items():
    try:
        connection = psycopg2.connect(dbname=database, user=user or os.environ["PGUSER"])
        connection.autocommit = True
        connection.cursor().execute(statement)
        said[name] = "done"
    except psycopg2.Error as error:
        said[name] = str(error)
print(json.dumps(said))
"""
TAKE_CONNECTIONS = """
import psycopg2
taken = []
try:
    while len(taken) < 100:
        taken.append(psycopg2.connect(dbname="dagster"))
except psycopg2.OperationalError as error:
    print(len(taken), error)
"""


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_location_is_refused_what_its_runs_do_not_need_of_the_instance(stack: Stack, location: str) -> None:
    # So that there is an event that ingestion_location has reported and the others have not.
    stack.once("zones", lambda: stack.webserver.finished(stack.webserver.launch("ingestion_location", ["taxi_zones"])))
    attempts = {
        name: attempt
        for name, attempt in REFUSED.items()
        if (name, location) != ("report another's asset", "ingestion_location")
    }
    code, output = run_as(stack, location, TRY_ALL, json.dumps(attempts))
    assert code == 0, output
    said = json.loads(output)
    refused = ("permission denied", "no password supplied", "must be owner", "violates row-level security", "may not")
    assert {name: text for name, text in said.items() if not any(word in text for word in refused)} == {}


def test_a_location_takes_its_own_connections_alone(stack: Stack) -> None:
    code, output = run_as(stack, "dbt_location", TAKE_CONNECTIONS)
    assert code == 0, output
    number, _, refusal = output.partition(" ")
    assert int(number) <= 10
    assert 'too many connections for role "dbt_location"' in refusal


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_container_of_a_location_has_the_password_of_its_own_role_alone(stack: Stack, location: str) -> None:
    code, output = run_as(stack, location, "print(open('/run/credentials/pgpass').read())")
    assert code == 0, output
    assert {line.split(":")[3] for line in output.split()} == {location}
