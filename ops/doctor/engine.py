"""The checks of Docker: the engine, Compose, memory, disk, clock, and address pools. Pure functions of its answers."""

import ipaddress
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from ops.doctor.finding import ERROR, WARNING, Finding
from ops.status.judge import FULL

GB = 10**9
# The oldest versions: that of the engine in the tests, and that in which Compose reads docker-compose.yml.
ENGINE, COMPOSE = (20, 10), (2, 24)
# The images with the cache of their builds have 6 GB. Without them only the data of some months has to fit.
TO_BUILD, TO_RUN = 10 * GB, 2 * GB
# What an idle stack takes, and two runs; less swaps or ends with killed processes.
LEAST_MEMORY = 4 * GB
CLOCK_SECONDS = 5
# An engine without pools of its own in daemon.json has these: prefix, and length of a network's prefix.
POOLS = [(f"172.{number}.0.0/16", 16) for number in range(17, 32)] + [("192.168.0.0/16", 20)]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def unreachable(reason: str) -> Finding:
    """Why the engine cannot be asked; ``reason`` is what `docker info` says."""
    if "no command" in reason:
        then = "install Docker Engine with its Compose plugin: https://docs.docker.com/engine/install/"
    elif "permission denied" in reason.lower():
        then = "add this user to the group docker (sudo usermod -aG docker $USER), and log in again"
    elif host := os.environ.get("DOCKER_HOST"):
        then = f"unset DOCKER_HOST, which is {host}, or start the engine there"
    else:
        then = "start it (sudo systemctl start docker, or Docker Desktop), or choose another with `docker context use`"
    return Finding(ERROR, "engine", reason, then)


def engine(info: Mapping[str, Any], socket: str) -> Iterator[Finding]:
    """``info`` is the answer of `docker info`; ``socket`` is the setting DOCKER_SOCKET, which services mount."""
    if _version(info["ServerVersion"]) < ENGINE:
        yield Finding(ERROR, "engine", f"it is {info['ServerVersion']}", "upgrade Docker Engine to 20.10 or newer")
    if info["OSType"] != "linux":
        yield Finding(ERROR, "engine", f"it runs containers of {info['OSType']}", "switch it to Linux containers")
    missing = [name for name in ("MemoryLimit", "CpuCfsQuota", "PidsLimit") if not info.get(name)]
    if missing:
        what = f"it cannot limit containers ({', '.join(missing)}), so one run may take the machine from all others"
        yield Finding(WARNING, "engine", what, "enable these cgroup controllers (docs/security.md, Limits)")
    if any("rootless" in option for option in info.get("SecurityOptions") or ()) and socket == "/var/run/docker.sock":
        then = "set DOCKER_SOCKET in .env to its socket, usually /run/user/$(id -u)/docker.sock"
        yield Finding(ERROR, "engine", f"it is rootless, and the services would mount {socket}", then)


def compose_version(version: str) -> Iterator[Finding]:
    if _version(version) < COMPOSE:
        then = "upgrade the Compose plugin to 2.24 or newer: https://docs.docker.com/compose/install/linux/"
        yield Finding(ERROR, "compose", f"it is {version}", then)


def memory(info: Mapping[str, Any], postgres: int, run: int, runs: int) -> Iterator[Finding]:
    """``postgres`` and ``run`` are the limits of Postgres and of one run in bytes, of which ``runs`` go on at once."""
    total, most = info["MemTotal"], postgres + runs * run + 2 * GB
    if total < LEAST_MEMORY:
        what = f"the engine has {total / GB:.1f} GB, and the stack with two runs needs {LEAST_MEMORY / GB:.0f} GB"
        yield Finding(ERROR, "memory", what, "give the machine, or the VM of Docker Desktop, more")
    elif total < most:
        what = f"the engine has {total / GB:.1f} GB, and Postgres with {runs} runs may take {most / GB:.1f} GB"
        then = "lower RUN_MEMORY_LIMIT and POSTGRES_MEMORY_LIMIT in .env, or give the machine more"
        yield Finding(WARNING, "memory", what, then)


def disk(folder: str, free: int, total: int, is_built: bool) -> Iterator[Finding]:
    """``folder`` is the engine's; ``is_built`` says whether the images are there already."""
    needed = TO_RUN if is_built else TO_BUILD
    what = f"{folder} has {free / GB:.1f} GB free"
    if free < needed:
        why = "the data" if is_built else "the images with their build"
        then = "free some (docker system df shows what Docker has), or move the engine's data-root to a larger disk"
        yield Finding(ERROR, "disk", f"{what}, and {why} need {needed / GB:.0f} GB", then)
    elif free < (1 - FULL) * total:
        yield Finding(WARNING, "disk", f"{what}, which `make status` calls full", "free some, or use a larger disk")


def clock(
    engine: str, asked: tuple[float, float], commit: float | None, synchronized: bool | None
) -> Iterator[Finding]:
    """``engine`` is the engine's time as ISO 8601, told within ``asked``; ``commit`` is the time of the last commit.

    Times are seconds since 1970. None: not known.
    """
    then = "switch time synchronization on (sudo timedatectl set-ntp true)"
    told, now = datetime.fromisoformat(re.sub(r"\.\d+", "", engine)).timestamp(), asked[1]
    away = told - min(max(told, asked[0]), now)
    if abs(away) > CLOCK_SECONDS:
        yield Finding(
            ERROR, "clock", f"the engine's clock is {away:+.0f} s from this machine's", f"restart its VM, or {then}"
        )
    if commit and now < commit:
        what = f"it is {datetime.fromtimestamp(now).date()}, before the last commit; certificates would be refused"
        yield Finding(ERROR, "clock", what, then)
    elif synchronized is False:
        yield Finding(WARNING, "clock", "no time server sets it, so logs, logins and partitions may be off", then)


def pools(configured: Iterable[Mapping[str, Any]] | None, used: Iterable[str], needed: int) -> Iterator[Finding]:
    """Whether the engine has ``needed`` subnets left.

    ``configured`` are its DefaultAddressPools; ``used`` are the subnets of its networks and of the machine's routes.
    """
    given = [(pool["Base"], pool["Size"]) for pool in configured or ()] or POOLS
    there = [ipaddress.ip_network(subnet, strict=False) for subnet in used]
    left = len(list(islice(_free(given, there), needed)))
    if left < needed:
        what = f"the engine has {left} subnets left for the {needed} networks that the stack still needs"
        then = "remove networks that nobody uses (docker network prune), or add default-address-pools to daemon.json"
        yield Finding(ERROR, "networks", what, then)


def _free(given: Iterable[tuple[str, int]], used: list[Network]) -> Iterator[Network]:
    for base, size in given:
        if (pool := ipaddress.ip_network(base, strict=False)).version == 4:
            for subnet in pool.subnets(new_prefix=size):
                if not any(subnet.version == one.version and subnet.overlaps(one) for one in used):
                    yield subnet


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
