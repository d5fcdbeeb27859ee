"""A third team makes a location with `make new-location`, and deploys it into the cluster for the first time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops.command import ROOT
from ops.kubernetes.releases import credentials, release_name
from ops.locations import LOCATIONS
from tests.checkout import commit, copy_repository
from tests.kubernetes.conftest import ENSURE, NAMESPACE, TAG, USER, Cluster, volumes

pytestmark = [pytest.mark.drill, pytest.mark.release]
# The drill on compose has a location of another name: both have its image on one machine.
NAME = "bicycle_location"
RELEASE, IMAGE = release_name(NAME), f"{NAME}:{TAG}"
OTHERS = ("platform", "postgres", *map(release_name, LOCATIONS))


@dataclass
class Joined:
    """What was seen of the first deploy of a new location."""

    cluster: Cluster
    printed: str
    moved: set[str]


@pytest.fixture(scope="module")
def joined(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joined]:
    """The cluster with the third team's location, which leaves it in the end."""
    folder = tmp_path_factory.mktemp("third") / "clone"
    copy_repository(folder)
    commit(folder, "before")
    (folder / ".venv").symlink_to(ROOT / ".venv")
    third = Cluster(cluster.env["KUBECONFIG"], Path(cluster.env["KUBERNETES_VALUES"]), folder)
    third.command("make", "new-location", f"NAME={NAME}")
    third.command("make", "build-location", f"NAME={NAME}", f"TAG={TAG}")
    claim = f"{RELEASE}-compute-logs"
    try:
        cluster.command(str(ENSURE), "load", IMAGE)
        cluster.kubectl("apply", "--filename", "-", stdin=volumes({claim: USER}))
        before = cluster.versions(*OTHERS)
        printed = third.command("make", "deploy", f"LOCATION={NAME}", f"TAG={TAG}", "ON=kubernetes")
        after = cluster.versions(*OTHERS)
        yield Joined(cluster, printed, {name for name, version in after.items() if before.get(name) != version})
    finally:
        cluster.command("helm", "--namespace", NAMESPACE, "uninstall", RELEASE, "--ignore-not-found", "--wait")
        # A claim is there as long as a pod has it, also one that has ended.
        cluster.kubectl("delete", "jobs", "--selector", f"app.kubernetes.io/name={RELEASE}")
        left = (f"secret/{credentials(NAME)}", f"configmap/{RELEASE}-deployments", f"persistentvolumeclaim/{claim}")
        cluster.kubectl("delete", "--ignore-not-found", *left)
        cluster.command("docker", "image", "rm", IMAGE)
        if cluster.query(f"select 1 as there from pg_roles where rolname = '{NAME}'"):
            for database in ("warehouse", "dagster"):
                cluster.as_superuser(database, f"drop owned by {NAME} cascade")
            cluster.as_superuser("postgres", f"drop role {NAME}")
        cluster.ready()


def test_a_first_deploy_makes_the_role_and_moves_nothing_of_the_other_releases(joined: Joined) -> None:
    assert f"{NAME}: new to this cluster" in joined.printed
    assert joined.moved == set()


def test_webserver_and_daemon_have_loaded_a_new_location_beside_the_others(joined: Joined) -> None:
    loaded = {name: location["__typename"] for name, location in joined.cluster.webserver.locations().items()}
    assert loaded == dict.fromkeys((*LOCATIONS, NAME), "RepositoryLocation")
    assert f"{IMAGE}: the daemon has loaded it" in joined.printed


def test_a_run_of_a_new_location_writes_its_rows(joined: Joined) -> None:
    cluster = joined.cluster
    run_id = cluster.webserver.launch(NAME, ["bicycle_observations"], **{"dagster/partition": "2023-01-01"})
    assert cluster.webserver.finished(run_id)["status"] == "SUCCESS"
    (pod,) = cluster.run_pods(run_id)
    assert pod["spec"]["containers"][0]["image"] == IMAGE
    rows = cluster.query("select count(*)::int, min(day)::text, max(day)::text from bicycle.observations")
    assert rows == [[31, "2023-01-01", "2023-01-31"]]
