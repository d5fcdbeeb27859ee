"""Encrypts the files of a backup as they are written, and decrypts them as they are read, in the format of age.

BACKUP_RECIPIENT_FILE has public keys, one a line, as `age --recipients-file` takes it; BACKUP_KEY_FILE has private
keys, as `age-keygen` writes them. So a machine that only makes backups needs no key that opens them.

As a command it is a filter of its own process: python -m ops.backup.age encrypt|decrypt FILE
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyrage

from ops import compose
from ops.command import ROOT, OpsError, log

SUFFIX = ".age"


def backup_key() -> None:
    """Make a key pair for backups: the private key in BACKUP_KEY_FILE, the public one in BACKUP_RECIPIENT_FILE."""
    stack = compose.config()
    key, recipients = setting_path(stack, "key"), setting_path(stack, "recipients")
    if key is None or recipients is None:
        raise OpsError("Name both files: make backup-key BACKUP_KEY_FILE=… BACKUP_RECIPIENT_FILE=…")
    identity = pyrage.x25519.Identity.generate()
    for path, text, mode in ((key, identity, 0o600), (recipients, identity.to_public(), 0o644)):
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except OSError as error:
            raise OpsError(f"{path} was not written: {error.strerror}. An existing key is never replaced.") from None
        with os.fdopen(handle, "w") as file:
            file.write(f"{text}\n")
    log(f"{recipients}: backups are encrypted for this public key while BACKUP_RECIPIENT_FILE names it.")
    log(f"{key}: keep this file somewhere else. Without it, these backups cannot be restored.")


def setting_path(stack: dict[str, Any], name: str) -> Path | None:
    """The file that a setting of ``x-backup`` names, relative to the checkout; None if it is not set."""
    given = str(stack["x-backup"][name] or "")
    return ROOT / given if given else None


def read_recipients(path: Path) -> list[str]:
    """The public keys in a file; raises OpsError if it has none, or an invalid one."""
    return [line for line, _ in _read(path, "BACKUP_RECIPIENT_FILE", "public", pyrage.x25519.Recipient)]


def check_key(encrypted: list[Path], recipients: list[str], path: Path | None) -> None:
    """Checks that the key in a file opens these files, which are encrypted for ``recipients``; raises OpsError."""
    public = ", ".join(recipients)
    if path is None:
        raise OpsError(
            f"The backup is encrypted for {public}, and BACKUP_KEY_FILE is not set. Nothing was changed. "
            "Give the file with the private key: make restore BACKUP=… BACKUP_KEY_FILE=…"
        )
    identities = _identities(path)
    for file in encrypted:
        try:
            with file.open("rb") as content:
                pyrage.decrypt_io(content, _Opened(), identities)
        except _IsOpen:
            continue
        except (pyrage.DecryptError, OSError) as error:
            raise OpsError(
                f"BACKUP_KEY_FILE={path}: no key there opens {file.name} ({error}), which is encrypted for {public}. "
                "Nothing was changed. Give the file with the private key of that one."
            ) from None


@contextmanager
def writing(path: Path, recipients: Path | None) -> Iterator[IO[bytes]]:
    """Opens a file for a process to write to: what is written is encrypted if there is a file of recipients."""
    with path.open("wb") as file:
        if recipients is None:
            yield file
        else:
            with _filter("encrypt", recipients, stdin=subprocess.PIPE, stdout=file) as age:
                assert age.stdin is not None
                yield age.stdin


@contextmanager
def reading(path: Path, key: Path | None) -> Iterator[IO[bytes]]:
    """Opens a file for a process to read from; it is decrypted if its name says that it is encrypted."""
    with path.open("rb") as file:
        if path.suffix != SUFFIX:
            yield file
        else:
            assert key is not None
            with _filter("decrypt", key, stdin=file, stdout=subprocess.PIPE) as age:
                assert age.stdout is not None
                yield age.stdout


@contextmanager
def _filter(action: str, keys: Path, **files: Any) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "ops.backup.age", action, str(keys)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, **files)
    try:
        yield process
    except BaseException:
        process.kill()
        raise
    finally:
        # Closes its input or reads the rest of its output, and waits for its end.
        _, message = process.communicate()
    if process.returncode != 0:
        raise OpsError(f"The backup could not be {action}ed: {message.decode(errors='replace').strip()}")


def _identities(path: Path) -> list[Any]:
    return [key for _, key in _read(path, "BACKUP_KEY_FILE", "private", pyrage.x25519.Identity)]


def _read(path: Path, setting: str, kind: str, of: Any) -> list[tuple[str, Any]]:
    example = "age1…" if kind == "public" else "AGE-SECRET-KEY-1…"
    wanted = f"It has {kind} keys of age, one a line, each like {example}"
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
        # No error shows a line: somebody may have confused the two files.
        keys = [(line, of.from_str(line)) for line in lines if line and not line.startswith("#")]
    except OSError as error:
        raise OpsError(f"{setting}={path} cannot be read: {error.strerror}. {wanted}") from None
    except (ValueError, pyrage.RecipientError, pyrage.IdentityError):
        raise OpsError(f"{setting}={path} has a line that is no {kind} key. {wanted}") from None
    if not keys:
        raise OpsError(f"{setting}={path} has no key. {wanted}")
    return keys


class _IsOpen(Exception):  # noqa: N818, not an error
    """A key has opened a file, and its first bytes are decrypted."""


class _Opened:
    def write(self, _: bytes) -> int:
        raise _IsOpen

    def flush(self) -> None:
        """Has nothing to flush."""


if __name__ == "__main__":
    ACTION, KEYS = sys.argv[1], Path(sys.argv[2])
    try:
        if ACTION == "encrypt":
            TO = [pyrage.x25519.Recipient.from_str(line) for line in read_recipients(KEYS)]
            pyrage.encrypt_io(sys.stdin.buffer, sys.stdout.buffer, TO)
        else:
            pyrage.decrypt_io(sys.stdin.buffer, sys.stdout.buffer, _identities(KEYS))
        sys.stdout.flush()
    except (OpsError, OSError, pyrage.DecryptError) as error:
        sys.exit(str(error))
