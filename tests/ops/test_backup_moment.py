"""From which backup, and on which timeline, a moment is restored."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops.backup.moment import Timeline, choose, last_segment, parse
from ops.command import OpsError


def backup(hour: int, timeline: int, lsn: int) -> dict[str, Any]:
    """A backup that ended at an hour and at a position of the log."""
    name = f"{timeline:08X}0000000000000001"
    stop = f"0/{lsn:X}"
    return {"label": f"at {hour}", "timestamp": {"stop": hour}, "archive": {"start": name}, "lsn": {"stop": stop}}


def at(hour: int) -> datetime:
    return datetime.fromtimestamp(hour, UTC)


# At 30 the cluster was restored to where its log had 15 bytes: timeline 2. The backup at 20 was later than that moment.
BACKUPS = [backup(10, 1, 10), backup(20, 1, 20), backup(40, 2, 25)]
SECOND = Timeline(2, 30, {1: 15})


@pytest.mark.parametrize(
    ("hour", "expected"),
    [
        (5, ([], 1)),
        (15, (["at 10"], 1)),
        (25, (["at 20", "at 10"], 1)),
        (35, (["at 10"], 2)),
        (45, (["at 40", "at 10"], 2)),
    ],
)
def test_a_moment_is_restored_on_the_timeline_that_was_the_current_one_from_the_newest_backup_first(
    hour: int, expected: tuple[list[str], int]
) -> None:
    backups, timeline = choose(BACKUPS, [SECOND], at(hour))
    assert ([one["label"] for one in backups], timeline) == expected


def test_the_last_commit_is_that_of_the_last_timeline() -> None:
    assert choose(BACKUPS[:2], [SECOND], None) == ([BACKUPS[0]], 2)


@pytest.mark.parametrize(
    ("newest", "expected"),
    [("000000020000000A000000FE", "0000000A000000FE"), ("00000001000000AA00000001", ""), (None, "")],
)
def test_only_a_segment_of_the_timeline_that_is_followed_shows_how_far_its_log_goes(
    newest: str | None, expected: str
) -> None:
    assert last_segment(newest, timeline=2) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "12:00"])
def test_a_text_that_is_no_moment_is_an_error_that_shows_one(text: str) -> None:
    with pytest.raises(OpsError, match=r"TO='.*' is not a moment. Give one such as TO=\"2026-01-31 12:00\""):
        parse(text)


def test_a_moment_in_the_future_is_an_error() -> None:
    with pytest.raises(OpsError, match="is in the future"):
        parse(f"{datetime.now() + timedelta(hours=1)}")


def test_a_moment_may_name_its_time_zone() -> None:
    assert parse("2024-01-31 12:00+02:00") == datetime(2024, 1, 31, 10, tzinfo=UTC)
