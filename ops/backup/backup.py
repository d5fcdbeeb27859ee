"""Writes a backup of the running stack: both databases and the reports."""

from typing import IO

from ops import compose
from ops.backup.folder import write
from ops.command import OpsError, run
from ops.deploy.engine import Engine, On
from ops.kubernetes import backup as in_kubernetes


def backup(on: On = Engine.COMPOSE) -> None:
    """Back up both databases and the reports of the running stack into BACKUP_DIR."""
    if on is Engine.KUBERNETES:
        in_kubernetes.backup()
        return
    stack = compose.config()
    if not compose.is_running("postgres"):
        raise OpsError(f"Postgres of the stack {stack['name']} does not run. Start the stack: make up.")
    image = stack["services"]["postgres"]["image"]

    def pack_volume(volume: str, file: IO[bytes]) -> None:
        pack(f"{stack['name']}_{volume}", image, file)

    release = _dagster_release(stack["services"]["migrate"]["image"])
    write(stack, compose.in_postgres, pack_volume, release)


def pack(volume: str, image: str, file: IO[bytes]) -> None:
    """Writes the files of a volume to a file, as tar does; ``image`` has a shell and GNU tar.

    Runs may write to the volume meanwhile: tar then ends with status 1, and stores each file as it was read. Holes of
    sparse files are not stored: such a file may be larger than the disk.
    """
    start = ("docker", "run", "--rm", "--network", "none", "--volume", f"{volume}:/files:ro", "--entrypoint", "sh")
    script = "tar --create --sparse --directory /files . || [ $? = 1 ]"
    run(*start, image, "-c", script, stdout=file)


def _dagster_release(image: str) -> str:
    """The release that last migrated the instance; if the container that did is gone, the release in this image."""
    for container in run("docker", "compose", "ps", "--all", "--quiet", "migrate").split():
        image = run("docker", "inspect", "--format", "{{.Image}}", container).strip()
    code = "import importlib.metadata as m; print(m.version('dagster'))"
    return run("docker", "run", "--rm", "--network", "none", image, "python", "-c", code).strip()
