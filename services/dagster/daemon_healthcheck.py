"""The daemon's health check: whether every thread of the daemon gave a heartbeat lately.

It asks what `dagster-daemon liveness-check` asks, but does not import Dagster, which takes thirty times the CPU.
Exit status 3 says that Postgres, which keeps the heartbeats, does not answer. Then the daemon is not restarted
(services/health.yaml).
"""

import os
import sys

import psycopg2

# Dagster's threads give a heartbeat every 30 seconds; the scheduler's one a minute.
OVERDUE = """
select min(timestamp) < timezone('utc', now()) - make_interval(secs => 30 + %s)
from daemon_heartbeats
where daemon_id = (select daemon_id from daemon_heartbeats order by timestamp desc limit 1)
"""


def main() -> int:
    tolerance = int(os.environ["DAGSTER_DAEMON_HEARTBEAT_TOLERANCE"])
    try:
        connection = psycopg2.connect(host="postgres", user="dagster", dbname="dagster", connect_timeout=10)
        with connection.cursor() as cursor:
            cursor.execute(OVERDUE, [tolerance])
            (overdue,) = cursor.fetchone() or (None,)
    except psycopg2.OperationalError as error:
        print(error)
        return 3
    if overdue is None:
        print("The daemon has not given a heartbeat yet.")
    elif overdue:
        print(f"A thread of the daemon has given no heartbeat for {30 + tolerance} s.")
    return overdue is not False


if __name__ == "__main__":
    sys.exit(main())
