"""What webserver and daemon have of the locations' releases."""

import json
from typing import Any

from kubernetes import client
from platform_host.kubernetes_locations import POLICY, policies


def config_map(policy: str) -> client.V1ConfigMapList:
    metadata = client.V1ObjectMeta(
        name="dbt-location-run-policy", annotations={"dagster/location": "dbt_location"}, labels={}
    )
    return client.V1ConfigMapList(items=[client.V1ConfigMap(metadata=metadata, data={POLICY: policy})])


def code_servers(*images: str, name: str = "dbt-location") -> client.V1ReplicaSetList:
    """The ReplicaSets of a code server that had these images, the oldest first."""

    def made(number: int, image: str) -> Any:
        container = client.V1Container(name="code-server", image=image)
        template = client.V1PodTemplateSpec(spec=client.V1PodSpec(containers=[container]))
        metadata = client.V1ObjectMeta(
            labels={"app.kubernetes.io/name": name}, annotations={"deployment.kubernetes.io/revision": str(number)}
        )
        spec = client.V1ReplicaSetSpec(selector=client.V1LabelSelector(), template=template)
        return client.V1ReplicaSet(metadata=metadata, spec=spec)

    return client.V1ReplicaSetList(items=[made(number, image) for number, image in enumerate(images, 1)])


def images(deployed: client.V1ReplicaSetList) -> list[str]:
    """The images that the runs of a location may have whose release has the image dbt_location:2."""
    policy = policies(config_map(json.dumps({"images": ["dbt_location:2"]})), deployed)["dbt_location"]
    return list(json.loads(policy)["images"])


def test_a_policy_keeps_the_images_that_were_deployed_before_its_own_first() -> None:
    found = images(code_servers("dbt_location:9", "dbt_location:10", "dbt_location:2"))
    assert found == ["dbt_location:2", "dbt_location:10", "dbt_location:9"]


def test_after_a_rollback_a_policy_keeps_the_newer_image() -> None:
    assert images(code_servers("dbt_location:2", "dbt_location:3")) == ["dbt_location:2", "dbt_location:3"]


def test_a_policy_has_no_image_of_another_location() -> None:
    assert images(code_servers("ingestion_location:1", name="ingestion-location")) == ["dbt_location:2"]


def test_a_policy_that_cannot_be_read_is_passed_on_as_it_is() -> None:
    assert policies(config_map("{"), code_servers("dbt_location:1")) == {"dbt_location": "{"}
