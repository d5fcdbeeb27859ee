"""What the launcher of Kubernetes does with a run of a real instance. Its API server is a small one of this module."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import WorkerStatus
from dagster_k8s import K8sRunLauncher
from platform_host import kubernetes_launcher
from platform_host.kubernetes_launcher import KubernetesAwayError, KubernetesRunLauncher
from platform_host.kubernetes_policy import KubernetesPolicy, run_job
from platform_host.run_policy import write_policy
from pydantic import ValidationError

from tests.platform_host.launches import failures, launched
from tests.platform_host.policies import run

# What takes nothing from a run's row but its id and its status, or is not called by anybody but these.
INHERITED = {
    *("terminate", "supports_check_run_worker_health", "inst_data"),
    *("job_image", "image_pull_policy", "image_pull_secrets", "service_account_name", "env_config_maps", "env_secrets"),
    *("volume_mounts", "volumes", "resources", "scheduler_name", "security_context", "env_vars", "labels"),
    *("run_k8s_config", "fail_pod_on_run_failure", "only_allow_user_defined_k8s_config_fields"),
    "only_allow_user_defined_env_vars",
}
JOBS = "/apis/batch/v1/namespaces/taxi/jobs"


def policy(**changed: Any) -> KubernetesPolicy:
    content: dict[str, Any] = {
        "location": "dbt_location",
        "images": ["registry.example/taxi/dbt_location:new", "dbt_location:new"],
        "environment": {"TAXI_START_DATE": "2023-01-01"},
        "image_pull_policy": "IfNotPresent",
        "image_pull_secrets": [],
        "claims": {"compute-logs": "/opt/dagster/compute_logs", "reports": "/opt/dagster/reports"},
        "resources": {"limits": {"memory": "2Gi"}},
        "node_selector": {"pool": "runs"},
        "tolerations": [{"key": "runs", "operator": "Exists"}],
        "unreachable_seconds": 15,
        "ttl_seconds": 86400,
    }
    return KubernetesPolicy(**content | changed)


class Api(BaseHTTPRequestHandler):
    """Answers every call with ``answers``, by method and path, and keeps what was sent."""

    answers: dict[str, tuple[int, Any]]
    sent: list[tuple[str, Any]]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        call = f"{self.command} {self.path.partition('?')[0]}"
        self.sent.append((call, json.loads(body) if body else None))
        status, answer = self.answers.get(call, (404, {"message": "not found"}))
        said = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815, the names of http.server

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[type[Api]]:
    api = type("ThisApi", (Api,), {"answers": {}, "sent": []})
    with HTTPServer(("127.0.0.1", 0), api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        api.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
        yield api
        server.shutdown()


@pytest.fixture
def instance(api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterInstance]:
    """An instance with the launcher, which is connected to the small API server."""
    config = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "taxi"}}],
        "clusters": [{"name": "test", "cluster": {"server": api.url}}],
        "users": [{"name": "test", "user": {}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    given: dict[str, Any] = {
        "load_incluster_config": False,
        "kubeconfig_file": str(tmp_path / "kubeconfig"),
        "namespace": "taxi",
    }
    launcher = KubernetesRunLauncher(str(tmp_path), 30, **given)
    with DagsterInstance.local_temp() as made:
        launcher.register_instance(made)
        monkeypatch.setattr(made, "_run_launcher", launcher)
        yield made


def test_what_is_inherited_of_dagsters_launcher_is_known() -> None:
    public = {name for name in vars(K8sRunLauncher) if not name.startswith("_")}
    assert public - vars(KubernetesRunLauncher).keys() <= INHERITED


def test_the_job_of_a_run_has_what_the_policy_says(instance: DagsterInstance, api: Any, tmp_path: Path) -> None:
    write_policy(tmp_path, policy())
    api.answers[f"POST {JOBS}"] = (201, {"kind": "Job"})
    after = launched(instance, run())
    ((call, job),) = api.sent
    name = f"dagster-run-{after.run_id}"
    command = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert call == f"POST {JOBS}"
    assert job == run_job(policy(), name, after.run_id, after.job_name, "dbt_location:new", command, 30)
    assert command[:3] == ["dagster", "api", "execute_run"]


def test_a_run_with_tags_for_kubernetes_gets_nothing_from_them(
    instance: DagsterInstance, api: Any, tmp_path: Path
) -> None:
    write_policy(tmp_path, policy())
    api.answers[f"POST {JOBS}"] = (201, {"kind": "Job"})
    claimed = {"pod_spec_config": {"service_account_name": "dagster", "host_network": True}}
    launched(instance, run().with_tags({"dagster-k8s/config": json.dumps(claimed)}))
    ((_, job),) = api.sent
    pod = job["spec"]["template"]["spec"]
    assert (pod["serviceAccountName"], "hostNetwork" in pod) == ("dbt-location", False)


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({"container_image": "postgres:17"}, "the image 'postgres:17' was not deployed for dbt_location"),
        ({"container_context": {"k8s": {"namespace": "kube-system"}}}, "the run brings a container context (k8s)"),
    ],
)
def test_a_run_that_claims_more_than_its_policy_fails_with_the_claim_and_is_not_retried(
    instance: DagsterInstance, api: Any, tmp_path: Path, claim: Any, message: str
) -> None:
    write_policy(tmp_path, policy())
    after = launched(instance, run(**claim))
    assert (after.status, after.tags["dagster/max_retries"]) == (DagsterRunStatus.FAILURE, "0")
    assert message in failures(instance, after)[0]
    assert api.sent == []


def test_a_run_whose_job_is_refused_fails_with_the_reason(instance: DagsterInstance, api: Any, tmp_path: Path) -> None:
    write_policy(tmp_path, policy())
    api.answers[f"POST {JOBS}"] = (403, {"message": "exceeded quota: runs"})
    after = launched(instance, run())
    assert after.status is DagsterRunStatus.FAILURE
    assert "exceeded quota: runs" in failures(instance, after)[0]


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (503, {"message": "etcdserver: leader changed"}),
        (429, {"message": "too many requests"}),
        (409, {"reason": "Conflict", "message": "Operation cannot be fulfilled on resourcequotas"}),
    ],
)
def test_a_run_whose_job_is_not_created_now_does_not_fail_and_goes_back_to_the_queue(
    instance: DagsterInstance, api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, answer: Any
) -> None:
    monkeypatch.setattr(kubernetes_launcher, "PAUSE_SECONDS", 0.0)
    write_policy(tmp_path, policy())
    api.answers[f"POST {JOBS}"] = (status, answer)
    queued = run()
    with pytest.raises(KubernetesAwayError, match=answer["message"]):
        launched(instance, queued)
    assert failures(instance, queued) == []
    # The daemon queues runs again after this error alone.
    assert issubclass(KubernetesAwayError, DagsterUserCodeUnreachableError)


def test_a_run_whose_job_was_created_although_the_answer_was_lost_is_not_started_twice(
    instance: DagsterInstance, api: Any, tmp_path: Path
) -> None:
    write_policy(tmp_path, policy())
    api.answers[f"POST {JOBS}"] = (409, {"reason": "AlreadyExists", "message": "the Job is there"})
    after = launched(instance, run())
    assert after.status is not DagsterRunStatus.FAILURE
    assert [call for call, _ in api.sent] == [f"POST {JOBS}"]


@pytest.mark.parametrize(("status", "deleted"), [(DagsterRunStatus.STARTING, 1), (DagsterRunStatus.STARTED, 0)])
def test_the_job_of_a_run_that_is_failed_before_it_started_ends(
    instance: DagsterInstance, api: Any, status: DagsterRunStatus, deleted: int
) -> None:
    watched = run()._replace(status=status)
    job = f"{JOBS}/dagster-run-{watched.run_id}"
    api.answers[f"GET {JOBS}"] = (200, {"items": []})
    api.answers["GET /api/v1/namespaces/taxi/pods"] = (200, {"items": []})
    api.answers[f"DELETE {job}"] = (200, {"status": "Success"})
    assert "Could not find job" in (instance.run_launcher.get_run_worker_debug_info(watched) or "")
    assert [call for call, _ in api.sent].count(f"DELETE {job}") == deleted


def health(instance: DagsterInstance, api: Any, status: Any, pods: Any = ()) -> WorkerStatus:
    """What the launcher says of a run whose Job has this status, and these pods."""
    watched = run()
    api.answers[f"GET {JOBS}/dagster-run-{watched.run_id}/status"] = (200, {"status": status})
    api.answers["GET /api/v1/namespaces/taxi/pods"] = (200, {"items": pods})
    return instance.run_launcher.check_run_worker_health(watched).status


def test_a_run_whose_pod_runs_is_running(instance: DagsterInstance, api: Any) -> None:
    assert health(instance, api, {"active": 1}) is WorkerStatus.RUNNING


def test_a_run_whose_job_has_ended_is_lost(instance: DagsterInstance, api: Any) -> None:
    assert health(instance, api, {"failed": 1}) is WorkerStatus.FAILED


def test_a_run_whose_node_is_away_is_lost_although_its_job_has_a_second_pod(
    instance: DagsterInstance, api: Any
) -> None:
    gone = {"metadata": {"name": "first", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"containers": []}}
    assert health(instance, api, {"active": 1}, [gone]) is WorkerStatus.FAILED


def test_a_run_whose_job_is_not_there_is_not_found(instance: DagsterInstance, api: Any) -> None:
    result = instance.run_launcher.check_run_worker_health(run())
    assert result.status is WorkerStatus.NOT_FOUND


def test_a_run_is_not_taken_for_lost_while_the_api_refuses_to_answer(instance: DagsterInstance, api: Any) -> None:
    watched = run()
    api.answers[f"GET {JOBS}/dagster-run-{watched.run_id}/status"] = (403, {"message": "forbidden"})
    with pytest.raises(Exception, match=r"forbidden|Unexpected error"):
        instance.run_launcher.check_run_worker_health(watched)


def test_a_policy_cannot_name_a_claim_of_another_location() -> None:
    with pytest.raises(ValidationError):
        policy(claims={"reports-location-reports": "/opt/dagster/reports"})


def test_a_policy_cannot_name_the_image_of_another_location() -> None:
    with pytest.raises(ValidationError, match="is not dbt_location with a tag"):
        policy(images=["registry.example/ingestion_location:1"])


def test_the_pod_of_a_run_meets_pod_security_restricted_and_has_no_token() -> None:
    job = run_job(policy(), "name", "id", "job", "dbt_location:new", [], 30)
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
