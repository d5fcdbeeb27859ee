"""The launcher of runs in Kubernetes: a run is a Job of its location's image, made from the location's run policy.

It is a K8sRunLauncher that takes image, configuration and namespace from the policy and its own configuration, where
that of dagster_k8s takes them from the run's row. tests/platform_host/test_kubernetes_launcher.py fails when a release
adds a method.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dagster import DagsterRun, DagsterRunStatus
from dagster._config import UserConfigSchema
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, ResumeRunContext, WorkerStatus
from dagster._core.storage.tags import DOCKER_IMAGE_TAG
from dagster._serdes.config_class import ConfigurableClassData
from dagster_k8s import K8sRunLauncher
from dagster_k8s.client import DagsterK8sAPIRetryLimitExceeded, DagsterK8sUnrecoverableAPIError
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import get_job_name_from_run_id
from dagster_k8s.utils import detect_current_namespace

from platform_host.accepted_run import accept, refuse
from platform_host.kubernetes_policy import KubernetesPolicy, run_job
from platform_host.run_container import RUN_ID_FORM

CONFLICT, TOO_MANY_REQUESTS = 409, 429
# What the name of a Job that is there already gets. There are other conflicts: those of two who use up one quota.
ALREADY_THERE = "AlreadyExists"
# Between the four attempts to create a Job. After them the run goes back to the queue and others have their turn.
PAUSE_SECONDS = 1.0


class KubernetesAwayError(DagsterUserCodeUnreachableError):
    """The API does not answer. The daemon puts a run that gets this back in the queue, as if a code server were away:
    max_user_code_failure_retries and user_code_failure_retry_delay in dagster.yaml.
    """


class KubernetesRunLauncher(K8sRunLauncher):
    """Launches, watches and stops the Jobs of runs, in its own namespace.

    Args:
        policies: folder of the run policies.
        stop_timeout: seconds between SIGTERM and SIGKILL when a run is terminated.
    """

    def __init__(
        self, policies: str, stop_timeout: int, inst_data: ConfigurableClassData | None = None, **given: Any
    ) -> None:
        self._policies = Path(policies)
        self._stop_timeout = stop_timeout
        # Nothing is launched with these; dagster_k8s demands them.
        unused = {"service_account_name": "", "instance_config_map": "", "dagster_home": ""}
        namespace = given.pop("namespace", None) or detect_current_namespace(None)
        super().__init__(inst_data=inst_data, job_namespace=namespace, **unused, **given)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {"policies": str, "stop_timeout": int}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "KubernetesRunLauncher":
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Creates a run's Job. A run that is refused fails with the message, and is not retried.

        Raises KubernetesAwayError while the API does not answer. If it had created the Job all the same, the run does
        not start twice: the second launch finds the Job. Should its pod start before that launch, while the run is
        queued, Dagster fails the run before its first step, and it is retried.
        """
        run = context.dagster_run
        name = _job_name(run)
        accepted = accept(self._instance, self._policies, KubernetesPolicy, run)
        if accepted is None:
            return
        job = run_job(
            accepted.policy,
            name,
            run.run_id,
            run.job_name,
            accepted.image,
            accepted.command,
            self._stop_timeout,
        )
        self._instance.add_run_tags(run.run_id, {DOCKER_IMAGE_TAG: accepted.image})
        self._report_run_worker_creating(run, name, self.job_namespace)
        try:
            self._api_client.create_namespaced_job_with_retries(job, self.job_namespace, PAUSE_SECONDS)
        except (DagsterK8sUnrecoverableAPIError, DagsterK8sAPIRetryLimitExceeded) as error:
            why = error.k8s_api_exception
            status, said = getattr(why, "status", None), str(getattr(why, "body", None) or why)
            # The daemon died after it had created the Job, or the answer was lost. The Job runs.
            if status == CONFLICT and ALREADY_THERE in said:
                return
            if isinstance(error, DagsterK8sAPIRetryLimitExceeded) or status in (CONFLICT, TOO_MANY_REQUESTS):
                raise KubernetesAwayError(f"Kubernetes does not create the Job {name} now: {said}") from error
            refuse(self._instance, run, f"Kubernetes does not create the Job {name}: {said}")
            return
        self._report_run_worker_created(run)

    def get_container_context_for_run(self, dagster_run: DagsterRun) -> K8sContainerContext:
        """Nothing but the namespace: the inherited methods take no more from it, and the run's row says nothing."""
        _job_name(dagster_run)
        return K8sContainerContext(namespace=self.job_namespace)

    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """What Kubernetes says of a run's pods. Run monitoring asks this when it is about to fail a run.

        The Job of a run that has not started ends here, as Dagster calls nothing else then: it would wait for its image
        or for a node with room, and keep its share of a quota, although its run is over.
        """
        try:
            said: str | None = super().get_run_worker_debug_info(run, include_container_logs)
            return said
        finally:
            if run.status is DagsterRunStatus.STARTING:
                # While the API does not answer, the Job stays, and Dagster fails the run all the same.
                with suppress(Exception):
                    self._api_client.delete_job(_job_name(run), self.job_namespace)

    @property
    def supports_resume_run(self) -> bool:
        return False

    def resume_run(self, context: ResumeRunContext) -> None:
        raise NotImplementedError("A lost run is launched again, not resumed (run_retries in dagster.yaml).")

    @property
    def supports_run_worker_crash_recovery(self) -> bool:
        return False

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the pod of a run is there. While the API does not answer this raises, and the daemon asks again."""
        try:
            name = _job_name(run)
        except ValueError as error:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, str(error))
        status = self._api_client.get_job_status(job_name=name, namespace=self.job_namespace)
        if status is None:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"There is no Job {name}.")
        # A Job whose pod is lost gets a second one, which must not start the run again: the run is retried.
        for pod in self._api_client.get_pods_in_job(name, self.job_namespace):
            if pod.metadata.deletion_timestamp:
                why = f"The pod {pod.metadata.name} on {pod.spec.node_name} was deleted, or its node is away."
                return CheckRunHealthResult(WorkerStatus.FAILED, why)
        if status.active or not (status.failed or status.succeeded):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"The Job {name} has ended, and the run has not.")


def _job_name(run: DagsterRun) -> str:
    """The name of a run's Job, by which every call is made; raises ValueError for an id that is not a run's."""
    if not RUN_ID_FORM.fullmatch(run.run_id):
        raise ValueError(f"{run.run_id!r} is not the id of a run, so no Job has its name.")
    return str(get_job_name_from_run_id(run.run_id))  # type: ignore[no-untyped-call]
