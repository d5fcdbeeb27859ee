"""Asks, before each mutation, whether the caller may use it on what it names; and has each written down."""

import functools
from collections.abc import Awaitable
from inspect import isawaitable
from typing import Any

from dagster_graphql.schema.errors import GraphenePythonError, GrapheneUnauthorizedError
from dagster_shared.error import SerializableErrorInfo
from graphene import Schema
from graphql import GraphQLError, GraphQLField, GraphQLResolveInfo, GraphQLUnionType, get_named_type

from platform_host.audit import record
from platform_host.mutations import named_by, refusal

REFUSED = "refused"


def guard(schema: Schema) -> Schema:
    """Puts the question into the schema itself, so that no way of asking it passes by."""
    mutations = schema.graphql_schema.mutation_type
    assert mutations
    for name, mutation in mutations.fields.items():
        mutation.resolve = functools.partial(_resolve, name, mutation, mutation.resolve)
    return schema


def _resolve(
    name: str, mutation: GraphQLField, proceed: Any, root: Any, info: GraphQLResolveInfo, **arguments: Any
) -> Any:
    context = info.context
    named = named_by(context, name, arguments)

    def recorded(result: Any, said: Any = None) -> Any:
        record(context.instance, context.caller, name, named, said or result)
        return result

    if why := refusal(context.caller.identity, name, named):
        recorded(None, REFUSED)
        return _refused(info, mutation, why)
    try:
        result = proceed(root, info, **arguments)
    except Exception as error:
        recorded(None, type(error).__name__)
        raise

    async def later(awaited: Awaitable[Any]) -> Any:
        return recorded(await awaited)

    return later(result) if isawaitable(result) else recorded(result)


def _refused(info: GraphQLResolveInfo, mutation: GraphQLField, why: str) -> Any:
    """The refusal in a form that the result of the mutation has; what has none gets an error of GraphQL."""
    of = get_named_type(mutation.type)
    types = {each.name for each in of.types} if isinstance(of, GraphQLUnionType) else set()
    if "UnauthorizedError" in types:
        return GrapheneUnauthorizedError(message=why)  # type: ignore[no-untyped-call]
    if "PythonError" in types:
        return GraphenePythonError(SerializableErrorInfo(why, [], "Unauthorized"))  # type: ignore[no-untyped-call]
    # With its path it counts as the caller's error, not as the server's.
    raise GraphQLError(why, info.field_nodes, path=info.path.as_list())
