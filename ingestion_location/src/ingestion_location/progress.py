"""What a run's log and its result say about the work while it goes on: how far, how fast, how long."""

import contextlib
import time
from collections.abc import Callable, Iterator

Say = Callable[[str], None]
# Seconds between two lines about the same work.
INTERVAL = 5.0


class Progress:
    """Says every few seconds how far a piece of work is."""

    def __init__(self, say: Say, done: str, unit: str, total: int | None) -> None:
        """Starts the clock.

        Args:
            say: takes a line, usually ``context.log.info``.
            done: what was done to them, for example ``loaded``.
            unit: what is counted, for example ``rows``.
            total: how many there are in all; None where it is not known.
        """
        self._say = say
        self._done = done
        self._unit = unit
        self._total = total
        self._count = 0
        self._start = self._said = time.monotonic()

    def add(self, count: int) -> None:
        """Counts some more, and says so where the last line is long enough ago."""
        self._count += count
        now = time.monotonic()
        if now - self._said < INTERVAL:
            return
        self._said = now
        of = f" of {self._total:,} {self._unit} ({self._count / self._total:.0%})" if self._total else f" {self._unit}"
        self._say(f"{self._done} {self._count:,}{of}, {self._count / (now - self._start):,.0f} {self._unit}/s")


class Phases:
    """Measures the phases of a run, and says when one begins.

    Attributes:
        seconds: wall-clock seconds per phase, in the order in which they began.
    """

    def __init__(self, say: Say) -> None:
        """Takes ``say``, which gets a line when a phase begins."""
        self.say = say
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measures what happens inside, whether it ends well or not."""
        self.say(f"phase {name}")
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
