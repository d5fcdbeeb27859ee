"""What each role may do: every mutation of the schema, asked over HTTP, for the own location and another one."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dagster._core.workspace.permissions import Permissions
from graphql import GraphQLInputObjectType, get_named_type
from platform_host.access_file import Identity, Role
from platform_host.mutations import MUTATIONS, NAMES, NOT_NAMES, Named, refusal
from platform_host.permissions import NEEDS

from tests.platform_host.asked import ARGUMENTS, FIELDS, USERS, Target, allowed_by_dagster, answer, refused
from tests.platform_host.served import OTHER, OWN, Served


def test_every_mutation_of_the_schema_has_a_rule_and_every_rule_a_mutation() -> None:
    assert set(MUTATIONS) == set(FIELDS) == set(ARGUMENTS)


def test_every_permission_of_dagster_has_a_lowest_role() -> None:
    assert set(NEEDS) == set(Permissions)


def test_every_argument_of_a_mutation_is_known_to_name_something_or_nothing() -> None:
    assert {*_arguments()} == {*NAMES} | NOT_NAMES


def _arguments() -> Iterator[str]:
    seen: set[str] = set()

    def of_type(given: Any) -> Iterator[str]:
        named = get_named_type(given)
        if isinstance(named, GraphQLInputObjectType) and named.name not in seen:
            seen.add(named.name)
            for name, each in named.fields.items():
                yield from of_type(each.type)
                if not isinstance(get_named_type(each.type), GraphQLInputObjectType):
                    yield name

    for field in FIELDS.values():
        for name, argument in field.args.items():
            yield from of_type(argument.type)
            if not isinstance(get_named_type(argument.type), GraphQLInputObjectType):
                yield name


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_role_in_a_location_is_enough_there_and_nowhere_else(name: str) -> None:
    rule = MUTATIONS[name]
    for role in Role:
        here = Identity("ana", Role.VIEWER, {OWN: role})
        enough = role >= rule.role and not rule.instance
        assert (refusal(here, name, Named(locations={OWN})) is None) == enough
        assert refusal(here, name, Named(locations={OTHER}))
        assert refusal(here, name, Named(locations={OWN, OTHER}))
        assert refusal(here, name, Named())
        everywhere = Identity("ana", role)
        for named in (Named(), Named(locations={OWN, OTHER}), Named(locations={""})):
            assert (refusal(everywhere, name, named) is None) == (role >= rule.role)


def test_a_mutation_that_is_not_in_the_table_is_refused_to_everybody() -> None:
    assert "nobody has decided" in str(refusal(Identity("boss", Role.ADMIN), "newMutation", Named(locations={OWN})))


# --- over HTTP --------------------------------------------------------------------------------------------------------


def _lowest(name: str) -> str:
    return "boss" if MUTATIONS[name].instance else MUTATIONS[name].role.name.lower()


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_lowest_role_may_and_those_below_may_not(name: str, users: Served, target: Callable[[str], Target]) -> None:
    of = target(OWN)
    lower = [*USERS][: [*USERS].index(_lowest(name))]
    for user in lower:
        assert refused(answer(users, user, name, **ARGUMENTS[name](of))), user
    result = answer(users, _lowest(name), name, **ARGUMENTS[name](of))
    assert not refused(result)
    # Components are edited in Dagster+ only; Dagster refuses them to everybody.
    assert allowed_by_dagster(result) or name.endswith("AppManagedComponent")


@pytest.mark.parametrize("name", [name for name in MUTATIONS if not MUTATIONS[name].instance])
def test_nobody_does_it_in_a_location_where_they_have_no_role(
    name: str, users: Served, target: Callable[[str], Target]
) -> None:
    of = target(OTHER)
    for user in ("viewer", "launcher", "editor", "admin"):
        assert refused(answer(users, user, name, **ARGUMENTS[name](of))), user


def test_what_dagster_itself_asks_is_right_too(users: Served) -> None:
    query = "{ permissions { permission value } workspaceOrError { ... on Workspace { locationEntries {"
    query += " name permissions { permission value } } } } }"
    for user, grants in USERS.items():
        data = users.ask(query, user)["data"]
        everywhere = {each["permission"] for each in data["permissions"] if each["value"]}
        role = Role[next(iter(grants)).upper()]
        expected = {str(each) for each, needs in NEEDS.items() if role >= needs} - {"edit_app_managed_components"}
        assert everywhere == (expected if user == "boss" else set())
        for entry in data["workspaceOrError"]["locationEntries"]:
            here = {each["permission"] for each in entry["permissions"] if each["value"]}
            scoped = {each["permission"] for each in entry["permissions"]}
            assert here == (expected & scoped if user == "boss" or entry["name"] == OWN else set())
