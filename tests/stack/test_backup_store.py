"""Backups in an S3-compatible store over TLS, with Postgres and `backups` alone, for when the disk is lost."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops.command import ROOT
from tests.stack.conftest import Stack
from tests.stack.test_backup_repository import SETTINGS, Server, serving
from tests.stack.test_door_login import make_certificate
from tests.stack.test_door_openid import Provider
from tests.stack.webserver import wait_for

pytestmark = [pytest.mark.drill, pytest.mark.release]
STORE = Path(__file__).parent / "store"
NAME = "store.example"
# As in docs/backup.md, with what a store of one's own needs.
REPOSITORY = """
[global]
repo2-type=s3
repo2-s3-bucket=dagster-backups
repo2-s3-endpoint={name}
repo2-s3-region=eu-central-1
repo2-s3-key={key}
repo2-s3-key-secret=S3RVER
repo2-path=/dagster
repo2-retention-full=4
repo2-s3-uri-style=path
repo2-storage-port={port}
repo2-storage-ca-file=/var/run/postgresql/pgbackrest/certificate.pem
"""


class Store(Provider):
    """A store that the containers reach; its files are in a folder, so it can be away and come back."""

    @contextlib.contextmanager
    def running(self, public_url: str = "") -> Iterator[None]:
        files = ("files", "key.pem", "certificate.pem")
        command = ["node", "store.mjs", self.host, str(self.port), *(str(self._folder / name) for name in files)]
        with subprocess.Popen(command, cwd=self._folder) as process:
            try:
                wait_for("the store", 60, self._answers)
                yield
            finally:
                process.kill()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    if not shutil.which("npm") and not os.environ.get("REQUIRE_DOCKER"):
        pytest.skip("there is no npm, which installs the store")
    folder = tmp_path_factory.mktemp("store")
    shutil.copytree(STORE, folder, dirs_exist_ok=True)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder, check=True)
    make_certificate(folder, NAME)
    return Store(folder)


@pytest.fixture(scope="module")
def server(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Postgres and `backups`, as all services that there are, with a key and a second repository in the store."""
    folder = tmp_path_factory.mktemp("backups")
    others = set(Stack().command("docker", "compose", "config", "--services").split()) - {
        "postgres",
        "backups",
        "volume_backups",
    }
    overlay: dict[str, dict[str, list[str]]] = {name: {"profiles": ["others"]} for name in sorted(others)}
    overlay |= {name: {"extra_hosts": [f"{NAME}:{store.host}"]} for name in ("postgres", "backups")}
    (folder / "alone.json").write_text(json.dumps({"services": overlay}))
    with serving(folder) as server:
        server.env["COMPOSE_FILE"] = f"docker-compose.yml:{folder / 'alone.json'}"
        (server.settings / "key").write_text("the key of these backups\n")
        shutil.copy(store._folder / "certificate.pem", server.settings)
        name_store(server, store)
        with store.running():
            server.start()
            server.backed_up()
        yield server


def name_store(server: Server, store: Store, key: str = "S3RVER") -> None:
    text = REPOSITORY.format(name=NAME, port=store.port, key=key)
    (server.settings / "pgbackrest.conf").write_text(f"{SETTINGS}\n{text}")


def in_backups(server: Server, *command: str) -> None:
    """Runs a command of pgBackRest, as soon as the service has ended one of its own."""

    def run() -> bool | None:
        words = ("docker", "compose", "exec", "-T", "backups", *command)
        ended = subprocess.run(words, cwd=ROOT, env=server.env, capture_output=True, text=True)
        assert ended.returncode == 0 or "unable to acquire lock" in ended.stdout + ended.stderr, ended
        return ended.returncode == 0 or None

    wait_for("pgBackRest", 120, run)


def test_a_restore_with_another_key_than_that_of_the_backups_says_so_and_changes_nothing(
    server: Server, store: Store
) -> None:
    key = server.settings / "key"
    right = key.read_text()
    key.write_text("another key\n")
    with store.running():
        ended = subprocess.run(["make", "restore", "FORCE=1"], cwd=ROOT, env=server.env, capture_output=True, text=True)
        key.write_text(right)
        # It archives as before.
        server.compose("exec", "--user", "postgres", "postgres", "pgbackrest", "check")
    assert ended.returncode != 0
    assert "encrypted with another key than that of BACKUP_SETTINGS_DIR" in ended.stderr


def test_after_the_disk_is_lost_a_moment_is_restored_from_the_store(server: Server, store: Store) -> None:
    with store.running():
        assert [one["encrypted"] for one in server.state()["repositories"]] == [True, True]
        server.query("create table kept as select 1 as value")
        moment = datetime.fromtimestamp(float(server.query("select extract(epoch from now())")) + 1, UTC)
        server.query("select pg_sleep(2)")
        server.query("drop table kept")
        server.fill_log()
        wait_for("all to be archived", 60, lambda: server.state()["archiver"]["waiting"] == 0 or None)
        server.compose("rm", "--force", "--stop", "postgres", "backups")
        subprocess.run(["docker", "volume", "rm", f"{server.name}_postgres_data"], check=True, capture_output=True)
        first = ["docker", "run", "--rm", "--volume", f"{server.repository}:/repository", "postgres:17"]
        subprocess.run([*first, "find", "/repository", "-mindepth", "1", "-delete"], check=True)
        restore = ["make", "restore", f"TO={moment:%Y-%m-%d %H:%M:%S.%f}+00:00", "FORCE=1"]
        ended = subprocess.run(restore, cwd=ROOT, env=server.env, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert server.query("select value from kept") == "1"

        def types() -> bool | None:
            found = [[each["type"] for each in one["backups"]] for one in server.state()["repositories"]]
            return found == [["full"], ["full", "incr"]] or None

        wait_for("a backup of the new timeline in both", 180, types)


def test_a_store_that_is_away_is_named_and_the_backups_of_the_other_repository_are_known(server: Server) -> None:
    here, there = server.state()["repositories"]
    assert (here["error"], len(here["backups"])) == (None, 1)
    assert (there["answers"], there["error"]) == (False, "no answer within 15 s")


def test_backups_of_the_other_repository_go_on_while_the_store_is_away_and_it_gets_one_when_it_is_back(
    server: Server, store: Store
) -> None:
    settings = "/var/run/postgresql/pgbackrest/pgbackrest.conf"

    def left_out() -> bool | None:
        return "repo2" not in server.compose("exec", "-T", "backups", "cat", settings) or None

    server.fill_log()
    wait_for("the store to be left out", 300, left_out)
    wait_for("all to be archived", 180, lambda: server.state()["archiver"]["waiting"] == 0 or None)
    server.compose("exec", "-T", "backups", "pgbackrest", "backup", "--repo=1", "--type=incr")
    with store.running():
        before = server.newest()
        server.look_now()
        wait_for("a backup in the store", 180, lambda: server.newest()[1] != before[1] or None)


def test_a_wrong_key_of_the_store_is_named(server: Server, store: Store) -> None:
    name_store(server, store, key="WRONG")
    with store.running():
        server.compose("up", "--detach", "--wait", "--force-recreate", "postgres", "backups")
        assert "403" in server.state()["repositories"][1]["error"]


def test_a_damaged_backup_is_named_by_the_rehearsal_and_a_restore_starts_from_the_one_before_it(
    server: Server, store: Store
) -> None:
    # The test before it leaves a wrong key of the store.
    name_store(server, store)
    with store.running():
        server.compose("up", "--detach", "--wait", "--force-recreate", "postgres", "backups")
        server.backed_up()
        in_backups(server, "pgbackrest", "backup", "--type=incr", "--repo=1")
        before = server.newest()
        damaged = before[0]
        here = ["docker", "run", "--rm", "--volume", f"{server.repository}:/repository", "postgres:17"]
        overwrite = "dd if=/dev/urandom of={} bs=64 count=1 seek=1 conv=notrunc"
        files = ["find", f"/repository/backup/main/{damaged}/", "-type", "f", "!", "-name", "backup.manifest*"]
        subprocess.run([*here, *files, "-exec", *overwrite.split(), ";"], check=True, capture_output=True)
        server.query("create table later as select 2 as value")
        server.fill_log()
        wait_for("all to be archived", 60, lambda: server.state()["archiver"]["waiting"] == 0 or None)
        rehearse = ["docker", "compose", "exec", "-T", "backups", "backups", "rehearse"]
        rehearsed = subprocess.run(rehearse, cwd=ROOT, env=server.env, capture_output=True, text=True)
        server.compose("rm", "--force", "--stop", "postgres", "backups")
        subprocess.run(["docker", "volume", "rm", f"{server.name}_postgres_data"], check=True, capture_output=True)
        ended = subprocess.run(["make", "restore", "FORCE=1"], cwd=ROOT, env=server.env, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr

        def each_has_another() -> bool | None:
            return all(now != then for now, then in zip(server.newest(), before, strict=True)) or None

        wait_for("a backup of the new timeline in both", 180, each_has_another)
        in_backups(server, "pgbackrest", "backup", "--type=full", "--repo=1")
        in_backups(server, "pgbackrest", "expire", f"--set={damaged}", "--repo=1")
        again = subprocess.run(rehearse, cwd=ROOT, env=server.env, capture_output=True, text=True)
    assert f"the backup {damaged} cannot be restored" in rehearsed.stdout
    assert f"the backup {damaged} of repository 1 cannot be restored" in ended.stdout + ended.stderr
    assert server.query("select value from later") == "2"
    assert again.returncode == 0, again.stdout
