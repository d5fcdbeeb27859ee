"""Launches the backfills of what was built before the newest zones; nothing else builds that again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ops.command import OpsError, log
from ops.graphql import Webserver
from ops.lineage import Lineage, Partition
from ops.status.collect import collect
from ops.status.facts import Events, Runs, Unknown, Workspace, known
from ops.status.judge import judge
from ops.status.partitions import BUILT, OUTDATED, QUEUED, RUNNING, STALE, AssetStatus, Range, format_ranges, ranges

LAUNCH = """
mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) { __typename
  ... on LaunchBackfillSuccess { backfillId }
  ... on PythonError { message } } }
"""


@dataclass
class Plan:
    """What to launch: per cadence one backfill, with the ranges of each asset. And the assets that it leaves out."""

    backfills: dict[str, dict[str, list[Range]]] = field(default_factory=dict)
    in_progress: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)  # for what they are made from


def plan(statuses: Sequence[AssetStatus], lineage: Lineage, runs: Runs, workspace: Workspace) -> Plan:
    """What is outdated and can be built now, with what is made from it at the same cadence.

    A month waits until its days are built. What is stale is left to automation, in the locations that have it. What is
    being built is left alone, so that a second call launches nothing twice.
    """
    states = {(status.asset.key, key): state for status in statuses for key, state in status.states.items()}
    planned: dict[str, set[Partition]] = {}
    found = Plan()
    for asset in (lineage.assets[name] for name in lineage.order()):
        reasons = {OUTDATED} if asset.location in workspace.automated else {OUTDATED, STALE}
        in_same_run = planned.setdefault(asset.cadence, set())
        chosen, busy, waiting = set[str](), set[str](), set[str]()
        for key in asset.keys if asset.materializable else ():
            state = states[asset.key, key]
            required = [*lineage.required(asset.key, key)]
            if state not in reasons and in_same_run.isdisjoint([*required, *lineage.taken_along(asset.key, key)]):
                continue
            if asset.key in runs.in_backfill or state in (RUNNING, QUEUED):
                busy.add(key)
            elif all(one in in_same_run or states.get(one) == BUILT for one in required):
                chosen.add(key)
                in_same_run.add((asset.key, key))
            else:
                waiting.add(key)
        if chosen:
            found.backfills.setdefault(asset.cadence, {})[asset.key] = ranges(asset.keys, chosen.__contains__)
        found.in_progress += [asset.key] if busy else []
        found.waiting += [asset.key] if waiting else []
    return found


def launch(webserver: Webserver, assets: Mapping[str, Sequence[Range]]) -> str:
    """Launches one backfill of ranges of assets and returns its id."""
    by_asset = [
        {
            "assetKey": {"path": key.split("/")},
            "partitions": {"ranges": [{"start": first, "end": last} for first, last in chosen]},
        }
        for key, chosen in assets.items()
    ]
    params = {"partitionsByAssets": by_asset, "title": "make rebuild"}
    result = webserver.ask(LAUNCH, params=params)["launchPartitionBackfill"]
    if result["__typename"] != "LaunchBackfillSuccess":
        raise OpsError(f"Dagster does not launch the backfill of {', '.join(assets)}: {result['__typename']}.")
    return str(result["backfillId"])


def rebuild() -> None:
    """Build again what was built before the newest zones: launch its backfills, those of days first."""
    facts = collect()
    workspace, runs, events = facts.workspace, facts.runs, facts.events
    for part in (facts.services, workspace, facts.assets, runs, events):
        if isinstance(part, Unknown):
            raise OpsError(f"What is outdated is not known: {part.reason}. Nothing was launched; see make status.")
    judgement = judge(facts)
    lineage = Lineage([status.asset for status in judgement.statuses], known(events, Events({}, {})).newest)
    found = plan(judgement.statuses, lineage, known(runs, Runs()), known(workspace, Workspace()))
    for cadence, assets in found.backfills.items():
        backfill = launch(Webserver(facts.url or ""), assets)
        log(f"Launched the backfill {backfill} of {cadence} partitions, {facts.url}/runs/b/{backfill}:")
        for key, chosen in assets.items():
            log(f"  {key} {format_ranges(chosen, 12)}")
    if found.in_progress:
        log(f"In progress already: {', '.join(found.in_progress)}.")
    if found.waiting:
        log(
            f"Waiting for what they are made from: {', '.join(found.waiting)}. Automation builds them after it; "
            "where automation is off, call make rebuild again then."
        )
    if found == Plan():
        log("Nothing is outdated.")
