"""What the launcher does with a run of a real instance. Nothing listens at DOCKER_HOST, so a call of Docker fails."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import docker.errors
import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.launcher.base import WorkerStatus
from dagster_docker import DockerRunLauncher
from platform_host.run_container import container_config, container_name
from platform_host.run_launcher import PolicyRunLauncher
from platform_host.run_policy import write_policy

from tests.platform_host.launches import failures, launched
from tests.platform_host.policies import policy, run


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def instance(policies: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterInstance]:
    """An instance with the launcher, configured as in dagster.yaml."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "taxi")
    launcher = {
        "module": "platform_host.run_launcher",
        "class": "PolicyRunLauncher",
        "config": {"policies": str(policies), "stop_timeout": 30},
    }
    with DagsterInstance.local_temp(overrides={"run_launcher": launcher}) as made:
        yield made


def test_nothing_public_of_dockers_launcher_is_inherited() -> None:
    public = {name for name in vars(DockerRunLauncher) if not name.startswith("_")}
    assert public <= vars(PolicyRunLauncher).keys()


def test_a_run_that_is_refused_fails_with_the_claim_and_is_not_retried(
    instance: DagsterInstance, policies: Path
) -> None:
    write_policy(policies, policy())
    after = launched(instance, run(container_image="postgres:17"))
    assert (after.status, after.tags["dagster/max_retries"]) == (DagsterRunStatus.FAILURE, "0")
    assert "the image 'postgres:17' was not deployed for dbt_location" in failures(instance, after)[0]


def test_a_run_without_a_policy_fails_with_the_name_of_the_file_and_the_next_step(
    instance: DagsterInstance, policies: Path
) -> None:
    after = launched(instance, run())
    assert after.status is DagsterRunStatus.FAILURE
    message = f"There is no run policy {policies}/dbt_location.json, so no run of dbt_location is launched. `make up`"
    assert failures(instance, after)[0].startswith(message)


def test_a_run_whose_policy_cannot_be_read_fails_with_the_field_that_is_wrong(
    instance: DagsterInstance, policies: Path
) -> None:
    (policies / "dbt_location.json").write_text(policy().model_dump_json(exclude={"memory"}))
    after = launched(instance, run())
    assert (
        f"The run policy {policies}/dbt_location.json is wrong: memory: Field required." in failures(instance, after)[0]
    )


def test_a_run_whose_policy_cannot_be_opened_fails_with_the_name_of_the_file_and_the_next_step(
    instance: DagsterInstance, policies: Path
) -> None:
    (policies / "dbt_location.json").mkdir()
    after = launched(instance, run())
    assert failures(instance, after)[0] == (
        f"The run policy {policies}/dbt_location.json cannot be read: Is a directory. No run of dbt_location is "
        "launched. `make up` or `make deploy LOCATION=dbt_location` writes it again."
    )


@pytest.mark.parametrize("name", ["../dbt_location", "", "dbt_location/../dbt_location"])
def test_a_run_whose_origin_is_no_locations_name_fails(instance: DagsterInstance, policies: Path, name: str) -> None:
    write_policy(policies, policy())
    after = launched(instance, run(name or "x"))
    assert "is not a location's name, so nothing is launched for it." in failures(instance, after)[0]


def test_a_run_whose_claims_are_right_is_started_by_docker(instance: DagsterInstance, policies: Path) -> None:
    write_policy(policies, policy())
    with pytest.raises(docker.errors.DockerException, match=r"127\.0\.0\.1"):
        launched(instance, run())


class WithoutImages(BaseHTTPRequestHandler):
    """Docker's answers where there is no image."""

    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.asked.append(self.path)
        self._answer(404, {"message": "No such image: dbt_location:new"})

    def do_GET(self) -> None:
        self._answer(200, {"ApiVersion": "1.41"})

    def _answer(self, status: int, body: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_run_whose_image_is_not_here_any_more_fails_and_no_image_is_pulled(
    instance: DagsterInstance, policies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_policy(policies, policy())
    with HTTPServer(("127.0.0.1", 0), WithoutImages) as engine:
        threading.Thread(target=engine.serve_forever, daemon=True).start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{engine.server_port}")
        after = launched(instance, run())
        engine.shutdown()
    assert [urlsplit(path).path.split("/", 2)[2] for path in WithoutImages.asked] == ["containers/create"]
    assert (after.status, after.tags["dagster/max_retries"]) == (DagsterRunStatus.FAILURE, "0")
    assert failures(instance, after) == [
        "The image dbt_location:new was deployed for dbt_location and is not on this machine any more, so nothing "
        "was started. Deploy the location (make deploy LOCATION=dbt_location) and launch the run again."
    ]


def test_a_runs_container_is_what_the_policy_says_and_nothing_else() -> None:
    config = container_config(policy(), "some-id", "nightly", "dbt_location:old", ["dagster", "api"])
    assert config == {
        "Image": "dbt_location:old",
        "Cmd": ["dagster", "api"],
        "Env": ["TAXI_START_DATE=2023-01-01", "DAGSTER_RUN_JOB_NAME=nightly"],
        "Labels": {
            "project": "taxi",
            "location": "dbt_location",
            "dagster/run_id": "some-id",
            "dagster/job_name": "nightly",
        },
        "HostConfig": {
            "Binds": [
                "taxi_dbt_location_credentials:/run/credentials:ro",
                "taxi_dbt_location_compute_logs:/opt/dagster/compute_logs",
            ],
            "NetworkMode": "taxi_dbt_location",
            "Memory": 2147483648,
            "NanoCpus": 1500000000,
            "PidsLimit": 512,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": "size=1073741824"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
            "Init": True,
        },
    }


def test_a_run_with_an_id_that_is_no_runs_has_no_container(instance: DagsterInstance) -> None:
    health = instance.run_launcher.check_run_worker_health(run()._replace(run_id="../dagster-taxi-postgres-1"))
    assert health.status is WorkerStatus.NOT_FOUND


@pytest.mark.parametrize("run_id", ["../postgres", "x", "", "00000000-0000-0000-0000-00000000000/../x"])
def test_an_id_that_is_no_runs_makes_no_name_of_a_container(run_id: str) -> None:
    with pytest.raises(ValueError, match="is not the id of a run"):
        container_name("taxi", run_id)
