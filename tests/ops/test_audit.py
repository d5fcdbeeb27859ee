"""What cannot be a time is refused before anything is asked."""

import re
from datetime import UTC, datetime

import pytest

from ops.audit import _moment, audit
from ops.command import OpsError


@pytest.mark.parametrize("since", ["", "yesterday", "7w", "-1d", "2026-13-01", "'; drop table audit.log; --"])
def test_a_time_that_is_none_is_refused_with_those_that_are(since: str) -> None:
    with pytest.raises(OpsError, match=re.escape(f"SINCE={since!r} is no time. Write 30m, 12h, 7d, or a date")):
        audit(since)


def test_a_date_is_that_of_utc() -> None:
    assert _moment("2026-11-01") == datetime(2026, 11, 1, tzinfo=UTC).isoformat()
