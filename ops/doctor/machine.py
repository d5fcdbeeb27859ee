"""The checks of this machine: ports, names, file modes and proxies."""

import errno
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ops.compose import USER
from ops.doctor.finding import ERROR, UNKNOWN, WARNING, Finding

PROXIES = ("http_proxy", "https_proxy")
# What an image gets with the mode that it has here.
COPIED = ("*.yaml", "services/**/*", "*_location/src/**/*", "dbt_location/analytics/**/*", "dbt_location/reports/*")


def ports(config: Mapping[str, Any], own: set[int], holder: Callable[[int], str]) -> Iterator[Finding]:
    """``own`` are the ports that this stack itself publishes; ``holder`` names the container that has a port."""
    published = [port for service in config["services"].values() for port in service.get("ports", ())]
    for port in published:
        address, number = port.get("host_ip", "0.0.0.0"), str(port.get("published", ""))
        if not number.isdecimal() or int(number) in {0, *own}:
            continue
        try:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            socket.create_server((address, int(number)), family=family).close()
        except OSError as error:
            # Another error, that only root may take a port below 1024, does not concern the engine.
            if error.errno == errno.EADDRNOTAVAIL:
                then = "set PUBLISH in .env to an address of this machine; `ip address` lists them"
                yield Finding(ERROR, "ports", f"{address} is no address of this machine", then)
            elif error.errno == errno.EADDRINUSE:
                who = holder(int(number)) or f"another program (sudo ss -ltnp sport = :{number} names it)"
                setting = "HTTPS_PORT" if port["target"] == 8443 else "WEBSERVER_PORT"
                then = f"end it, or set {setting} in .env to a free port"
                yield Finding(ERROR, "ports", f"{address}:{number} is held by {who}", then)


def names(config: Mapping[str, Any], root: Path, folders: Iterable[str]) -> Iterator[Finding]:
    """``folders`` are those from which the containers of a project of this name were started."""
    if "$" in str(root):
        what = f"the path {root} has a $, which Compose takes for a variable"
        yield Finding(ERROR, "names", what, "move this folder to a path without $")
    for folder in sorted(set(folders) - {str(root)}):
        what = f"a stack {config['name']} was started from {folder}; a start from here would replace its containers"
        yield Finding(WARNING, "names", what, "if it is another stack, set COMPOSE_PROJECT_NAME in .env")


def env_file(path: Path, has_secret: bool) -> Iterator[Finding]:
    mode = path.stat().st_mode if path.is_file() else 0
    if mode & 0o022:
        what = f"others may write {path.name}, and so decide what the stack runs"
        yield Finding(ERROR, "files", what, f"chmod go-w {path}")
    if mode & 0o044 and has_secret:
        yield Finding(WARNING, "files", f"others may read {path.name}, which has a secret", f"chmod 600 {path}")


def folder(setting: str, path: Path) -> Iterator[Finding]:
    """The folder that a volume is made of."""
    if not path.is_dir():
        yield Finding(ERROR, "files", f"{setting} names {path}, which is no folder", f"create it: mkdir {path}")


def secret_file(setting: str, path: Path, root: Path | None) -> Iterator[Finding]:
    """A file with a secret. If containers read it, ``root`` is the folder that they mount; else it may be missing."""
    try:
        is_there = path.is_file()
        mode = path.stat().st_mode if is_there else 0
        is_readable = not root or not is_there or may_read(path, root, USER)
    except PermissionError:
        yield Finding(UNKNOWN, "files", f"this user may not look at {path}", "run `sudo make doctor`")
        return
    if root and not is_there:
        then = f"put it there, or remove {setting} from .env"
        yield Finding(ERROR, "files", f"{setting} names {path}, which is no file", then)
    if not is_readable:
        then = f"sudo chown {USER} {path} && sudo chmod 400 {path}; the folders need chmod a+x"
        yield Finding(ERROR, "files", f"the door, user {USER}, may not read {path} ({setting})", then)
    if mode & 0o004:
        yield Finding(WARNING, "files", f"everybody on this machine may read {path}", f"chmod o= {path}")


def may_read(path: Path, folder: Path, user: int) -> bool:
    """Whether a user with a group of the same number may read a file, and pass all folders down from ``folder``."""

    def may(one: Path, bit: int) -> bool:
        found = one.stat()
        shift = 6 if found.st_uid == user else 3 if found.st_gid == user else 0
        return bool(found.st_mode >> shift & bit)

    between = [parent for parent in path.parents if parent == folder or folder in parent.parents]
    return may(path, 4) and all(may(parent, 1) for parent in between)


def checkout(root: Path) -> Iterator[Finding]:
    """Whether what images copy can be read by the user of the images."""
    found = {path for pattern in COPIED for path in root.glob(pattern) if not path.is_symlink()}
    closed = sorted(path for path in found if not path.stat().st_mode & (0o001 if path.is_dir() else 0o004))
    if closed:
        what = f"{len(closed)} files, such as {closed[0].relative_to(root)}, would be unreadable in the images"
        then = "run `chmod -R a+rX *.yaml services *_location` here; the umask was 077 when they were written"
        yield Finding(ERROR, "files", what, then)


def proxies(config: Mapping[str, Any], docker_config: Mapping[str, Any], shell: Mapping[str, str]) -> Iterator[Finding]:
    """Whether a proxy comes between services, or is missing where images are built.

    ``docker_config`` is Docker's config.json: Compose gives its proxies to every container and build. ``shell`` is the
    environment of this process, which neither gets.
    """
    given = docker_config.get("proxies", {})
    proxy = given.get(shell.get("DOCKER_HOST", ""), given.get("default", {}))
    if not (proxy.get("httpProxy") or proxy.get("httpsProxy")):
        if names := sorted(name for name, value in shell.items() if name.lower() in PROXIES and value):
            what = f"this shell has {' and '.join(names)}, which neither the engine nor a build of an image reads"
            then = "if images cannot be pulled or built, see https://docs.docker.com/engine/cli/proxy/"
            yield Finding(WARNING, "proxy", what, then)
        return
    wanted = {"localhost", "127.0.0.1", *config["services"]}
    for service in config["services"].values():
        for network in (service.get("networks") or {}).values():
            wanted.update((network or {}).get("aliases") or ())
    around = {entry.strip() for entry in proxy.get("noProxy", "").split(",")} - {""}
    if "*" not in around and wanted - around:
        then = f"set noProxy there to {','.join(sorted(around | wanted))}"
        yield Finding(ERROR, "proxy", "Docker's config.json sends calls between the services to a proxy", then)
