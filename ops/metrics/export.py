"""Writes the file that the webserver serves at /metrics."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.metrics_core import Metric

from ops.alerts.store import Store
from ops.command import OpsError, log
from ops.metrics.counters import Counters
from ops.metrics.gauges import gauges
from ops.status.facts import Facts
from ops.status.judge import Judgement

# A series per counter that nobody asks for.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class Export:
    """The counters of this process, and the gauges of its last evaluation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._registry = CollectorRegistry()
        self._counters = Counters(self._registry)
        self._gauges: Iterable[Metric] = []

    def collect(self) -> Iterator[Metric]:
        yield from self._gauges
        yield from self._registry.collect()

    def write(self, store: Store, facts: Facts, judgement: Judgement, began: float) -> None:
        """Replaces the file; ``began`` is the time.monotonic() at which the evaluation began. Raises OSError."""
        try:
            self._counters.count(store, facts)
        except OpsError as error:
            log(f"runs and loads are not counted: {error}")
        self._gauges = [*gauges(facts, judgement, time.monotonic() - began)]
        write_to_textfile(str(self._path), self)
