"""The tag of an image that is built from a location's folder: the same tag is the same content."""

import hashlib
from pathlib import Path

from ops.command import ROOT, CommandError, run


class TagError(RuntimeError):
    """The folder's state has no name; the message says what to do."""


def source_tag(name: str, root: Path = ROOT) -> str:
    """Names what is in a location's folder.

    Returns:
        The commit that changed the folder last, so another team's commits make no new version of this one; and where
        the folder has changes beside it, ``-dirty-`` and a digest of its files.

    Raises:
        TagError: the folder is not in a git clone, or not committed.
    """
    git = ("git", "-C", str(root))
    try:
        commit = run(*git, "log", "-1", "--format=%h", "--abbrev=10", "--", name).strip()
        changed = run(*git, "status", "--porcelain", "--untracked-files=all", "--", name)
        files = run(*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", name)
    except CommandError as error:
        raise TagError(f"git cannot say which version of {name} this is. Give TAG=, an image's. {error}") from error
    if not commit:
        raise TagError(f"{name} is in no commit yet, so its image would have no name. Commit it, or give TAG=.")
    return f"{commit}-dirty-{_digest(root, files.split(chr(0)))}" if changed else commit


def _digest(root: Path, files: list[str]) -> str:
    digest = hashlib.sha256()
    for file in sorted({file for file in files if file}):
        path = root / file
        if path.is_symlink():
            kind, content = "link", str(path.readlink()).encode()
        elif path.is_file():
            kind, content = "program" if path.stat().st_mode & 0o100 else "file", path.read_bytes()
        else:
            kind, content = "gone", b""
        digest.update(f"{kind} {file} {len(content)} ".encode() + content)
    return digest.hexdigest()[:8]
