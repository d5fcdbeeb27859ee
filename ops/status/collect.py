"""Asks every source, all at the same time; what does not answer is unknown."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from ops import compose, graphql
from ops.command import CommandError, OpsError
from ops.status import docker, postgres, webserver
from ops.status.backups import backups
from ops.status.facts import Alerts, Backups, Events, Facts, Service, Storage, Unknown

T = TypeVar("T")


@dataclass(frozen=True)
class Stack:
    """The services, and how each source is asked; asking raises OpsError."""

    project: str
    services: tuple[Service, ...] | Unknown
    url: str | None  # of the webserver, for people
    webserver: Callable[[], graphql.Webserver]
    policies: Callable[[], dict[str, str]]
    postgres: Callable[[], tuple[Storage, Events | Unknown]]
    backups: Callable[[], Backups]
    alerts: Callable[[], Alerts]
    certificate: Callable[[], float | None]


def from_outside() -> Stack:
    """The stack as the machine's Docker has it."""
    project = compose.config()
    containers: list[dict[str, Any]] = []
    services: tuple[Service, ...] | Unknown
    try:
        containers = docker.containers(project["name"])
        services = docker.services(project["services"], containers)
    except CommandError as error:
        services = Unknown(error.reason)
    running, url = docker.running(containers), docker.webserver_url(containers)
    return Stack(
        project["name"],
        services,
        url,
        webserver=lambda: graphql.webserver(url),
        policies=lambda: docker.policies(running["daemon"]),
        postgres=lambda: postgres.ask(running["postgres"]),
        backups=lambda: backups(running["backups"]),
        alerts=lambda: docker.alerts(running["alerts"]),
        certificate=lambda: docker.certificate(running["alerts"]),
    )


def collect(find: Callable[[], Stack] = from_outside) -> Facts:
    try:
        stack = find()
    except CommandError as error:
        return Facts(time.time(), "", None, Unknown(error.reason))
    if isinstance(stack.services, Unknown):
        return Facts(time.time(), stack.project, None, stack.services)
    states = {service.name: service.state for service in stack.services}

    def asked(ask: Callable[[], T], *needed: str) -> T | Unknown:
        for service in needed:
            if states.get(service) != "running":
                return Unknown(f"{service} is {states.get(service, 'absent')}")
        try:
            return ask()
        except CommandError as error:
            return Unknown(error.reason)
        except OpsError as error:
            return Unknown(str(error))

    def asked_webserver(part: str) -> Any:
        # Without Postgres the webserver would not answer until the timeout.
        found = client.result()
        return found if isinstance(found, Unknown) else asked(lambda: getattr(webserver, part)(found))

    parts = ("workspace", "daemons", "assets", "checks", "runs")
    with ThreadPoolExecutor() as pool:
        client = pool.submit(asked, stack.webserver, "postgres", "webserver")
        answers = pool.map(asked_webserver, parts)
        policies = pool.submit(asked, stack.policies, "daemon")
        alerts = pool.submit(asked, stack.alerts, "alerts")
        certificate = pool.submit(asked, stack.certificate, "door", "alerts")
        archive = pool.submit(asked, stack.backups, "postgres", "backups")
        answer = asked(stack.postgres, "postgres")
    storage, events = (answer, answer) if isinstance(answer, Unknown) else answer
    known = dict(zip(parts, answers, strict=True))
    known |= {"policies": policies.result(), "alerts": alerts.result(), "backups": archive.result()}
    known["certificate"] = certificate.result()
    return Facts(time.time(), stack.project, stack.url, stack.services, **known, events=events, storage=storage)
