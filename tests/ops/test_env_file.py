"""One setting of .env is changed, and nothing else."""

import threading
from pathlib import Path

import pytest

from ops.env_file import set_variable, with_variable


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "TAG=new\n"),
        ("# note\nTAG=old\nPORT=1\n", "# note\nTAG=new\nPORT=1\n"),
        ("PORT=1", "PORT=1\nTAG=new\n"),
        ("#TAG=old\nMY_TAG=x\n", "#TAG=old\nMY_TAG=x\nTAG=new\n"),
        (" export TAG = 'old'\n", "TAG=new\n"),
        ("TAG=a\nTAG=b\n", "TAG=a\nTAG=new\n"),
        ("PORT=1\n\n# note\n\nTAG=old\n\nURL=x\n", "PORT=1\n\n# note\n\nTAG=new\n\nURL=x\n"),
    ],
)
def test_a_variable_is_set_where_it_is_set_last_or_else_at_the_end(before: str, after: str) -> None:
    assert with_variable(before, "TAG", "new") == after


def test_a_variable_is_removed_and_no_other_line_is() -> None:
    assert with_variable("PORT=1\n\n export TAG=a\nMY_TAG=x\nTAG=b\n", "TAG", None) == "PORT=1\n\nMY_TAG=x\n"


def test_a_file_whose_last_variable_is_removed_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TAG=a\n")
    set_variable(tmp_path / ".env", "TAG", None)
    assert list(tmp_path.iterdir()) == []


def test_the_file_keeps_its_mode_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("SECRET=1\n")
    path.chmod(0o600)
    set_variable(path, "TAG", "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("SECRET=1\nTAG=new\n", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_a_value_that_is_there_already_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("TAG=new\n")
    before = path.stat().st_ino
    set_variable(path, "TAG", "new")
    assert (path.read_text(), path.stat().st_ino) == ("TAG=new\n", before)


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "shared.env").write_text("")
    link = tmp_path / ".env"
    link.symlink_to(tmp_path / "shared.env")
    set_variable(link, "TAG", "new")
    assert (link.is_symlink(), (tmp_path / "shared.env").read_text()) == (True, "TAG=new\n")


def test_of_many_that_write_at_once_none_loses_anothers_variable(tmp_path: Path) -> None:
    names = [f"TAG_{number}" for number in range(20)]
    threads = [threading.Thread(target=set_variable, args=(tmp_path / ".env", name, "new")) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((tmp_path / ".env").read_text().split()) == sorted(f"{name}=new" for name in names)
