"""The charts and the values of the locations, without a cluster; tests/kubernetes/ has those in one."""

import json
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator
from platform_host.kubernetes_policy import KubernetesPolicy

from ops.command import ROOT, OpsError
from ops.kubernetes import up
from ops.locations import LOCATIONS

CHARTS = ROOT / "kubernetes"


@pytest.mark.parametrize("location", LOCATIONS)
def test_the_values_of_a_location_are_what_the_chart_accepts(location: str) -> None:
    schema = json.loads((CHARTS / "location/values.schema.json").read_text())
    values = yaml.safe_load((ROOT / location / "kubernetes.yaml").read_text())
    merged = yaml.safe_load((CHARTS / "location/values.yaml").read_text()) | values
    assert [error.message for error in Draft7Validator(schema).iter_errors(merged)] == []
    assert values["location"] == location


def test_the_chart_writes_each_field_of_a_run_policy() -> None:
    template = (CHARTS / "location/templates/run-policy.yaml").read_text().partition("policy.json: |")[2]
    assert set(re.findall(r'^ +"(\w+)" ', template, re.MULTILINE)) == KubernetesPolicy.model_fields.keys()


def test_a_part_of_the_values_that_does_not_exist_is_named_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "values.yaml").write_text("location: {}")
    monkeypatch.setenv("KUBERNETES_VALUES", str(tmp_path / "values.yaml"))
    with pytest.raises(
        OpsError, match=r"location is no part of this file\. Its parts are postgres, platform, locations"
    ):
        up()
