"""One webserver for the tests of this folder."""

from collections.abc import Callable, Iterator

import pytest
from dagster._core.execution.backfill import BulkActionStatus

from tests.platform_host.asked import ARGUMENTS, USERS, Target, answer
from tests.platform_host.served import Served, serve


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


@pytest.fixture
def users(served: Served) -> Served:
    served.allow(users=USERS)
    return served


@pytest.fixture
def target(users: Served) -> Callable[[str], Target]:
    """Makes a run and a backfill of a location, which have ended so that they can be executed again."""

    def make(location: str) -> Target:
        blank = Target(location, "", "", "", "")
        run = answer(users, "boss", "launchRun", executionParams=blank.execution)["run"]["runId"]
        given = ARGUMENTS["launchPartitionBackfill"](blank)
        backfill = answer(users, "boss", "launchPartitionBackfill", **given)["backfillId"]
        found = users.instance.get_backfill(backfill)
        assert found
        users.instance.update_backfill(found._replace(status=BulkActionStatus.COMPLETED_FAILED))
        context = users.process.create_request_context()
        repository = context.get_code_location(location).get_repository("__repository__")
        sensor, schedule = repository.get_sensor("sensor"), repository.get_schedule("schedule")
        ids = [each.get_compound_id().to_string() for each in (sensor, schedule) if each]
        return Target(location, run, backfill, *ids)

    return make
