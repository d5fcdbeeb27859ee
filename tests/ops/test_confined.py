"""Every service of the stack, and of a location made from the template, is confined (services/health.yaml)."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ops.command import ROOT
from ops.scaffold.new import make_files
from tests.checkout import copy_repository

pytestmark = pytest.mark.skipif(
    not os.environ.get("REQUIRE_DOCKER") and not shutil.which("docker"), reason="there is no docker"
)

# What a service has, where it differs from the others, with the reason beside it in the compose file.
EXCEPTIONS: dict[tuple[str, str], Any] = {
    ("postgres", "cap_add"): ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"],
    ("postgres", "cpus"): None,
    ("postgres", "mem_limit"): str(4 << 30),
    ("door", "pids_limit"): 3072,
    ("sample", "read_only"): None,
}
CONFINED = {
    "mem_limit": str(1 << 30),
    "cpus": 1,
    "pids_limit": 512,
    "cap_drop": ["ALL"],
    "cap_add": None,
    "security_opt": ["no-new-privileges:true"],
    "read_only": True,
    "tmpfs": ["/tmp"],
    "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
    "privileged": None,
    "devices": None,
    "pid": None,
    "ipc": None,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The compose project with a location from the template in it, and with the default settings."""
    folder: Path = tmp_path_factory.mktemp("confined") / "copy"
    copy_repository(folder)
    make_files("weather_location", "weather-team", folder)
    command = ("docker", "compose", "--profile", "sample", "--project-directory", str(folder), "config")
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    config = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, env=env, check=True)
    found: dict[str, Any] = json.loads(config.stdout)
    assert "weather_location_gateway" in found["services"]
    return found


def test_every_service_is_limited_and_has_no_rights_of_root(project: dict[str, Any]) -> None:
    wrong = {
        (name, key): service.get(key)
        for name, service in project["services"].items()
        for key, usual in CONFINED.items()
        if service.get(key) != EXCEPTIONS.get((name, key), usual)
    }
    assert wrong == {}


def test_the_bridge_of_an_internal_network_has_no_address_of_the_host(project: dict[str, Any]) -> None:
    internal = {name: network for name, network in project["networks"].items() if network.get("internal")}
    assert {"dbt_location", "docker", "weather_location"} <= set(internal)
    option = {"com.docker.network.bridge.inhibit_ipv4": "true"}
    assert {name: network.get("driver_opts") for name, network in internal.items()} == dict.fromkeys(internal, option)


@pytest.mark.parametrize(
    ("volume", "services"),
    [
        ("postgres_socket", {"postgres", "backups", "volume_backups", "migrate"}),
        ("postgres_data", {"postgres", "backups"}),
        ("backup_state", {"backups", "alerts"}),
        ("backup_repository", {"postgres", "backups"}),
        ("backup_settings", {"postgres"}),
        ("backup_rehearsal", {"backups"}),
    ],
)
def test_the_superusers_socket_and_the_backups_are_in_no_service_of_a_location(
    project: dict[str, Any], volume: str, services: set[str]
) -> None:
    mounted = {
        name
        for name, service in project["services"].items()
        if any(mount["source"] == volume for mount in service.get("volumes", ()))
    }
    assert mounted == services


def test_the_alerts_proxy_lets_the_alerts_inspect_every_service(project: dict[str, Any]) -> None:
    rules = (ROOT / "services/proxies/alerts_proxy.cfg").read_text()
    (allowed,) = re.findall(r'acl of_service path_reg "(.+)"', rules)
    path = re.compile(allowed.replace("${COMPOSE_PROJECT_NAME}", "taxi").replace(r"\$", "$"))
    assert [name for name in project["services"] if not path.fullmatch(f"/containers/taxi-{name}-1/json")] == []
