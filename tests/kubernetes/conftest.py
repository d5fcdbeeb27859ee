"""The stack in a real cluster of two nodes, with the TLC's files for three months, which these tests serve themselves.

`../shared/kubernetes/ensure-cluster` starts the cluster, or the script that ENSURE_CLUSTER names. Its address plan,
its folder that all nodes share and its processes are used here.
"""

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.command import ROOT
from ops.kubernetes.releases import release_name
from ops.locations import LOCATIONS
from tests.stack.backfill import DAILY_ASSETS
from tests.stack.webserver import FINISHED, Webserver, wait_for

ENSURE = Path(os.environ.get("ENSURE_CLUSTER") or ROOT.parent / "shared/kubernetes/ensure-cluster")
FILES = Path(os.environ.get("TLC_FILES") or ROOT.parent / "shared/tlc")
# The tag of the images; `make test-images` builds them.
TAG = os.environ.get("STACK_IMAGES", "dagster-taxi-test")
NAMESPACE = "dagster-taxi-test"
MACHINE, NODE, PORT = "10.77.0.1", "10.77.0.11", 30300
STATE = Path("/var/lib/kubernetes")
SHARED = STATE / "shared" / NAMESPACE
CGROUPS = Path("/sys/fs/cgroup/pids/k8s")
NO_CLUSTER = f"no cluster answers (kubectl get nodes), and there is no {ENSURE} to start one, or no files in {FILES}"
PLATFORM_IMAGES = ("platform", "migrate", "door", "proxies", "reports")
MART = "analytics.daily_metrics"
# An asset of each location that has some.
ASSETS = {"dbt_location": "daily_metrics", "ingestion_location": "taxi_trips"}
# Six runs that start at once on one busy node need up to 105 s for their first events.
START_TIMEOUT = 150
# The user of the locations' images.
USER = 10001


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the tests of this folder where there is no cluster; CI demands one with REQUIRE_KUBERNETES."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    if here and not os.environ.get("REQUIRE_KUBERNETES") and not (ENSURE.exists() and FILES.exists()):
        for item in here:
            item.add_marker(pytest.mark.skip(reason=NO_CLUSTER))


class Source(SimpleHTTPRequestHandler):
    """Serves the TLC's files. While it is silent it sends none; the sensors, which only look, get an answer.

    Attributes:
        may_answer: whoever asks waits for the event of this moment.
    """

    may_answer = threading.Event()

    def do_GET(self) -> None:
        Source.may_answer.wait(600)
        with contextlib.suppress(ConnectionError):
            super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


class Cluster:
    """The cluster, and the stack in it, driven by the commands that its users type."""

    def __init__(self, kubeconfig: str, values: Path, folder: Path = ROOT) -> None:
        self.folder = folder
        self.env = os.environ | {
            "KUBECONFIG": kubeconfig,
            "KUBERNETES_NAMESPACE": NAMESPACE,
            "KUBERNETES_VALUES": str(values),
        }
        self.webserver = Webserver(f"http://{NODE}:{PORT}")

    def try_command(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=self.folder, env=self.env, input=stdin, capture_output=True, text=True)

    def command(self, *command: str, stdin: str = "") -> str:
        """Runs a command in the project's folder and returns its output; the command must succeed."""
        ended = self.try_command(*command, stdin=stdin)
        assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self.command("kubectl", "--namespace", NAMESPACE, *arguments, stdin=stdin)

    def get(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """The objects of a kind as the API has them."""
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, "--selector", selector, "--output", "json"))
        return list(found["items"])

    def run_pods(self, run_id: str) -> list[dict[str, Any]]:
        return self.get("pods", f"dagster/run-id={run_id}")

    def make(self, command: str, **arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of the Makefile on this cluster; it may fail."""
        given = (f"{name}={value}" for name, value in arguments.items())
        return self.try_command("make", command, "ON=kubernetes", *given)

    def versions(self, *releases: str) -> dict[str, str]:
        """The versions of what releases have, without the state that changes by itself, such as that of a probe."""
        kinds = "deployments,statefulsets,services,configmaps,serviceaccounts,networkpolicies"
        return {
            f"{one['kind']} {one['metadata']['name']}": str(
                one["metadata"].get("generation") or one["metadata"]["resourceVersion"]
            )
            for release in releases
            for one in self.get(kinds, f"app.kubernetes.io/instance={release}")
        }

    def images_of_runs(self, location: str) -> list[str]:
        """The images that runs of a location may have, as the daemon has them."""
        return list(self.policy(location)["images"])

    def policy(self, location: str) -> dict[str, Any]:
        """The run policy of a location, as the daemon has it."""
        path = f"/opt/dagster/run_policies/{location}.json"
        return dict(json.loads(self.kubectl("exec", "deploy/daemon", "-c", "daemon", "--", "cat", path)))

    def query(self, statement: str, database: str = "warehouse") -> list[list[Any]]:
        """Queries a database as superuser in Postgres's own pod."""
        as_json = f"select coalesce(json_agg(row), '[]') from ({statement}) as row"
        psql = 'PGPASSWORD=$(cat /run/password/password) exec psql -h 127.0.0.1 -U postgres -d "$0" -qtAc "$1"'
        answer = self.kubectl("exec", "postgres-0", "--", "sh", "-c", psql, database, as_json)
        return [list(row.values()) for row in json.loads(answer)]

    def as_superuser(self, database: str, statements: str) -> None:
        """Executes statements, of which the first that fails is an error."""
        password = "PGPASSWORD=$(cat /run/password/password)"
        psql = f'{password} exec psql -h 127.0.0.1 -U postgres -d "$0" -v ON_ERROR_STOP=1 -qc "$1"'
        self.kubectl("exec", "postgres-0", "--", "sh", "-c", psql, database, statements)

    def ready(self) -> None:
        """Waits until nodes and pods are ready, and until the webserver can launch runs of every location."""
        wait_for("nodes and pods to be ready", 300, lambda: self._is_ready() or None)
        # A webserver that started before a code server knows it some seconds later.
        wait_for("the webserver to serve all locations", 120, lambda: self._serves() or None)

    def _is_ready(self) -> bool:
        # Counted here: for a moment after a pod is deleted, the status of its Deployment is as before.
        wanted = sum(one["spec"]["replicas"] for one in self.get("deployments,statefulsets"))
        there = [pod for pod in self.get("pods") if _serves_still(pod)]
        return len(there) == wanted and all(map(_has_ready, (*there, *self.get("nodes"))))

    def _serves(self) -> bool:
        with contextlib.suppress(AssertionError, OSError):
            loaded = {location["__typename"] for location in self.webserver.locations().values()}
            planned = (self.webserver.code_server_answers(*asset) for asset in ASSETS.items())
            return loaded == {"RepositoryLocation"} and all(planned)
        return False

    def started_load(self) -> str:
        """Launches a load, which waits for the source, and returns the id of the run."""
        run_id = self.webserver.launch_month("2023-02-01")
        self.webserver.step_started(run_id)
        return run_id

    def started_build(self) -> str:
        """Launches a build of days, which waits for its table, and returns the id of the run."""
        days = {"dagster/asset_partition_range_start": "2023-02-01", "dagster/asset_partition_range_end": "2023-02-28"}
        run_id = self.webserver.launch("dbt_location", DAILY_ASSETS, **days)
        waiting = "select 1 as waits from pg_locks join pg_stat_activity using (pid) where usename = 'dbt_location'"
        waiting += f" and relation = '{MART}'::regclass and not granted"
        wait_for("a build to wait for its table", 120, lambda: self.query(waiting) or None)
        return run_id

    @contextlib.contextmanager
    def mart_locked(self) -> Iterator[None]:
        """Somebody holds the table of the daily metrics, so that a build waits in the middle."""
        password = "PGAPPNAME=holder PGPASSWORD=$(cat /run/password/password)"
        psql = f'{password} psql -h 127.0.0.1 -U postgres -qtAc "$1" warehouse'
        hold = f"begin; lock table {MART}; select pg_sleep(900)"
        command = ("kubectl", "-n", NAMESPACE, "exec", "postgres-0", "--", "sh", "-c", psql, "sh", hold)
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=self.env, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL) as holder:
            try:
                held = f"select 1 as held from pg_locks where relation = '{MART}'::regclass and granted"
                held += " and mode = 'AccessExclusiveLock'"
                wait_for("the lock of the table", 30, lambda: self.query(held) or None)
                yield
            finally:
                self.query(
                    "select pg_terminate_backend(pid) as ended from pg_stat_activity where application_name = 'holder'"
                )
                holder.kill()

    def check_tables(self) -> None:
        """Checks the trips and the daily metrics, which every run leaves as they were."""
        assert self.query("select count(*) from raw_taxis.trips") == [[205_025]]
        assert self.query("select round(sum(total_amount)::numeric, 2)::text from raw_taxis.trips") == [["4509620.40"]]
        days = self.query("select count(*)::int, sum(trip_count)::int from analytics.daily_metrics")
        assert days == [[90, 205_025]]

    def retry_of(self, run_id: str, seconds: float) -> str:
        """Waits until a run was launched again, and returns the id of that run."""

        def look() -> str | None:
            runs = self.webserver.runs()
            return next((run["runId"] for run in runs if run["tags"].get("dagster/parent_run_id") == run_id), None)

        return wait_for(f"a retry of the run {run_id}", seconds, look)

    @contextlib.contextmanager
    def source_silent(self) -> Iterator[threading.Event]:
        """The source sends no files, so that a load waits in the middle; who waits is answered after the event."""
        silent = Source.may_answer = threading.Event()
        try:
            yield silent
        finally:
            self.source_answers()
            silent.set()

    def source_answers(self) -> None:
        """The source sends files to whoever asks from now on; who has asked before goes on waiting."""
        Source.may_answer = threading.Event()
        Source.may_answer.set()

    def processes(self, pod: dict[str, Any]) -> list[int]:
        """The processes of a pod's container, as the machine has them."""
        container = pod["status"]["containerStatuses"][0]["containerID"].partition("://")[2]
        (found,) = CGROUPS.glob(f"node*/kubepods/**/{container}/cgroup.procs")
        return [int(pid) for pid in found.read_text().split()]

    @contextlib.contextmanager
    def frozen(self, pids: list[int]) -> Iterator[None]:
        """Processes stand still, and nobody is told."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def part(self, name: str) -> list[int]:
        """The process of a part of the cluster, such as ``control/apiserver`` and ``node1/kubelet``."""
        return [int((STATE / "pid" / name).read_text())]

    @contextlib.contextmanager
    def api_away(self) -> Iterator[None]:
        """The API does not answer.

        When it is back, Kubernetes takes nodes for lost from which it has heard nothing meanwhile, and their pods leave
        the Services for some seconds. It looks at the nodes every five seconds.
        """
        with self.frozen(self.part("control/apiserver")):
            yield
        seen = datetime.now(UTC) + timedelta(seconds=10)
        wait_for("the nodes to be heard of", 60, lambda: min(self._heard_of_nodes()) > seen or None)
        self.ready()

    def _heard_of_nodes(self) -> list[datetime]:
        """When each node has renewed its Lease last."""
        leases = json.loads(self.command("kubectl", "-n", "kube-node-lease", "get", "leases", "--output", "json"))
        return [datetime.fromisoformat(lease["spec"]["renewTime"]) for lease in leases["items"]]

    @contextlib.contextmanager
    def cut_off(self, node: str) -> Iterator[None]:
        """The network of a node is away; nothing on it is told or stopped."""
        self.command(str(ENSURE), "cut-node", node[-1])
        try:
            yield
        finally:
            self.command(str(ENSURE), "heal-node", node[-1])

    def reconnect(self, node: str) -> None:
        """The network of a node that was cut off is back. Its kubelet, which may stand still, is not waited for."""
        self.command("ip", "-n", "k8s-control", "link", "set", node, "master", "br0")


def _values(port: int, environment: Mapping[str, str]) -> dict[str, Any]:
    """What is laid over the values of the charts: a class of claims that both nodes share, and small requests."""
    image = {"tag": TAG}
    return {
        "postgres": {"user": _postgres_user(), "storage": {"className": "shared"}},
        "platform": {
            "image": image,
            # 180 in dagster.yaml, so that a run which never starts is failed sooner.
            "dagster": {"run_monitoring": {"start_timeout_seconds": START_TIMEOUT}},
            "door": {
                "publicUrl": f"http://{NODE}:{PORT}",
                "service": {"type": "NodePort", "port": 80, "nodePort": PORT},
            },
        },
        "locations": {
            "image": image,
            "storage": {"className": "shared", "computeLogs": {"image": f"proxies:{TAG}"}},
            "reports": {"image": f"reports:{TAG}"},
            "environment": {
                "TLC_BASE_URL": f"http://{MACHINE}:{port}",
                "TLC_TAXI_TYPE": "green",
                "TAXI_SOURCE_INTERVAL_SECONDS": "10",
                **environment,
            },
            "runs": {"resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}},
        },
    }


def _has_ready(one: dict[str, Any]) -> bool:
    """Whether a node or a pod is ready."""
    return any((each["type"], each["status"]) == ("Ready", "True") for each in one["status"].get("conditions", ()))


def _serves_still(pod: dict[str, Any]) -> bool:
    """Whether a pod is one of a Deployment or a StatefulSet, and neither ends nor has ended."""
    owners = {owner["kind"] for owner in pod["metadata"].get("ownerReferences", ())}
    ends = pod["metadata"].get("deletionTimestamp") or pod["status"]["phase"] == "Failed"
    return bool(owners & {"ReplicaSet", "StatefulSet"}) and not ends


def _postgres_user() -> int:
    command = ("docker", "run", "--rm", "--entrypoint", "id", "postgres:17", "-u", "postgres")
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def volumes(claims: Mapping[str, int]) -> str:
    """A PersistentVolume for each claim, a folder that is the same on both nodes; claims are given with their user."""
    made = []
    for claim, user in claims.items():
        folder = SHARED / claim
        folder.mkdir(parents=True)
        os.chown(folder, user, user)
        spec = {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
            "storageClassName": "shared",
            "claimRef": {"namespace": NAMESPACE, "name": claim},
            "hostPath": {"path": str(folder)},
        }
        metadata = {"name": f"{NAMESPACE}-{claim}"}
        made.append({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec})
    return yaml.safe_dump_all(made)


def start() -> str:
    """The file that leads to the cluster, which is started if it does not run; it brings kubectl and helm."""
    started = subprocess.run([ENSURE], check=True, capture_output=True, text=True).stdout
    found = re.search(r"KUBECONFIG=(\S+)", started)
    assert found, started
    return found[1]


@contextlib.contextmanager
def installed(kubeconfig: str, folder: Path, **environment: str) -> Iterator[Cluster]:
    """Installs the stack on an empty Postgres, and removes it at the end; its values are in a file in the folder.

    ``environment`` is laid over the settings of the locations.
    """
    images = [f"{name}:{TAG}" for name in (*PLATFORM_IMAGES, *LOCATIONS)]
    subprocess.run([ENSURE, "load", *images, "postgres:17"], check=True, capture_output=True)
    Source.may_answer.set()
    with ThreadingHTTPServer((MACHINE, 0), functools.partial(Source, directory=str(FILES))) as source:
        threading.Thread(target=source.serve_forever, daemon=True).start()
        values = folder / "values.yaml"
        values.write_text(yaml.safe_dump(_values(source.server_port, environment)))
        made = Cluster(kubeconfig, values)
        _remove(made)
        try:
            claims = {f"{release_name(location)}-compute-logs": USER for location in LOCATIONS}
            claims |= {"dbt-location-reports": USER, "data-postgres-0": _postgres_user()}
            made.kubectl("apply", "--filename", "-", stdin=volumes(claims))
            made.command("make", "kubernetes-up")
            yield made
        finally:
            _keep_state(made)
            _remove(made)
            source.shutdown()


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    return start()


@pytest.fixture(scope="session")
def cluster(kubeconfig: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster with the stack installed, on an empty Postgres; the stack is removed at the end."""
    with installed(kubeconfig, tmp_path_factory.mktemp("kubernetes")) as made:
        yield made


def _remove(cluster: Cluster) -> None:
    cluster.command("make", "kubernetes-destroy")
    for volume in json.loads(cluster.command("kubectl", "get", "persistentvolumes", "--output", "json"))["items"]:
        if volume["metadata"]["name"].startswith(f"{NAMESPACE}-"):
            cluster.command("kubectl", "delete", "persistentvolume", volume["metadata"]["name"])
    shutil.rmtree(SHARED, ignore_errors=True)


def _keep_state(cluster: Cluster) -> None:
    """Writes what the pods are and said to a file in .demo, for whoever looks into a failure."""
    (ROOT / ".demo").mkdir(exist_ok=True)
    said = [cluster.try_command("kubectl", "-n", NAMESPACE, "get", "pods,jobs,events", "-o", "wide").stdout]
    for name in ("deploy/daemon", "deploy/webserver", "statefulset/postgres"):
        command = ("kubectl", "-n", NAMESPACE, "logs", name, "--all-containers", "--tail", "400")
        said.append(f"--- {name}\n{cluster.try_command(*command).stdout}")
    (ROOT / ".demo" / f"{NAMESPACE}-kubernetes.log").write_text("\n".join(said))


@pytest.fixture(scope="session")
def built(cluster: Cluster) -> Cluster:
    """The cluster after the sensors have had three months, their days and their metrics built."""

    def look() -> bool | None:
        counts = [cluster.webserver.materialized_partitions(asset) for asset in ("daily_metrics", "monthly_report")]
        return counts == [90, 3] or None

    wait_for("ninety days and three reports", 300, look)
    return cluster


@pytest.fixture(scope="session")
def calm(built: Cluster) -> Cluster:
    """The cluster with everything built and the sensors stopped, so that it has the runs that a test launches alone."""
    for location in LOCATIONS:
        built.webserver.stop_sensors(location)

    def idle() -> bool | None:
        return all(run["status"] in FINISHED for run in built.webserver.runs()) or None

    wait_for("the end of all runs", 300, idle)
    return built
