"""The launcher of runs: a run is a container of its location's image, made from the location's run policy.

It is a DockerRunLauncher whose every public method is replaced, because those of dagster_docker take image, container
context and container id from the run's row. tests/platform_host/test_run_launcher.py fails when a release adds one.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
from dagster import DagsterRun
from dagster._config import UserConfigSchema
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, ResumeRunContext, WorkerStatus
from dagster._core.storage.tags import DOCKER_IMAGE_TAG
from dagster._serdes.config_class import ConfigurableClassData
from dagster_docker import DockerRunLauncher
from dagster_docker.container_context import DockerContainerContext
from docker.errors import APIError, ImageNotFound, NotFound

from platform_host.accepted_run import accept, refuse
from platform_host.run_container import RUN_ID, container_config, container_name, out_of_memory
from platform_host.run_policy import RunPolicy

CONFLICT = 409


class PolicyRunLauncher(DockerRunLauncher):
    """Launches, watches and stops the containers of runs.

    Args:
        policies: folder of the run policies.
        stop_timeout: seconds between SIGTERM and SIGKILL when a run is terminated.
    """

    def __init__(self, policies: str, stop_timeout: int, inst_data: ConfigurableClassData | None = None) -> None:
        self._policies = Path(policies)
        self._stop_timeout = stop_timeout
        super().__init__(inst_data)

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {"policies": str, "stop_timeout": int}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PolicyRunLauncher":
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Starts a run's container. A run that is refused fails with the message, and is not retried."""
        run = context.dagster_run
        accepted = accept(self._instance, self._policies, RunPolicy, run)
        if accepted is None:
            return
        policy, image = accepted.policy, accepted.image
        config = container_config(policy, run.run_id, run.job_name, image, accepted.command)
        with _engine() as engine:
            try:
                self._start(engine, run, policy, config)
            except ImageNotFound:
                # Not pulled: a location's image is built here, and a registry has somebody else's under its name.
                refuse(
                    self._instance,
                    run,
                    f"The image {image} was deployed for {policy.location} and is not on this machine any more, so "
                    f"nothing was started. Deploy the location (make deploy LOCATION={policy.location}) and launch the "
                    "run again.",
                )

    def _start(self, engine: docker.APIClient, run: DagsterRun, policy: RunPolicy, config: dict[str, Any]) -> None:
        """Creates and starts a run's container.

        A run is not started twice: its container's name is unique on the engine, and a container that has started
        before is never started again.
        """
        name, image = container_name(policy.project, run.run_id), config["Image"]
        try:
            container = str(engine.create_container_from_config(config, name)["Id"])
        except APIError as error:
            if error.status_code != CONFLICT:
                raise
            # The daemon died after it had created the container.
            found = engine.inspect_container(name)
            if found["Config"]["Labels"].get(RUN_ID) != run.run_id or found["State"]["Status"] != "created":
                raise RuntimeError(
                    f"The container {name} has been started before (it is {found['State']['Status']}), and a run is "
                    "not started twice. Launch a new run."
                ) from None
            container = found["Id"]
        message = f"Launching run in a new container {container} with image {image}"
        self._instance.report_engine_event(message, run, cls=self.__class__)
        self._instance.add_run_tags(run.run_id, {DOCKER_IMAGE_TAG: image})
        engine.start(name)

    def terminate(self, run_id: str) -> bool:
        """Stops a run's container; returns whether there was one."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        with _engine() as engine:
            try:
                engine.stop(_own_name(run), timeout=self._stop_timeout)
            except NotFound:
                message = "Unable to get docker container to send termination request to."
                self._instance.report_engine_event(message, run, cls=self.__class__)
                return False
        return True

    def get_container_context(self, dagster_run: DagsterRun) -> DockerContainerContext:
        raise NotImplementedError("A run's container is made from its location's policy, not from a context.")

    @property
    def supports_resume_run(self) -> bool:
        return False

    def resume_run(self, context: ResumeRunContext) -> None:
        raise NotImplementedError("A lost run is launched again, not resumed (run_retries in dagster.yaml).")

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        try:
            name = _own_name(run)
        except ValueError as error:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, str(error))
        with _engine() as engine:
            try:
                container = engine.inspect_container(name)
            except NotFound:
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"There is no container {name}.")
        state = container["State"]
        if state["Status"] == "running":
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        reason = f"Container status is {state['Status']}. Container state: {json.dumps(state)}"
        if state["OOMKilled"]:
            reason = f"{out_of_memory(container['HostConfig']['Memory'])} {reason}"
        return CheckRunHealthResult(WorkerStatus.FAILED, reason)


def _own_name(run: DagsterRun) -> str:
    # Not from the policy: a run can be watched and stopped although its location has none any more.
    return container_name(os.environ["COMPOSE_PROJECT_NAME"], run.run_id)


@contextmanager
def _engine() -> Iterator[docker.APIClient]:
    # The calls of the high-level client would inspect the container by its id.
    client = docker.from_env()
    try:
        yield client.api
    finally:
        client.close()
