"""The stack in a real cluster of two nodes: the pipeline, the walls, and wrong values."""

import urllib.request

import pytest

from tests.kubernetes.conftest import NAMESPACE, TAG, Cluster

pytestmark = pytest.mark.drill
RUNS = "app.kubernetes.io/component=run"
LOCATION = ("helm", "--namespace", NAMESPACE, "upgrade", "--wait", "--timeout", "4m")
# A launched run that claims another image, as a location could write it.
HOSTILE = """
import sys, uuid
from dagster import DagsterInstance, DagsterRunStatus
with DagsterInstance.get() as instance:
    (like,) = instance.get_runs(limit=1)
    code = like.job_code_origin.repository_origin._replace(container_image=sys.argv[1])
    hostile = like._replace(
        run_id=str(uuid.uuid4()), status=DagsterRunStatus.QUEUED, tags={"dagster-k8s/config": "{}"},
        job_code_origin=like.job_code_origin._replace(repository_origin=code),
    )
    instance.add_run(hostile)
    print(hostile.run_id)
"""
# What a pod of a location gets of the API, with the address that every pod has.
ASK_API = """
import os, ssl, urllib.request, urllib.error
assert not os.path.exists("/var/run/secrets/kubernetes.io")
url = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}/api/v1/namespaces/%s/secrets" % os.environ["NAMESPACE"]
try:
    urllib.request.urlopen(url, context=ssl._create_unverified_context())
except urllib.error.HTTPError as error:
    print(error.code)
"""


def test_three_months_become_ninety_days_and_reports_with_the_right_numbers(built: Cluster) -> None:
    assert built.query("select count(*) from raw_taxis.trips") == [[205_025]]
    assert built.query("select round(sum(total_amount)::numeric, 2)::text from raw_taxis.trips") == [["4509620.40"]]
    assert built.query("select count(*)::int, sum(trip_count)::int from analytics.daily_metrics") == [[90, 205_025]]


def test_runs_are_on_both_nodes(built: Cluster) -> None:
    assert {pod["spec"]["nodeName"] for pod in built.get("pods", RUNS)} == {"node1", "node2"}


def test_the_door_serves_the_reports(built: Cluster) -> None:
    with urllib.request.urlopen(f"{built.webserver.url}/reports/dbt_location/2023-01.html", timeout=60) as response:
        assert b"2023" in response.read()


def test_the_page_of_a_run_has_what_it_printed(built: Cluster) -> None:
    loads = [run for run in built.webserver.runs() if "taxi_trips" in run["assets"]]
    load = next(run for run in loads if run["status"] == "SUCCESS")
    assert "taxi_trips" in built.webserver.stderr(load["runId"])


def test_every_pod_meets_pod_security_restricted(built: Cluster) -> None:
    for pod in built.get("pods"):
        name, spec = pod["metadata"]["name"], pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(spec), name
        assert all("hostPath" not in volume for volume in spec["volumes"]), name
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert security["readOnlyRootFilesystem"] is True, name


def test_only_webserver_and_daemon_have_a_token(built: Cluster) -> None:
    with_token = {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]
        for pod in built.get("pods")
        for volume in pod["spec"]["volumes"]
        if "token" in volume["name"]
    }
    assert with_token == {"webserver", "daemon"}


def test_a_pod_of_a_location_may_not_use_the_api(built: Cluster) -> None:
    code = f"import os; os.environ['NAMESPACE'] = {NAMESPACE!r}\n{ASK_API}"
    assert built.kubectl("exec", "deploy/dbt-location", "--", "python", "-c", code).strip() in ("401", "403")


def test_a_password_file_is_its_owners_alone(built: Cluster) -> None:
    stat = ("stat", "--format", "%a %u", "/run/credentials/pgpass")
    assert built.kubectl("exec", "deploy/dbt-location", "-c", "code-server", "--", *stat).strip() == "600 10001"


def test_a_run_row_that_claims_another_image_fails_and_nothing_is_started(built: Cluster) -> None:
    claimed = f"migrate:{TAG}"
    command = ("exec", "deploy/daemon", "-c", "daemon", "--", "python", "-c", HOSTILE, claimed)
    run_id = built.kubectl(*command).split()[-1]
    failed = built.webserver.finished(run_id)
    messages = [event.get("message") or "" for event in failed["eventConnection"]["events"]]
    assert failed["status"] == "FAILURE"
    assert any(f"the image '{claimed}' was not deployed for" in message for message in messages)
    assert built.get("jobs", f"dagster/run-id={run_id}") == []


@pytest.mark.parametrize(
    ("setting", "reason", "seconds"),
    [
        ("location=weather_location", "The release of weather_location is called weather-location", 40),
        ("image.tag=not a tag", "image.tag", 40),
        # The check waits for the image until then.
        ("image.tag=does-not-exist", "failed", 10),
        ("postgres.port=1", "failed", 40),
        ("environment.TAXI_START_DATE=tomorrow", "failed", 40),
    ],
)
def test_wrong_values_stop_an_upgrade_before_anything_is_replaced(
    built: Cluster, setting: str, reason: str, seconds: int
) -> None:
    before = built.versions("dbt-location")
    wrong = ("--reuse-values", "--set-string" if "port" not in setting else "--set", setting)
    ended = built.try_command(
        *LOCATION, "dbt-location", "kubernetes/location", *wrong, "--set", f"codeServer.startSeconds={seconds}"
    )
    assert ended.returncode != 0
    assert reason in ended.stderr
    assert built.versions("dbt-location") == before


def test_a_location_without_a_password_is_not_installed_and_the_message_names_the_secret(built: Cluster) -> None:
    new = ("--install", "weather-location", "kubernetes/location", "--set", "location=weather_location")
    ended = built.try_command(*LOCATION, *new)
    assert ended.returncode != 0
    assert "The Secret weather-location-credentials" in ended.stderr
    assert built.get("deployments", "app.kubernetes.io/name=weather-location") == []
