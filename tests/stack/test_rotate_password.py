"""`make rotate-password` replaces a password while the role's containers connect as often as they can."""

import threading

import pytest

from tests.stack.attacker import run_as
from tests.stack.conftest import Stack
from tests.stack.test_stack import passwords_in

# Connects again and again, as runs do, without a second attempt.
CONNECT = """
import psycopg2, sys, time
count, end = 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    for database in ("dagster", "warehouse"):
        psycopg2.connect(dbname=database).close()
        count += 1
print(count)
"""
TRUSTED = "select count(*) from pg_hba_file_rules where auth_method = 'trust' and type = 'host'"


@pytest.mark.drill
def test_no_connection_and_no_run_fails_while_the_password_is_replaced(stack: Stack) -> None:
    before = passwords_in(stack, "ingestion_location")["ingestion_location"]
    said: list[tuple[int, str]] = []
    connecting = threading.Thread(
        target=lambda: said.append(run_as(stack, "ingestion_location", CONNECT, "45", timeout=120))
    )
    connecting.start()
    run = stack.webserver.launch_month("2023-01-01")
    stack.webserver.started(run)
    stack.command("make", "rotate-password", "LOCATION=ingestion_location")
    assert stack.webserver.finished(run)["status"] == "SUCCESS"
    connecting.join()
    ((code, output),) = said
    assert code == 0, output
    assert int(output) > 100
    assert passwords_in(stack, "ingestion_location")["ingestion_location"] != before
    assert stack.query(TRUSTED) == [[0]]


@pytest.mark.drill
def test_the_password_before_is_refused_afterwards(stack: Stack) -> None:
    before = passwords_in(stack, "dbt_location")["dbt_location"]
    stack.command("make", "rotate-password", "LOCATION=dbt_location")
    code, output = run_as(
        stack, "dbt_location", "import sys, psycopg2; psycopg2.connect(dbname='dagster', password=sys.argv[1])", before
    )
    assert code != 0
    assert "password authentication failed" in output


@pytest.mark.drill
def test_webserver_and_daemon_go_on_with_a_new_password(stack: Stack) -> None:
    before = passwords_in(stack, "webserver")
    stack.command("make", "rotate-password", "LOCATION=dagster")
    assert passwords_in(stack, "webserver") != before
    run = stack.webserver.launch("ingestion_location", ["taxi_zones"])
    assert stack.webserver.finished(run)["status"] == "SUCCESS"
