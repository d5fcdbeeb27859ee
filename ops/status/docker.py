"""The services of the compose project: those that the compose file has, and the containers that there are."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from ops.status.command import SourceError, output
from ops.status.facts import Service

LABEL = "com.docker.compose"
WEBSERVER_PORT = "3000/tcp"


class Project(NamedTuple):
    """The compose project as its files and the environment make it."""

    name: str
    services: Mapping[str, Mapping[str, Any]]


def project() -> Project:
    """Reads the compose file; needs no engine.

    Raises:
        SourceError: there is no Compose, or the file or ``.env`` is wrong.
    """
    config = json.loads(output("docker", "compose", "config", "--format", "json"))
    return Project(config["name"], config["services"])


def containers(name: str) -> list[dict[str, Any]]:
    """The containers of a project's services as ``docker inspect`` describes them; runs are no services.

    Raises:
        SourceError: no engine answers.
    """
    # Images that Compose built hand their labels on to whatever runs on them; this one is a service's container alone.
    filters = ("--filter", f"label={LABEL}.project={name}", "--filter", f"label={LABEL}.oneoff=False")
    list_ids = ("docker", "ps", "--all", "--quiet", "--no-trunc", *filters)
    ids = output(*list_ids).split()
    try:
        described = output("docker", "inspect", *ids) if ids else "[]"
    except SourceError:  # one was removed between the two commands, as when a service is replaced
        described = output("docker", "inspect", *output(*list_ids).split())
    found: list[dict[str, Any]] = json.loads(described)
    return found


def services(expected: Mapping[str, Mapping[str, Any]], found: Iterable[Mapping[str, Any]]) -> tuple[Service, ...]:
    """One entry per container, and one per service of the compose file that has none, by name."""
    entries = [_service(container) for container in found]
    there = {entry.name for entry in entries}
    entries += [
        Service(name, "absent", image=service.get("image", ""), one_shot=service.get("restart") in (None, "no"))
        for name, service in expected.items()
        if name not in there
    ]
    return tuple(sorted(entries, key=lambda entry: (entry.one_shot, entry.name)))


def running_container(found: Iterable[Mapping[str, Any]], service: str) -> str | None:
    """The id of a service's container where it runs."""
    for container in found:
        if _name(container) == service and container["State"]["Status"] == "running":
            return str(container["Id"])
    return None


def webserver_url(found: Iterable[Mapping[str, Any]]) -> str | None:
    """Where the webserver is published, as Docker has it; None where it is not."""
    for container in found:
        if _name(container) == "webserver":
            for binding in container["NetworkSettings"]["Ports"].get(WEBSERVER_PORT) or ():
                return f"http://127.0.0.1:{binding['HostPort']}"
    return None


def _name(container: Mapping[str, Any]) -> str:
    return str(container["Config"]["Labels"][f"{LABEL}.service"])


def _service(container: Mapping[str, Any]) -> Service:
    state = container["State"]
    going = state["Status"] in ("running", "paused", "restarting")
    return Service(
        name=_name(container),
        state=state["Status"],
        health=state["Health"]["Status"] if "Health" in state and state["Status"] == "running" else None,
        image=container["Config"]["Image"],
        since=_time(state["StartedAt"] if going else state["FinishedAt"]),
        restarts=container["RestartCount"],
        exit_code=state["ExitCode"],
        one_shot=container["HostConfig"]["RestartPolicy"]["Name"] in ("", "no"),
    )


def _time(stamp: str) -> float | None:
    """Docker's time; it has nanoseconds, and the year 1 where something never happened."""
    if stamp.startswith("0001"):
        return None
    return datetime.fromisoformat(f"{stamp[:19]}+00:00").timestamp()
