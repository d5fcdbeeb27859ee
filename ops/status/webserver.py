"""What the webserver's GraphQL API says: the workspace, the daemon's heartbeats, runs, assets and their checks.

The number of queries is fixed, whatever the number of partitions.
"""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ops.status.command import SourceError, first_line
from ops.status.facts import Asset, Backfill, Check, Daemon, Instigator, Location, Run, Runs, Workspace

SECONDS = 20
# After a restart of Postgres the webserver answers with an error once for each connection that it had kept.
ATTEMPTS = 6
# Of more failed runs than these only the failed partitions are seen, not why.
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
ASSETS = """
query { assetNodes {
  assetKey { path } isMaterializable repository { location { name } } dependencyKeys { path }
  partitionDefinition { type description fmt } partitionKeys
  assetPartitionStatuses { __typename
    ... on TimePartitionStatuses { ranges { startKey endKey status } }
    ... on DefaultPartitionStatuses { materializedPartitions failedPartitions materializingPartitions } } } }
"""
CHECKS = """
query { assetNodes { assetKey { path } assetChecksOrError { ... on AssetChecks { checks {
  name executionForLatestMaterialization { status runId evaluation { severity description } } } } } } }
"""
_RUN = """
  ... on PythonError { message }
  ... on Runs { results {
    runId status jobName assetSelection { path } creationTime startTime endTime tags { key value }
    repositoryOrigin { repositoryLocationName } } }
"""
RUNS = f"""
query {{
  unfinished: runsOrError(filter: {{ statuses: [QUEUED, NOT_STARTED, MANAGED, STARTING, STARTED, CANCELING] }},
                          limit: 1000) {{ __typename {_RUN} }}
  failed: runsOrError(filter: {{ statuses: [FAILURE] }}, limit: {FAILED_RUNS}) {{ __typename {_RUN} }}
  backfills: partitionBackfillsOrError(limit: 20) {{ __typename
    ... on PythonError {{ message }}
    ... on PartitionBackfills {{ results {{
      id status numPartitions timestamp endTimestamp assetSelection {{ path }} error {{ message }} }} }} }} }}
"""


@dataclass(frozen=True)
class Webserver:
    """A client of one webserver that only reads."""

    url: str

    def workspace(self) -> Workspace:
        """The code locations and what starts by itself.

        Raises:
            SourceError: the webserver does not answer, or answers with an error; so do all of these.
        """
        entries = self._ask(WORKSPACE)["workspaceOrError"]["locationEntries"]
        last_runs = {
            (entry["name"], job["name"]): job["runs"][0]["runId"]
            for entry in entries
            for repository in _repositories(entry)
            for job in repository["jobs"]
            if job["runs"] and not job["isAssetJob"]
        }
        return Workspace(
            locations=tuple(map(_location, entries)),
            instigators=tuple(one for entry in entries for one in _instigators(entry)),
            last_runs=last_runs,
        )

    def daemons(self) -> tuple[Daemon, ...]:
        """The daemon's threads that the instance needs."""
        return tuple(
            Daemon(
                daemon["daemonType"],
                daemon["lastHeartbeatTime"],
                tuple(first_line(error["message"]) for error in daemon["lastHeartbeatErrors"]),
            )
            for daemon in self._ask(DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
            if daemon["required"]
        )

    def assets(self) -> tuple[Asset, ...]:
        """The assets of all locations with the states of their partitions."""
        return tuple(map(_asset, self._ask(ASSETS)["assetNodes"]))

    def checks(self) -> tuple[Check, ...]:
        """The asset checks that were executed on the newest materialization of their asset."""
        return tuple(
            Check(
                asset=_key(node["assetKey"]),
                name=check["name"],
                status=execution["status"],
                severity=(execution["evaluation"] or {}).get("severity"),
                run_id=execution["runId"],
                description=first_line((execution["evaluation"] or {}).get("description")),
            )
            for node in self._ask(CHECKS)["assetNodes"]
            for check in node["assetChecksOrError"].get("checks", ())
            if (execution := check["executionForLatestMaterialization"])
        )

    def runs(self) -> Runs:
        """The runs that are not over, those that failed, and the backfills."""
        answer = self._ask(RUNS)
        return Runs(
            unfinished=tuple(map(_run, answer["unfinished"]["results"])),
            failed=tuple(map(_run, answer["failed"]["results"])),
            backfills=tuple(map(_backfill, answer["backfills"]["results"])),
        )

    def _ask(self, query: str) -> dict[str, Any]:
        for _ in range(ATTEMPTS - 1):
            try:
                return self._ask_once(query)
            except _AnswerError:
                continue
        return self._ask_once(query)

    def _ask_once(self, query: str) -> dict[str, Any]:
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise _AnswerError(f"the webserver answers HTTP {error.code}") from None
        except TimeoutError:
            raise SourceError(f"the webserver does not answer in {SECONDS} s") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SourceError(f"the webserver does not answer ({getattr(error, 'reason', error)})") from None
        if errors := answer.get("errors"):
            raise _AnswerError(f"the webserver answers with an error: {first_line(errors[0]['message'])}")
        data: dict[str, Any] = answer["data"]
        for part in data.values():
            if isinstance(part, dict) and part.get("__typename") == "PythonError":
                raise _AnswerError(f"the webserver answers with an error: {first_line(part['message'])}")
        return data


class _AnswerError(SourceError):
    """It answers, with an error; the next answer may be a good one."""


def _key(key: Mapping[str, Any]) -> str:
    return "/".join(key["path"])


def _keys(keys: Iterable[Mapping[str, Any]] | None) -> tuple[str, ...]:
    return tuple(map(_key, keys or ()))


def _repositories(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    loaded: Mapping[str, Any] = entry["locationOrLoadError"] or {}
    return list(loaded.get("repositories", ()))


def _location(entry: Mapping[str, Any]) -> Location:
    loaded = entry["locationOrLoadError"]
    failed = loaded is not None and loaded["__typename"] == "PythonError"
    return Location(
        name=entry["name"],
        error=first_line(loaded["message"]) if failed else None,
        since=entry["updatedTimestamp"],
        loading=loaded is None or entry["loadStatus"] == "LOADING",
    )


def _instigators(entry: Mapping[str, Any]) -> Iterable[Instigator]:
    for repository in _repositories(entry):
        for kind in ("sensor", "schedule"):
            for one in repository[f"{kind}s"]:
                state = one[f"{kind}State"]
                tick = next((tick for tick in state["ticks"] if tick["status"] != "STARTED"), None)
                yield Instigator(
                    name=one["name"],
                    location=entry["name"],
                    kind=kind,
                    running=state["status"] == "RUNNING",
                    runs_by_default=one["defaultStatus"] == "RUNNING",
                    builds_assets=one.get("sensorType") in ("AUTO_MATERIALIZE", "AUTOMATION"),
                    last_tick=tick and tick["timestamp"],
                    last_status=tick and tick["status"],
                    error=first_line(tick["error"]["message"]) if tick and tick["error"] else None,
                )


def _asset(node: Mapping[str, Any]) -> Asset:
    partitions = node["partitionDefinition"]
    keys = tuple(node["partitionKeys"])
    statuses = node["assetPartitionStatuses"]
    if not partitions:
        found: dict[str, set[str]] = {}
    elif statuses["__typename"] == "TimePartitionStatuses":
        places = {key: place for place, key in enumerate(keys)}
        found = {}
        for one in statuses["ranges"]:
            # Of a range that was shortened since, what is no longer in it is left out.
            first, last = places.get(one["startKey"]), places.get(one["endKey"], len(keys) - 1)
            if first is not None:
                found.setdefault(one["status"], set()).update(keys[first : last + 1])
    else:
        found = {
            "MATERIALIZED": set(statuses.get("materializedPartitions", ())),
            "FAILED": set(statuses.get("failedPartitions", ())),
            "MATERIALIZING": set(statuses.get("materializingPartitions", ())),
        }
    return Asset(
        key=_key(node["assetKey"]),
        location=node["repository"]["location"]["name"],
        parents=_keys(node["dependencyKeys"]),
        materializable=node["isMaterializable"],
        kind=partitions["type"] if partitions else None,
        cadence=partitions["description"].split(",")[0].lower() if partitions else "",
        fmt=(partitions or {}).get("fmt") or "",
        keys=keys,
        materialized=frozenset(found.get("MATERIALIZED", ())),
        failed=frozenset(found.get("FAILED", ())),
        in_progress=frozenset(found.get("MATERIALIZING", ())),
    )


def _run(run: Mapping[str, Any]) -> Run:
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    one = tags.get("dagster/partition")
    return Run(
        id=run["runId"],
        status=run["status"],
        location=(run["repositoryOrigin"] or {}).get("repositoryLocationName", ""),
        job=run["jobName"],
        assets=tuple(sorted(_keys(run["assetSelection"]))),
        created=run["creationTime"],
        first=tags.get("dagster/asset_partition_range_start", one),
        last=tags.get("dagster/asset_partition_range_end", one),
        started=run["startTime"],
        ended=run["endTime"],
        will_retry=tags.get("dagster/will_retry") == "true",
    )


def _backfill(backfill: Mapping[str, Any]) -> Backfill:
    return Backfill(
        id=backfill["id"],
        status=backfill["status"],
        assets=tuple(sorted(_keys(backfill["assetSelection"]))),
        partitions=backfill["numPartitions"],
        created=backfill["timestamp"],
        ended=backfill["endTimestamp"],
        error=first_line(backfill["error"]["message"]) if backfill["error"] else None,
    )
