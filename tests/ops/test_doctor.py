"""`make doctor`: each check finds its cause, and finds nothing where there is none."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ops.command import ROOT
from ops.doctor import engine, machine, report
from ops.doctor.finding import ERROR, WARNING, Finding
from ops.settings import EXAMPLE, in_env_files, nobody_reads, wrong

NOWHERE = {"DOCKER_HOST": "tcp://127.0.0.1:1"}
GOOD: dict[str, Any] = {
    "ServerVersion": "20.10.24+dfsg1",
    "OSType": "linux",
    "MemTotal": 16 * engine.GB,
    **dict.fromkeys(("MemoryLimit", "CpuCfsQuota", "PidsLimit"), True),
}
SOCKET = "/var/run/docker.sock"


def levels(found: Iterable[Finding]) -> list[str]:
    return [finding.level for finding in found]


def doctor(**environment: str) -> tuple[int, str]:
    """The exit status of the command, and what it prints."""
    env = {**os.environ, **environment}
    ended = subprocess.run([sys.executable, "-m", "ops", "doctor"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert ended.stderr == ""
    return ended.returncode, ended.stdout


def test_an_engine_that_does_not_answer_is_mended_first_and_the_host_is_named() -> None:
    status, said = doctor(**NOWHERE)
    assert status == 1
    assert said.startswith("error    engine: ")
    if shutil.which("docker"):
        assert "next: unset DOCKER_HOST, which is tcp://127.0.0.1:1, or start the engine there" in said
    assert "unknown  ports: fix the others first" in said


def test_a_machine_without_docker_is_told_to_install_it(tmp_path: Path) -> None:
    status, said = doctor(PATH=str(tmp_path))
    assert (status, "error    engine: there is no command docker; next: install Docker Engine" in said) == (1, True)


def test_a_user_who_may_not_use_the_engine_is_told_the_group() -> None:
    found = engine.unreachable("permission denied while trying to connect to the Docker daemon socket")
    assert "usermod -aG docker" in found.next


def test_a_good_engine_has_no_finding() -> None:
    assert [*engine.engine(GOOD, SOCKET), *engine.memory(GOOD, 4 * engine.GB, 2 * engine.GB, 4)] == []


@pytest.mark.parametrize(
    ("change", "level", "said"),
    [
        ({"ServerVersion": "19.03.15"}, ERROR, "upgrade Docker Engine to 20.10"),
        ({"OSType": "windows"}, ERROR, "Linux containers"),
        ({"PidsLimit": False}, WARNING, "cannot limit containers (PidsLimit)"),
        ({"SecurityOptions": ["name=seccomp", "name=rootless"]}, ERROR, "set DOCKER_SOCKET in .env"),
    ],
)
def test_an_engine_that_the_stack_cannot_use_is_named(change: dict[str, Any], level: str, said: str) -> None:
    (found,) = engine.engine({**GOOD, **change}, SOCKET)
    assert (found.level, said in report([found])) == (level, True)


@pytest.mark.parametrize(
    ("version", "found"), [("2.26.1-4", []), ("v2.24.0", []), ("5.0.1", []), ("2.23.3", [ERROR]), ("1.29.2", [ERROR])]
)
def test_a_compose_that_does_not_read_the_files_is_named(version: str, found: list[str]) -> None:
    assert levels(engine.compose_version(version)) == found


@pytest.mark.parametrize(("memory", "found"), [(3, [ERROR]), (8, [WARNING]), (16, [])])
def test_too_little_memory_is_named(memory: int, found: list[str]) -> None:
    info = {"MemTotal": memory * engine.GB}
    assert levels(engine.memory(info, 4 * engine.GB, 2 * engine.GB, 4)) == found


def test_a_small_disk_is_named(tmp_path: Path) -> None:
    # In CI it must run.
    may_skip = not os.environ.get("REQUIRE_DOCKER")
    if may_skip and not shutil.which("unshare"):
        pytest.skip("this machine has no command unshare")
    tell = "import shutil; disk = shutil.disk_usage('.'); print(disk.free, disk.total)"
    script = f'mount -t tmpfs -o size=20m none "$1" && cd "$1" && exec "{sys.executable}" -c "{tell}"'
    # A mount of its own, which ends with the process.
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True)
    if may_skip and ended.returncode != 0:
        pytest.skip(f"this machine gives no namespace of mounts: {ended.stderr}")
    assert ended.returncode == 0, ended.stderr
    free, total = map(int, ended.stdout.split())
    assert total == 20 * 1024**2
    (found,) = engine.disk("/var/lib/docker", free, total, is_built=True)
    assert (found.level, "/var/lib/docker has 0.0 GB free" in found.what) == (ERROR, True)


@pytest.mark.parametrize(
    ("free", "total", "is_built", "found"),
    [(5, 20, False, [ERROR]), (5, 20, True, []), (1, 20, True, [ERROR]), (15, 1000, False, [WARNING])],
)
def test_a_disk_has_room_for_images_and_data(free: int, total: int, is_built: bool, found: list[str]) -> None:
    assert levels(engine.disk("/", free * engine.GB, total * engine.GB, is_built)) == found


@pytest.mark.parametrize(
    ("engine_is", "commit", "synchronized", "found"),
    [
        (0, -60, True, []),
        (0, None, None, []),
        (-90, -60, True, [ERROR]),
        (90, -60, True, [ERROR]),
        (0, 3600, True, [ERROR]),
        (0, -60, False, [WARNING]),
    ],
)
def test_a_wrong_clock_is_named(
    engine_is: float, commit: float | None, synchronized: bool | None, found: list[str]
) -> None:
    now = time.time()
    told = datetime.fromtimestamp(now + engine_is, UTC).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
    committed = None if commit is None else now + commit
    assert levels(engine.clock(told, (now - 1, now + 1), committed, synchronized)) == found


def subnets(number: int) -> list[str]:
    """So many of the subnets that an engine gives by default."""
    return [f"172.{17 + each}.0.0/16" for each in range(min(number, 15))] + [
        f"192.168.{16 * each}.0/20" for each in range(number - 15)
    ]


@pytest.mark.parametrize(("used", "found"), [(0, []), (23, []), (24, [ERROR]), (31, [ERROR])])
def test_eight_networks_need_eight_subnets_of_the_default_pools(used: int, found: list[str]) -> None:
    assert levels(engine.pools(None, subnets(used), 8)) == found


def test_a_route_of_the_machine_takes_the_subnets_that_it_overlaps() -> None:
    (found,) = engine.pools(None, ["172.16.0.0/255.240.0.0", "192.168.0.0/17", "fd00::/8"], 9)
    assert "has 8 subnets left for the 9 networks" in found.what


def test_pools_of_the_engines_own_are_counted() -> None:
    pools = [{"Base": "10.201.0.0/22", "Size": 24}, {"Base": "fd00:1::/48", "Size": 64}]
    assert levels(engine.pools(pools, ["10.201.1.0/24"], 3)) == []
    assert levels(engine.pools(pools, ["10.201.1.0/24"], 4)) == [ERROR]


def test_a_port_that_another_program_has_is_named_and_one_of_the_stack_itself_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        port = {"host_ip": "127.0.0.1", "published": str(number), "target": 8443}
        config = {"services": {"door": {"ports": [port, {"host_ip": "127.0.0.1", "target": 1}]}}}
        (found,) = machine.ports(config, set(), lambda port: "")
        assert f"127.0.0.1:{number} is held by another program" in found.what
        assert "HTTPS_PORT" in found.next
        (found,) = machine.ports(config, set(), lambda port: "the container web-1")
        assert "held by the container web-1" in found.what
        assert list(machine.ports(config, {number}, lambda port: "")) == []
    assert list(machine.ports(config, set(), lambda port: "")) == []


def test_an_address_of_another_machine_is_named() -> None:
    config = {"services": {"door": {"ports": [{"host_ip": "192.0.2.1", "published": "3000", "target": 8080}]}}}
    assert [finding.what for finding in machine.ports(config, set(), lambda port: "")] == [
        "192.0.2.1 is no address of this machine"
    ]


def test_a_stack_of_another_folder_and_a_path_with_a_dollar_sign_are_named() -> None:
    config = {"name": "dagster-taxi"}
    here = Path("/srv/a b'c:d")
    assert list(machine.names(config, here, [str(here), str(here)])) == []
    (found,) = machine.names(config, here, [str(here), "/home/ana/taxi"])
    assert (found.level, "was started from /home/ana/taxi" in found.what) == (WARNING, True)
    assert levels(machine.names(config, Path("/srv/$taxi"), [])) == [ERROR]


@pytest.mark.parametrize(
    ("mode", "has_secret", "found"),
    [(0o644, False, []), (0o600, True, []), (0o644, True, [WARNING]), (0o664, False, [ERROR])],
)
def test_an_env_file_that_others_may_change_or_read_is_named(
    tmp_path: Path, mode: int, has_secret: bool, found: list[str]
) -> None:
    path = tmp_path / ".env"
    path.touch()
    path.chmod(mode)
    assert levels(machine.env_file(path, has_secret)) == found


@pytest.mark.parametrize(
    ("folder", "file", "found"),
    [(0o755, 0o444, [WARNING]), (0o711, 0o404, [WARNING]), (0o700, 0o404, [ERROR, WARNING]), (0o755, 0o600, [ERROR])],
)
def test_a_key_that_the_door_cannot_read_or_everybody_can_is_named(
    tmp_path: Path, folder: int, file: int, found: list[str]
) -> None:
    inside = tmp_path / "access/tls"
    inside.mkdir(parents=True)
    key = inside / "privkey.pem"
    key.write_text("")
    key.chmod(file)
    inside.chmod(folder)
    # The folder above what is mounted does not matter.
    tmp_path.chmod(0o700)
    try:
        assert levels(machine.secret_file("TLS_KEY_FILE", key, tmp_path / "access")) == found
    finally:
        inside.chmod(0o755)


def test_a_folder_or_a_key_that_is_missing_is_named_unless_it_is_optional(tmp_path: Path) -> None:
    assert levels(machine.folder("ACCESS_DIR", tmp_path / "none")) == [ERROR]
    assert levels(machine.secret_file("TLS_KEY_FILE", tmp_path / "none", tmp_path)) == [ERROR]
    assert levels(machine.secret_file("", tmp_path / "none", None)) == []


def test_a_checkout_that_only_its_owner_reads_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "services/door"
    folder.mkdir(parents=True)
    (folder / "start").touch(0o755)
    assert list(machine.checkout(tmp_path)) == []
    (folder / "start").chmod(0o700)
    (found,) = machine.checkout(tmp_path)
    assert (found.level, "services/door/start" in found.what) == (ERROR, True)


STACK = {"services": {"webserver": {}, "dbt_location": {"networks": {"dbt": {"aliases": ["code-server"]}, "a": None}}}}
PROXY = {"httpProxy": "http://proxy:3128"}
COMPLETE = "127.0.0.1,code-server,dbt_location,localhost,webserver"


@pytest.mark.parametrize(
    ("proxies", "shell", "found"),
    [
        ({}, {}, []),
        ({}, {"HTTPS_PROXY": "http://proxy:3128"}, [WARNING]),
        ({"default": PROXY}, {}, [ERROR]),
        ({"default": {**PROXY, "noProxy": "localhost, 127.0.0.1"}}, {}, [ERROR]),
        ({"default": {**PROXY, "noProxy": COMPLETE}}, {"HTTPS_PROXY": "http://proxy:3128"}, []),
        ({"default": {**PROXY, "noProxy": "*"}}, {}, []),
        ({"tcp://other:2375": PROXY}, {}, []),
        ({"tcp://other:2375": PROXY}, {"DOCKER_HOST": "tcp://other:2375"}, [ERROR]),
    ],
)
def test_a_proxy_between_services_or_only_in_the_shell_is_named(
    proxies: dict[str, Any], shell: dict[str, str], found: list[str]
) -> None:
    assert levels(machine.proxies(STACK, {"proxies": proxies}, shell)) == found


def test_the_next_step_for_a_proxy_is_the_whole_setting() -> None:
    (found,) = machine.proxies(STACK, {"proxies": {"default": PROXY}}, {})
    assert found.next == f"set noProxy there to {COMPLETE}"


def test_a_proxy_of_dockers_own_settings_is_found(tmp_path: Path) -> None:
    if not shutil.which("docker"):
        pytest.skip("there is no command docker")
    (tmp_path / "config.json").write_text(json.dumps({"proxies": {"default": PROXY}}))
    plugins = Path.home() / ".docker/cli-plugins"
    if plugins.is_dir():
        (tmp_path / "cli-plugins").symlink_to(plugins)
    assert "error    proxy: Docker's config.json" in doctor(DOCKER_CONFIG=str(tmp_path), **NOWHERE)[1]


def test_settings_that_nobody_reads_or_that_cannot_be_right_are_named_with_the_next_step(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("TAXI_STRAT_DATE=2023-02-01\nMY_OWN_NOTE=1\nCOMPOSE_PROFILES=sample\nTAXI_AUTOMATION=no\n")
    status, said = doctor(COMPOSE_ENV_FILES=str(path), **NOWHERE)
    assert status == 1
    assert "error    settings: nothing reads TAXI_STRAT_DATE, which .env sets; next: write TAXI_START_DATE" in said
    assert "warning  settings: nothing reads MY_OWN_NOTE, which .env sets; next: remove it" in said
    assert "error    settings: TAXI_AUTOMATION=no is not on or off; next: " in said
    assert "COMPOSE_PROFILES" not in said


def test_a_docker_without_buildx_is_named(tmp_path: Path) -> None:
    if not (docker := shutil.which("docker")):
        pytest.skip("there is no command docker")
    without = tmp_path / "docker"
    without.write_text(f'#!/bin/sh\n[ "$1" != buildx ] || exit 1\nexec {docker} "$@"\n')
    without.chmod(0o755)
    said = doctor(PATH=f"{tmp_path}:{os.environ['PATH']}", **NOWHERE)[1]
    assert "error    engine: there is no Buildx plugin; next: install the plugin" in said


def test_a_line_that_compose_does_not_read_is_named(tmp_path: Path) -> None:
    if not shutil.which("docker"):
        pytest.skip("there is no command docker")
    path = tmp_path / ".env"
    path.write_text("TAXI START_DATE=2023-02-01\n")
    said = doctor(COMPOSE_ENV_FILES=str(path), **NOWHERE)[1]
    assert "error    compose: " in said
    assert "line 1" in said


@pytest.mark.parametrize("name", EXAMPLE)
def test_the_default_of_a_setting_is_right(name: str) -> None:
    assert wrong(name, EXAMPLE[name]) == ""
    assert nobody_reads([name]) == {}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("TAXI_START_DATE", ["2024-02-01"], ["2024-02-30", "1.2.2024", "2024-02"]),
        ("RUN_MEMORY_LIMIT", ["512m", "2G", "1.5gb"], ["2 GB", "two"]),
        ("RUN_CPUS_LIMIT", ["1.5", "4"], ["1,5", "all"]),
        ("HISTORY_DAYS", ["7"], ["7d", "-1", "1.5"]),
        ("HOUSEKEEPING", ["on", "off"], ["true", "On"]),
        ("WEBSERVER_PORT", ["80"], ["0", "http", "3000/tcp"]),
        ("PUBLIC_URL", ["https://dagster.example"], ["dagster.example"]),
        ("PUBLISH", ["0.0.0.0", "::1"], ["localhost", "eth0"]),
    ],
)
def test_a_value_of_another_form_is_found(name: str, good: list[str], bad: list[str]) -> None:
    assert [value for value in good if wrong(name, value)] == []
    assert [value for value in bad if not wrong(name, value)] == []
    # Empty is the default; another variable is filled in by Compose.
    assert [wrong(name, value) for value in ("", "${OTHER}")] == ["", ""]


def test_an_env_file_is_read_as_compose_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").write_text("# A=0\nA=1\nexport B = 'two # words'  # note\nC=\"a\nb\"\nE=x#y # note\nF=\n#G=1\n")
    (tmp_path / "two").write_text("A=2\nNOTHING\n")
    monkeypatch.setenv("COMPOSE_ENV_FILES", f"{tmp_path}/one,{tmp_path}/two")
    assert in_env_files() == {"A": "2", "B": "two # words", "C": "a\nb", "E": "x#y", "F": ""}
