"""The webserver's GraphQL API, as far as the tests use it."""

import contextlib
import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

FINISHED = {"SUCCESS", "FAILURE", "CANCELED"}
ROOT_RUN = "dagster/root_run_id"
# As in dagster.yaml.
MAX_RETRIES = 2
T = TypeVar("T")


# How much longer anything may take than on a machine that does nothing else.
BUSY = 3


def wait_for(what: str, seconds: float, look: Callable[[], T | None]) -> T:
    """Polls a function until it returns something other than None, and returns that.

    Polls that take long are fewer, so that they do not slow down what is waited for. The seconds are for a machine that
    does nothing else. They only end a wait for what never comes: no test shows by them that something is fast.
    """
    deadline = time.monotonic() + BUSY * seconds
    while True:
        began = time.monotonic()
        found = look()
        if found is not None:
            return found
        ended = time.monotonic()
        if ended > deadline:
            raise TimeoutError(f"{what}: not seen in {BUSY * seconds} seconds")
        time.sleep(min(max(0.5, 4 * (ended - began)), 3))


class Webserver:
    """A client of one webserver."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Sends a query or mutation and returns its data."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=180) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    def locations(self) -> dict[str, dict[str, Any]]:
        """For each location the result of loading it: a RepositoryLocation, or a PythonError with its message."""
        data = self.ask(
            """
            query { workspaceOrError { ... on Workspace { locationEntries {
              name
              locationOrLoadError { __typename
                ... on RepositoryLocation { repositories { name assetNodes { assetKey { path } } } }
                ... on PythonError { message } } } } } }
            """
        )
        return {entry["name"]: entry["locationOrLoadError"] for entry in data["workspaceOrError"]["locationEntries"]}

    def launch(self, location: str, assets: list[str], **tags: str) -> str:
        """Launches one run of assets and returns its id; tags name its partition."""
        selector = {"jobName": "__ASSET_JOB", "assetSelection": [{"path": [asset]} for asset in assets]}
        executed = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
        return self._launch(location, selector, executionMetadata=executed)

    def launch_month(self, month: str) -> str:
        """Launches the load of a month, given its partition key."""
        return self.launch("ingestion_location", ["taxi_trips"], **{"dagster/partition": month})

    def launch_job(self, location: str, job: str, config: dict[str, Any]) -> str:
        """Launches one run of a job with its run config and returns its id."""
        return self._launch(location, {"jobName": job}, runConfigData=json.dumps(config))

    def _launch(self, location: str, selector: dict[str, Any], **params: Any) -> str:
        """Launches what a selector names within a location."""
        where = {"repositoryLocationName": location, "repositoryName": "__repository__"}
        data = self.ask(
            """
            mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
              ... on LaunchRunSuccess { run { runId } }
              ... on PythonError { message }
              ... on InvalidSubsetError { message }
              ... on RunConfigValidationInvalid { errors { message } } } }
            """,
            params={"selector": {**where, **selector}, "mode": "default", **params},
        )["launchRun"]
        assert data["__typename"] == "LaunchRunSuccess", data
        return str(data["run"]["runId"])

    def reexecute(self, run_id: str) -> str:
        """Launches a run again, as the button in the UI does, and returns the id of the new one."""
        data = self.ask(
            """
            mutation ($params: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $params) { __typename
              ... on LaunchRunSuccess { run { runId } }
              ... on PythonError { message } } }
            """,
            params={"parentRunId": run_id, "strategy": "ALL_STEPS"},
        )["launchRunReexecution"]
        assert data["__typename"] == "LaunchRunSuccess", data
        return str(data["run"]["runId"])

    def backfill(self, assets: list[str], partitions: list[str]) -> str:
        """Requests a backfill of assets as the UI does, and returns its id."""
        data = self.ask(
            """
            mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) { __typename
              ... on LaunchBackfillSuccess { backfillId }
              ... on PythonError { message } } }
            """,
            params={"assetSelection": [{"path": [asset]} for asset in assets], "partitionNames": partitions},
        )["launchPartitionBackfill"]
        assert data["__typename"] == "LaunchBackfillSuccess", data
        return str(data["backfillId"])

    def run(self, run_id: str) -> dict[str, Any]:
        """A run: its status, tags, and the messages of its failures."""
        data = self.ask(
            """
            query ($id: ID!) { runOrError(runId: $id) { ... on Run {
              status tags { key value }
              eventConnection { events { __typename
                ... on ExecutionStepFailureEvent { failureMetadata { description } error { message } }
                ... on RunFailureEvent { message error { message } } } } } } }
            """,
            id=run_id,
        )["runOrError"]
        data["tags"] = {tag["key"]: tag["value"] for tag in data["tags"]}
        return dict(data)

    def status(self, run_id: str) -> str:
        data = self.ask("query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id)
        return str(data["runOrError"]["status"])

    def finished(self, run_id: str, seconds: float = 180) -> dict[str, Any]:
        """Waits for the end of a run and returns it."""

        wait_for(f"end of run {run_id}", seconds, lambda: self.status(run_id) in FINISHED or None)
        return self.run(run_id)

    def ended_well(self, run_id: str) -> bool:
        """Waits until a run has succeeded, or a retry of it has; false where one failed without there being another."""

        def look() -> bool | None:
            # A webserver that is starting, or whose Postgres is, answers with an error.
            with contextlib.suppress(OSError, AssertionError):
                runs = [run for run in self.runs() if run_id in (run["runId"], run["tags"].get(ROOT_RUN))]
                if any(run["status"] == "SUCCESS" for run in runs):
                    return True
                if len(runs) > MAX_RETRIES and all(run["status"] in FINISHED for run in runs):
                    return False
            return None

        return wait_for(f"a good end of run {run_id}", 600, look)

    def started(self, run_id: str, seconds: float = 60) -> None:
        """Waits until a run executes."""
        wait_for(f"start of run {run_id}", seconds, lambda: self.status(run_id) == "STARTED" or None)

    def step_started(self, run_id: str, seconds: float = 90) -> None:
        """Waits until a run's step has started."""

        def look() -> bool | None:
            data = self.ask(
                """
                query ($id: ID!) { runOrError(runId: $id) { ... on Run { eventConnection { events { __typename } } } } }
                """,
                id=run_id,
            )["runOrError"]
            return any(e["__typename"] == "ExecutionStepStartEvent" for e in data["eventConnection"]["events"]) or None

        wait_for(f"start of the step of run {run_id}", seconds, look)

    def times_queued(self, run_id: str) -> int:
        """How often a run was put in the queue."""
        data = self.ask(
            "query ($id: ID!) { runOrError(runId: $id) { ... on Run { eventConnection { events { __typename } } } } }",
            id=run_id,
        )["runOrError"]
        return [event["__typename"] for event in data["eventConnection"]["events"]].count("RunEnqueuedEvent")

    def terminate(self, run_id: str) -> None:
        """Terminates a run, as the button in the UI does."""
        data = self.ask(
            "mutation ($id: String!) { terminateRun(runId: $id) { __typename ... on PythonError { message } } }",
            id=run_id,
        )["terminateRun"]
        assert data["__typename"] == "TerminateRunSuccess", data

    def log_key(self, run_id: str) -> list[str]:
        """Where what a run's process writes is found."""
        data = self.ask(
            """
            query ($id: ID!) { runOrError(runId: $id) { ... on Run { eventConnection { events {
              ... on LogsCapturedEvent { fileKey } } } } } }
            """,
            id=run_id,
        )["runOrError"]
        (key,) = [event["fileKey"] for event in data["eventConnection"]["events"] if event]
        return [run_id, "compute_logs", key]

    def stderr(self, run_id: str) -> str:
        """What a run's process wrote to stderr, as the run's page shows it."""
        query = "query ($key: [String!]!) { capturedLogs(logKey: $key) { stderr } }"
        return str(self.ask(query, key=self.log_key(run_id))["capturedLogs"]["stderr"])

    def metadata(self, run_id: str, event: str) -> list[dict[str, Any]]:
        """The metadata of a run's events of one GraphQL type, a dictionary per event that has some."""
        data = self.ask(
            """
            query ($id: ID!) { runOrError(runId: $id) { ... on Run { eventConnection { events { __typename
              ... on DisplayableEvent { metadataEntries { label
                ... on IntMetadataEntry { intValue }
                ... on BoolMetadataEntry { boolValue }
                ... on TextMetadataEntry { text }
                ... on MarkdownMetadataEntry { mdStr } } } } } } } }
            """,
            id=run_id,
        )["runOrError"]
        return [
            {entry.pop("label"): next(iter(entry.values()), None) for entry in found["metadataEntries"]}
            for found in data["eventConnection"]["events"]
            if found["__typename"] == event and found["metadataEntries"]
        ]

    def backfill_runs(self, backfill_id: str, number: int = 1, seconds: float = 240) -> list[dict[str, Any]]:
        """Waits until a backfill has requested at least that many runs and all have ended, and returns them."""

        def look() -> list[dict[str, Any]] | None:
            data = self.ask(
                """
                query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
                  status error { message } runs(limit: 200) { runId status } } } }
                """,
                id=backfill_id,
            )["partitionBackfillOrError"]
            assert data["status"] not in ("FAILED", "COMPLETED_FAILED"), data
            runs: list[dict[str, Any]] = data["runs"]
            # The backfill itself is marked as completed up to half a minute later, at the daemon's next iteration.
            ended = len(runs) >= number and all(run["status"] in FINISHED for run in runs)
            return runs if ended else None

        return wait_for(f"end of the runs of backfill {backfill_id}", seconds, look)

    def materialized_partitions(self, asset: str) -> int:
        """How many partitions of an asset are materialized, as its page shows."""
        data = self.ask(
            "query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {"
            " partitionStats { numMaterialized } } } }",
            key={"path": [asset]},
        )
        return int(data["assetNodeOrError"]["partitionStats"]["numMaterialized"])

    def metadata_url(self, asset: str, partition: str, label: str) -> str:
        """The link of this label on the newest materialization of an asset's partition."""
        data = self.ask(
            """
            query ($key: AssetKeyInput!, $partitions: [String!]) { assetOrError(assetKey: $key) { ... on Asset {
              assetMaterializations(partitions: $partitions, limit: 1) { metadataEntries { label
                ... on UrlMetadataEntry { url } } } } } }
            """,
            key={"path": [asset]},
            partitions=[partition],
        )["assetOrError"]
        (materialization,) = data["assetMaterializations"]
        (url,) = [entry["url"] for entry in materialization["metadataEntries"] if entry["label"] == label]
        return str(url)

    def built_at(self, asset: str, partition: str) -> float:
        """When an asset's partition was materialized last, in milliseconds since 1970."""
        data = self.ask(
            """
            query ($key: AssetKeyInput!, $partitions: [String!]) { assetOrError(assetKey: $key) { ... on Asset {
              assetMaterializations(partitions: $partitions, limit: 1) { timestamp } } } }
            """,
            key={"path": [asset]},
            partitions=[partition],
        )["assetOrError"]
        (materialization,) = data["assetMaterializations"]
        return float(materialization["timestamp"])

    def run_count(self) -> int:
        """Number of runs in the history."""
        data = self.ask("query { runsOrError { ... on Runs { count } } }")
        return int(data["runsOrError"]["count"])

    def runs(self) -> list[dict[str, Any]]:
        """Every run in the history, the newest first: id, status, times, assets, and tags."""
        data = self.ask(
            """
            query { runsOrError { ... on Runs { results {
              runId status creationTime startTime endTime assetSelection { path } tags { key value } } } } }
            """
        )
        return [
            {
                **run,
                "assets": sorted("/".join(key["path"]) for key in run["assetSelection"] or ()),
                "tags": {tag["key"]: tag["value"] for tag in run["tags"]},
            }
            for run in data["runsOrError"]["results"]
        ]

    def sensors(self, location: str) -> dict[str, str]:
        """Per sensor of a location, its status: RUNNING or STOPPED."""
        data = self.ask(
            """
            query ($location: RepositorySelector!) { sensorsOrError(repositorySelector: $location) {
              ... on Sensors { results { name sensorState { status } } } } }
            """,
            location={"repositoryLocationName": location, "repositoryName": "__repository__"},
        )
        return {sensor["name"]: sensor["sensorState"]["status"] for sensor in data["sensorsOrError"]["results"]}

    def start_sensor(self, location: str, name: str) -> None:
        """Starts a sensor, as the switch in the UI does."""
        data = self.ask(
            """
            mutation ($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) { __typename
              ... on PythonError { message } } }
            """,
            sensor=_sensor(location, name),
        )["startSensor"]
        assert data["__typename"] == "Sensor", data

    def stop_sensors(self, location: str) -> None:
        """Stops all sensors of a location, as the switches in the UI do."""
        for name in self.sensors(location):
            data = self.ask(
                """
                query ($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { ... on Sensor {
                  sensorState { id } } } }
                """,
                sensor=_sensor(location, name),
            )["sensorOrError"]
            stop = """
                mutation ($id: String!) { stopSensor(id: $id) { __typename ... on PythonError { message } } }
            """
            stopped = self.ask(stop, id=data["sensorState"]["id"])["stopSensor"]
            assert stopped["__typename"] == "StopSensorMutationResult", stopped

    def ticks(self, location: str, name: str) -> list[dict[str, Any]]:
        """The ticks of a sensor that have ended, the newest first: status, skip reason, cursor and error."""
        data = self.ask(
            """
            query ($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { ... on Sensor { sensorState {
              ticks(limit: 200) { tickId status skipReason cursor error { message } } } } } }
            """,
            sensor=_sensor(location, name),
        )
        ticks: list[dict[str, Any]] = data["sensorOrError"]["sensorState"]["ticks"]
        return [tick for tick in ticks if tick["status"] != "STARTED"]

    def failed_ticks(self, *locations: str) -> list[dict[str, Any]]:
        """The ticks of all sensors of some locations that failed."""
        sensors = [(location, name) for location in locations for name in self.sensors(location)]
        return [tick for sensor in sensors for tick in self.ticks(*sensor) if tick["status"] == "FAILURE"]

    def code_server_answers(self, location: str, asset: str) -> bool:
        """Whether the code server of a location plans a run of an asset, which it does for each question anew."""
        pipeline = {
            "pipelineName": "__ASSET_JOB",
            "repositoryName": "__repository__",
            "repositoryLocationName": location,
            "assetSelection": [{"path": [asset]}],
        }
        question = """
            query ($pipeline: PipelineSelector!) {
              executionPlanOrError(pipeline: $pipeline, mode: "default") { __typename } }
        """
        with contextlib.suppress(AssertionError, OSError):
            plan = self.ask(question, pipeline=pipeline)["executionPlanOrError"]
            return bool(plan["__typename"] == "ExecutionPlan")
        return False


def _sensor(location: str, name: str) -> dict[str, str]:
    return {"repositoryLocationName": location, "repositoryName": "__repository__", "sensorName": name}
