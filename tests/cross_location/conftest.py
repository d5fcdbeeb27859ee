"""The instance as the service `alerts` sees it, on the embedded Postgres."""

from collections.abc import Iterator

import pytest

from services.migrate.walls import apply_walls
from tests.cross_location.instance_roles import Instance, temporary_instance


@pytest.fixture(scope="module")
def instance_of_all_roles() -> Iterator[Instance]:
    """An instance in which each role has its rights and no more."""
    with temporary_instance() as instance:
        apply_walls(f"host={instance.server} user=postgres")
        yield instance


@pytest.fixture
def instance(instance_of_all_roles: Instance, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """An instance in which libpq's settings make this process the role of the alerts."""
    monkeypatch.setenv("PGHOST", instance_of_all_roles.server)
    monkeypatch.setenv("PGUSER", "alerts")
    return instance_of_all_roles
