"""The files of a backup are encrypted while they are written, and opened by the right key alone."""

import subprocess
from pathlib import Path
from typing import IO

import pyrage
import pytest

from ops.backup import age, manifest
from ops.command import OpsError

CONTENT = b"rows of a team\n" * 100_000


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A file with a public key, and the one with its private key."""
    identity = pyrage.x25519.Identity.generate()
    public, private = tmp_path / "public", tmp_path / "private"
    public.write_text(f"# of the tests\n\n{identity.to_public()}\n")
    private.write_text(f"# of the tests\n{identity}\n")
    return public, private


def by_a_process(file: IO[bytes]) -> None:
    subprocess.run(["cat"], input=CONTENT, stdout=file, check=True)


@pytest.fixture
def encrypted(tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    path = tmp_path / f"warehouse.dump{age.SUFFIX}"
    with age.writing(path, keys[0]) as file:
        by_a_process(file)
    return path


def test_what_a_process_writes_is_encrypted_and_read_again_with_the_key(
    encrypted: Path, keys: tuple[Path, Path]
) -> None:
    assert b"rows of a team" not in encrypted.read_bytes()
    age.check_key([encrypted], ["age1x"], keys[1])
    with age.reading(encrypted, keys[1]) as file:
        assert subprocess.run(["cat"], stdin=file, capture_output=True, check=True).stdout == CONTENT


def test_without_a_key_a_file_is_what_was_written(tmp_path: Path) -> None:
    with age.writing(tmp_path / "plain", None) as file:
        by_a_process(file)
    assert (tmp_path / "plain").read_bytes() == CONTENT
    with age.reading(tmp_path / "plain", None) as file:
        assert file.read() == CONTENT


def test_a_file_that_was_cut_is_an_error_at_its_end(encrypted: Path, keys: tuple[Path, Path]) -> None:
    encrypted.write_bytes(encrypted.read_bytes()[:-1_000])
    with pytest.raises(OpsError, match="could not be decrypted"), age.reading(encrypted, keys[1]) as file:
        file.read()


def test_a_process_that_fails_ends_the_encryption_too(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    with pytest.raises(RuntimeError, match="pg_dump"), age.writing(tmp_path / "cut", keys[0]):
        raise RuntimeError("pg_dump")


def test_another_key_is_refused_by_name_and_says_for_whom_the_backup_is(encrypted: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(str(pyrage.x25519.Identity.generate()))
    with pytest.raises(
        OpsError, match=r"^BACKUP_KEY_FILE=.*/other: no key there opens warehouse.*for age1right\. Noth"
    ):
        age.check_key([encrypted], ["age1right"], other)


def test_no_key_is_refused_with_the_setting(encrypted: Path) -> None:
    with pytest.raises(OpsError, match=r"for age1right, and BACKUP_KEY_FILE is not set\. Nothing was changed\."):
        age.check_key([encrypted], ["age1right"], None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no key"),
        ("# nothing\n", "has no key"),
        ("secret", "has a line that is no public key"),
        (None, "cannot be read"),
    ],
)
def test_a_file_without_public_keys_is_refused_and_no_line_is_shown(tmp_path: Path, text: str | None, why: str) -> None:
    path = tmp_path / "public"
    if text is not None:
        path.write_text(text)
    with pytest.raises(OpsError, match=f"^BACKUP_RECIPIENT_FILE=.* {why}") as refused:
        age.read_recipients(path)
    assert "secret" not in str(refused.value)


def test_a_private_key_is_not_taken_for_a_public_one_and_not_shown(keys: tuple[Path, Path]) -> None:
    with pytest.raises(OpsError, match="no public key") as refused:
        age.read_recipients(keys[1])
    assert keys[1].read_text().splitlines()[1] not in str(refused.value)


def test_a_manifest_from_before_encryption_is_one_of_a_backup_that_is_not_encrypted(tmp_path: Path) -> None:
    files = {}
    for name in ("dagster.dump", "warehouse.dump"):
        (tmp_path / name).write_bytes(CONTENT)
        files[name] = manifest.describe(tmp_path / name)
    manifest.write(tmp_path, manifest.Manifest("", "", "", "", "", [], [], files, []))
    written = (tmp_path / manifest.NAME).read_text()
    (tmp_path / manifest.NAME).write_text(written.replace(',\n  "encrypted_for": []', ""))
    assert manifest.read(tmp_path)[1].encrypted_for == []
