"""Asks every source, all at the same time; what does not answer is unknown."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ops import compose, graphql
from ops.command import CommandError, OpsError
from ops.status import docker, postgres, webserver
from ops.status.backups import backups
from ops.status.facts import Facts, Unknown

T = TypeVar("T")


def collect() -> Facts:
    name = ""
    try:
        project = compose.config()
        name = project["name"]
        containers = docker.containers(name)
    except CommandError as error:
        return Facts(time.time(), name, None, Unknown(error.reason))
    services = docker.services(project["services"], containers)
    states = {service.name: service.state for service in services}
    running = docker.running(containers)
    url = docker.webserver_url(containers)

    def asked(ask: Callable[[], T], *needed: str) -> T | Unknown:
        for service in needed:
            if service not in running:
                return Unknown(f"{service} is {states.get(service, 'absent')}")
        try:
            return ask()
        except CommandError as error:
            return Unknown(error.reason)
        except OpsError as error:
            return Unknown(str(error))

    def asked_webserver(part: str) -> Any:
        # Without Postgres the webserver would not answer until the timeout.
        found = stack.result()
        return found if isinstance(found, Unknown) else asked(lambda: getattr(webserver, part)(found))

    parts = ("workspace", "daemons", "assets", "checks", "runs")
    with ThreadPoolExecutor() as pool:
        stack = pool.submit(asked, lambda: graphql.webserver(url), "postgres", "webserver")
        answers = pool.map(asked_webserver, parts)
        policies = pool.submit(asked, lambda: docker.policies(running["daemon"]), "daemon")
        archive = pool.submit(asked, lambda: backups(running["backups"]), "postgres", "backups")
        answer = asked(lambda: postgres.ask(running["postgres"]), "postgres")
    storage, events = (answer, answer) if isinstance(answer, Unknown) else answer
    known = dict(zip(parts, answers, strict=True))
    known |= {"policies": policies.result(), "backups": archive.result()}
    return Facts(time.time(), name, url, services, **known, events=events, storage=storage)
