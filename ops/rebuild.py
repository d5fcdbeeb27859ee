"""Launches backfills of what was built before the newest zones, which automation does not build again."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ops.command import OpsError, log
from ops.graphql import Webserver, webserver
from ops.lineage import Lineage, Partition
from ops.status.collect import collect
from ops.status.facts import Events, Runs, Unknown, Workspace, known
from ops.status.judge import NOT_JUDGED, judge
from ops.status.partitions import QUEUED, RUNNING, STALE, AssetStatus, Range, format_ranges, ranges

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
    waiting: list[str] = field(default_factory=list)  # for something upstream


def plan(statuses: Sequence[AssetStatus], lineage: Lineage, runs: Runs, workspace: Workspace) -> Plan:
    """The partitions to build now: outdated ones, and what depends on them at the same cadence.

    A month waits until its days are built. Stale partitions are left to automation where that is on. What is being
    built is left out, so that a second call launches nothing twice.
    """
    states = {(status.asset.key, key): state for status in statuses for key, state in status.states.items()}
    busy = {one for one, state in states.items() if state in (RUNNING, QUEUED) or one[0] in runs.in_backfill}
    changing: set[Partition] = set()  # what is outdated, or depends on it
    chosen: set[Partition] = set()
    found = Plan()

    def is_ready(upstream: Partition, cadence: str) -> bool:
        """Whether an upstream partition is current, or becomes so in the same backfill."""
        if upstream in chosen and lineage.assets[upstream[0]].cadence == cadence:
            return True
        return (
            upstream in lineage.newest
            and upstream not in changing
            and upstream not in busy
            and not lineage.is_stale(*upstream)
        )

    for asset in (lineage.assets[name] for name in lineage.order()):
        is_automated, left = asset.location in workspace.automated, set[str]()
        for key in asset.keys if asset.materializable else ():
            one = (asset.key, key)
            stale, outdated = lineage.is_stale(*one), lineage.outdated_by(*one) is not None
            required = [*lineage.required(*one)]
            # What was never built is not outdated.
            follows = one in lineage.newest and not changing.isdisjoint([*required, *lineage.lookback(*one)])
            if not (follows or (outdated and not stale) or (stale and not is_automated)):
                continue
            changing.add(one)
            if one in busy:
                left.add("in progress")
            elif all(is_ready(each, asset.cadence) for each in required):
                chosen.add(one)
            else:
                left.add("waiting")
        if picked := ranges(asset.keys, {key for name, key in chosen if name == asset.key}.__contains__):
            found.backfills.setdefault(asset.cadence, {})[asset.key] = picked
        found.in_progress += [asset.key] if "in progress" in left else []
        found.waiting += [asset.key] if "waiting" in left else []
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


def nothing_to_launch(statuses: Iterable[AssetStatus], automated: Container[str]) -> str:
    stale = [status.asset for status in statuses if status.count(STALE)]
    if by_hand := [asset.key for asset in stale if asset.location not in automated]:
        return f"Nothing to launch. Materialize {', '.join(by_hand)}: older than upstream data, and automation is off."
    if stale:
        return "Nothing to launch: what make status shows as stale is built by automation."
    return "Nothing is outdated."


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
    for notice in judgement.notices:
        if notice.kind == NOT_JUDGED:
            log(f"{notice.what}: it may be built before that.")
    for cadence, assets in found.backfills.items():
        backfill = launch(webserver(facts.url), assets)
        log(f"Launched the backfill {backfill} of {cadence} partitions, {facts.url}/runs/b/{backfill}:")
        for key, chosen in assets.items():
            log(f"  {key} {format_ranges(chosen, 12)}")
    if found.in_progress:
        log(f"In progress already: {', '.join(found.in_progress)}.")
    if found.waiting:
        log(
            f"Waiting for upstream partitions: {', '.join(found.waiting)}. Automation builds them afterwards; "
            "where automation is off, call make rebuild again then."
        )
    if found == Plan():
        log(nothing_to_launch(judgement.statuses, known(workspace, Workspace()).automated))
