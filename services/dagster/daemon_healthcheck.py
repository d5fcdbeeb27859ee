"""The daemon's health check: whether every thread of the daemon gave a heartbeat lately.

It asks what `dagster-daemon liveness-check` asks, but does not import Dagster, which takes thirty times the CPU.
Exit status 3 says that Postgres, which keeps the heartbeats, does not answer. Then the daemon is not restarted
(services/health.yaml).
"""

import os
import sys
from pathlib import Path

import psycopg2

# Whether the newest heartbeat is of an earlier daemon, and whether one is overdue. Dagster's threads give a heartbeat
# every 30 seconds; the scheduler's one a minute.
HEARTBEATS = """
select
    max(timestamp) < timezone('utc', now()) - make_interval(secs => %s),
    min(timestamp) < timezone('utc', now()) - make_interval(secs => 30 + %s)
from daemon_heartbeats
where daemon_id = (select daemon_id from daemon_heartbeats order by timestamp desc limit 1)
"""


def container_age() -> float:
    """Seconds since the container's first process started."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - int(Path("/proc/1/stat").read_text().split()[21]) / 100


def main() -> int:
    tolerance = int(os.environ["DAGSTER_DAEMON_HEARTBEAT_TOLERANCE"])
    try:
        connection = psycopg2.connect(host="postgres", user="dagster", dbname="dagster", connect_timeout=10)
        with connection.cursor() as cursor:
            cursor.execute(HEARTBEATS, [container_age(), tolerance])
            earlier, overdue = cursor.fetchone() or (None, None)
    except psycopg2.OperationalError as error:
        print(error)
        return 3
    if overdue is None or earlier:
        print("The daemon has not given a heartbeat yet.")
        return 1
    if overdue:
        print(f"A thread of the daemon has given no heartbeat for {30 + tolerance} s.")
    return int(overdue)


if __name__ == "__main__":
    sys.exit(main())
