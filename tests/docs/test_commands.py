"""Every command of the documentation is one that a test executes, and what it names is there."""

import re
import subprocess

import pytest

from ops.command import ROOT
from tests.docs.executed import is_run, targets_by_test, variables_of, what_targets_make
from tests.docs.pages import Block, Command, blocks, commands, spans

# Documented targets that nothing runs, and why; whatever is run must not be here.
NOT_RUN = {
    "bench": "measures for an hour",
    "bench-history": "measures",
    "bench-ingest": "measures",
    "bench-runs": "measures",
    "bench-windows": "measures",
    "ci-location": "runs check-location and build-location, which are run",
    "format": "changes the files that are tested",
    "lock": "asks the package registry",
    "lock-location": "asks the package registry",
    "screenshots": "needs Chromium",
}
# The shell's own, and programs that are none of the project's.
NOT_OURS = {".", "cat", "cd", "git", "jq", "set", "source"}
COMMANDS = commands()
MADE = [command for command in COMMANDS if command.words[0] == "make"]
OTHERS = [command for command in COMMANDS if command.words[0] != "make" and command.words[0] not in NOT_OURS]


def of(documented: list[Command]) -> list[object]:
    """The commands as parameters whose names are page, line and command."""
    return [pytest.param(command, id=f"{command.where} {' '.join(command.words)}") for command in documented]


def target(command: Command) -> str:
    return next((word for word in command.words[1:] if not word.startswith("-")), "help")


@pytest.mark.parametrize("command", of(MADE))
def test_a_documented_target_of_make_is_run_by_a_test_or_by_ci(command: Command) -> None:
    assert target(command) in what_targets_make(), f"{command.where}: the Makefile has no target {target(command)}"
    assert target(command) in {*targets_by_test(), *NOT_RUN}, (
        f"{command.where}: no test runs make {target(command)}, and NOT_RUN does not say why"
    )


@pytest.mark.parametrize("command", of([command for command in MADE if command.in_block and command.variables]))
def test_a_variable_of_a_documented_make_is_given_by_a_test_that_runs_the_target(command: Command) -> None:
    if target(command) not in NOT_RUN:
        assert set(command.variables) <= variables_of(targets_by_test()[target(command)]), command.where


@pytest.mark.parametrize("command", of(MADE))
def test_the_makefile_or_a_setting_has_the_variables_of_a_documented_make(command: Command) -> None:
    known = (ROOT / "Makefile").read_text() + (ROOT / ".env.example").read_text()
    lost = [
        name
        for name in command.variables
        if not re.search(rf"\$\(?{name}\b|call given,{name}\b|^#?{name}=", known, re.MULTILINE)
    ]
    assert lost == [], command.where


@pytest.mark.parametrize("name", NOT_RUN)
def test_a_target_that_is_said_not_to_be_run_is_there_and_not_run(name: str) -> None:
    assert name in what_targets_make()
    assert name not in targets_by_test()


@pytest.mark.parametrize("command", of(OTHERS))
def test_a_documented_command_is_run_with_its_options_by_a_test_or_by_the_projects_own_commands(
    command: Command,
) -> None:
    assert is_run(command.words), f"{command.where}: nothing runs {' '.join(command.words)}"


def test_the_commands_of_every_page_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/contract.md"} <= {one.where.partition(":")[0] for one in COMMANDS}


@pytest.mark.parametrize("block", [pytest.param(one, id=f"{one.page.name}:{one.line}") for one in blocks()])
def test_a_block_can_be_pasted_into_a_shell(block: Block) -> None:
    parsed = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
    assert parsed.stderr == ""


def test_every_target_that_make_help_lists_is_one() -> None:
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = {line.split()[0] for line in helped.splitlines()}
    assert listed <= set(what_targets_make())
    assert "demo" in listed


def test_every_test_that_a_page_names_is_there() -> None:
    sources = "\n".join(path.read_text() for path in ROOT.glob("**/test_*.py") if ".venv" not in path.parts)
    named = {(where, name) for where, span in spans() for name in re.findall(r"^(test_[a-z0-9_]+)$", span)}
    assert named
    assert [(where, name) for where, name in sorted(named) if f"def {name}(" not in sources] == []


def test_every_path_that_a_page_names_is_there() -> None:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    files = listed.stdout.splitlines()
    # The example of a location that is made is none of the repository's.
    example = "weather_location"
    top = {file.partition("/")[0] for file in files if "/" in file}
    named = {
        (where, span) for where, span in spans() if re.fullmatch(r"[\w.-]+/[\w./-]*", span) and example not in span
    }
    ours = sorted((where, path) for where, path in named if path.partition("/")[0] in top)
    assert ours
    missing = [(where, path) for where, path in ours if not (ROOT / path).exists()]
    # What git ignores is made by a command.
    ignored = subprocess.run(["git", "check-ignore", *{path for _, path in ours}], cwd=ROOT, capture_output=True)
    made = set(ignored.stdout.decode().splitlines())
    assert [(where, path) for where, path in missing if path not in made] == []


def test_every_page_that_a_file_of_the_project_refers_to_is_there() -> None:
    said = subprocess.run(
        ["git", "grep", "-Io", "--untracked", r"docs/[a-z-]*\.md"], cwd=ROOT, capture_output=True, text=True
    )
    assert said.stdout
    assert [line for line in said.stdout.splitlines() if not (ROOT / line.rpartition(":")[2]).exists()] == []
