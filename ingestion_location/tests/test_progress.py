"""A run's log shows every few seconds how far the work is."""

import pytest
from ingestion_location.progress import Phases, Progress

from ingestion_location import progress


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_progress_has_the_count_the_share_and_the_rate(clock: Clock) -> None:
    logged: list[str] = []
    work = Progress(logged.append, "loaded", "rows", 40_000)
    clock.now = 5.0
    work.add(10_000)
    assert logged == ["loaded 10,000 of 40,000 rows (25%), 2,000 rows/s"]


def test_progress_of_something_of_unknown_size_has_no_share(clock: Clock) -> None:
    logged: list[str] = []
    work = Progress(logged.append, "downloaded", "bytes", None)
    clock.now = 5.0
    work.add(10_000)
    assert logged == ["downloaded 10,000 bytes, 2,000 bytes/s"]


def test_progress_is_silent_for_some_seconds_after_each_line(clock: Clock) -> None:
    logged: list[str] = []
    work = Progress(logged.append, "loaded", "rows", 100)
    for second in range(1, 13):
        clock.now = float(second)
        work.add(1)
    assert [line.split(",")[0] for line in logged] == ["loaded 5 of 100 rows (5%)", "loaded 10 of 100 rows (10%)"]


def test_a_phase_that_fails_is_logged_and_measured_too(clock: Clock) -> None:
    logged: list[str] = []
    phases = Phases(logged.append)

    def fail_after(seconds: float) -> None:
        with phases.phase("copy"):
            clock.now = seconds
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail_after(3.0)
    assert (logged, phases.seconds) == (["phase copy"], {"copy": 3.0})
