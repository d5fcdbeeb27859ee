"""Every mutation of the schema with its arguments, for one location."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dagster_graphql.schema import create_schema
from graphql import GraphQLObjectType, GraphQLUnionType, get_named_type

from tests.platform_host.served import OWN, Served

SCHEMA = create_schema().graphql_schema
assert SCHEMA.mutation_type
FIELDS = SCHEMA.mutation_type.fields
USERS: dict[str, dict[str, Any]] = {
    "viewer": {"viewer": "all"},
    "launcher": {"launcher": [OWN]},
    "editor": {"editor": [OWN]},
    "admin": {"admin": [OWN]},
    "boss": {"admin": "all"},
}


@dataclass(frozen=True)
class Target:
    """What a mutation can name of one location."""

    location: str
    run: str
    backfill: str
    sensor: str
    schedule: str

    @property
    def repository(self) -> dict[str, str]:
        return {"repositoryLocationName": self.location, "repositoryName": "__repository__"}

    def asset(self, kind: str = "asset") -> dict[str, list[str]]:
        return {"path": [f"{self.location.removesuffix('_location')}_{kind}"]}

    @property
    def execution(self) -> dict[str, Any]:
        return {"selector": {**self.repository, "jobName": "job"}, "runConfigData": {}}

    @property
    def reexecution(self) -> dict[str, str]:
        return {"parentRunId": self.run, "strategy": "ALL_STEPS"}

    @property
    def letters(self) -> dict[str, Any]:
        return {
            "repositorySelector": self.repository,
            "partitionsDefName": f"{self.location.removesuffix('_location')}_letters",
        }


def _sensor(of: Target) -> dict[str, Any]:
    return {"sensorSelector": {**of.repository, "sensorName": "sensor"}}


def _schedule(of: Target) -> dict[str, Any]:
    return {"scheduleSelector": {**of.repository, "scheduleName": "schedule"}}


ARGUMENTS: dict[str, Callable[[Target], dict[str, Any]]] = {
    "launchPipelineExecution": lambda of: {"executionParams": of.execution},
    "launchRun": lambda of: {"executionParams": of.execution},
    "launchMultipleRuns": lambda of: {"executionParamsList": [of.execution]},
    "launchPipelineReexecution": lambda of: {"reexecutionParams": of.reexecution},
    "launchRunReexecution": lambda of: {"reexecutionParams": of.reexecution},
    "startSchedule": _schedule,
    "stopRunningSchedule": lambda of: {"id": of.schedule},
    "resetSchedule": _schedule,
    "startSensor": _sensor,
    "setSensorCursor": lambda of: {**_sensor(of), "cursor": "1"},
    "stopSensor": lambda of: {"id": of.sensor},
    "resetSensor": _sensor,
    "sensorDryRun": lambda of: {"selectorData": _sensor(of)["sensorSelector"], "cursor": "1"},
    "scheduleDryRun": lambda of: {"selectorData": _schedule(of)["scheduleSelector"], "timestamp": 1.0},
    "terminatePipelineExecution": lambda of: {"runId": of.run},
    "terminateRun": lambda of: {"runId": of.run},
    "terminateRuns": lambda of: {"runIds": [of.run]},
    "deletePipelineRun": lambda of: {"runId": of.run},
    "deleteRun": lambda of: {"runId": of.run},
    "reloadRepositoryLocation": lambda of: {"repositoryLocationName": of.location},
    "reloadWorkspace": lambda of: {},
    "shutdownRepositoryLocation": lambda of: {"repositoryLocationName": of.location},
    "wipeAssets": lambda of: {"assetPartitionRanges": [{"assetKey": of.asset("whole")}]},
    "reportRunlessAssetEvents": lambda of: {
        "eventParams": {"eventType": "ASSET_OBSERVATION", "assetKey": of.asset("whole")}
    },
    "reportAssetCheckEvaluations": lambda of: {
        "eventParams": {"assetKey": of.asset("whole"), "checkName": "complete", "passed": True}
    },
    "launchPartitionBackfill": lambda of: {
        "backfillParams": {"assetSelection": [of.asset()], "partitionNames": ["first"]}
    },
    "resumePartitionBackfill": lambda of: {"backfillId": of.backfill},
    "reexecutePartitionBackfill": lambda of: {
        "reexecutionParams": {"parentRunId": of.backfill, "strategy": "ALL_STEPS"}
    },
    "cancelPartitionBackfill": lambda of: {"backfillId": of.backfill},
    "logTelemetry": lambda of: {"action": "a", "clientTime": "1", "clientId": "c", "metadata": "{}"},
    "setNuxSeen": lambda of: {},
    "addDynamicPartition": lambda of: {**of.letters, "partitionKey": "a"},
    "deleteDynamicPartitions": lambda of: {**of.letters, "partitionKeys": ["a"]},
    "setAppManagedComponent": lambda of: {
        "locationName": of.location, "componentId": "c", "componentType": "t", "attributes": "{}"
    },
    "deleteAppManagedComponent": lambda of: {"locationName": of.location, "componentId": "c"},
    "refreshComponentState": lambda of: {"locationName": of.location, "defsStateKey": "k"},
    "setAutoMaterializePaused": lambda of: {"paused": False},
    "setConcurrencyLimit": lambda of: {"concurrencyKey": "pool", "limit": 3},
    "deleteConcurrencyLimit": lambda of: {"concurrencyKey": "pool"},
    "freeConcurrencySlotsForRun": lambda of: {"runId": of.run},
    "freeConcurrencySlots": lambda of: {"runId": of.run},
}  # fmt: skip


def document(name: str) -> str:
    """A mutation with all of its arguments as variables, which asks for the message of a refusal."""
    field = FIELDS[name]
    declared = ", ".join(f"${arg}: {each.type}" for arg, each in field.args.items())
    given = ", ".join(f"{arg}: ${arg}" for arg in field.args)
    of = get_named_type(field.type)
    parts = ["__typename"]
    if isinstance(of, GraphQLUnionType):
        parts += [f"... on {each.name} {{ message }}" for each in of.types if "message" in each.fields]
        parts += ["... on LaunchRunSuccess { run { runId } }" for each in of.types if each.name == "LaunchRunSuccess"]
        parts += [
            "... on LaunchBackfillSuccess { backfillId }" for each in of.types if each.name == "LaunchBackfillSuccess"
        ]
    selection = "" if not isinstance(of, GraphQLUnionType | GraphQLObjectType) else f"{{ {' '.join(parts)} }}"
    return f"mutation{f'({declared})' if declared else ''} {{ {name}{f'({given})' if given else ''} {selection} }}"


def answer(served: Served, user: str, name: str, **arguments: Any) -> Any:
    """The result of a mutation, or the message of GraphQL's error."""
    full = served.ask(document(name), user, **arguments)
    return full["errors"][0]["message"] if full.get("errors") else full["data"][name]


def refused(result: Any) -> bool:
    text = result.get("message") if isinstance(result, dict) else result
    return str(text).startswith("Refused: ")


def allowed_by_dagster(result: Any) -> bool:
    """Whether Dagster did not refuse it either."""
    return not (isinstance(result, dict) and result["__typename"] == "UnauthorizedError")
