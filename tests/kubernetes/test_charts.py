"""What the charts render is right for Kubernetes, also for releases that are newer than the tests' cluster."""

import subprocess

import kubernetes_validate.utils as kubernetes
import pytest
import yaml

from ops.command import ROOT
from ops.locations import LOCATIONS

pytestmark = pytest.mark.drill
# Per release, its chart and what is laid over its values.
RELEASES = {
    "postgres": ("postgres", []),
    "platform": ("platform", ["--set", f"locations={{{','.join(LOCATIONS)}}}"]),
    **{name.replace("_", "-"): ("location", ["--values", f"{name}/kubernetes.yaml"]) for name in LOCATIONS},
}
VERSIONS = kubernetes.all_versions()


@pytest.fixture(autouse=True)
def _helm(kubeconfig: str) -> None:
    """Helm comes with the cluster."""


def helm(*arguments: str) -> str:
    ended = subprocess.run(["helm", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.parametrize("release", RELEASES)
def test_helm_finds_nothing_wrong_with_a_chart(release: str) -> None:
    chart, values = RELEASES[release]
    helm("lint", "--strict", f"kubernetes/{chart}", *values)


# The first and the last release whose schemas are known.
@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
@pytest.mark.parametrize("release", RELEASES)
def test_every_object_of_a_release_has_only_fields_that_kubernetes_knows(release: str, version: str) -> None:
    chart, values = RELEASES[release]
    objects = [one for one in yaml.safe_load_all(helm("template", release, f"kubernetes/{chart}", *values)) if one]
    assert objects
    for one in objects:
        kubernetes.validate(one, version, strict=True)


@pytest.mark.parametrize("release", RELEASES)
def test_a_value_that_a_chart_does_not_have_is_refused(release: str) -> None:
    chart, values = RELEASES[release]
    command = ["helm", "template", release, f"kubernetes/{chart}", *values, "--set", "unknown=1"]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "unknown" in refused.stderr
