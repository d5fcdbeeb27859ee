"""Calls of a code server from many threads with event loops of their own, as the webserver's queries make them."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from dagster._grpc.__generated__ import dagster_api_pb2 as messages
from dagster._grpc.__generated__.dagster_api_pb2_grpc import DagsterApiServicer, add_DagsterApiServicer_to_server
from dagster._grpc.client import DagsterGrpcClient
from platform_host.grpc_calls import call_in_threads

QUERIES = 40


class CodeServer(DagsterApiServicer):
    def Ping(self, request: Any, context: Any) -> Any:  # noqa: N802, the name of the call
        return messages.PingReply(echo=request.echo)

    def StreamingPing(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        for number in range(request.sequence_length):
            yield messages.StreamingPingEvent(sequence_number=number, echo=request.echo)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterGrpcClient]:
    call_in_threads()
    # Of 3000 queries in three threads about five met the fault, so the test is that nothing can meet it.
    monkeypatch.delattr(grpc.aio, "insecure_channel")
    served = grpc.server(ThreadPoolExecutor(4))
    add_DagsterApiServicer_to_server(CodeServer(), served)  # type: ignore[no-untyped-call]
    port = served.add_insecure_port("127.0.0.1:0")
    served.start()
    yield DagsterGrpcClient(port=port, host="127.0.0.1")
    served.stop(None).wait()


def test_queries_in_many_threads_are_all_answered(client: DagsterGrpcClient) -> None:
    def query(number: int) -> str:
        return str(asyncio.run(client._gen_query("Ping", messages.PingRequest, echo=f"{number}")).echo)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(query, range(QUERIES))) == [f"{number}" for number in range(QUERIES)]


def test_an_answer_in_parts_arrives_in_order(client: DagsterGrpcClient) -> None:
    async def numbers() -> list[int]:
        parts = client._gen_streaming_query("StreamingPing", messages.StreamingPingRequest, sequence_length=5, echo="")
        return [part.sequence_number async for part in parts]

    assert asyncio.run(numbers()) == [0, 1, 2, 3, 4]
