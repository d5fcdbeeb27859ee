"""Calls of code servers that GraphQL queries make, without gRPC's asyncio.

The webserver answers each query in a thread with an event loop of its own. gRPC's asyncio has one socket for the loops
of all threads, and closes it when no thread has a channel. A loop that still looks at it fails, and the query is
answered by 500: "Invalid file descriptor: -1". So each call is made in a thread, by the client's other methods.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from dagster._grpc.client import DagsterGrpcClient


def call_in_threads() -> None:
    """Has all clients of this process make their asynchronous calls in threads."""
    client: Any = DagsterGrpcClient
    client._gen_response = _gen_response
    client._gen_streaming_response = _gen_streaming_response


async def _gen_response(client: DagsterGrpcClient, *args: Any, **kwargs: Any) -> Any:
    return await asyncio.to_thread(client._get_response, *args, **kwargs)


async def _gen_streaming_response(client: DagsterGrpcClient, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
    parts, end = client._get_streaming_response(*args, **kwargs), object()
    # Part by part: whoever counts them (answer_size.py) stops at the limit.
    while (part := await asyncio.to_thread(next, parts, end)) is not end:
        yield part
