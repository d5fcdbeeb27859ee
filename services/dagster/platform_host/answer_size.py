"""Limits the size of what a code server answers, which webserver and daemon keep in memory.

gRPC limits a message. But a load of a location is as many messages as the code server names repositories and jobs, and
any other answer may be as many as it likes: where a code server says that it does not know a call, Dagster's client
joins what an older, streamed one answers. So the methods that all calls go through count, up to a message's limit.
tests/platform_host/test_answer_size.py fails when the client no longer uses them.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any, NoReturn

import grpc
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.utils import max_rx_bytes

# Dagster makes a client for each load of a location, which calls these once per repository or job.
LOAD = ("ListRepositories", "ExternalRepository", "ExternalJob")
_query = DagsterGrpcClient._query
_streaming_query = DagsterGrpcClient._streaming_query
_gen_streaming_query = DagsterGrpcClient._gen_streaming_query
_raise_grpc_exception = DagsterGrpcClient._raise_grpc_exception


class Counter:
    """Adds up the parts of what the code server of a client answers."""

    def __init__(self, client: DagsterGrpcClient, what: str) -> None:
        self._client, self._what = client, what
        self._limit, self._size = max_rx_bytes(), 0

    def add(self, part: Any) -> None:
        """Counts a message; DagsterUserCodeUnreachableError if all together are larger than the limit."""
        self._size += part.ByteSize()
        if self._size > self._limit:
            raise DagsterUserCodeUnreachableError(
                f"The code server {self._client.host} answers {self._what} with {self._size} bytes or more; the limit "
                f"is {self._limit} bytes (setting DAGSTER_GRPC_MAX_RX_BYTES). Nothing of the answer is used."
            )


def limit_answers() -> None:
    """Has all clients of this process refuse an answer that is larger than ``DAGSTER_GRPC_MAX_RX_BYTES``."""
    client: Any = DagsterGrpcClient
    client._query = _limited_query
    client._streaming_query = _limited_streaming_query
    client._gen_streaming_query = _limited_gen_streaming_query
    client._raise_grpc_exception = _named_grpc_exception


def _limited_query(client: DagsterGrpcClient, method: str, *args: Any, **kwargs: Any) -> Any:
    answer = _query(client, method, *args, **kwargs)
    if method in LOAD:
        vars(client).setdefault("load", Counter(client, "the load of its definitions")).add(answer)
    return answer


def _limited_streaming_query(client: DagsterGrpcClient, method: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
    counter = Counter(client, method)
    for part in _streaming_query(client, method, *args, **kwargs):
        counter.add(part)
        yield part


async def _limited_gen_streaming_query(
    client: DagsterGrpcClient, method: str, *args: Any, **kwargs: Any
) -> AsyncIterator[Any]:
    counter = Counter(client, method)
    async for part in _gen_streaming_query(client, method, *args, **kwargs):
        counter.add(part)
        yield part


def _named_grpc_exception(client: DagsterGrpcClient, error: Exception, *args: Any, **kwargs: Any) -> NoReturn:
    details = str(error.details()) if isinstance(error, grpc.Call) else ""
    if "larger than max" in details:
        raise DagsterUserCodeUnreachableError(
            f"A message between this process and the code server {client.host} is too large; the limit for an answer "
            f"is {max_rx_bytes()} bytes (setting DAGSTER_GRPC_MAX_RX_BYTES): {details}"
        ) from error
    _raise_grpc_exception(client, error, *args, **kwargs)
