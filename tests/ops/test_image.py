"""A tag names the content of a location's folder, and nothing else."""

import subprocess
from pathlib import Path

import pytest

from ops.command import OpsError
from ops.deploy.image import source_tag


def git(repository: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Ana", "-c", "user.email=ana@example.com", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(repository), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clone with two locations, each with a commit of its own."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".gitignore").write_text("*.log\n")
    for location in ("mine", "theirs"):
        (tmp_path / location).mkdir()
        (tmp_path / location / "code.py").write_text("1")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "--quiet", "--message", location)
    return tmp_path


def test_the_tag_is_the_commit_that_changed_the_folder_last(repository: Path) -> None:
    assert (
        source_tag("mine", repository) == git(repository, "log", "-1", "--format=%h", "--abbrev=10", "HEAD~1").strip()
    )


def test_another_teams_changes_make_no_new_tag(repository: Path) -> None:
    before = source_tag("mine", repository)
    (repository / "theirs/code.py").write_text("2")
    assert source_tag("mine", repository) == before


@pytest.mark.parametrize("file", ["code.py", "new.py"])
def test_a_folder_with_changes_has_a_tag_that_says_so_and_changes_with_them(repository: Path, file: str) -> None:
    commit = source_tag("mine", repository)
    tags = []
    for content in ("2", "3", "2"):
        (repository / "mine" / file).write_text(content)
        tags.append(source_tag("mine", repository))
    assert tags[0] == tags[2] != tags[1]
    assert all(tag.startswith(f"{commit}-dirty-") for tag in tags)


def test_a_file_that_is_gone_is_a_change(repository: Path) -> None:
    (repository / "mine/other.py").write_text("1")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", "other")
    (repository / "mine/other.py").unlink()
    assert "-dirty-" in source_tag("mine", repository)


def test_what_git_ignores_is_no_change(repository: Path) -> None:
    before = source_tag("mine", repository)
    (repository / "mine/run.log").write_text("1")
    assert source_tag("mine", repository) == before


def test_a_folder_without_a_commit_is_refused_with_the_way_out(repository: Path) -> None:
    (repository / "new").mkdir()
    (repository / "new/code.py").write_text("1")
    with pytest.raises(OpsError, match="new is in no commit yet, so its image would have no name"):
        source_tag("new", repository)


def test_where_there_is_no_clone_a_tag_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(OpsError, match="git cannot tell which version of mine this is"):
        source_tag("mine", tmp_path)
