"""What a location has in the running stack beside its code server: made before its first deploy, and taken out.

Nothing of the platform's is recreated by either: webserver and daemon read the workspace file again, and Postgres is
reached through the location's own gateway.
"""

import json
from typing import Any, NamedTuple

from ops.command import ROOT, CommandError, inspect, run, show
from ops.deploy.env_file import remove_variable
from ops.deploy.guard import new_breaches
from ops.deploy.ledger import Ledger
from ops.deploy.location import compose_config, env_file, tag_variable
from ops.deploy.webserver import WebserverError, ask, entries, reload_workspace, served
from ops.location.tree import LocationError, without_lines

_RUN = ("docker", "compose", "run", "--rm", "--no-deps", "-T")
_PSQL = ("docker", "compose", "exec", "-T", "postgres", "psql", "-U", "postgres", "-d", "warehouse")

# The objects of a role in the warehouse that hold rows, with their size.
_TABLES = """
select format('%%I.%%I, %%s', nspname, relname, pg_size_pretty(pg_total_relation_size(pg_class.oid)))
from pg_class join pg_namespace on pg_namespace.oid = relnamespace
where pg_get_userbyid(relowner) = '%s' and relkind in ('r', 'p', 'm') order by 1
"""
# `restrict`: what another location built on these tables is not dropped with them, the statement fails instead.
_DROP_OWNED = """
set local lock_timeout = '20s';
drop owned by "{name}" restrict;
"""

_UNFINISHED = """
query ($tag: String!) { runsOrError(filter: {
  tags: [{key: ".dagster/repository", value: $tag}],
  statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING] }) { ... on Runs { results { runId } } } }
"""


class Parts(NamedTuple):
    """What compose has because of one location alone: names of services, images, networks and volumes."""

    services: list[str]
    images: list[str]
    networks: list[str]
    volumes: list[str]


def prepare(name: str) -> None:
    """Makes what the code server of a new location needs around it, and makes the webserver know it; again, nothing.

    The daemon reads the workspace file by itself, once a minute.

    Raises:
        CommandError: a step failed; all of them can be repeated.
        WebserverError: the webserver does not list the location after it read the file.
    """
    show("docker", "compose", "build", "migrate")
    # Its role, rights, password and volume.
    run_once("migrate")
    run("docker", "compose", "up", "--detach", "--no-deps", "--no-build", "--wait", f"{name}_gateway")
    run_once("workspace")
    if name not in reload_workspace():
        raise WebserverError(
            f"The webserver does not know {name}: workspace.yaml does not list it. Add it as the others."
        )


def run_once(service: str) -> None:
    """Runs a one-shot service as it is now, and nothing that depends on it, and leaves no container of it.

    With a service that it recreates, compose recreates all that depends on it, and not with one that it creates. So a
    later start of everything must not find the container of a service that has changed since.

    Raises:
        CommandError: it failed; the message has what it printed last.
    """
    run("docker", "compose", "rm", "--force", service)
    run(*_RUN, service)


def is_running(service: str) -> bool:
    """Whether a service of the stack runs."""
    return bool(run("docker", "compose", "ps", "--quiet", "--status", "running", service).strip())


def tables_of(name: str) -> list[str]:
    """The location's tables in the running warehouse, with their sizes.

    Raises:
        LocationError: there is a warehouse, and it does not run.
    """
    if not has_role(name):
        return []
    return run(*_PSQL, "-qtAc", _TABLES % name).splitlines()


def has_role(name: str) -> bool:
    """Whether the warehouse has the location's role.

    Raises:
        LocationError: there is a warehouse, and it does not run.
    """
    if inspect("volume", f"{compose_config({})['name']}_postgres_data") is None:
        return False
    try:
        return name in run(*_PSQL, "-qtAc", "select rolname from pg_roles").splitlines()
    except CommandError as error:
        raise LocationError(
            f"{name}: whether it has data cannot be seen, for Postgres does not run. "
            f"Start it: docker compose up --detach --wait postgres. {error}"
        ) from error


def check_unused(name: str) -> None:
    """Checks that nothing goes on in the location, and that no other one needs its assets or built on its tables.

    Raises:
        LocationError: a run has not ended, another location names its asset, or something depends on its tables.
    """
    if is_running("webserver"):
        now, unknown = served(entries())
        broken = new_breaches(name, now, [], unknown)
        if broken:
            raise LocationError("\n  ".join([f"{name} is needed by others:", *broken]))
        unfinished = ask(_UNFINISHED, tag=f"__repository__@{name}")["runsOrError"]["results"]
        if unfinished:
            ids = ", ".join(one["runId"][:8] for one in unfinished[:10])
            raise LocationError(f"{name}: runs of it have not ended: {ids}. Wait for them or terminate them.")
    if has_role(name):
        try:
            run(*_PSQL, "-v", "ON_ERROR_STOP=1", "-q", stdin=f"begin; {_DROP_OWNED.format(name=name)} rollback;")
        except CommandError as error:
            raise LocationError(f"{name}: its tables cannot be dropped. {error}") from error


def withdraw(name: str, ledger: Ledger) -> list[str]:
    """Takes a location out of the stack, its data included; what is gone already is passed over.

    Returns:
        What is gone, for whoever asked.

    Raises:
        CommandError: a step failed; all of them can be repeated.
        WebserverError: the webserver runs and does not answer.
    """
    config = compose_config({})
    parts = parts_of(name, config)
    gone = []
    if is_running("webserver"):
        script = "cat > workspace/new.yaml && mv workspace/new.yaml workspace/workspace.yaml"
        run(*_RUN, "workspace", "sh", "-c", script, stdin=without_lines(name)["workspace.yaml"])
        reload_workspace()
        gone.append("its entry in the workspace")
    if containers := _containers(name, config["name"], parts.services):
        try:
            run("docker", "rm", "--force", "--volumes", *containers)
        except CommandError:
            # Another one, the housekeeping for example, may have removed a run's container meanwhile.
            if _containers(name, config["name"], parts.services):
                raise
        gone.append(f"{len(containers)} containers")
    if has_role(name):
        run(
            *(*_PSQL, "-v", "ON_ERROR_STOP=1", "-q"),
            stdin=f'begin; {_DROP_OWNED.format(name=name)} drop role "{name}"; commit;',
        )
        gone.append("its role, schema and tables")
    tags = {record.version.tag for record in ledger.read()}
    deployed = [f"{name}:{tag}{kind}" for tag in tags for kind in ("", "-test")]
    # The last run of migrate mounts the password's volume; remove_location() runs it anew.
    for volume in parts.volumes:
        if mounting := run("docker", "ps", "--all", "--quiet", "--filter", f"volume={volume}").split():
            run("docker", "rm", "--force", *mounting)
    for kind, names in (
        ("network", parts.networks),
        ("volume", parts.volumes),
        ("image", sorted({*parts.images, *deployed})),
    ):
        there = [one for one in names if inspect(kind, one)]
        if there:
            run("docker", kind, "rm", *there)
            gone.append(f"{kind} {', '.join(there)}")
    ledger.forget()
    remove_variable(env_file(), tag_variable(name))
    return gone


def _containers(name: str, project: str, services: list[str]) -> list[str]:
    """The containers of a location's services and of its runs, running or not."""
    listed = ("docker", "ps", "--all", "--quiet", "--filter")
    found = run(*listed, f"label=project={project}", "--filter", f"label=location={name}").split()
    for service in services:
        labels = (f"label=com.docker.compose.project={project}", f"label=com.docker.compose.service={service}")
        found += run(*listed, labels[0], "--filter", labels[1]).split()
    # A run's container has the labels of its image, too, which are those of the service that it was built for.
    return list(dict.fromkeys(found))


def parts_of(name: str, config: dict[str, Any]) -> Parts:
    """What compose has with the location and lacks without it.

    Args:
        name: the location.
        config: the compose project, resolved, the location included.

    Raises:
        CommandError: compose cannot read its files.
    """
    alone = ("docker", "compose", "--project-directory", str(ROOT), "--file", "-", "config", "--format", "json")
    rest: dict[str, Any] = json.loads(run(*alone, stdin=without_lines(name)["docker-compose.yml"]))

    def names(what: str) -> list[str]:
        return [one["name"] for key, one in config.get(what, {}).items() if key not in rest.get(what, {})]

    services = [service for service in config["services"] if service not in rest["services"]]
    kept = {service.get("image") for service in rest["services"].values()}
    images = {config["services"][service].get("image") for service in services} - kept - {None}
    return Parts(services, sorted(images), names("networks"), names("volumes"))
