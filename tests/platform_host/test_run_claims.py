"""Which runs are refused for what their row says, and what is made of those that are not."""

from typing import Any

import pytest
from dagster._core.code_pointer import FileCodePointer, ModuleCodePointer
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import deserialize_value
from platform_host.run_claims import RunRefusedError, claimed_image, location_of, own_origin

from tests.platform_host.policies import JOB, policy, run


@pytest.mark.parametrize("image", ["dbt_location:new", "dbt_location:old"])
def test_a_run_keeps_an_image_that_was_deployed_for_its_location(image: str) -> None:
    assert claimed_image(run(container_image=image), policy()) == image


@pytest.mark.parametrize(
    ("code", "claim"),
    [
        ({"container_image": "postgres:17"}, "the image 'postgres:17' was not deployed for dbt_location"),
        ({"container_image": "ingestion_location:new"}, "the image 'ingestion_location:new' was not deployed"),
        ({"container_image": None}, "the image None was not deployed"),
        ({"container_context": {"docker": {"container_kwargs": {}}}}, "brings a container context (docker)"),
        ({"code_pointer": ModuleCodePointer("os", "system")}, "the code pointer ModuleCodePointer(module='os'"),
        ({"code_pointer": ModuleCodePointer("dbt_location.definitions", "other")}, "the code pointer Module"),
        ({"code_pointer": ModuleCodePointer("dbt_location.definitions", "defs", "/tmp")}, "the code pointer Module"),
        ({"code_pointer": FileCodePointer("/opt/dagster/reports/x.py", "defs")}, "the code pointer FileCodePointer("),
        ({"executable_path": "/tmp/python"}, "the executable '/tmp/python' is not /opt/venv/bin/python"),
        ({"entry_point": ["sh", "-c", "id"]}, "the entry point ['sh', '-c', 'id'] is not ['dagster']"),
    ],
)
def test_a_run_that_claims_anything_else_is_refused_by_name(code: dict[str, Any], claim: str) -> None:
    with pytest.raises(RunRefusedError) as refused:
        claimed_image(run(**code), policy())
    assert claim in str(refused.value)


def test_a_run_whose_code_is_of_another_job_is_refused() -> None:
    other = run()._replace(job_name="nightly")
    with pytest.raises(RunRefusedError, match="names several jobs"):
        claimed_image(other, policy())


def test_a_run_without_an_origin_is_refused() -> None:
    with pytest.raises(RunRefusedError, match="the run names no location"):
        location_of(run()._replace(remote_job_origin=None))


def test_a_run_without_code_is_refused() -> None:
    with pytest.raises(RunRefusedError, match="it names no code"):
        claimed_image(run()._replace(job_code_origin=None), policy())


def test_the_command_of_a_run_has_nothing_of_its_row() -> None:
    arguments = ExecuteRunArgs(own_origin(JOB, "dbt_location", "dbt_location:new"), "some-id", None).get_command_args()
    assert arguments[:3] == ["dagster", "api", "execute_run"]
    origin = deserialize_value(arguments[3], ExecuteRunArgs).job_origin.repository_origin
    assert (origin.code_pointer, origin.container_image, origin.container_context, origin.entry_point) == (
        ModuleCodePointer("dbt_location.definitions", "defs"),
        "dbt_location:new",
        None,
        ["dagster"],
    )
