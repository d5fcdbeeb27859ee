"""The platform's webserver takes the place of Dagster's, or does not start."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import dagster_webserver.app
import dagster_webserver.cli
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_graphql.schema import create_schema
from dagster_webserver.webserver import DagsterWebserver
from platform_host.guard import guard
from platform_host.webserver import ProcessContext, Webserver, install
from starlette.requests import Request

from ops.command import ROOT
from tests.platform_host.served import Served


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts back what a test replaces."""
    monkeypatch.setattr(dagster_webserver.cli, "WorkspaceProcessContext", WorkspaceProcessContext)
    monkeypatch.setattr(dagster_webserver.app, "DagsterWebserver", DagsterWebserver)


def test_the_webserver_that_dagsters_command_starts_is_this_one(
    modules: None, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR_KEY_FILE", str(served.access.with_name("key")))
    monkeypatch.setenv("ALERTS_KEY_FILE", str(served.access.with_name("key")))
    install()
    assert getattr(dagster_webserver.cli, "WorkspaceProcessContext") is ProcessContext  # noqa: B009, not exported
    app = dagster_webserver.app.create_app_from_workspace_process_context(served.process)
    assert "Door" in str(app.user_middleware[0])


@pytest.mark.parametrize(
    ("module", "name"),
    [(dagster_webserver.cli, "WorkspaceProcessContext"), (dagster_webserver.app, "DagsterWebserver")],
)
def test_it_does_not_start_where_dagster_no_longer_uses_what_it_replaces(
    modules: None, module: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(module, name)
    with pytest.raises(TypeError, match=f"{module.__name__} no longer uses {name}"):
        install()


def test_it_serves_nothing_with_a_context_that_is_not_its_own() -> None:
    with pytest.raises(TypeError, match="Dagster no longer makes its context"):
        Webserver(SimpleNamespace())  # type: ignore[arg-type]


def test_a_request_that_no_door_has_looked_at_has_no_context(served: Served) -> None:
    with pytest.raises(KeyError, match="caller"):
        served.process.create_request_context(Request({"type": "http"}))


def test_every_mutation_is_guarded() -> None:
    mutations = guard(create_schema()).graphql_schema.mutation_type.fields
    assert {each.resolve.func.__module__ for each in mutations.values()} == {"platform_host.guard"}


def test_a_wrong_file_ends_the_start_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "access.yaml").write_text("users:\n  ana: {editor: [nowhere]}\n")
    (tmp_path / "workspace.yaml").write_text("load_from: []\n")
    command = [
        sys.executable,
        "-m",
        "platform_host.webserver",
        "--workspace",
        str(tmp_path / "workspace.yaml"),
        "--port=0",
    ]
    settings = {"ACCESS_FILE": str(tmp_path / "access.yaml"), "PYTHONPATH": str(ROOT / "services/dagster")}
    settings |= {"DAGSTER_HOME": str(tmp_path), "PATH": str(Path(sys.executable).parent)}
    ended = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60)
    assert ended.stderr.splitlines()[-1].startswith(f"{tmp_path}/access.yaml, line 2: 'nowhere' is no location.")
    assert ended.returncode == 1
