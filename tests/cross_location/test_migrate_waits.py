"""The migrate service ends where a location's session keeps it waiting; on the embedded Postgres."""

import contextlib

import psycopg2
import pytest
import yaml
from psycopg2.errors import LockNotAvailable

from demo.postgres import temporary_server
from ops.command import ROOT
from services.migrate.apply import apply


def test_a_session_that_changes_its_own_role_does_not_keep_migrate_waiting_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    migrate = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["migrate"]
    options = migrate["environment"]["PGOPTIONS"]
    assert "lock_timeout=60s" in options
    with temporary_server() as host:
        dsn = f"host={host} user=postgres"
        apply(dsn)
        session = psycopg2.connect(f"host={host} user=dbt_location dbname=warehouse")
        with contextlib.closing(session), session.cursor() as cursor:
            cursor.execute("alter role dbt_location password 'another'")
            monkeypatch.setenv("PGOPTIONS", options.replace("60s", "1s"))
            with pytest.raises(LockNotAvailable):
                apply(dsn)
