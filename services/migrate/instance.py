"""Migrates Dagster's instance as `dagster instance migrate` does, and sets the limits of pools.

In one process, because to import Dagster takes two seconds of CPU. Idempotent.
"""

from dagster import DagsterInstance

# How many runs of a pool may be in progress. Other pools have the default_limit of dagster.yaml.
LIMITS = {"loading": 2}


def main() -> None:
    with DagsterInstance.get() as instance:
        instance.upgrade(print)
    # Anew, since the storage remembers which tables there were.
    with DagsterInstance.get() as instance:
        for pool, limit in LIMITS.items():
            instance.event_log_storage.set_concurrency_slots(pool, limit)


if __name__ == "__main__":
    main()
