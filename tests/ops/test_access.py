"""`python -m ops users`, `tokens` and `roles`: what they write is what the webserver and the door read."""

import subprocess
from pathlib import Path

import bcrypt
import pytest
from platform_host.access_file import Role, read_access
from typer.testing import CliRunner

from ops.__main__ import app
from ops.access import forget_location
from ops.locations import LOCATIONS
from tests.stack.conftest import NO_ENGINE, engine_answers

PASSWORD = "correct horse battery"
# A stack that was started keeps its folder.
NEVER_STARTED = "never-started"
pytestmark = pytest.mark.skipif(not engine_answers(), reason=NO_ENGINE)


def ops(folder: Path, *arguments: str, stdin: str = "", fails: bool = False, project: str = NEVER_STARTED) -> str:
    """Runs a command on this folder and returns what it prints, or its error."""
    env = {"ACCESS_DIR": str(folder), "COMPOSE_PROJECT_NAME": project}
    ended = CliRunner().invoke(app, arguments, input=stdin, env=env, prog_name="python -m ops")
    assert (ended.exit_code != 0) == fails, ended.output
    return f"{ended.output}{ended.exception}" if fails else ended.output


def test_a_user_gets_a_role_and_a_password_that_apache_can_check(tmp_path: Path) -> None:
    said = ops(
        tmp_path, "users", "add", "ana", "--role", "launcher", "--location", "dbt_location", stdin=f"{PASSWORD}\n"
    )
    assert "From now on everybody must log in." in said
    ana = read_access(tmp_path / "access.yaml", LOCATIONS).user("ana")
    assert ana
    assert (ana.everywhere, ana.role_in("dbt_location")) == (None, Role.LAUNCHER)
    name, _, hashed = (tmp_path / "users.htpasswd").read_text().strip().partition(":")
    assert (name, hashed[:4]) == ("ana", "$2y$")
    assert bcrypt.checkpw(PASSWORD.encode(), hashed.replace("$2y$", "$2b$").encode())
    assert PASSWORD not in said
    # Another role needs no password.
    ops(tmp_path, "users", "add", "ana", "--role", "viewer")
    ops(tmp_path, "users", "remove", "ana")
    assert read_access(tmp_path / "access.yaml", LOCATIONS).user("ana") is None
    assert (tmp_path / "users.htpasswd").read_text() == ""


def test_comments_and_the_other_users_stay(tmp_path: Path) -> None:
    text = "# Ours.\nusers:\n  bob: {viewer: all} # since May\n"
    (tmp_path / "access.yaml").write_text(text)
    ops(tmp_path, "users", "add", "eve", "--role", "editor", "--location", "dbt_location", "--no-password")
    ops(tmp_path, "users", "add", "eve", "--role", "editor", "--location", "ingestion_location", "--no-password")
    written = (tmp_path / "access.yaml").read_text()
    assert written.startswith(text)
    eve = read_access(tmp_path / "access.yaml", LOCATIONS).user("eve")
    assert eve
    assert set(eve.locations) == {"dbt_location", "ingestion_location"}


def test_a_token_is_shown_once_and_stored_as_a_hash(tmp_path: Path) -> None:
    *_, value = ops(tmp_path, "tokens", "add", "ci", "--role", "editor", "--location", "dbt_location").splitlines()
    written = (tmp_path / "access.yaml").read_text()
    assert value not in written
    token = read_access(tmp_path / "access.yaml", LOCATIONS).token(value)
    assert token
    assert (token.name, token.role_in("dbt_location")) == ("token:ci", Role.EDITOR)
    assert "ci" in ops(tmp_path, "tokens", "list")
    assert "token ci (dbt_location)" in ops(tmp_path, "roles")
    ops(tmp_path, "tokens", "remove", "ci")
    assert read_access(tmp_path / "access.yaml", LOCATIONS).token(value) is None


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (
            ("add", "ana", "--role", "editor", "--location", "nowhere"),
            "",
            "'nowhere' is no location. The locations are",
        ),
        (("add", "ana", "--role", "viewer", "--location", "dbt_location"), "", "A viewer sees all locations"),
        (("add", "a:b", "--role", "viewer"), "", "NAME='a:b' is no name."),
        (("add", "ana", "--role", "viewer"), "short\n", "A password has at least 12 characters and at most 72 bytes."),
        (("add", "ana", "--role", "viewer"), "x" * 73, "A password has at least 12 characters and at most 72 bytes."),
        (("add", "ana", "--role", "chief"), "", "Invalid value for '--role'"),
        (("remove", "ana"), "", "NAME='ana' is no user. The users are: none."),
        (("password", "ana"), "", "NAME='ana' is no user. Add it first: make user NAME=ana ROLE=viewer"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    arguments: tuple[str, ...], stdin: str, message: str, tmp_path: Path
) -> None:
    assert message in " ".join(ops(tmp_path, "users", *arguments, stdin=stdin, fails=True).split())
    assert list(tmp_path.iterdir()) == []


def test_a_location_that_is_removed_leaves_no_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "access.yaml").write_text(
        "users:\n  ana: {editor: [dbt_location]}\n"
        "  ben: {editor: [dbt_location, ingestion_location], launcher: [dbt_location], viewer: all}\n"
    )
    for name, value in {"ACCESS_DIR": str(tmp_path), "COMPOSE_PROJECT_NAME": NEVER_STARTED}.items():
        monkeypatch.setenv(name, value)
    forget_location("dbt_location")
    written = read_access(tmp_path / "access.yaml", ["ingestion_location"])
    assert {name: one.model_dump(exclude_none=True) for name, one in written.users.items()} == {
        "ben": {"editor": ["ingestion_location"], "viewer": "all"}
    }


def test_a_file_with_an_error_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "access.yaml").write_text("users:\n  bob: {lancher: all}\n")
    error = ops(tmp_path, "users", "add", "ana", "--role", "viewer", "--no-password", fails=True)
    assert error.startswith(f"{tmp_path}/access.yaml, line 2: 'lancher' of bob of users is no role.")
    assert (tmp_path / "access.yaml").read_text() == "users:\n  bob: {lancher: all}\n"


def test_the_folder_is_that_of_the_first_start(tmp_path: Path) -> None:
    first, other = (tmp_path / name for name in ("first", "other"))
    for folder in (first, other):
        folder.mkdir()
    volume = f"never-started-{tmp_path.name}"
    bound = ("--opt", "type=none", "--opt", "o=bind", "--opt", f"device={first}")
    subprocess.run(["docker", "volume", "create", *bound, f"{volume}_access"], check=True, capture_output=True)
    try:
        said = ops(other, "users", "add", "ana", "--role", "viewer", "--no-password", project=volume)
        assert f"The stack has its users and roles in {first}, not in {other}" in said
        assert ([*other.iterdir()], (first / "access.yaml").exists()) == ([], True)
    finally:
        subprocess.run(["docker", "volume", "rm", f"{volume}_access"], check=True, capture_output=True)
