"""What a role may do, in Dagster's own terms; Dagster's resolvers ask for these permissions, and the UI shows them.

A permission that a later release adds is nobody's until it is written here.
"""

from collections.abc import Mapping

from dagster._core.workspace.permissions import (
    EDITOR_PERMISSIONS,
    LOCATION_SCOPED_PERMISSIONS,
    PermissionResult,
    Permissions,
)

from platform_host.access_file import Identity, Role

# The lowest role that has a permission. Those that Dagster does not scope by location take the role for all locations.
NEEDS = {
    Permissions.LAUNCH_PIPELINE_EXECUTION: Role.LAUNCHER,
    Permissions.LAUNCH_PIPELINE_REEXECUTION: Role.LAUNCHER,
    Permissions.TERMINATE_PIPELINE_EXECUTION: Role.LAUNCHER,
    Permissions.LAUNCH_PARTITION_BACKFILL: Role.LAUNCHER,
    Permissions.CANCEL_PARTITION_BACKFILL: Role.LAUNCHER,
    Permissions.START_SCHEDULE: Role.EDITOR,
    Permissions.STOP_RUNNING_SCHEDULE: Role.EDITOR,
    Permissions.SCHEDULE_DRY_RUN: Role.EDITOR,
    Permissions.EDIT_SENSOR: Role.EDITOR,
    Permissions.SENSOR_DRY_RUN: Role.EDITOR,
    Permissions.UPDATE_SENSOR_CURSOR: Role.EDITOR,
    Permissions.DELETE_PIPELINE_RUN: Role.EDITOR,
    Permissions.RELOAD_REPOSITORY_LOCATION: Role.EDITOR,
    Permissions.RELOAD_WORKSPACE: Role.EDITOR,
    Permissions.WIPE_ASSETS: Role.EDITOR,
    Permissions.REPORT_RUNLESS_ASSET_EVENTS: Role.EDITOR,
    Permissions.EDIT_DYNAMIC_PARTITIONS: Role.EDITOR,
    Permissions.REFRESH_COMPONENT_STATE: Role.EDITOR,
    Permissions.EDIT_APP_MANAGED_COMPONENTS: Role.ADMIN,
    Permissions.TOGGLE_AUTO_MATERIALIZE: Role.ADMIN,
    Permissions.EDIT_CONCURRENCY_LIMIT: Role.ADMIN,
}


def permissions_everywhere(identity: Identity) -> Mapping[str, PermissionResult]:
    """What somebody may do in all locations and with the instance."""
    return {each: _result(identity, each, None) for each in EDITOR_PERMISSIONS}


def permissions_in(identity: Identity, location: str) -> Mapping[str, PermissionResult]:
    """What somebody may do in one location."""
    return {
        each: _result(identity, each, location) for each in EDITOR_PERMISSIONS if each in LOCATION_SCOPED_PERMISSIONS
    }


def _result(identity: Identity, permission: str, location: str | None) -> PermissionResult:
    role = NEEDS.get(Permissions(permission))
    if role is None:
        return PermissionResult(False, "Nobody has decided who may do this")
    # What Dagster switches off for everybody, such as what only Dagster+ has, stays off.
    if not EDITOR_PERMISSIONS[permission]:
        return PermissionResult(False, "Not in the open-source Dagster")
    if identity.may(role, location):
        return PermissionResult(True, None)
    return PermissionResult(
        False, f"Takes the role {role.name.lower()} {f'in {location}' if location else 'for all locations'}"
    )
