"""CI's workflows: one per location, and made of commands that exist."""

import json
import re
import subprocess
from pathlib import Path, PurePath
from typing import Any

import pytest
import yaml

from ops.command import ROOT
from ops.locations import DATA_LOCATIONS, LOCATIONS

WORKFLOWS = ROOT / ".github/workflows"
FILES = sorted(WORKFLOWS.glob("*.yml"))


def read(path: Path) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load(path.read_text())
    return content


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_change_of_a_location_starts_its_own_workflow_alone(location: str) -> None:
    callers = [path.stem for path in FILES if f"{location}/**" in str(paths(path))]
    assert callers == [location]
    assert read(WORKFLOWS / f"{location}.yml")["jobs"]["location"]["with"] == {"location": location}


def paths(workflow: Path) -> list[str]:
    """The paths whose changes start a workflow."""
    triggers = read(workflow)[True]  # `on`, to YAML 1.1
    of_pulls, of_pushes = (triggers.get(kind, {}).get("paths", []) for kind in ("pull_request", "push"))
    assert of_pulls == of_pushes
    return list(of_pulls)


@pytest.mark.parametrize("location", LOCATIONS)
def test_the_workflows_of_the_locations_differ_in_the_name_alone(location: str) -> None:
    template = (ROOT / "ops/template/files/.github/workflows/{{ name }}.yml.jinja").read_text()
    assert (WORKFLOWS / f"{location}.yml").read_text() == template.replace("{{ name }}", location)


@pytest.mark.parametrize(
    ("workflow", "job"), [("location.yml", "check"), ("location.yml", "deploy"), ("platform.yml", "test")]
)
def test_every_step_is_a_target_of_the_makefile(workflow: str, job: str) -> None:
    steps = [step["run"] for step in read(WORKFLOWS / workflow)["jobs"][job]["steps"] if "run" in step]
    assert steps
    for step in steps:
        target = re.fullmatch(r"make ([a-z-]+)( [A-Z]+=(\"\$LOCATION\"|[a-z-]+))?", step)
        assert target, step
        known = subprocess.run(
            ["make", "--dry-run", target[1], "NAME=dbt_location", "LOCATION=dbt_location"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert known.returncode == 0, known.stderr


def actions() -> list[tuple[str, dict[str, Any]]]:
    """Each step of the workflows that is an action of somebody else, with the line that names it."""
    steps: list[tuple[str, dict[str, Any]]] = []
    for path in FILES:
        lines = [line for line in path.read_text().splitlines() if re.search(r"uses: (?!\./)", line)]
        used = [step for job in read(path)["jobs"].values() for step in job.get("steps", []) if "uses" in step]
        steps += zip(lines, used, strict=True)
    return steps


def test_an_action_is_named_by_its_commit_with_the_release_beside_it() -> None:
    assert [line for line, _ in actions() if not re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


def test_a_checkout_leaves_no_credentials_to_later_steps() -> None:
    checkouts = [step for line, step in actions() if "actions/checkout@" in line]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_a_workflow_may_read_the_repository_and_nothing_else() -> None:
    assert [path.name for path in FILES if read(path)["permissions"] != {"contents": "read"}] == []


def test_the_audit_reads_the_locks_of_all_images_and_of_the_operators_tool() -> None:
    (audit,) = [step for line, step in actions() if "pip-audit" in line]
    locks = ["services/dagster", "demo/sample", "ops", "tests", *LOCATIONS]
    assert sorted(audit["with"]["inputs"].split()) == sorted(f"{folder}/requirements.lock" for folder in locks)


def test_renovate_finds_every_dockerfile_and_every_file_that_pins_packages() -> None:
    settings = json.loads((ROOT / ".github/renovate.json").read_text())
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    (docker,), (packages,) = settings["dockerfile"]["fileMatch"], settings["pip_requirements"]["fileMatch"]
    files = [path for path in tracked if not path.startswith(("tests/stack/skew", "tests/release"))]
    for path in files:
        assert bool(re.search(docker, path)) == (Path(path).name.removesuffix(".jinja") == "Dockerfile"), path
        assert bool(re.search(packages, path)) == path.endswith(".in"), path


FOLDERS = (*LOCATIONS, "dbt_location/reports", "services/*", "demo/sample")
DOCKERFILES = [path for folder in FOLDERS for path in sorted(ROOT.glob(f"{folder}/Dockerfile"))]


@pytest.mark.parametrize("path", [*DOCKERFILES, *ROOT.glob("ops/template/**/Dockerfile.jinja")])
def test_a_base_image_is_an_argument_so_that_one_setting_replaces_it(path: Path) -> None:
    lines = path.read_text().splitlines()
    stages = {line.split()[-1] for line in lines if re.match(r"FROM .* AS ", line)}
    bases = {line.split()[1] for line in lines if line.startswith("FROM ")} - stages
    assert len(bases) == 1
    assert bases < {"${PYTHON_IMAGE}", "${DEBIAN_IMAGE}", "${POSTGRES_IMAGE}"}


def test_every_image_is_installed_by_the_uv_that_ci_has() -> None:
    folders = [ROOT / name for name in LOCATIONS] + [ROOT / "demo/sample", ROOT / "ops/template/files/{{ name }}"]
    pinned = (ROOT / ".ci/requirements.lock").read_text()
    assert {(folder / "installer.lock").read_text() for folder in folders} == {pinned}


SHARED = [".github/workflows/x.yml", "services/health.yaml", "docker-compose.yml", "dagster.yaml", "ops/secret.py"]
RIGHTS = [f"{location}/{file}" for location in DATA_LOCATIONS for file in ("warehouse.sql", "compose.yaml")]


@pytest.mark.parametrize("path", [*SHARED, *RIGHTS])
def test_what_decides_over_rights_is_owned_by_the_platform_team(path: str) -> None:
    rules = [line.split() for line in (ROOT / ".github/CODEOWNERS").read_text().splitlines() if line[:1] != "#"]
    # The last rule that matches counts.
    assert [owner for pattern, owner in rules if covers(pattern, f"/{path}")][-1] == "@platform-team"


def covers(pattern: str, path: str) -> bool:
    """Whether a pattern of CODEOWNERS stands for a path; one that ends with a slash stands for a whole folder."""
    return path.startswith(pattern) if pattern.endswith("/") else PurePath(path).match(pattern)


def test_a_location_is_deployed_after_its_checks_and_from_main_alone() -> None:
    deploy = read(WORKFLOWS / "location.yml")["jobs"]["deploy"]
    assert (deploy["needs"], "refs/heads/main" in deploy["if"]) == ("check", True)
