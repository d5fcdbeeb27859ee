"""What a code server answers is limited, tried against code servers that answer too much."""

import inspect
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import dagster as dg
import grpc
import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.remote_origin import CodeLocationOrigin, GrpcServerCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.remote_representation import code_location
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceLoadTarget
from dagster._grpc.__generated__ import dagster_api_pb2 as messages
from dagster._grpc.__generated__.dagster_api_pb2_grpc import DagsterApiServicer, add_DagsterApiServicer_to_server
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import ListRepositoriesResponse, LoadableRepositorySymbol, SensorExecutionArgs
from dagster._serdes import serialize_value
from platform_host.answer_size import limit_answers
from platform_host.code_location import GuardedCodeLocation

LIMIT = 1_000_000
SNAP = serialize_value(RepositorySnap.from_def(dg.Definitions().get_repository_def(), defer_snapshots=True))
# Python's reader of JSON skips blanks.
PADDED = SNAP + " " * (LIMIT // 2)


class CodeServer(DagsterApiServicer):
    """Answers as Dagster's own, with so many repositories. It knows no call of a sensor but the older one."""

    def __init__(self, repositories: Sequence[str], sensor_parts: int = 0) -> None:
        self._repositories, self._sensor_parts = repositories, sensor_parts
        self.sent = 0

    def GetServerId(self, request: Any, context: Any) -> Any:  # noqa: N802, the name of the call
        return messages.GetServerIdReply(server_id="1")

    def ListRepositories(self, request: Any, context: Any) -> Any:  # noqa: N802
        symbols = [LoadableRepositorySymbol(repository_name=name, attribute=name) for name in self._repositories]
        listed = serialize_value(ListRepositoriesResponse(symbols, container_image="image"))
        return messages.ListRepositoriesReply(serialized_list_repositories_response_or_error=listed)

    def ExternalRepository(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages.ExternalRepositoryReply(serialized_external_repository_data=PADDED)

    def ExternalSensorExecution(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        for _ in range(self._sensor_parts):
            self.sent += 1
            yield messages.StreamingChunkEvent(serialized_chunk="x" * 100_000)

    def ExecutionPlanSnapshot(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages.ExecutionPlanSnapshotReply(serialized_execution_plan_snapshot="x" * 50 * LIMIT)


@contextmanager
def serving(server: CodeServer) -> Iterator[int]:
    """Serves on a port of this machine, compressed, so that the size on the wire says little."""
    served = grpc.server(ThreadPoolExecutor(2), compression=grpc.Compression.Gzip)
    add_DagsterApiServicer_to_server(server, served)  # type: ignore[no-untyped-call]
    port = served.add_insecure_port("127.0.0.1:0")
    served.start()
    try:
        yield port
    finally:
        served.stop(None).wait()


class Locations(WorkspaceLoadTarget):
    """A workspace with a location per port."""

    def __init__(self, **ports: int) -> None:
        self._ports = ports

    def create_origins(self) -> Sequence[CodeLocationOrigin]:
        return [
            GrpcServerCodeLocationOrigin(host="127.0.0.1", port=port, location_name=name)
            for name, port in self._ports.items()
        ]


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_GRPC_MAX_RX_BYTES", f"{LIMIT}")
    # Dagster's own class: another test may have replaced it in this process, and whose an asset is takes a Postgres.
    monkeypatch.setattr(code_location, "GrpcServerCodeLocation", GuardedCodeLocation.__base__)
    limit_answers()


def run_sensor(port: int) -> str:
    origin = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=port, location_name="a_location")
    arguments = SensorExecutionArgs(RemoteRepositoryOrigin(origin, "one"), None, "a_sensor")
    return DagsterGrpcClient(port=port, host="127.0.0.1").external_sensor_execution(arguments)


def test_a_location_whose_definitions_are_too_large_is_refused_and_the_others_are_served() -> None:
    large, small = CodeServer(["one", "two", "three"]), CodeServer(["one"])
    with (
        serving(large) as first,
        serving(small) as second,
        dg.instance_for_test() as instance,
        WorkspaceProcessContext(instance, Locations(large=first, small=second)) as context,
    ):
        workspace = context.create_request_context()
        assert [location.name for location in workspace.code_locations] == ["small"]
        entry = workspace.get_location_entry("large")
    assert entry is not None
    error = entry.load_error
    assert error is not None
    assert "The code server 127.0.0.1 answers the load of its definitions with" in error.message
    assert f"the limit is {LIMIT} bytes (setting DAGSTER_GRPC_MAX_RX_BYTES)" in error.message


def test_the_parts_of_an_answer_are_limited_together() -> None:
    server = CodeServer([], sensor_parts=1000)
    message = r"127\.0\.0\.1 answers ExternalSensorExecution with 1\d{6} bytes"
    with serving(server) as port, pytest.raises(DagsterUserCodeUnreachableError, match=message):
        run_sensor(port)
    assert server.sent < 100


def test_an_answer_in_parts_within_the_limit_is_joined() -> None:
    with serving(CodeServer([], sensor_parts=9)) as port:
        assert run_sensor(port) == "x" * 900_000


def test_one_message_is_limited_by_its_size_when_it_is_not_compressed() -> None:
    message = rf"code server 127\.0\.0\.1 is too large; the limit for an answer is {LIMIT} bytes"
    with serving(CodeServer([])) as port, pytest.raises(DagsterUserCodeUnreachableError, match=message):
        DagsterGrpcClient(port=port, host="127.0.0.1")._query(
            "ExecutionPlanSnapshot", messages.ExecutionPlanSnapshotRequest
        )


def test_all_calls_of_the_client_go_through_the_methods_that_count() -> None:
    source = inspect.getsource(DagsterGrpcClient)
    # Each is defined, and called by the method that counts.
    assert source.count("_get_streaming_response(") == source.count("_gen_streaming_response(") == 2
    assert source.count("_raise_grpc_exception(") == 5
    assert source.count("_get_response(") == source.count("_gen_response(") == 2
