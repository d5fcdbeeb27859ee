"""Asks Docker and this machine, and gives each check of the doctor what it needs."""

import contextlib
import json
import os
import shutil
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ops import compose
from ops.command import ROOT, CommandError, inspect, run
from ops.doctor import engine, machine
from ops.doctor.finding import ERROR, OK, UNKNOWN, WARNING, Finding
from ops.env_file import env_files
from ops.settings import EXAMPLE, given, in_env_files, is_secret, nobody_reads, wrong
from ops.status.docker import LABEL, SECONDS, containers

CHECKS = ("engine", "compose", "settings", "files", "names", "proxy", "memory", "disk", "clock", "ports", "networks")


def examine() -> list[Finding]:
    """What all checks find, in the order of CHECKS; each has at least one line. Changes nothing."""
    found: list[Finding] = [*settings(), *machine.checkout(ROOT)]
    info, config = _engine(found), _config(found)
    asked = {"settings", "files"}
    if info:
        found += _with_engine(info)
        asked |= {"engine", "clock"}
    if config:
        found += _with_config(config, bool(info))
        asked |= {"compose", "names", "proxy"}
    if info and config:
        found += _with_both(info, config)
        asked.update(CHECKS)
    for check in CHECKS:
        if all(finding.check != check for finding in found):
            nothing = Finding(OK, check) if check in asked else Finding(UNKNOWN, check, "fix the others first")
            found.append(nothing)
    return sorted(found, key=lambda finding: CHECKS.index(finding.check))


def settings() -> Iterator[Finding]:
    """Whether something reads each setting in the env files, and each value can be right."""
    where = ", ".join(path.name for path in env_files())
    for name, like in nobody_reads(in_env_files()).items():
        level, then = (ERROR, f"write {like}") if like else (WARNING, "remove it; .env.example has all settings")
        yield Finding(level, "settings", f"nothing reads {name}, which {where} sets", then)
    for name, value in given().items():
        if form := wrong(name, value):
            yield Finding(ERROR, "settings", f"{name}={value} is not {form}", "correct it; .env.example explains it")


def _engine(found: list[Finding]) -> dict[str, Any] | None:
    try:
        before = time.time()
        info = dict(json.loads(run("docker", "info", "--format", "{{json .}}", timeout=SECONDS)))
        info["Asked"] = (before, time.time())
        if errors := info.get("ServerErrors"):
            raise CommandError(str(errors[0]))
        return info
    except CommandError as error:
        found.append(engine.unreachable(error.reason))
        return None


def _config(found: list[Finding]) -> dict[str, Any] | None:
    try:
        version = run("docker", "compose", "version", "--short", timeout=SECONDS).strip()
    except CommandError as error:
        if "no command" not in error.reason:
            then = "install the plugin: https://docs.docker.com/compose/install/linux/"
            found.append(Finding(ERROR, "compose", f"there is no Compose plugin ({error.reason})", then))
        return None
    found += engine.compose_version(version)
    try:
        run("docker", "buildx", "version", timeout=SECONDS)
    except CommandError:
        then = "install the plugin, which the builds of the images need: https://docs.docker.com/build/install-buildx/"
        found.append(Finding(ERROR, "engine", "there is no Buildx plugin", then))
    try:
        return compose.config()
    except CommandError as error:
        what = " ".join(str(error).splitlines()[:3])
        found.append(Finding(ERROR, "compose", what, "correct what it names, in .env or in a compose file"))
        return None


def _with_config(config: Mapping[str, Any], engine_answers: bool) -> Iterator[Finding]:
    path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    yield from machine.proxies(config, json.loads(path.read_text()) if path.is_file() else {}, os.environ)
    label = f"{LABEL}.project.working_dir"
    own = containers(config["name"]) if engine_answers else []
    yield from machine.names(config, ROOT, [one["Config"]["Labels"].get(label, str(ROOT)) for one in own])

    values = in_env_files()
    for path in env_files():
        yield from machine.env_file(path, any(is_secret(name) or "@" in value for name, value in values.items()))
    access, backup = (Path(config["volumes"][name]["driver_opts"]["device"]) for name in ("access", "backup_settings"))
    yield from machine.folder("ACCESS_DIR", access)
    yield from machine.folder("BACKUP_SETTINGS_DIR", backup)
    for name in ("TLS_KEY_FILE", "OIDC_CLIENT_SECRET_FILE"):
        if named := given().get(name):
            yield from machine.secret_file(name, access / named, access)
    for file in (backup / "key", ROOT / given().get("BACKUP_KEY_FILE", "")):
        yield from machine.secret_file("", file, None)


def _with_engine(info: Mapping[str, Any]) -> Iterator[Finding]:
    yield from engine.engine(info, given().get("DOCKER_SOCKET") or EXAMPLE["DOCKER_SOCKET"])
    commit: float | None = None
    with contextlib.suppress(CommandError):
        commit = float(run("git", "log", "-1", "--format=%ct"))
    synchronized: bool | None = None
    with contextlib.suppress(CommandError):
        said = run("timedatectl", "show", "--property=NTPSynchronized", "--value", timeout=SECONDS).strip()
        synchronized = {"yes": True, "no": False}.get(said)
    yield from engine.clock(info["SystemTime"], info["Asked"], commit, synchronized)


def _with_both(info: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Finding]:
    services = config["services"]
    limits = [part for part in services["dbt_location_policy"]["entrypoint"] if part.startswith("--memory=")]
    runs = yaml.safe_load((ROOT / "dagster.yaml").read_text())["concurrency"]["runs"]["max_concurrent_runs"]
    yield from engine.memory(info, int(services["postgres"]["mem_limit"]), _bytes(limits[0][9:]), runs)
    # The engine of Docker Desktop or of another machine has its folder there.
    if (folder := Path(info["DockerRootDir"])).exists():
        disk = shutil.disk_usage(folder)
        images = {service["image"] for service in services.values()}
        is_built = all(inspect("image", image) is not None for image in images)
        yield from engine.disk(str(folder), disk.free, disk.total, is_built)
    else:
        yield Finding(UNKNOWN, "disk", f"the engine's folder {folder} is not on this machine")

    own = containers(config["name"])
    bound = [port for one in own for ports in one["NetworkSettings"]["Ports"].values() for port in ports or ()]
    yield from machine.ports(config, {int(port["HostPort"]) for port in bound}, _holder)

    networks = _networks()
    there = {network["Name"] for network in networks}
    needed = sum(network["name"] not in there for network in config["networks"].values())
    used = [part["Subnet"] for network in networks for part in network["IPAM"]["Config"] or () if part.get("Subnet")]
    yield from engine.pools(info.get("DefaultAddressPools"), [*used, *_routes()], needed)


def _networks() -> list[dict[str, Any]]:
    def inspected() -> list[dict[str, Any]]:
        listed = run("docker", "network", "ls", "--quiet", timeout=SECONDS).split()
        return list(json.loads(run("docker", "network", "inspect", *listed, timeout=SECONDS)))

    try:
        return inspected()
    except CommandError:  # one was removed between the two commands
        return inspected()


def _bytes(size: str) -> int:
    """A size as Docker takes it, such as 2g or 512mb, in bytes."""
    text = size.lower().removesuffix("b")
    unit = {"k": 1024, "m": 1024**2, "g": 1024**3}.get(text[-1:], 1)
    return int(float(text.rstrip("kmg")) * unit)


def _holder(port: int) -> str:
    names = run("docker", "ps", "--filter", f"publish={port}", "--format", "{{.Names}}").split()
    return f"the container {names[0]}" if names else ""


def _routes() -> Iterable[str]:
    """The subnets that this machine has routes to, which the engine gives to no network. Only Linux has the file."""
    table = Path("/proc/net/route")
    for line in table.read_text().splitlines()[1:] if table.exists() else ():
        fields = line.split()
        destination, mask = (socket.inet_ntoa(struct.pack("<L", int(fields[i], 16))) for i in (1, 7))
        if mask != "0.0.0.0":
            yield f"{destination}/{mask}"
