"""The embedded Postgres server: where its socket is, who joins it and when it stops."""

import contextlib
import multiprocessing
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from demo.server import SOCKET, start_server
from ops.command import ROOT, OpsError
from tests.stack.webserver import wait_for

HELD = """
import sys, time
from pathlib import Path
from demo.server import start_server
with start_server(Path(sys.argv[1])) as host:
    print(host, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def data(open_folder: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A data folder whose path is too long for a socket, and has what a shell or a URL takes for its own."""
    folder = open_folder / f"{request.node.name[:40]} %41 'é" / ("long " * 40)
    yield folder / "data"
    shutil.rmtree(folder.parent)


def process(data: Path) -> str:
    """The number of the server's process; empty if none runs."""
    pid = data / "postmaster.pid"
    return pid.read_text().splitlines()[0] if pid.exists() else ""


def refuses(host: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(f"{host}/{SOCKET}") != 0


def test_the_socket_has_a_short_private_folder_that_goes_with_the_server(data: Path) -> None:
    with start_server(data) as host:
        assert len(os.fsencode(f"{host}/{SOCKET}")) < 104
        assert stat.S_IMODE(Path(host).stat().st_mode) == 0o700
    assert not Path(host).exists()


def test_a_second_user_joins_the_server_and_the_last_one_stops_it(data: Path) -> None:
    with contextlib.ExitStack() as first:
        host = first.enter_context(start_server(data))
        with start_server(data) as joined:
            first.close()
            assert joined == host
            psycopg2.connect(host=host, user="postgres").close()
    assert process(data) == ""


def test_a_user_that_was_killed_does_not_keep_the_server(data: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HELD, data], cwd=ROOT, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout
        host = user.stdout.readline().strip()
        user.send_signal(signal.SIGKILL)
    running = process(data)
    with start_server(data) as joined:
        assert (joined, process(data)) == (host, running)
    assert process(data) == ""


def test_a_server_that_crashed_is_started_again_and_its_old_folder_is_removed(data: Path) -> None:
    with start_server(data) as first:
        # As a crash does, it leaves the socket and the file about the process.
        os.kill(int(process(data)), signal.SIGKILL)
        wait_for("the end of the server", 30, lambda: refuses(first) or None)
        with start_server(data) as second:
            assert second != first
            assert not Path(first).exists()
            psycopg2.connect(host=second, user="postgres").close()


def test_a_folder_that_others_can_write_to_is_neither_joined_nor_touched(data: Path, tmp_path: Path) -> None:
    with start_server(data):
        pass
    tmp_path.chmod(0o777)
    (tmp_path / SOCKET).touch()
    # As after a crash: the server is gone, and somebody made a folder of the name of the socket's.
    (data / "postmaster.pid").write_text(f"999999\n{data}\n0\n5432\n{tmp_path}\n\n0 0\nready\n")
    with start_server(data) as host:
        assert host != str(tmp_path)
    assert (tmp_path / SOCKET).exists()


@pytest.mark.parametrize("temporary", ["/nonexistent", "/tmp/a b,c"])
def test_a_folder_for_temporary_files_that_is_of_no_use_does_not_matter(data: Path, temporary: str) -> None:
    command = [sys.executable, "-c", HELD.replace("600", "0"), str(data)]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | {"TMPDIR": temporary}, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_another_user_of_the_machine_has_a_server_too(data: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    data.parent.mkdir(parents=True)
    os.chown(data.parent, nobody.pw_uid, nobody.pw_gid)

    def start_as_nobody() -> None:
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
        with start_server(data):
            pass

    with start_server(data.with_name("of root")):
        # Forked, because the Python of root may be in a folder that nobody else can enter.
        child = multiprocessing.get_context("fork").Process(target=start_as_nobody)
        child.start()
        child.join()
    assert child.exitcode == 0


def test_a_server_that_does_not_start_says_why(data: Path) -> None:
    with start_server(data):
        pass
    with (data / "postgresql.auto.conf").open("a") as settings:
        settings.write("shared_buffers = 'none'\n")
    with (
        pytest.raises(OpsError, match=r"(?s)invalid value for parameter .shared_buffers.*data/log"),
        start_server(data),
    ):
        pass
