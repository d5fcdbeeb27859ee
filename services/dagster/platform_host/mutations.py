"""Who may use which mutation, and what a mutation names.

Dagster's resolvers ask for permissions, too (permissions.py). This is asked before: it knows the mutations for which
Dagster asks nothing, and looks at everything that a mutation names. A mutation that is not in the table is refused.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dagster import AssetKey
from dagster._core.remote_representation.external import RemoteRepository, RemoteSchedule, RemoteSensor
from dagster._core.remote_representation.handle import CompoundID
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, BACKFILL_TAGS, PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG
from dagster._core.workspace.context import BaseWorkspaceRequestContext

from platform_host.access_file import Identity, Role
from platform_host.code_location import dynamic_names


@dataclass(frozen=True)
class Rule:
    """The lowest role for a mutation, in each location that it names or, for the instance's, for all locations."""

    role: Role
    instance: bool = False


_LAUNCH, _EDIT, _ADMIN, _INSTANCE = Rule(Role.LAUNCHER), Rule(Role.EDITOR), Rule(Role.ADMIN), Rule(Role.ADMIN, True)
MUTATIONS = {
    "launchPipelineExecution": _LAUNCH,
    "launchRun": _LAUNCH,
    "launchMultipleRuns": _LAUNCH,
    "launchPipelineReexecution": _LAUNCH,
    "launchRunReexecution": _LAUNCH,
    "terminatePipelineExecution": _LAUNCH,
    "terminateRun": _LAUNCH,
    "terminateRuns": _LAUNCH,
    "launchPartitionBackfill": _LAUNCH,
    "resumePartitionBackfill": _LAUNCH,
    "reexecutePartitionBackfill": _LAUNCH,
    "cancelPartitionBackfill": _LAUNCH,
    "startSchedule": _EDIT,
    "stopRunningSchedule": _EDIT,
    "resetSchedule": _EDIT,
    "scheduleDryRun": _EDIT,
    "startSensor": _EDIT,
    "stopSensor": _EDIT,
    "resetSensor": _EDIT,
    "setSensorCursor": _EDIT,
    "sensorDryRun": _EDIT,
    "deletePipelineRun": _EDIT,
    "deleteRun": _EDIT,
    "wipeAssets": _EDIT,
    "reportRunlessAssetEvents": _EDIT,
    "reportAssetCheckEvaluations": _EDIT,
    "addDynamicPartition": _EDIT,
    "deleteDynamicPartitions": _EDIT,
    "reloadRepositoryLocation": _EDIT,
    "refreshComponentState": _EDIT,
    "reloadWorkspace": Rule(Role.EDITOR, True),
    "shutdownRepositoryLocation": _ADMIN,
    "setAppManagedComponent": _ADMIN,
    "deleteAppManagedComponent": _ADMIN,
    "setAutoMaterializePaused": _INSTANCE,
    "setConcurrencyLimit": _INSTANCE,
    "deleteConcurrencyLimit": _INSTANCE,
    "freeConcurrencySlotsForRun": _INSTANCE,
    "freeConcurrencySlots": _INSTANCE,
    "logTelemetry": _INSTANCE,
    "setNuxSeen": _INSTANCE,
}
# What an argument names, by its name in the schema. Arguments that name nothing are in NOT_NAMES; a test compares both
# with the schema.
NAMES = {
    "repositoryLocationName": "location",
    "locationName": "location",
    "path": "asset",
    "runId": "run",
    "runIds": "run",
    "parentRunId": "run",
    "rootRunId": "run",
    "backfillId": "backfill",
    "id": "instigator",
    "jobOriginId": "instigator",
    "jobSelectorId": "instigator",
    "scheduleOriginId": "instigator",
    "scheduleSelectorId": "instigator",
    "partitionsDefName": "partitions definition",
    "partitionKey": "partition",
    "partitionKeys": "partition",
    "partitionNames": "partition",
    "start": "partition",
    "end": "partition",
    "pipelineName": "job",
    "jobName": "job",
    "partitionSetName": "job",
    "sensorName": "sensor",
    "scheduleName": "schedule",
    "concurrencyKey": "pool",
    "componentId": "component",
    "defsStateKey": "component",
}
NOT_NAMES = {
    # Only within its location.
    "repositoryName", "solidSelection", "name", "stepKey", "stepKeys", "reexecutionSteps", "checkName", "mode",
    "preset",
    # Values, which are not kept: they may have secrets.
    "runConfigData", "attributes", "componentType", "metadata", "serializedMetadata", "cursor", "description", "title",
    "action", "clientId", "clientTime", "value", "useParentRunTags", "key",
    # How it is done.
    "terminatePolicy", "strategy", "timestamp", "limit", "paused", "passed", "severity", "eventType", "fromFailure",
    "allPartitions", "forceSynchronousSubmission", "wipeMaterializations",
}  # fmt: skip

_ID_TAGS = dict.fromkeys(BACKFILL_TAGS, "backfillId")
_ID_TAGS |= {PARENT_RUN_ID_TAG: "runId", ROOT_RUN_ID_TAG: "runId", AUTO_RETRY_RUN_ID_TAG: "runId"}


@dataclass
class Named:
    """What a mutation names, by kind, and the locations that this is of."""

    things: dict[str, list[str]] = field(default_factory=dict)
    # "" stands for what is of no known location, such as a run that was deleted: it takes the role for all.
    locations: set[str] = field(default_factory=set)


def refusal(identity: Identity, mutation: str, named: Named) -> str | None:
    """Why somebody may not use a mutation on what it names; None if they may."""
    rule = MUTATIONS.get(mutation)
    who = identity.name or "nobody"
    if rule is None:
        return f"Refused: nobody has decided who may use {mutation}. Add it to platform_host/mutations.py."
    for location in {""} if rule.instance or not named.locations else sorted(named.locations):
        if not identity.may(rule.role, location or None):
            where = f"in {location}" if location else "for all locations"
            return f"Refused: {mutation} takes the role {rule.role.name.lower()} {where}, and {who} does not have it."
    return None


def named_by(context: BaseWorkspaceRequestContext, mutation: str, arguments: Mapping[str, Any]) -> Named:
    """Finds all that the arguments of a mutation name, and the locations of it."""
    named = Named()
    seen: set[tuple[str, str]] = set()
    for name, value in _leaves(arguments):
        kind = NAMES.get(name)
        if kind == "run" and mutation == "reexecutePartitionBackfill":
            kind = "backfill"
        if kind and value is not None:
            text = AssetKey(value).to_user_string() if kind == "asset" else str(value)
            if (kind, text) in seen:
                continue
            seen.add((kind, text))
            named.things.setdefault(kind, []).append(text)
            if find := _LOCATE.get(kind):
                named.locations.update(set(find(context, value)) or {""})
    return named


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The named values of arguments; a path is one value, and a tag that names a run or a backfill counts as its id."""
    if isinstance(value, Mapping):
        if tag := _ID_TAGS.get(str(value.get("key"))):
            yield tag, value.get("value")
        for key, each in value.items():
            yield from _leaves(each, _camel(key))
    elif isinstance(value, list | tuple) and name != "path":
        for each in value:
            yield from _leaves(each, name)
    else:
        yield name, value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _of_location(_: BaseWorkspaceRequestContext, name: str) -> Iterator[str]:
    yield name


def _of_asset(context: BaseWorkspaceRequestContext, path: list[str]) -> Iterator[str]:
    graph = context.asset_graph
    key = AssetKey(path)
    if graph.has(key):
        infos = graph.get(key).repo_scoped_asset_infos
        # Whoever builds it; where nobody does, whoever declares it.
        makers = [each for each in infos if each.asset_node.is_executable] or infos
        yield from (each.handle.location_name for each in makers)


def _of_run(context: BaseWorkspaceRequestContext, run_id: str) -> Iterator[str]:
    run = context.instance.get_run_by_id(run_id)
    if run and run.remote_job_origin:
        yield run.remote_job_origin.location_name


def _of_backfill(context: BaseWorkspaceRequestContext, backfill_id: str) -> Iterator[str]:
    backfill = context.instance.get_backfill(backfill_id)
    if backfill is None:
        return
    if backfill.partition_set_origin:
        yield backfill.partition_set_origin.selector.location_name
    for key in backfill.asset_selection or ():
        yield from set(_of_asset(context, list(key.path))) or {""}


def _of_instigator(context: BaseWorkspaceRequestContext, identifier: str) -> Iterator[str]:
    """Of sensors and schedules by an id of one or two hashes: Dagster checks one, and changes what has the other."""
    ids = CompoundID.from_string(identifier) if CompoundID.is_valid_string(identifier) else None
    for half in (ids.remote_origin_id, ids.selector_id) if ids else (identifier,):
        found = set()
        for repository in _repositories(context):
            instigators: list[RemoteSensor | RemoteSchedule] = [*repository.get_sensors(), *repository.get_schedules()]
            if any(half in (each.get_remote_origin_id(), each.selector_id) for each in instigators):
                found.add(repository.handle.location_name)
        yield from found or {""}


def _of_partitions_definition(context: BaseWorkspaceRequestContext, name: str) -> Iterator[str]:
    """Of all whose assets or jobs use a dynamic partitions definition: they share its partitions by its name."""
    for repository in _repositories(context):
        snaps = [each.partitions for each in repository.get_asset_node_snaps()]
        snaps += [each.partitions for each in repository.repository_snap.partition_sets]
        if name in dynamic_names(snaps):
            yield repository.handle.location_name


def _repositories(context: BaseWorkspaceRequestContext) -> Iterator[RemoteRepository]:
    for location in context.code_locations:
        yield from location.get_repositories().values()


_LOCATE: dict[str, Callable[[BaseWorkspaceRequestContext, Any], Iterator[str]]] = {
    "location": _of_location,
    "asset": _of_asset,
    "run": _of_run,
    "backfill": _of_backfill,
    "instigator": _of_instigator,
    "partitions definition": _of_partitions_definition,
}
