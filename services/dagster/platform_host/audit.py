"""Who did what: a line for each mutation, on the standard output and in a table that nobody changes (docs/access.md).

It has what a mutation names, and none of the values that it brings: no configuration, no cursor, no description.
"""

import json
import logging
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from dagster import DagsterInstance
from dagster_postgres import PostgresEventLogStorage

from platform_host.door import Caller
from platform_host.mutations import Named

# Of the names of one kind, in characters. A backfill may name thousands of partitions.
LONGEST = 2000
# Lines of what one caller attempted in vain within an hour of the clock: nobody fills the table without a role.
REFUSALS = 100
_refusals: Counter[tuple[str, int]] = Counter()
_INSERT = sa.text(
    "insert into audit.log (who, address, what, locations, named, result)"
    " values (:who, :address, :what, :locations, cast(:named as jsonb), :result)"
)


def record(instance: DagsterInstance, caller: Caller, what: str, named: Named, result: Any) -> None:
    """Writes the line of a mutation or of a route that writes; ``result`` is what Dagster's resolver returned.

    Where the table cannot be written, the line on the standard output stays, and the error is logged.
    """
    named = _with_created(named, result)
    line: dict[str, Any] = {
        "who": caller.identity.name,
        "address": caller.address,
        "what": what,
        "locations": _shortened(sorted(named.locations - {""})),
        "named": {kind: _shortened(values) for kind, values in named.things.items()},
        "result": outcome(result),
    }
    print(json.dumps({"audit": datetime.now(UTC).isoformat(timespec="milliseconds"), **line}), flush=True)
    storage = instance.event_log_storage
    try:
        if not isinstance(storage, PostgresEventLogStorage):
            raise TypeError(f"the instance keeps its events in {type(storage).__name__}, and not in Postgres")
        with storage.index_transaction() as connection:
            connection.execute(_INSERT, line | {"named": json.dumps(line["named"])})
    except Exception:
        logging.getLogger("dagster-webserver").exception("The line of %s was not written to audit.log.", what)


def record_refusal(instance: DagsterInstance, caller: Caller, what: str, named: Named, why: str) -> None:
    """Writes the line of an attempt that changed nothing, unless this caller has left REFUSALS of them in this hour."""
    hour = int(time.time()) // 3600
    for old in list(_refusals):
        if old[1] != hour:
            _refusals.pop(old, None)
    _refusals[caller.identity.name, hour] += 1
    left = REFUSALS - _refusals[caller.identity.name, hour]
    if left >= 0:
        record(instance, caller, what, named, why if left else f"{why}; further ones of this hour have no line")


def outcome(result: Any) -> str:
    """The type of a result, such as LaunchRunSuccess, or of each where there are several."""
    several = getattr(result, "terminateRunResults", None) or getattr(result, "launchMultipleRunsResult", None)
    if several:
        return ", ".join(dict.fromkeys(outcome(each) for each in several))
    if isinstance(result, str):
        return result
    meta = getattr(type(result), "_meta", None)
    return "done" if meta is None else str(meta.name)


def _with_created(named: Named, result: Any) -> Named:
    things = dict(named.things)
    for each in getattr(result, "launchMultipleRunsResult", None) or [result]:
        run = getattr(getattr(each, "run", None), "dagster_run", None)
        if run and run.run_id not in things.get("run", []):
            things["run"] = [*things.get("run", []), run.run_id]
        if backfill := getattr(each, "backfill_id", None) or getattr(each, "backfillId", None):
            things["backfill"] = list(dict.fromkeys([*things.get("backfill", []), backfill]))
    return Named(things, named.locations)


def _shortened(values: list[str]) -> list[str]:
    """The first names, in characters that Postgres stores: no other one keeps a line out of the table."""
    kept: list[str] = []
    room = LONGEST
    for value in values:
        if room <= 0:
            return [*kept, f"and {len(values) - len(kept)} more"]
        shown = value if len(value) <= room else f"{value[:room]}…"
        kept.append(shown.replace("\0", "?").encode(errors="replace").decode())
        room -= len(shown) + len('"", ')
    return kept
