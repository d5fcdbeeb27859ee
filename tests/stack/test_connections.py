"""No role of the live stack reaches its connection limit, even with everything running at once and the UI open."""

import pytest

from tests.stack.backfill import Backfill
from tests.stack.conftest import Stack

pytestmark = pytest.mark.drill


def test_no_role_reaches_its_limit(stack: Stack, backfill: Backfill) -> None:
    limits = dict(stack.query("select rolname, rolconnlimit from pg_roles where rolcanlogin and not rolsuper"))
    print(f"connections at once: {dict(backfill.peaks)}, limits: {limits}")
    # No job of platform_location is due meanwhile.
    assert set(backfill.peaks) | {"platform_location"} == set(limits)
    assert {role: peak for role, peak in backfill.peaks.items() if peak >= limits[role]} == {}


def test_no_run_fails_and_postgres_refuses_nobody(backfill: Backfill) -> None:
    assert set(backfill.statuses) == {"SUCCESS"}
    assert "too many connections" not in backfill.postgres_log


def test_the_ui_gets_an_answer_every_time(backfill: Backfill) -> None:
    print(f"{backfill.answers} requests of the UI answered")
    assert (backfill.answers > 100, backfill.errors) == (True, [])
