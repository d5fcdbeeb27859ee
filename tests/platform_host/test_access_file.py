"""A file of roles that is wrong is refused with the line; one that is right says who may do what."""

from pathlib import Path

import pytest
from platform_host.access_file import AccessError, Role, read_access, token_hash

LOCATIONS = ("dbt_location", "ingestion_location")
HASH = token_hash("the token")


def read(folder: Path, text: str) -> str:
    """What is wrong with a file, without its path."""
    path = folder / "access.yaml"
    path.write_text(text)
    with pytest.raises(AccessError) as error:
        read_access(path, LOCATIONS)
    return str(error.value).replace(f"{path}, ", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("users:\n  ana: {lancher: all}", "line 2: 'lancher' of ana of users is no role. The roles are viewer, "),
        ("users:\n  ana:\n    editor: [nowhere]", "line 3: 'nowhere' is no location. The locations are dbt_location, "),
        ("users:\n  ana: {admin: all}\n  ana: {viewer: all}", "line 3: 'ana' of users is there twice. Leave one."),
        ("users:\n  ana: {admin: all, admin: all}", "line 2: 'admin' of ana of users is there twice. Leave one."),
        ("users: {}\nteams: {}", "line 2: 'teams' is no part of this file. Its parts are users, groups and tokens."),
        ("users:\n  ana: {}", "line 2: 'ana' has no role. The roles are viewer, launcher, editor, admin."),
        ("users:\n  ana: admin", "line 2: 'ana' of users: "),
        ("users:\n  ana: {viewer: [dbt_location]}", "line 2: 'viewer' of ana of users has a list. A viewer sees all "),
        ("users:\n  ana: {editor: dbt_location}", "line 2: 'editor' of ana of users is neither all nor a list of "),
        ("users:\n  ana: {editor: []}", "line 2: 'editor' of ana of users is neither all nor a list of locations."),
        ("users:\n  a b: {viewer: all}", "line 2: 'a b' of users is no name. Use letters, digits, "),
        ("tokens:\n  ci: {viewer: all}", "line 2: 'ci' of tokens has no sha256 of 64 hexadecimal digits."),
        ("tokens:\n  ci: {viewer: all, sha256: abc}", "line 2: 'sha256' of ci of tokens has no sha256 of 64 "),
        (
            f"tokens:\n  a: {{viewer: all, sha256: {HASH}}}\n  b: {{viewer: all, sha256: {HASH}}}",
            "line 3: 'b' has the ",
        ),
        ("users:\n  ana: {viewer: all", "line 2: "),
        ("- ana", "line 1: the file: "),
        ("users:\n  ana: {viewer: all} # \a", "line 2: YAML has no character 0x7. Remove it."),
        ("users: &users\n  ana: *users", "line 1: a part of the file contains itself, or far too many others."),
        (f"users: {'[' * 3000}", "line 1: a part of the file contains itself, or far too many others."),
    ],
)
def test_a_wrong_file_is_refused_with_the_line(text: str, message: str, tmp_path: Path) -> None:
    assert read(tmp_path, text).startswith(message)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    assert len(read(tmp_path, "users:\n  a: {x: all}\n  b: {y: all}").splitlines()) == 2


def test_the_higher_role_counts(tmp_path: Path) -> None:
    path = tmp_path / "access.yaml"
    path.write_text(
        "users:\n  ana: {viewer: all, launcher: [dbt_location], editor: [dbt_location]}\n"
        f"groups:\n  loaders: {{launcher: all}}\ntokens:\n  ci: {{admin: [dbt_location], sha256: {HASH}}}"
    )
    access = read_access(path, LOCATIONS)
    ana = access.user("ana")
    assert ana
    assert (ana.role_in("dbt_location"), ana.role_in("ingestion_location")) == (Role.EDITOR, Role.VIEWER)
    ana = access.user("ana", ["loaders", "others"])
    assert ana
    assert (ana.role_in("dbt_location"), ana.role_in("ingestion_location")) == (Role.EDITOR, Role.LAUNCHER)
    token = access.token("the token")
    assert token
    assert (token.name, token.role_in("dbt_location"), token.everywhere) == ("token:ci", Role.ADMIN, None)
    assert access.user("eve", ["others"]) is None
    assert access.token("another") is None


@pytest.mark.parametrize("text", ["", "# nobody yet\n", "users:\n", "users: {}\n"])
def test_a_file_without_users_is_a_file_in_which_nobody_has_a_role(text: str, tmp_path: Path) -> None:
    path = tmp_path / "access.yaml"
    path.write_text(text)
    assert read_access(path, LOCATIONS).user("ana") is None
