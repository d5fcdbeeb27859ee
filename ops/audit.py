"""Who did what through the webserver: the lines of audit.log (services/migrate/dagster.sql)."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from typer import Option

from ops import compose
from ops.command import OpsError, run
from ops.table import print_table

UNITS = {"m": "minutes", "h": "hours", "d": "days"}
LINES = """
select json_build_array(
  to_char(at at time zone 'utc', 'YYYY-MM-DD HH24:MI:SS'), who, address, what, locations, named, result)
from (
  select * from audit.log where at >= :'since' and (:'who' = '' or who = :'who') order by id desc limit :most
) as newest
order by id;
"""


def audit(
    since: Annotated[str, Option(help="Since when: 30m, 12h, 7d, or a date such as 2026-11-01 (UTC).")] = "1d",
    user: Annotated[str, Option(help="Only what this user did; a service token is token:NAME.")] = "",
    most: Annotated[int, Option(min=1, help="At most so many lines, the newest.")] = 200,
) -> None:
    """List who did what: when, from where, on what and with what result."""
    variables = {"since": _moment(since), "who": user, "most": str(most)}
    given = [part for name, value in variables.items() for part in ("-v", f"{name}={value}")]
    psql = compose.in_postgres("psql", "-d", "dagster", "-v", "ON_ERROR_STOP=1", *given, "-qtAX")
    rows = [json.loads(line) for line in run(*psql, stdin=LINES).splitlines()]
    headings = ["when (UTC)", "who", "from", "what", "location", "on", "result"]
    print_table(headings, [[*row[:4], ", ".join(row[4]), _things(row[5]), row[6]] for row in rows])


def _things(named: dict[str, list[str]]) -> str:
    return "; ".join(f"{kind} {', '.join(values)}" for kind, values in named.items() if kind != "location")


def _moment(since: str) -> str:
    if ago := re.fullmatch(r"(\d{1,6})([mhd])", since):
        return (datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])})).isoformat()
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        raise OpsError(f"SINCE={since!r} is no time. Write 30m, 12h, 7d, or a date such as 2026-11-01.") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
