"""The repository of the backups: where it is, and what keeps it from use. With Postgres and `backups` alone."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ops.command import ROOT
from tests.stack.conftest import PROJECT, Stack
from tests.stack.webserver import wait_for

pytestmark = [pytest.mark.drill, pytest.mark.release]

SETTINGS = (ROOT / "services/postgres/pgbackrest.conf").read_text()


class Server:
    """Postgres and its backups, as a compose project of their own."""

    def __init__(self, folder: Path) -> None:
        self.name = f"{PROJECT}-repository"
        self.settings, self.repository = folder / "settings", folder / "repository"
        self.settings.mkdir()
        self.env = Stack().env | {
            "COMPOSE_PROJECT_NAME": self.name,
            "BACKUP_SETTINGS_DIR": str(self.settings),
            "BACKUP_REPOSITORY": str(self.repository),
        }

    def compose(self, *arguments: str) -> str:
        command = ("docker", "compose", *arguments)
        ended = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def start(self) -> None:
        self.compose("build", "postgres")
        self.compose("up", "--detach", "--wait", "postgres", "backups")

    def query(self, statement: str) -> str:
        return self.compose("exec", "-T", "postgres", "psql", "-U", "postgres", "-qtAXc", statement).strip()

    def in_postgres(self, command: str) -> None:
        self.compose("exec", "-T", "postgres", "sh", "-ec", command)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.compose("exec", "-T", "backups", "backups", "state"))
        return found

    def newest(self) -> list[str | None]:
        """The newest backup in each repository."""
        repositories = self.state()["repositories"]
        return [one["backups"][-1]["label"] if one["backups"] else None for one in repositories]

    def backed_up(self) -> list[str | None]:
        """Waits for a backup in every repository."""

        def look() -> list[str | None] | None:
            found = self.newest()
            return found if found and all(found) else None

        return wait_for("a backup in every repository", 120, look)

    def look_now(self) -> None:
        """Makes the service look at once, as it does after a restart."""
        self.compose("restart", "--timeout", "2", "backups")

    def fill_log(self) -> None:
        """Ends a segment of the log."""
        self.query("create table if not exists filled (at timestamptz); insert into filled values (now())")
        self.query("select pg_switch_wal()")


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    try:
        yield server
    finally:
        print(server.compose("logs", "--no-log-prefix", "postgres", "backups"))
        server.compose("down", "--volumes", "--timeout", "5")
        remove = "rm -rf /folder/repository /folder/second"
        mount = ("--volume", f"{folder}:/folder")
        subprocess.run(["docker", "run", "--rm", *mount, "--entrypoint", "sh", "postgres:17", "-c", remove], check=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as found:
        yield found


def test_with_a_key_the_repository_in_a_folder_of_the_host_is_encrypted(server: Server) -> None:
    key = "(umask 077 && head -c 48 /dev/urandom | base64 > key)"
    subprocess.run(["sh", "-c", key], cwd=server.settings, check=True)
    server.start()
    server.backed_up()
    (repository,) = server.state()["repositories"]
    assert repository["encrypted"] is True
    files = [path for path in server.repository.rglob("*") if path.is_file() and path.stat().st_size]
    begin = {path.suffix: path.read_bytes()[:8] for path in files if path.parent.name != "bundle"}
    # What OpenSSL encrypted begins with this word, and what zstd compressed with these bytes.
    assert begin[".zst"] == begin[".info"] == b"Salted__"
    bundles = [path.read_bytes()[:4] for path in files if path.parent.name == "bundle"]
    assert bundles
    assert b"\x28\xb5\x2f\xfd" not in bundles
    assert (server.settings / "key").read_text().strip() not in server.compose("config")


def test_secrets_are_kept_encrypted_not_at_all_without_a_key_and_stay_when_their_volume_is_lost(server: Server) -> None:
    name = "dbt_location_secrets"
    (server.settings / "pgbackrest.conf").write_text(f"{SETTINGS}\n[global]\nrepo1-cipher-type=none\n")
    server.start()
    server.compose("up", "--detach", "--wait", "volume_backups")
    mounted = ("--volume", f"{server.name}_{name}:/run/secrets", "postgres:17")
    store = "chown 10001 /run/secrets; chmod 700 /run/secrets; echo s3cr3t > /run/secrets/login"
    subprocess.run(["docker", "run", "--rm", *mounted, "sh", "-ec", store], check=True)
    without = {"name": name, "problem": "there is no key for the backups, and secrets are kept encrypted only"}
    wait_for("the notice", 60, lambda: server.state()["volumes"] == [without] or None)
    assert server.query("select count(content) from volume_backups") == "0"
    (server.settings / "key").write_text("the key of these backups\n")
    server.compose("restart", "postgres")
    server.compose("up", "--detach", "--wait", "postgres")
    wait_for("the end of the notice", 60, lambda: server.state()["volumes"] == [] or None)
    # What OpenSSL encrypted begins with this word.
    begin = "select convert_from(substring(lo_get(content) for 8), 'UTF8') from volume_backups"
    assert server.query(begin) == "Salted__"
    # As a new volume is, whose files were lost.
    lose = "rm /run/secrets/login; chown root /run/secrets; chmod 755 /run/secrets"
    subprocess.run(["docker", "run", "--rm", *mounted, "sh", "-ec", lose], check=True)
    problem = "it is empty, and its backup is not: make restore FORCE=1 brings its files back"
    emptied = {"name": name, "problem": problem}
    wait_for("the notice", 60, lambda: server.state()["volumes"] == [emptied] or None)
    assert server.query(begin) == "Salted__"


def test_a_second_repository_of_the_settings_gets_every_backup_too(server: Server) -> None:
    second = "[global]\nrepo2-path=/var/lib/pgbackrest/second\nrepo2-retention-full=1\n"
    (server.settings / "pgbackrest.conf").write_text(f"{SETTINGS}\n{second}")
    server.start()
    assert len(server.backed_up()) == 2


def test_a_repository_that_cannot_be_written_is_noticed_and_the_log_waits_or_is_dropped(server: Server) -> None:
    (server.settings / "pgbackrest.conf").write_text(SETTINGS.replace("queue-max=4GiB", "queue-max=48MiB"))
    server.start()
    before = server.backed_up()
    server.in_postgres("chmod -R a-w /var/lib/pgbackrest/archive")
    server.fill_log()
    wait_for("a segment to wait", 60, lambda: server.state()["archiver"]["waiting"] or None)
    for _ in range(6):
        server.fill_log()
        time.sleep(0.5)

    def dropped() -> bool | None:
        server.look_now()
        time.sleep(3)
        return server.state()["dropped"] or None

    wait_for("the log to be dropped", 180, dropped)
    server.in_postgres("chmod -R u+w /var/lib/pgbackrest/archive")
    server.look_now()
    wait_for("a backup", 180, lambda: server.newest() != before or None)
    wait_for("the end of the gap", 30, lambda: server.state()["dropped"] is None or None)


def test_a_new_cluster_does_not_write_over_the_backups_of_the_old_one(server: Server) -> None:
    server.start()
    before = server.backed_up()
    server.compose("rm", "--force", "--stop", "postgres", "backups")
    subprocess.run(["docker", "volume", "rm", f"{server.name}_postgres_data"], check=True, capture_output=True)
    server.start()
    server.fill_log()
    wait_for("a segment to wait", 60, lambda: server.state()["archiver"]["waiting"] or None)
    assert server.newest() == before
    # What fails to archive is no crash of Postgres.
    assert "terminating any other active server processes" not in server.compose("logs", "postgres")
    server.compose("exec", "-T", "backups", "pgbackrest", "stanza-upgrade")
    server.compose("restart", "--timeout", "2", "backups")
    wait_for("a backup of the new cluster", 120, lambda: server.newest() != before or None)


def test_a_volume_of_an_earlier_version_gets_checksums_and_is_archived(server: Server) -> None:
    volume = f"{server.name}_postgres_data"
    server.compose("create", "--build", "postgres")
    command = ["docker", "run", "--detach", "--rm", "--env", "POSTGRES_PASSWORD=test", "--stop-signal", "SIGINT"]
    command += ["--name", f"{server.name}-earlier", "--volume", f"{volume}:/var/lib/postgresql/data", "postgres:17"]
    subprocess.run(command, check=True, capture_output=True)
    ask = ["docker", "exec", f"{server.name}-earlier", "pg_isready", "--host", "127.0.0.1"]
    wait_for("the earlier version", 60, lambda: subprocess.run(ask, capture_output=True).returncode == 0 or None)
    subprocess.run(["docker", "stop", "--time", "30", f"{server.name}-earlier"], check=True, capture_output=True)
    server.start()
    assert server.query("show data_checksums") == "on"
    server.backed_up()
    server.compose("stop", "postgres")
    assert "database system is shut down" in server.compose("logs", "--tail", "1", "postgres")
