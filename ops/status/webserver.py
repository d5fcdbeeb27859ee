"""What the webserver's GraphQL API says, in as many queries for ten partitions as for ten thousand."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from operator import itemgetter
from typing import Any

from ops.command import first_line
from ops.contract.compare import lineage_assets
from ops.contract.served import NODE, describe_node
from ops.graphql import Webserver
from ops.lineage import Asset
from ops.status.facts import Backfill, Check, Daemon, Instigator, Location, Run, Runs, Workspace

# Of a failed run older than these only the failed partitions are known, not the reason.
FAILED_RUNS = 100

_TICKS = "status ticks(limit: 2) { status timestamp error { message } }"
WORKSPACE = f"""
query {{ workspaceOrError {{ __typename
  ... on PythonError {{ message }}
  ... on Workspace {{ locationEntries {{
    name loadStatus updatedTimestamp
    locationOrLoadError {{ __typename
      ... on PythonError {{ message }}
      ... on RepositoryLocation {{ repositories {{
        jobs {{ name isAssetJob runs(limit: 1) {{ runId }} }}
        sensors {{ name defaultStatus sensorType sensorState {{ {_TICKS} }} }}
        schedules {{ name defaultStatus scheduleState {{ {_TICKS} }} }} }} }} }} }} }} }} }}
"""
DAEMONS = """
query { instance { daemonHealth { allDaemonStatuses {
  daemonType required lastHeartbeatTime lastHeartbeatErrors { message } } } } }
"""
ASSETS = f"""
query {{ assetNodes {{ {NODE}
  repository {{ location {{ name }} }}
  owners {{ ... on TeamAssetOwner {{ team }} ... on UserAssetOwner {{ email }} }}
  freshnessStatusInfo {{ freshnessStatus }}
  assetPartitionStatuses {{ __typename
    ... on TimePartitionStatuses {{ ranges {{ startKey endKey status }} }}
    ... on DefaultPartitionStatuses {{
      MATERIALIZED: materializedPartitions FAILED: failedPartitions MATERIALIZING: materializingPartitions }} }} }} }}
"""
CHECKS = """
query { assetNodes { assetKey { path } assetChecksOrError { ... on AssetChecks { checks {
  name executionForLatestMaterialization { status runId evaluation { severity description } } } } } } }
"""
_RUN = """
  ... on PythonError { message }
  ... on Runs { results {
    id: runId status job: jobName created: creationTime started: startTime ended: endTime
    assetSelection { path } tags { key value } repositoryOrigin { repositoryLocationName } } }
"""
RUNS = f"""
query {{
  unfinished: runsOrError(filter: {{ statuses: [QUEUED, NOT_STARTED, MANAGED, STARTING, STARTED, CANCELING] }},
                          limit: 1000) {{ __typename {_RUN} }}
  failed: runsOrError(filter: {{ statuses: [FAILURE] }}, limit: {FAILED_RUNS}) {{ __typename {_RUN} }}
  backfills: partitionBackfillsOrError(limit: 20) {{ __typename
    ... on PythonError {{ message }}
    ... on PartitionBackfills {{ results {{
      id status partitions: numPartitions created: timestamp ended: endTimestamp
      assetSelection {{ path }} error {{ message }} }} }} }} }}
"""


def workspace(webserver: Webserver) -> Workspace:
    entries = webserver.ask(WORKSPACE)["workspaceOrError"]["locationEntries"]
    last_runs = {
        (entry["name"], job["name"]): job["runs"][0]["runId"]
        for entry in entries
        for repository in _repositories(entry)
        for job in repository["jobs"]
        if job["runs"] and not job["isAssetJob"]
    }
    instigators = tuple(instigator for entry in entries for instigator in _instigators(entry))
    return Workspace(tuple(map(_location, entries)), instigators, last_runs)


def daemons(webserver: Webserver) -> tuple[Daemon, ...]:
    found = webserver.ask(DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
    return tuple(map(_daemon, filter(itemgetter("required"), found)))


def assets(webserver: Webserver) -> tuple[Asset, ...]:
    nodes = webserver.ask(ASSETS)["assetNodes"]
    described = [describe_node(node["repository"]["location"]["name"], node) for node in nodes]
    return tuple(_with_states(asset, node) for asset, node in zip(lineage_assets(described), nodes, strict=True))


def checks(webserver: Webserver) -> tuple[Check, ...]:
    return tuple(
        Check(
            asset=_key(node["assetKey"]),
            name=check["name"],
            status=execution["status"],
            severity=(execution["evaluation"] or {}).get("severity"),
            run_id=execution["runId"],
            description=first_line((execution["evaluation"] or {}).get("description")),
        )
        for node in webserver.ask(CHECKS)["assetNodes"]
        for check in node["assetChecksOrError"].get("checks", ())
        if (execution := check["executionForLatestMaterialization"])
    )


def runs(webserver: Webserver) -> Runs:
    answer = webserver.ask(RUNS)
    return Runs(
        unfinished=tuple(map(_run, answer["unfinished"]["results"])),
        failed=tuple(map(_run, answer["failed"]["results"])),
        backfills=tuple(map(_backfill, answer["backfills"]["results"])),
    )


def _key(key: Mapping[str, Any]) -> str:
    return "/".join(key["path"])


def _keys(keys: Iterable[Mapping[str, Any]] | None) -> tuple[str, ...]:
    return tuple(map(_key, keys or ()))


def _repositories(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list((entry["locationOrLoadError"] or {}).get("repositories", ()))


def _daemon(daemon: Mapping[str, Any]) -> Daemon:
    errors = tuple(first_line(error["message"]) for error in daemon["lastHeartbeatErrors"])
    return Daemon(daemon["daemonType"], daemon["lastHeartbeatTime"], errors)


def _location(entry: Mapping[str, Any]) -> Location:
    loaded = entry["locationOrLoadError"]
    failed = loaded is not None and loaded["__typename"] == "PythonError"
    error = first_line(loaded["message"]) if failed else None
    loading = loaded is None or entry["loadStatus"] == "LOADING"
    return Location(entry["name"], error, entry["updatedTimestamp"], loading)


def _instigators(entry: Mapping[str, Any]) -> Iterable[Instigator]:
    for repository in _repositories(entry):
        for kind in ("sensor", "schedule"):
            for found in repository[f"{kind}s"]:
                state = found[f"{kind}State"]
                tick = next((tick for tick in state["ticks"] if tick["status"] != "STARTED"), None)
                yield Instigator(
                    name=found["name"],
                    location=entry["name"],
                    kind=kind,
                    running=state["status"] == "RUNNING",
                    runs_by_default=found["defaultStatus"] == "RUNNING",
                    builds_assets=found.get("sensorType") in ("AUTO_MATERIALIZE", "AUTOMATION"),
                    last_tick=tick and tick["timestamp"],
                    last_status=tick and tick["status"],
                    error=first_line(tick["error"]["message"]) if tick and tick["error"] else None,
                )


def _with_states(asset: Asset, node: Mapping[str, Any]) -> Asset:
    states = _partition_states(node) if asset.kind else {}
    return replace(
        asset,
        materialized=frozenset(states.get("MATERIALIZED", ())),
        failed=frozenset(states.get("FAILED", ())),
        in_progress=frozenset(states.get("MATERIALIZING", ())),
        owners=tuple(f"team:{one['team']}" if "team" in one else one["email"] for one in node["owners"]),
        late=(node["freshnessStatusInfo"] or {}).get("freshnessStatus") == "DEGRADED",
    )


def _partition_states(node: Mapping[str, Any]) -> Mapping[str, Iterable[str]]:
    statuses, keys = node["assetPartitionStatuses"], node["partitionKeys"]
    if statuses["__typename"] != "TimePartitionStatuses":
        return dict(statuses)
    places = {key: place for place, key in enumerate(keys)}
    states: dict[str, set[str]] = {}
    for found in statuses["ranges"]:
        # The asset's range may have been shortened since: what is outside is left out.
        first, last = places.get(found["startKey"]), places.get(found["endKey"], len(keys) - 1)
        if first is not None:
            states.setdefault(found["status"], set()).update(keys[first : last + 1])
    return states


def _run(run: Mapping[str, Any]) -> Run:
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    one = tags.get("dagster/partition")
    return Run(
        **{name: run[name] for name in ("id", "status", "job", "created", "started", "ended")},
        location=(run["repositoryOrigin"] or {}).get("repositoryLocationName", ""),
        assets=tuple(sorted(_keys(run["assetSelection"]))),
        first=tags.get("dagster/asset_partition_range_start", one),
        last=tags.get("dagster/asset_partition_range_end", one),
        will_retry=tags.get("dagster/will_retry") == "true",
        backfill=tags.get("dagster/backfill"),
    )


def _backfill(backfill: Mapping[str, Any]) -> Backfill:
    return Backfill(
        **{name: backfill[name] for name in ("id", "status", "partitions", "created", "ended")},
        assets=tuple(sorted(_keys(backfill["assetSelection"]))),
        error=first_line(backfill["error"]["message"]) if backfill["error"] else None,
    )
