"""What the service <location>_policy records, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from platform_host import record_policy
from platform_host.check_policies import policies as check_policies
from platform_host.run_policy import RunPolicy, read_policy

KNOWN = ("ingestion_location", "dbt_location", "dbt_location_two_location", "platform_location")
ENVIRONMENT = {"PATH": "/opt/venv/bin", "HOSTNAME": "4f1c", "PGUSER": "dbt", "TAXI_START_DATE": "2023-01-01"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for policies, where the image's environment has PATH and a PGUSER of its own."""
    policies = tmp_path / "policies"
    policies.mkdir()
    entries = [{"grpc_server": {"host": name, "port": 4000, "location_name": name}} for name in KNOWN]
    (tmp_path / "workspace.yaml").write_text(json.dumps({"load_from": entries}))
    (tmp_path / "environment").write_text("PATH=/opt/venv/bin\nPGUSER=dagster\n")
    monkeypatch.setattr(record_policy, "FOLDER", policies)
    monkeypatch.setattr("platform_host.check_policies.FOLDER", policies)
    monkeypatch.setattr(record_policy, "WORKSPACE", tmp_path / "workspace.yaml")
    monkeypatch.setattr(record_policy, "IMAGE_ENVIRONMENT", tmp_path / "environment")
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    return policies


def record(location: str = "dbt_location", tag: str = "new", *options: str) -> None:
    limits = ("--memory=2g", "--cpus=2", "--pids-limit=512")
    arguments = ["--project=taxi", *limits, location, f"--image={location}:{tag}", *options]
    record_policy.main(arguments, ENVIRONMENT)


def recorded(folder: Path, location: str = "dbt_location") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / f"{location}.json").read_text())
    return content


def refusal(*options: str, location: str = "dbt_location", tag: str = "new") -> str:
    with pytest.raises(SystemExit) as refused:
        record(location, tag, *options)
    return str(refused.value)


def test_a_policy_follows_from_the_locations_name_its_settings_and_the_limits(folder: Path) -> None:
    record("dbt_location", "new", "--volume=dbt_location_reports:/opt/dagster/reports")
    assert recorded(folder) == {
        "location": "dbt_location",
        "project": "taxi",
        "images": ["dbt_location:new"],
        "environment": {"PGUSER": "dbt", "TAXI_START_DATE": "2023-01-01"},
        "network": "taxi_dbt_location",
        "volumes": [
            "taxi_dbt_location_credentials:/run/credentials:ro",
            "taxi_dbt_location_compute_logs:/opt/dagster/compute_logs",
            "taxi_dbt_location_reports:/opt/dagster/reports",
        ],
        "memory": 2147483648,
        "cpus": 2.0,
        "pids": 512,
    }


def test_earlier_images_stay_and_the_newest_is_first(folder: Path) -> None:
    for tag in ("one", "two", "one", "three"):
        record(tag=tag)
    assert recorded(folder)["images"] == ["dbt_location:three", "dbt_location:one", "dbt_location:two"]


def test_an_image_that_was_removed_leaves_the_policy_unless_it_is_the_one_in_use(folder: Path) -> None:
    record(tag="old")
    record("dbt_location", "new", "--without=dbt_location:old", "--without=dbt_location:new")
    assert recorded(folder)["images"] == ["dbt_location:new"]


def test_a_policy_that_is_broken_is_written_anew_and_the_output_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "dbt_location.json").write_text("{")
    record()
    assert recorded(folder)["images"] == ["dbt_location:new"]
    assert "dbt_location.json is wrong: Invalid JSON" in capsys.readouterr().out


def test_a_limit_of_more_cpus_than_the_machine_has_is_the_machines(folder: Path) -> None:
    record("dbt_location", "new", "--cpus=64")
    assert recorded(folder)["cpus"] == 2.0


def test_a_locations_own_limit_replaces_that_of_all(folder: Path) -> None:
    record("dbt_location", "new", "--memory=512m", "--pids-limit=64")
    assert (recorded(folder)["memory"], recorded(folder)["pids"]) == (512 * 2**20, 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--network="], "the network 'taxi_' is not one of the project taxi"),
        (["--network=host/x"], "the network 'taxi_host/x' is not one of the project taxi"),
        (["--volume=/etc:/etc"], "the volume 'taxi_/etc:/etc' is not the name of a volume of this project"),
        (["--volume=ingestion_location_credentials:/x"], "this volume is one of ingestion_location"),
        (["--volume=dbt_location_two_location_credentials:/x"], "this volume is one of dbt_location_two_location"),
        (["--volume=postgres_socket:/x"], "is not one of dbt_location: their names begin with taxi_dbt_location_"),
        (["--volume=dagster_credentials:/x"], "is not one of dbt_location: their names begin with taxi_dbt_location_"),
        (["--volume=run_policies:/x"], "is not one of dbt_location: their names begin with taxi_dbt_location_"),
        (["--volume=dbt_location_a:/x/../y"], "is not the name of a volume of this project, a colon and a folder's"),
        (["--volume=dbt_location_a:/x:rslave"], "is not the name of a volume of this project, a colon and a folder's"),
        (["--volume=dbt_location_a"], "is not the name of a volume of this project, a colon and a folder's"),
        (["--image=postgres:17"], "the image 'postgres:17' is not dbt_location with a tag"),
        (["--memory=1m"], "memory: Input should be greater than or equal to 6291456"),
        (["--cpus=0"], "cpus: Input should be greater than or equal to 0.01"),
        (["--pids-limit=0"], "pids: Input should be greater than or equal to 1"),
    ],
)
def test_what_is_not_the_locations_is_refused_by_name(folder: Path, options: list[str], message: str) -> None:
    assert message in refusal(*options)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["nowhere_location", "../dbt_location", ""])
def test_a_name_that_is_no_known_locations_is_refused(folder: Path, name: str) -> None:
    assert refusal(location=name) == f"{name}_policy: {name} is not a location of workspace.yaml, which has " + (
        "ingestion_location, dbt_location, dbt_location_two_location, platform_location."
    )
    assert list(folder.iterdir()) == []


def test_the_policy_of_a_location_that_leaves_is_removed(folder: Path) -> None:
    record()
    record("dbt_location", "new", "--remove")
    assert list(folder.iterdir()) == []


def test_make_status_is_told_which_policies_can_be_used(folder: Path) -> None:
    record("dbt_location")
    record("ingestion_location")
    (folder / "ingestion_location.json").write_text((folder / "dbt_location.json").read_text())
    found = check_policies()
    assert found["dbt_location"] == ""
    assert found["ingestion_location"].endswith(
        "is that of dbt_location. `make up` or `make deploy LOCATION=ingestion_location` writes it again."
    )


def test_a_reader_gets_the_policy_that_was_written(folder: Path) -> None:
    record("platform_location")
    volumes = read_policy(folder, "platform_location", RunPolicy).volumes
    assert volumes[0] == "taxi_platform_location_credentials:/run/credentials:ro"
