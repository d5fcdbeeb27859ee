"""Asks, before each mutation, whether the caller may use it on what it names."""

import functools
from typing import Any

from dagster_graphql.schema.errors import GraphenePythonError, GrapheneUnauthorizedError
from dagster_shared.error import SerializableErrorInfo
from graphene import Schema
from graphql import GraphQLError, GraphQLField, GraphQLResolveInfo, GraphQLUnionType, get_named_type

from platform_host.mutations import named_by, refusal


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
    named = named_by(info, name, arguments)
    if why := refusal(info.context.caller.identity, name, named):
        return _refused(info, mutation, why)
    return proceed(root, info, **arguments)


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
