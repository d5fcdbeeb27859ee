"""Whom the code of a location can reach: Postgres through its gateway, and nothing else.

The code runs in a container of its own, as the location's runs do.
"""

import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from ops.locations import LOCATIONS
from tests.docs.pages import shell_blocks
from tests.stack.attacker import run_as
from tests.stack.conftest import ONE_SHOTS, PROJECT, Stack

# Prints, as JSON, those of the addresses (host and port) that accept a connection; all are tried at once. A router may
# answer in the place of any machine, so what answers like a machine that does not exist does not count.
REACH = """
import json, os, socket
# Docker answers at once for a name that it knows, and asks the next server for one that it does not.
os.environ["RES_OPTIONS"] = "timeout:2 attempts:1"
from concurrent.futures import ThreadPoolExecutor
def answer(address):
    postgres_asks_for_tls = bytes.fromhex("0000000804d2162f")
    try:
        connection = socket.create_connection(address, 3)
    except OSError:
        return None
    with connection:
        try:
            connection.sendall(postgres_asks_for_tls if address[1] == 5432 else b"GET / HTTP/1.0\\r\\n\\r\\n")
            return connection.recv(12)
        except OSError:
            return b"nothing"
nowhere = "198.51.100.1"
addresses = {addresses!r}
asked = [*addresses, *((nowhere, port) for host, port in addresses)]
# Fewer threads than a run may have.
with ThreadPoolExecutor(min(len(asked), 250)) as pool:
    answers = dict(zip(asked, pool.map(answer, asked)))
print(json.dumps([one for one in addresses if answers[one] not in (None, answers[nowhere, one[1]])]))
"""
POSTGRES = ("postgres", 5432)
# What the services listen on.
PORTS = (2375, 2376, 3000, 4000, 4001, 5432, 8000, 8080, 8081, 8443)
# The metadata of a cloud, servers that are always up, and a name that only a server outside knows.
OUTSIDE = (("169.254.169.254", 80), ("1.1.1.1", 443), ("8.8.8.8", 53), ("example.com", 80))
# The network of this one leads to the internet.
LOADS_FILES = "ingestion_location"
Address = tuple[str, int]


def reached(stack: Stack, location: str, addresses: Iterable[Address]) -> list[Address]:
    """Those of the addresses that a run of a location can connect to."""
    exit_code, output = run_as(stack, location, REACH.format(addresses=list(addresses)))
    assert exit_code == 0, output
    return [(host, port) for host, port in json.loads(output)]


def networks(stack: Stack) -> list[dict[str, Any]]:
    """The stack's networks, and the engine's own, as Docker describes them."""
    label = f"label=com.docker.compose.project={PROJECT}"
    ids = stack.command("docker", "network", "ls", "--quiet", "--filter", label).split()
    described: list[dict[str, Any]] = json.loads(stack.command("docker", "network", "inspect", "bridge", *ids))
    return described


def of_others(stack: Stack, location: str) -> set[Address]:
    """The stack's services in other networks than the location's, by address and by name, at every port."""
    containers = stack.inspect(*[one["ID"] for name, one in stack.services().items() if name not in ONE_SHOTS])
    hosts = {"platform-postgres"}
    for container in containers:
        inside = container["NetworkSettings"]["Networks"]
        hosts |= {network["IPAddress"] for name, network in inside.items() if name != f"{PROJECT}_{location}"}
        if f"{PROJECT}_{location}" not in inside:
            hosts |= {container["Name"].strip("/"), container["Config"]["Labels"]["com.docker.compose.service"]}
    # `postgres` is the name of the location's gateway, too.
    return {(host, port) for host in hosts - {"", "postgres"} for port in PORTS}


@pytest.fixture
def listener() -> Iterator[int]:
    """The port of a listener on all addresses of this machine, of IPv4 and IPv6."""
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        yield server.getsockname()[1]


def of_host(stack: Stack, port: int) -> list[Address]:
    """The addresses of this machine: those of all bridges, its own, and those that are good for one link."""
    configured = [one for each in networks(stack) for one in each["IPAM"]["Config"]]
    # An engine that has just started names no gateway of its own bridge. It is the first address.
    bridges = [one.get("Gateway") or str(next(IPv4Network(one["Subnet"]).hosts())) for one in configured]
    own = socket.gethostbyname_ex(socket.gethostname())[2]
    interfaces = [line.split() for line in Path("/proc/net/if_inet6").read_text().splitlines()]
    local = [f"{IPv6Address(bytes.fromhex(address))}%eth0" for address, *_ in interfaces if address.startswith("fe80")]
    return [(host, port) for host in {*bridges, *own, *local} if not host.startswith("127.")]


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_run_reaches_postgres_and_no_service_of_others(stack: Stack, location: str) -> None:
    assert reached(stack, location, [POSTGRES, *of_others(stack, location)]) == [POSTGRES]


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_run_does_not_reach_what_switches_its_gateway_to_another_code_server(stack: Stack, location: str) -> None:
    assert reached(stack, location, [POSTGRES, ("postgres", 4001)]) == [POSTGRES]


@pytest.mark.parametrize("location", [location for location in LOCATIONS if location != LOADS_FILES])
def test_a_run_reaches_neither_the_host_nor_the_internet(stack: Stack, listener: int, location: str) -> None:
    assert reached(stack, location, [POSTGRES, *of_host(stack, listener), *OUTSIDE]) == [POSTGRES]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("iptables"), reason="only root may change the host's rules")
def test_the_hosts_rule_keeps_a_run_that_loads_from_the_internet_from_the_host(stack: Stack, listener: int) -> None:
    (rule,) = [text for page, text in shell_blocks() if page == "docs/security.md"]
    rule = rule.replace(f"dagster-taxi_{LOADS_FILES}", f"{PROJECT}_{LOADS_FILES}")
    host = of_host(stack, listener)
    assert reached(stack, LOADS_FILES, host) != []
    stack.command("bash", "-euc", rule)
    try:
        assert reached(stack, LOADS_FILES, [POSTGRES, *host]) == [POSTGRES]
    finally:
        stack.command("bash", "-euc", rule.replace("--insert", "--delete"))
