"""Checks, before each mutation, whether the caller may use it on what it names, and records each mutation."""

import functools
from collections.abc import Awaitable
from inspect import isawaitable
from typing import Any

from dagster_graphql.schema.errors import GraphenePythonError, GrapheneUnauthorizedError
from dagster_shared.error import SerializableErrorInfo
from graphene import Schema
from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLField,
    GraphQLResolveInfo,
    GraphQLUnionType,
    ValidationRule,
    get_named_type,
)

from platform_host.audit import record, record_refusal
from platform_host.mutations import Named, named_by, refusal

REFUSED = "refused"
# Of one request. Dagster's UI sends one; with thousands a small request would write as many lines of the audit.
MOST = 20


class FewMutations(ValidationRule):
    """Refuses a request of more than MOST mutations, in whatever form they are in it."""

    count = 0

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        if self.context.get_parent_type() is self.context.schema.mutation_type:
            self.count += 1
            if self.count == MOST + 1:
                why = f"Refused: a request may have {MOST} mutations at most. Send several requests."
                self.report_error(GraphQLError(why, node))


def guard(schema: Schema) -> Schema:
    """Adds the check to the schema itself, so that no form of a request bypasses it."""
    mutations = schema.graphql_schema.mutation_type
    assert mutations
    for name, mutation in mutations.fields.items():
        mutation.resolve = functools.partial(_resolve, name, mutation, mutation.resolve)
    return schema


def _resolve(
    name: str, mutation: GraphQLField, proceed: Any, root: Any, info: GraphQLResolveInfo, **arguments: Any
) -> Any:
    context = info.context
    named = Named()
    try:
        named = named_by(context, name, arguments)
        why = refusal(context.caller.identity, name, named)
    except Exception as error:
        record_refusal(context.instance, context.caller, name, named, type(error).__name__)
        raise
    if why:
        record_refusal(context.instance, context.caller, name, named, REFUSED)
        return _refused(info, mutation, why)

    def recorded(result: Any, said: Any = None) -> Any:
        record(context.instance, context.caller, name, named, said or result)
        return result

    async def later(awaited: Awaitable[Any]) -> Any:
        try:
            return recorded(await awaited)
        except Exception as error:
            recorded(None, type(error).__name__)
            raise

    try:
        result = proceed(root, info, **arguments)
    except Exception as error:
        recorded(None, type(error).__name__)
        raise
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
