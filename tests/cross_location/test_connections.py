"""Every role has a connection limit, and none can take another one's connections; on the embedded Postgres."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from demo.postgres import temporary_server
from ops.command import ROOT
from services.migrate import apply as warehouse

ROLES = {
    **dict.fromkeys(warehouse.login_roles(), "dagster"),
    **dict.fromkeys(warehouse.location_roles(), "warehouse"),
}


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with temporary_server() as host:
        dsn = f"host={host} user=postgres"
        warehouse.apply(dsn)
        yield dsn


def limit(dsn: str, role: str) -> int:
    with contextlib.closing(psycopg2.connect(dsn, dbname="postgres")) as connection, connection.cursor() as cursor:
        cursor.execute("select rolconnlimit from pg_roles where rolname = %s", (role,))
        ((found,),) = cursor.fetchall()
        return int(found)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_at_its_limit_is_refused_by_name_while_the_others_go_on(dsn: str, role: str) -> None:
    with contextlib.ExitStack() as stack:

        def connect(role: str) -> None:
            as_role = f"{dsn.split()[0]} user={role} dbname={ROLES[role]}"
            stack.enter_context(contextlib.closing(psycopg2.connect(as_role)))

        for _ in range(limit(dsn, role)):
            connect(role)
        with pytest.raises(psycopg2.OperationalError, match=f'too many connections for role "{role}"'):
            connect(role)
        for other in set(ROLES) - {role}:
            connect(other)


@pytest.mark.parametrize("role", ROLES)
def test_the_documentation_has_the_limit_of_a_role(dsn: str, role: str) -> None:
    (row,) = [
        line for line in (ROOT / "docs/connections.md").read_text().splitlines() if line.startswith(f"| `{role}` ")
    ]
    assert row.split(" | ")[2] == f"{limit(dsn, role)}"


@pytest.fixture
def new_location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The warehouse.sql of a further location, beside copies of the existing ones."""
    for path in ROOT.glob("*_location/warehouse.sql"):
        (tmp_path / path.parent.name).mkdir()
        (tmp_path / path.parent.name / path.name).write_text(path.read_text())
    monkeypatch.setattr(warehouse, "ROOT", tmp_path)
    (tmp_path / "new_location").mkdir()
    return tmp_path / "new_location/warehouse.sql"


def test_a_role_without_a_limit_is_refused_with_its_file(dsn: str, new_location: Path) -> None:
    new_location.write_text("grant connect on database warehouse to new_location")
    with pytest.raises(warehouse.ConnectionLimitError, match=r"new_location has no limit.*new_location/warehouse\.sql"):
        warehouse.apply(dsn)


def test_limits_that_postgres_cannot_keep_are_refused(dsn: str, new_location: Path) -> None:
    new_location.write_text("alter role new_location connection limit 28")
    with pytest.raises(warehouse.ConnectionLimitError, match=r"101 connections together .* and Postgres has 97"):
        warehouse.apply(dsn)
