"""A stack becomes a shared one by the commands of docs/access.md: TLS, login, roles, service tokens and the audit."""

import contextlib
import json
import os
import re
import socket
import subprocess
import tarfile
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import yaml

from ops.command import ROOT
from tests.checkout import commit, copy_repository
from tests.docs.pages import section_blocks
from tests.stack.conftest import ONE_SHOTS, PROJECT, Stack
from tests.stack.webserver import Webserver, wait_for

pytestmark = pytest.mark.drill

PASSWORDS = {name: f"the-word-of-{name}" for name in ("ana", "ben", "carla")}
CLOSED = 401
PAGE = ROOT / "docs/access.md"


class Person(Webserver):
    """Somebody who logs in at the door, as a browser does."""

    def __init__(self, url: str, certificate: Path, name: str) -> None:
        super().__init__(url)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(certificate)
        fields = {"httpd_username": name, "httpd_password": PASSWORDS[name], "httpd_location": "/runs"}
        answer = self._session.post(f"{url}/door/login", fields, timeout=180, allow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (302, "/runs"), answer.text

    def send(self, query: str, **variables: Any) -> requests.Response:
        """Sends a query with the cookie of the login."""
        return self._session.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=180)

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = self.send(query, **variables).json()
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data


@dataclass
class Shared:
    """The stack after the page's commands, and those commands that are still to be run."""

    stack: Stack
    settings: dict[str, str]
    folder: Path

    @property
    def url(self) -> str:
        return self.settings["PUBLIC_URL"]

    @property
    def certificate(self) -> Path:
        return self.folder / "fullchain.pem"

    def person(self, name: str) -> Person:
        return Person(self.url, self.certificate, name)

    def answers(self, **headers: str) -> int:
        """The status of the answer to a query with these headers."""
        query = {"query": "{ version }"}
        verify = str(self.certificate)
        return requests.post(f"{self.url}/graphql", json=query, headers=headers, verify=verify, timeout=180).status_code

    def type(self, line: str, stdin: str = "", succeeds: bool = True, **elsewhere: Any) -> str:
        """Runs a line of the page in the project's folder, with the test's folder in place of the page's."""
        line = line.replace("access/", f"{self.folder}/access/").replace("make ", "make --no-print-directory ")
        for file in ("fullchain.pem", "privkey.pem"):
            line = line.replace(f" {file}", f" {self.folder}/{file}")
        if os.geteuid() == 0:
            line = line.replace("sudo ", "")
        where: dict[str, Any] = {"cwd": ROOT, "env": self.stack.env | self.settings} | elsewhere
        ended = subprocess.run(["bash", "-euc", line], **where, input=stdin, capture_output=True, text=True)
        assert ended.returncode == 0 or not succeeds, f"{line}\n{ended.stdout}\n{ended.stderr}"
        return str(ended.stdout)

    def forget_the_folder(self) -> None:
        """Has the next start take another folder of access."""
        (remove,) = self.lines("A shared stack in five minutes", "docker compose rm ")
        self.type(remove.replace("dagster-taxi_", f"{PROJECT}_"))

    def token(self) -> str:
        """The line of the page that makes its commands use a service token, with a new one of its name."""
        token = self.folder / "token.txt"
        token.write_text(self.type(self.lines("Service tokens", "make token ")[0]).splitlines()[-1])
        (export,) = self.lines("Service tokens", "export ")
        export = re.sub(r"PUBLIC_URL=\S+", f"PUBLIC_URL={self.url}", export).replace("token.txt", str(token))
        return f"{export} REQUESTS_CA_BUNDLE={self.certificate}"

    def lines(self, section: str, start: str) -> list[str]:
        """The page's lines of a section that start so, without their comments."""
        found = [line.split("  #")[0].strip() for block in section_blocks(PAGE, section) for line in block.splitlines()]
        found = [line for line in found if line.startswith(start)]
        assert found, f"docs/access.md, {section}: no line starts with {start!r}"
        return found


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.fixture(scope="module")
def shared(project: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """The stack, first open on the loopback address and then shared, as the page says. It is open again at the end."""
    project.start()
    folder = tmp_path_factory.mktemp("shared")
    for parent in (folder, folder.parent):
        parent.chmod(0o755)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost"]
    files = ["-out", str(folder / "fullchain.pem"), "-keyout", str(folder / "privkey.pem")]
    subprocess.run([*command, *files], check=True, capture_output=True)

    there = Shared(project, {}, folder)
    section = "A shared stack in five minutes"
    settings = dict(line.split("=", 1) for line in there.lines(section, "") if re.match("[A-Z_]+=", line))
    assert {settings.pop("WEBSERVER_PORT"), settings["HTTPS_PORT"]} == {"80", "443"}
    settings["HTTPS_PORT"] = free_port()
    settings["PUBLIC_URL"] = f"https://localhost:{settings['HTTPS_PORT']}"
    there.settings = settings | {"ACCESS_DIR": str(folder / "access")}
    there.forget_the_folder()
    try:
        for line in there.lines(section, ""):
            if line.startswith(("mkdir ", "sudo ", "make ")):
                name = re.search(r"NAME=(\w+)", line)
                there.type(line, f"{PASSWORDS[name[1]]}\n" if name else "")
        yield there
    finally:
        there.forget_the_folder()
        project.up()


@pytest.fixture(scope="module")
def elsewhere(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Another machine: a clone with the stack's settings, and an environment that says where the engine is."""
    folder = tmp_path_factory.mktemp("elsewhere") / "clone"
    copy_repository(folder)
    commit(folder, "a clone")
    (folder / ".venv").symlink_to(ROOT / ".venv")
    settings = {name: value for name, value in shared.stack.env.items() if os.environ.get(name) != value}
    settings |= shared.settings
    del settings["ACCESS_DIR"]
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    given = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    engine = subprocess.run(
        ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    yield {"cwd": folder, "env": given | {"DOCKER_HOST": engine.stdout.strip()}}
    subprocess.run(["docker", "volume", "rm", "--force", f"{PROJECT}_deployments"], capture_output=True)


def test_the_door_is_open_beyond_loopback_with_tls_and_http_leads_there(shared: Shared) -> None:
    own = socket.gethostbyname(socket.gethostname())
    headers = {"Host": shared.url.removeprefix("https://")}
    plain = requests.get(f"http://{own}:{shared.stack.port}/runs", headers=headers, timeout=180, allow_redirects=False)
    assert (plain.status_code, plain.headers["Location"]) == (308, f"{shared.url}/runs")
    assert shared.answers() == CLOSED


def test_the_status_names_the_certificate_that_ends_within_a_day(shared: Shared) -> None:
    shown = shared.type("make status", succeeds=False)
    assert re.search("needs a person: the door's certificate ends in 2[0-9] h; next: renew it", shown), shown


def test_the_three_log_in_and_each_does_what_the_role_says(shared: Shared) -> None:
    people = {name: shared.person(name) for name in PASSWORDS}
    who = {name: person.ask("{ version }") for name, person in people.items()}
    assert all(answer["version"] for answer in who.values())
    # Carla is a launcher of ingestion_location, ben an editor of dbt_location, ana an admin.
    launched = people["carla"].launch("ingestion_location", ["taxi_zones"])
    with pytest.raises(AssertionError, match="UnauthorizedError"):
        people["carla"].launch("dbt_location", ["daily_metrics"], **{"dagster/partition": "2023-01-01"})
    with pytest.raises(AssertionError, match="UnauthorizedError"):
        people["ben"].launch("ingestion_location", ["taxi_zones"])
    run = people["ana"].finished(launched)
    assert (run["status"], run["tags"]["user"]) == ("SUCCESS", "carla")
    audit = shared.type(shared.lines("Who did what", "make audit")[0])
    assert re.search(rf"carla .*launchRun .*ingestion_location .*{launched}.*LaunchRunSuccess", audit), audit
    assert re.search(r"carla .*launchRun .*dbt_location .*refused", audit), audit
    assert re.search(r"ben .*launchRun .*ingestion_location .*refused", audit), audit


@pytest.mark.release
def test_a_service_token_deploys_from_another_machine_until_it_is_removed(
    shared: Shared, elsewhere: dict[str, Any]
) -> None:
    use = shared.token()
    whoami, status, deploy = (
        shared.lines("Service tokens", f"make {name}")[0] for name in ("whoami", "status", "deploy")
    )
    assert shared.type(f"{use}; {whoami}", **elsewhere).startswith("token:ci: editor")
    # It ends with 1 where something waits to be built.
    assert "the webserver does not answer" not in (
        shown := shared.type(f"{use}; {status}", succeeds=False, **elsewhere)
    )
    assert all(location in shown for location in ("dbt_location", "ingestion_location")), shown
    before = shared.stack.services()
    said = shared.type(f"{use}; {deploy}", **elsewhere)
    assert re.search("dbt_location:.*: deployed", said), said
    after = shared.stack.services()
    replaced = [name for name in before if name not in ONE_SHOTS and before[name]["ID"] != after[name]["ID"]]
    assert replaced == ["dbt_location"]
    audit = shared.type(shared.lines("Who did what", "make audit")[0])
    assert re.search(r"token:ci .*reloadRepositoryLocation .*dbt_location", audit), audit
    bearer = f"Bearer {(shared.folder / 'token.txt').read_text().strip()}"
    assert shared.answers(Authorization=bearer) == 200
    shared.type(shared.lines("Service tokens", "make remove-token ")[0])
    assert shared.answers(Authorization=bearer) == CLOSED


def test_a_prometheus_of_ones_own_scrapes_the_stack_by_the_page_and_reads_rules_and_dashboard(
    shared: Shared, tmp_path: Path
) -> None:
    page = ROOT / "docs/monitoring.md"
    (make, config) = section_blocks(page, "Scrape it")
    (tmp_path / "prometheus.token").write_text(shared.type(make).splitlines()[-1])
    (tmp_path / "rules.yml").write_text((ROOT / "monitoring/rules.yml").read_text())
    settings = yaml.safe_load(config.replace("dagster.example:443", shared.url.removeprefix("https://")))
    # The page's stack has a certificate that everybody trusts.
    settings["scrape_configs"][0]["tls_config"] = {"ca_file": str(shared.certificate)}
    settings["global"] = {"scrape_interval": "2s"}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
    port = free_port()
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log) as prometheus,
    ):

        def ask(path: str, **query: str) -> Any:
            answer = requests.get(f"http://127.0.0.1:{port}/api/v1/{path}", query, timeout=60).json()
            assert answer["status"] == "success", answer
            return answer["data"]

        def value(query: str) -> float | None:
            with contextlib.suppress(requests.ConnectionError):
                for found in ask("query", query=query)["result"]:
                    return float(found["value"][1])
            return None

        try:
            # The look after the one that found the webserver away, while it was replaced.
            loaded = 'min(dagster_location_loaded) == 1 and max(taxi_part_known{part="assets"}) == 1'
            wait_for("a scrape", 120, lambda: value(loaded))
            print(
                f"a scrape takes {value('scrape_duration_seconds')} s, and has {value('scrape_samples_scraped')} series"
            )
            (group,) = ask("rules")["groups"]
            assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}, group
            panels = json.loads((ROOT / "monitoring/dashboard.json").read_text())["panels"]
            for target in (target for panel in panels for target in panel["targets"]):
                ask("query", query=target["expr"].replace("$__rate_interval", "5m"))
            for service in ("postgres", "webserver", "daemon"):
                assert value(f'taxi_service_up{{service="{service}"}}') == 1
            assert value('taxi_connections{role="dagster"}')
            assert value('time() - dagster_daemon_heartbeat_timestamp_seconds{daemon="SENSOR"} < 300')
        finally:
            prometheus.terminate()
    assert requests.get(f"{shared.url}/metrics", verify=str(shared.certificate), timeout=60).status_code == CLOSED


def test_the_doctor_has_nothing_to_mend_in_what_the_running_stack_has_itself(shared: Shared) -> None:
    said = shared.type("make doctor", succeeds=False)
    # Memory, disk and clock are the machine's; a version that was deployed from another folder is a warning.
    of_the_stack = ("engine", "compose", "settings", "files", "names", "proxy", "ports", "networks")
    assert [
        line for line in said.splitlines() if line.startswith(tuple(f"error    {one}" for one in of_the_stack))
    ] == []
    assert {"ok       ports", "ok       networks"} <= set(said.splitlines()), said


def test_the_archive_for_a_bug_report_has_all_of_the_stack_and_no_secret(shared: Shared) -> None:
    planted = "planted/secret + 123"
    shared.stack.give_secret("dbt_location", "weather_api_key", planted)
    in_code_server = ("docker", "compose", "exec", "-T", "dbt_location", "sh", "-c")
    lines = shared.stack.command(*in_code_server, "cat /run/credentials/pgpass").splitlines()
    password = lines[0].rpartition(":")[2]
    printed = [planted, quote(planted), b64encode(f"user:{planted}".encode()).decode(), password]
    # What the first process of the container prints is the log.
    for text in printed:
        shared.stack.command(*in_code_server, 'echo "marked: $1" > /proc/1/fd/1', "sh", text)
    compose = ("docker", "compose")
    try:
        shared.stack.command(*compose, "stop", "reports")
        said = shared.type("make diagnostics")
    finally:
        shared.stack.command(*compose, "start", "reports")
        shared.type("make remove-secret LOCATION=dbt_location NAME=weather_api_key")
    path = Path(said.splitlines()[-1].partition(" is written")[0])
    try:
        with tarfile.open(path) as archive:
            files = [(member.name.partition("/")[2], archive.extractfile(member)) for member in archive]
            texts = {name: file.read().decode() for name, file in files if file}
    finally:
        path.unlink()
    assert texts["not_collected.txt"] == ""
    assert {f"logs/{one['Name']}.log" for one in shared.stack.services().values()} <= texts.keys()
    log = texts[f"logs/{shared.stack.services()['dbt_location']['Name']}.log"]
    assert log.count("marked: ") == len(printed)
    assert json.loads(texts["status.json"])["project"] == PROJECT
    assert isinstance(json.loads(texts["failed_runs.json"]), list)
    assert "TLS_KEY_FILE=tls/privkey.pem" in texts["settings.txt"]
    key = (shared.folder / "privkey.pem").read_text().splitlines()[1]
    everything = "".join(texts.values())
    core = b64encode(f"user:{planted}".encode()).decode()[8:-4]
    assert [secret for secret in (planted, quote(planted), core, password, key) if secret in everything] == []


def test_a_start_from_another_checkout_keeps_webserver_door_and_who_may_come_in(
    shared: Shared, elsewhere: dict[str, Any]
) -> None:
    before = shared.stack.services()
    shared.type("docker compose up --detach --no-build --wait", **elsewhere)
    after = shared.stack.services()
    assert [name for name in ("webserver", "door") if before[name]["ID"] != after[name]["ID"]] == []
    assert shared.answers() == CLOSED
    assert str(shared.folder) in shared.type("make users", **elsewhere)


def test_whoever_is_removed_is_out_at_once(shared: Shared) -> None:
    ana = shared.person("ana")
    assert ana.send("{ version }").status_code == 200
    (remove,) = shared.lines("Roles", "make remove-user ")
    shared.type(remove)
    assert ana.send("{ version }").status_code == CLOSED
