"""Removes a code location from the stack and from the repository.

Of the platform only volume_backups and the one-shots are recreated.
"""

import getpass
import json
import shutil
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from ops import compose
from ops.access import forget_location
from ops.command import ROOT, CommandError, inspect, log, run
from ops.contract import served
from ops.contract.compare import new_breaches
from ops.deploy import policy
from ops.deploy.ledger import Ledger, locked
from ops.env_file import env_file, set_variable
from ops.graphql import webserver
from ops.locations import LocationError, NameArgument, tag_variable
from ops.scaffold.tree import check_made_here, own_paths, without_lines

# The tables and materialized views of a role in the warehouse, with their sizes.
_TABLES = """
select format('%%I.%%I, %%s', nspname, relname, pg_size_pretty(pg_total_relation_size(pg_class.oid)))
from pg_class join pg_namespace on pg_namespace.oid = relnamespace
where pg_get_userbyid(relowner) = '%s' and relkind in ('r', 'p', 'm') order by 1
"""
# `restrict`: the statement fails if another location's objects depend on these tables.
_DROP_OWNED = """set local lock_timeout = '20s'; drop owned by "{name}" restrict;"""

_UNFINISHED = """
query ($tag: String!) { runsOrError(filter: {
  tags: [{key: ".dagster/repository", value: $tag}],
  statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING] }) { ... on Runs { results { runId } } } }
"""


def remove_location(
    name: NameArgument, drop_data: Annotated[bool, Option("--drop-data", help="Drop its tables.")] = False
) -> None:
    """Remove a location from the stack and from the repository; if a step fails, repeat the command."""
    check_made_here(name)
    try:
        run("docker", "info")
    except CommandError:
        why = "There is no Docker engine (docker info fails), and the stack may have this location's data."
        raise LocationError(why) from None
    if _has_role(name) and not drop_data:
        tables = "".join(f"\n  {table}" for table in compose.query("warehouse", _TABLES % name)) or "\n  no table yet"
        raise LocationError(
            f"{name} has a role and a schema in the warehouse, which would be dropped with all tables:{tables}\n"
            f"If that is wanted: make remove-location NAME={name} DROP_DATA=1"
        )
    config = compose.config()
    platform = config["services"]["webserver"]["image"]
    # Without an image of the platform, there never was a stack.
    if stack := inspect("image", platform):
        _check_unused(name)
        with locked(config["name"], name, platform, getpass.getuser()) as ledger:
            _withdraw(name, ledger, config)
    forget_location(name)
    remove_files(name)
    log("removed: its files, and its lines in the shared files")
    if stack:
        # Otherwise the next start would make the role and the workspace entry again.
        compose.build_one_shots()
        if compose.is_running("postgres"):
            compose.run_once("migrate")
            compose.run_once("workspace")
            # It was removed with the volume of secrets that it mounted.
            run("docker", "compose", "up", "--detach", "--no-deps", "--no-build", "volume_backups")
    kept = "the history of its runs and assets, and the state of its sensors and schedules"
    log(f"{name} is removed. The instance keeps {kept}.")


def remove_files(name: str, root: Path = ROOT) -> None:
    check_made_here(name, root)
    for path, content in without_lines(name, root).items():
        (root / path).write_text(content)
    for own in map(root.joinpath, own_paths(name)):
        if own.is_dir():
            shutil.rmtree(own)
        else:
            own.unlink(missing_ok=True)


def _has_role(name: str) -> bool:
    if inspect("volume", str(compose.config()["volumes"]["postgres_data"]["name"])) is None:
        return False
    try:
        return name in compose.query("warehouse", "select rolname from pg_roles")
    except CommandError as error:
        why = f"{name}: whether it has data is unknown, since Postgres does not run."
        raise LocationError(f"{why} Start it: docker compose up --detach --wait postgres. {error}") from error


def _check_unused(name: str) -> None:
    """Checks that a location has no unfinished run, and that no other location needs its assets or tables."""
    if compose.is_running("webserver"):
        entries = served.read_entries()
        if broken := new_breaches(name, served.describe_served(entries), [], served.not_loaded(entries)):
            raise LocationError("\n  ".join([f"{name} is needed by others:", *broken]))
        if unfinished := webserver().ask(_UNFINISHED, tag=f"__repository__@{name}")["runsOrError"]["results"]:
            ids = ", ".join(one["runId"][:8] for one in unfinished[:10])
            raise LocationError(f"{name}: runs of it have not ended: {ids}. Wait for them or terminate them.")
    if _has_role(name):
        try:
            compose.query("warehouse", f"begin; {_DROP_OWNED.format(name=name)} rollback")
        except CommandError as error:
            raise LocationError(f"{name}: its tables cannot be dropped. {error}") from error


def _withdraw(name: str, ledger: Ledger, config: dict[str, Any]) -> None:
    """Removes a location from the stack, its data included. Parts that are gone already are skipped."""
    parts = _parts_of(name, config)
    policy.remove(name, config)
    log("removed: its run policy, so that no run of it is launched any more")
    if compose.is_running("webserver"):
        script = "cat > workspace/new.yaml && mv workspace/new.yaml workspace/workspace.yaml"
        compose.run_in("workspace", "sh", "-c", script, stdin=without_lines(name)["workspace.yaml"])
        served.reload_workspace()
        log("removed: its entry in the workspace")
    if containers := _containers(name, config["name"], parts["service"]):
        try:
            run("docker", "rm", "--force", "--volumes", *containers)
        except CommandError:
            # The housekeeping may have removed a run's container meanwhile.
            if _containers(name, config["name"], parts["service"]):
                raise
        log(f"removed: {len(containers)} containers")
    if _has_role(name):
        compose.query("warehouse", f'begin; {_DROP_OWNED.format(name=name)} drop role "{name}"; commit')
        log("removed: its role, schema and tables")
    tags = {record.version.tag for record in ledger.read()}
    deployed = [f"{name}:{tag}{kind}" for tag in tags for kind in ("", "-test")]
    # The container of migrate's last run mounts the volume with the password; remove_location() runs migrate again.
    for volume in parts["volume"]:
        if mounting := run("docker", "ps", "--all", "--quiet", "--filter", f"volume={volume}").split():
            run("docker", "rm", "--force", *mounting)
    parts["image"] = sorted({*parts["image"], *deployed})
    for kind in ("network", "volume", "image"):
        if there := [one for one in parts[kind] if inspect(kind, one)]:
            run("docker", kind, "rm", *there)
            log(f"removed: {kind} {', '.join(there)}")
    ledger.forget()
    set_variable(env_file(), tag_variable(name), None)


def _containers(name: str, project: str, services: list[str]) -> list[str]:
    """The containers of a location's services and of its runs, running or not."""
    listed = ("docker", "ps", "--all", "--quiet", "--filter")
    found = run(*listed, f"label=project={project}", "--filter", f"label=location={name}").split()
    for service in services:
        labels = (f"label=com.docker.compose.project={project}", f"label=com.docker.compose.service={service}")
        found += run(*listed, labels[0], "--filter", labels[1]).split()
    # The container of a run also has the labels of its image, which include the service that it was built for.
    return list(dict.fromkeys(found))


def _parts_of(name: str, config: dict[str, Any]) -> dict[str, list[str]]:
    """The names of the services, images, networks and volumes that compose has because of this location only."""
    alone = ("docker", "compose", "--project-directory", str(ROOT), "--file", "-", "config", "--format", "json")
    rest: dict[str, Any] = json.loads(run(*alone, stdin=without_lines(name)["docker-compose.yml"]))

    def names(what: str) -> list[str]:
        return [one["name"] for key, one in config.get(what, {}).items() if key not in rest.get(what, {})]

    services = [service for service in config["services"] if service not in rest["services"]]
    kept = {service.get("image") for service in rest["services"].values()}
    images = {config["services"][service].get("image") for service in services} - kept - {None}
    return {"service": services, "image": sorted(images), "network": names("networks"), "volume": names("volumes")}
