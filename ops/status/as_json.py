"""The facts and what follows from them as JSON. Times are ISO 8601 in UTC, sizes are bytes, unknown parts are null."""

import json
from datetime import UTC, datetime
from typing import Any

from ops.status.facts import Facts, Unknown
from ops.status.failures import Failure
from ops.status.judge import Judgement
from ops.status.partitions import STATES, AssetStatus

TIMES = {"evaluated", "since", "last_tick", "beat", "created", "started", "ended"}
TIMES |= {"newest", "archived", "waiting_since", "dropped"}


def as_json(facts: Facts, judgement: Judgement) -> str:
    """One object; its ``not_known`` has the reason of each part that is null."""
    workspace, runs = facts.workspace, facts.runs
    parts: dict[str, Any] = {
        "services": facts.services,
        "locations": workspace if isinstance(workspace, Unknown) else workspace.locations,
        "daemons": facts.daemons,
        "assets": facts.assets if isinstance(facts.assets, Unknown) else [*map(_asset, judgement.statuses)],
        "runs": runs if isinstance(runs, Unknown) else runs.unfinished,
        "backfills": runs if isinstance(runs, Unknown) else runs.backfills,
        "failures": runs if isinstance(runs, Unknown) else [_failure(one, facts.url) for one in judgement.failures],
        "checks": facts.checks,
        "sensors_and_schedules": workspace if isinstance(workspace, Unknown) else workspace.instigators,
        "storage": facts.storage,
        "backups": facts.backups,
        "alerts": facts.alerts,
        "certificate": facts.certificate if isinstance(facts.certificate, Unknown) else _stamp(facts.certificate),
    }
    whole = {
        "project": facts.project,
        "time": _stamp(facts.time),
        "url": facts.url,
        "needs_a_person": judgement.problems,
        "notices": judgement.notices,
        **{name: None if isinstance(part, Unknown) else part for name, part in parts.items()},
        "not_known": {name: part.reason for name, part in parts.items() if isinstance(part, Unknown)},
    }
    # ASCII only: no control character of a message reaches the terminal.
    return json.dumps(whole, indent=2, default=_fields)


def _fields(part: Any) -> dict[str, Any]:
    return {name: _stamp(value) if name in TIMES else value for name, value in vars(part).items()}


def _stamp(time: float | None) -> str | None:
    return None if time is None else f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _asset(status: AssetStatus) -> dict[str, Any]:
    states = [state for state in STATES if status.count(state)]
    return {
        "key": status.asset.key,
        "location": status.asset.location,
        "partitions": status.asset.cadence or None,
        "counts": {state: status.count(state) for state in states},
        "ranges": {state: status.ranges(state) for state in states},
    }


def _failure(failure: Failure, url: str | None) -> dict[str, Any]:
    run = failure.run
    return {
        "location": failure.location,
        "assets": failure.assets,
        "job": run.job if run else None,
        "ranges": failure.ranges,
        "ended": _stamp(run.ended) if run else None,
        "reason": failure.reason,
        "retrying": failure.retrying,
        "run": run.id if run else None,
        "url": f"{url}/runs/{run.id}" if run and url else None,
    }
