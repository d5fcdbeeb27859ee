"""The services of the compose project: those that the compose file has, and their containers."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ops.command import CommandError, run
from ops.status.facts import Alerts, Service

LABEL = "com.docker.compose"
SECONDS = 20


def containers(name: str) -> list[dict[str, Any]]:
    """The containers of a project's services, without those of runs, as ``docker inspect`` describes them."""
    # Images that Compose built pass their labels on to every container; only a service's container has `oneoff`.
    filters = ("--filter", f"label={LABEL}.project={name}", "--filter", f"label={LABEL}.oneoff=False")

    def ids() -> list[str]:
        return run("docker", "ps", "--all", "--quiet", "--no-trunc", *filters, timeout=SECONDS).split()

    if not (listed := ids()):
        return []
    try:
        described = run("docker", "inspect", *listed, timeout=SECONDS)
    except CommandError:  # a container was removed between the two commands, as when a service is replaced
        described = run("docker", "inspect", *ids(), timeout=SECONDS)
    return list(json.loads(described))


def services(expected: Mapping[str, Mapping[str, Any]], found: Iterable[Mapping[str, Any]]) -> tuple[Service, ...]:
    """One entry per container and per service of the compose file without one, by name; one-shot services last."""
    entries = [_service(container) for container in found]
    names = {entry.name for entry in entries}
    entries += [
        Service(name, "absent", image=service.get("image", ""), one_shot=service.get("restart") in (None, "no"))
        for name, service in expected.items()
        if name not in names
    ]
    return tuple(sorted(entries, key=lambda entry: (entry.one_shot, entry.name)))


def running(found: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The ids of the running containers by service."""
    return {_name(container): container["Id"] for container in found if container["State"]["Status"] == "running"}


def policies(daemon: str) -> dict[str, str]:
    """The locations that have a run policy, each with why it cannot be used; ``daemon`` is the id of its container."""
    return dict(
        json.loads(run("docker", "exec", daemon, "python", "-m", "platform_host.check_policies", timeout=SECONDS))
    )


def alerts(container: str) -> Alerts:
    """What the service `alerts` remembers; ``container`` is its id."""
    found = json.loads(run("docker", "exec", container, "python", "-m", "ops.alerts.service", "state", timeout=SECONDS))
    return Alerts(
        evaluated=found["evaluated"],
        receivers=tuple(found["receivers"]),
        silences=tuple((name, until) for name, until in found["silences"]),
        waiting=found["waiting"],
        troubles=tuple((text, since) for text, since in found["troubles"]),
    )


def certificate(container: str) -> float | None:
    """When the door's certificate ends; ``container`` is the id of that of `alerts`, which is in the door's network."""
    answer = run("docker", "exec", container, "python", "-m", "ops.status.certificate", timeout=SECONDS)
    return None if answer.strip() == "null" else float(answer)


def webserver_url(found: Iterable[Mapping[str, Any]]) -> str | None:
    """Where the door publishes the webserver, as Docker has it; None where it does not."""
    for container in found:
        if _name(container) == "door":
            for binding in container["NetworkSettings"]["Ports"].get("8080/tcp") or ():
                return f"http://127.0.0.1:{binding['HostPort']}"
    return None


def _name(container: Mapping[str, Any]) -> str:
    return str(container["Config"]["Labels"][f"{LABEL}.service"])


def _service(container: Mapping[str, Any]) -> Service:
    state = container["State"]
    alive = state["Status"] in ("running", "paused", "restarting")
    return Service(
        name=_name(container),
        state=state["Status"],
        health=state["Health"]["Status"] if "Health" in state and state["Status"] == "running" else None,
        image=container["Config"]["Image"],
        since=_time(state["StartedAt"] if alive else state["FinishedAt"]),
        restarts=container["RestartCount"],
        exit_code=state["ExitCode"],
        one_shot=container["HostConfig"]["RestartPolicy"]["Name"] in ("", "no"),
    )


def _time(stamp: str) -> float | None:
    """A time of Docker's, which has nanoseconds, and the year 1 for what never happened."""
    return None if stamp.startswith("0001") else datetime.fromisoformat(f"{stamp[:19]}+00:00").timestamp()
