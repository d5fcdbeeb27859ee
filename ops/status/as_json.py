"""The facts and what follows from them as JSON. Times are ISO 8601 in UTC, sizes bytes; null is what is not known."""

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

from ops.status.facts import Facts, Unknown
from ops.status.failures import Failure
from ops.status.judge import Judgement
from ops.status.pictures import STATES, Picture

TIMES = {"time", "since", "last_tick", "beat", "created", "started", "ended"}


def as_json(facts: Facts, judgement: Judgement) -> str:
    """One object; ``not_known`` has the reason of each part that is null."""
    workspace = facts.workspace
    known = None if isinstance(workspace, Unknown) else workspace
    parts = {
        "services": facts.services,
        "locations": known.locations if known else workspace,
        "daemons": facts.daemons,
        "assets": facts.assets if isinstance(facts.assets, Unknown) else tuple(map(_asset, judgement.pictures)),
        "runs": facts.runs if isinstance(facts.runs, Unknown) else facts.runs.unfinished,
        "backfills": facts.runs if isinstance(facts.runs, Unknown) else facts.runs.backfills,
        "failures": facts.runs
        if isinstance(facts.runs, Unknown)
        else tuple(_failure(failure, facts.url) for failure in judgement.failures),
        "checks": facts.checks,
        "sensors_and_schedules": known.instigators if known else workspace,
        "storage": facts.storage,
    }
    whole: dict[str, Any] = {
        "project": facts.project,
        "time": _stamp(facts.time),
        "url": facts.url,
        "needs_a_person": [_plain(problem) for problem in judgement.problems],
    }
    whole |= {name: None if isinstance(part, Unknown) else _plain(part) for name, part in parts.items()}
    whole["not_known"] = {name: part.reason for name, part in parts.items() if isinstance(part, Unknown)}
    return json.dumps(whole, indent=2, ensure_ascii=False)


def _plain(part: Any) -> Any:
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        fields = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
        return {name: _stamp(value) if name in TIMES else _plain(value) for name, value in fields.items()}
    if isinstance(part, dict):
        return {name: _stamp(value) if name in TIMES else _plain(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [_plain(one) for one in part]
    return part


def _stamp(time: float | None) -> str | None:
    return None if time is None else f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _asset(picture: Picture) -> dict[str, Any]:
    asset = picture.asset
    states = [state for state in STATES if picture.count(state)]
    return {
        "key": asset.key,
        "location": asset.location,
        "partitions": asset.cadence or None,
        "counts": {state: picture.count(state) for state in states},
        "ranges": {state: picture.ranges(state) for state in states},
    }


def _failure(failure: Failure, url: str | None) -> dict[str, Any]:
    run = failure.run
    return {
        "location": failure.location,
        "assets": failure.assets,
        "job": run.job if run else None,
        "ranges": failure.ranges,
        "ended": run.ended if run else None,
        "reason": failure.reason,
        "retrying": failure.retrying,
        "run": run.id if run else None,
        "url": f"{url}/runs/{run.id}" if run and url else None,
    }
