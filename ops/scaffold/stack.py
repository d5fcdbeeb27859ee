"""A location in the running stack: whether it is in use, what compose has of it, and how it is taken out.

Nothing of the platform is recreated: webserver and daemon read the workspace file again.
"""

import json
from typing import Any

from ops import compose
from ops.command import ROOT, CommandError, inspect, run
from ops.contract import served
from ops.contract.compare import new_breaches
from ops.deploy.ledger import Ledger
from ops.env_file import env_file, set_variable
from ops.graphql import WebserverInside
from ops.locations import LocationError, tag_variable
from ops.scaffold.tree import without_lines

# The tables and materialized views of a role in the warehouse, with their sizes.
_TABLES = """
select format('%%I.%%I, %%s', nspname, relname, pg_size_pretty(pg_total_relation_size(pg_class.oid)))
from pg_class join pg_namespace on pg_namespace.oid = relnamespace
where pg_get_userbyid(relowner) = '%s' and relkind in ('r', 'p', 'm') order by 1
"""
# `restrict`: the statement fails if another location's objects depend on these tables.
_DROP_OWNED = """
set local lock_timeout = '20s';
drop owned by "{name}" restrict;
"""

_UNFINISHED = """
query ($tag: String!) { runsOrError(filter: {
  tags: [{key: ".dagster/repository", value: $tag}],
  statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING] }) { ... on Runs { results { runId } } } }
"""


def tables_of(name: str) -> list[str]:
    """The tables of a location that has a role in the warehouse, with their sizes."""
    return compose.query("warehouse", _TABLES % name)


def has_role(name: str) -> bool:
    """Whether the warehouse has the location's role."""
    if inspect("volume", f"{compose.config()['name']}_postgres_data") is None:
        return False
    try:
        return name in compose.query("warehouse", "select rolname from pg_roles")
    except CommandError as error:
        raise LocationError(
            f"{name}: whether it has data is unknown, since Postgres does not run. "
            f"Start it: docker compose up --detach --wait postgres. {error}"
        ) from error


def check_unused(name: str) -> None:
    """Checks that a location has no unfinished run, and that no other location needs its assets or tables.

    Raises:
        LocationError: the location is in use.
    """
    if compose.is_running("webserver"):
        entries = served.read_entries()
        broken = new_breaches(name, served.describe_served(entries), [], served.not_loaded(entries))
        if broken:
            raise LocationError("\n  ".join([f"{name} is needed by others:", *broken]))
        unfinished = WebserverInside().ask(_UNFINISHED, tag=f"__repository__@{name}")["runsOrError"]["results"]
        if unfinished:
            ids = ", ".join(one["runId"][:8] for one in unfinished[:10])
            raise LocationError(f"{name}: runs of it have not ended: {ids}. Wait for them or terminate them.")
    if has_role(name):
        try:
            compose.query("warehouse", f"begin; {_DROP_OWNED.format(name=name)} rollback")
        except CommandError as error:
            raise LocationError(f"{name}: its tables cannot be dropped. {error}") from error


def withdraw(name: str, ledger: Ledger) -> list[str]:
    """Removes a location from the stack, its data included. Parts that are gone already are skipped.

    If a step fails, all of them can be repeated. Returns what was removed, in words.
    """
    config = compose.config()
    parts = _parts_of(name, config)
    gone = []
    if compose.is_running("webserver"):
        script = "cat > workspace/new.yaml && mv workspace/new.yaml workspace/workspace.yaml"
        compose.run_in("workspace", "sh", "-c", script, stdin=without_lines(name)["workspace.yaml"])
        served.reload_workspace()
        gone.append("its entry in the workspace")
    if containers := _containers(name, config["name"], parts["service"]):
        try:
            run("docker", "rm", "--force", "--volumes", *containers)
        except CommandError:
            # The housekeeping may have removed a run's container meanwhile.
            if _containers(name, config["name"], parts["service"]):
                raise
        gone.append(f"{len(containers)} containers")
    if has_role(name):
        compose.query("warehouse", f'begin; {_DROP_OWNED.format(name=name)} drop role "{name}"; commit')
        gone.append("its role, schema and tables")
    tags = {record.version.tag for record in ledger.read()}
    deployed = [f"{name}:{tag}{kind}" for tag in tags for kind in ("", "-test")]
    # The container of migrate's last run mounts the volume with the password; remove_location() runs migrate again.
    for volume in parts["volume"]:
        if mounting := run("docker", "ps", "--all", "--quiet", "--filter", f"volume={volume}").split():
            run("docker", "rm", "--force", *mounting)
    parts["image"] = sorted({*parts["image"], *deployed})
    for kind in ("network", "volume", "image"):
        there = [one for one in parts[kind] if inspect(kind, one)]
        if there:
            run("docker", kind, "rm", *there)
            gone.append(f"{kind} {', '.join(there)}")
    ledger.forget()
    set_variable(env_file(), tag_variable(name), None)
    return gone


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
