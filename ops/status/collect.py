"""Asks all sources, at the same time where they do not need one another; what does not answer is unknown."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, TypeVar

from ops.status import docker, postgres
from ops.status.command import SourceError
from ops.status.facts import Facts, Service, Unknown
from ops.status.webserver import Webserver

T = TypeVar("T")


def collect() -> Facts:
    """Everything that can be found out now."""
    name = ""
    try:
        project = docker.project()
        name = project.name
        containers = docker.containers(name)
    except SourceError as error:
        return _without_services(name, Unknown(str(error)))
    services = docker.services(project.services, containers)
    url = docker.webserver_url(containers)
    server = docker.running_container(containers, "postgres")
    webserver = Webserver(url or "")

    def of_webserver(ask: Callable[[], T]) -> Callable[[], T]:
        # Without Postgres the webserver would keep everyone waiting, to say nothing.
        for needed in ("postgres", "webserver"):
            if docker.running_container(containers, needed) is None:
                return _away(needed, services)
        return ask

    with ThreadPoolExecutor() as pool:
        workspace = pool.submit(_known, of_webserver(webserver.workspace))
        daemons = pool.submit(_known, of_webserver(webserver.daemons))
        assets = pool.submit(_known, of_webserver(webserver.assets))
        checks = pool.submit(_known, of_webserver(webserver.checks))
        runs = pool.submit(_known, of_webserver(webserver.runs))
        asked = pool.submit(_known, (lambda: postgres.ask(server)) if server else _away("postgres", services))
    answer = asked.result()
    storage, events = (answer, answer) if isinstance(answer, Unknown) else answer
    return Facts(
        time=time.time(),
        project=name,
        url=url,
        services=services,
        workspace=workspace.result(),
        daemons=daemons.result(),
        assets=assets.result(),
        checks=checks.result(),
        runs=runs.result(),
        events=events,
        storage=storage,
    )


def _known(ask: Callable[[], T]) -> T | Unknown:
    try:
        return ask()
    except SourceError as error:
        return Unknown(str(error))


def _away(name: str, services: tuple[Service, ...]) -> Callable[[], NoReturn]:
    state = next((service.state for service in services if service.name == name), "absent")

    def ask() -> NoReturn:
        raise SourceError(f"{name} is {state}")

    return ask


def _without_services(project: str, services: Unknown) -> Facts:
    nothing = Unknown("not asked")
    return Facts(
        time=time.time(),
        project=project,
        url=None,
        services=services,
        workspace=nothing,
        daemons=nothing,
        assets=nothing,
        checks=nothing,
        runs=nothing,
        events=nothing,
        storage=nothing,
    )
