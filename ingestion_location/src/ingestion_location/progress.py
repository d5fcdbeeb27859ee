"""Lines in a run's log about how far the work is, and the time that each phase takes."""

import contextlib
import time
from collections.abc import Callable, Iterator

# Takes a line for the log, usually `context.log.info`.
Log = Callable[[str], None]
# Seconds between two lines about the same work.
INTERVAL = 5.0


class Progress:
    """Logs how far a piece of work is; ``done`` and ``unit`` are words for the lines, such as "loaded" and "rows"."""

    def __init__(self, log: Log, done: str, unit: str, total: int | None) -> None:
        self._log = log
        self._done = done
        self._unit = unit
        self._total = total
        self._count = 0
        self._start = self._last_line = time.monotonic()

    def add(self, count: int) -> None:
        """Adds to the count, and logs a line if the last one was ``INTERVAL`` ago."""
        self._count += count
        now = time.monotonic()
        if now - self._last_line < INTERVAL:
            return
        self._last_line = now
        of = f" of {self._total:,} {self._unit} ({self._count / self._total:.0%})" if self._total else f" {self._unit}"
        self._log(f"{self._done} {self._count:,}{of}, {self._count / (now - self._start):,.0f} {self._unit}/s")


class Phases:
    """Logs the phases of a load and measures their wall-clock seconds."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.log(f"phase {name}")
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
