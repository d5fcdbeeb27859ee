"""The images of a location: their tags, their builds, and the removal of those that nothing needs any more."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from ops.command import ROOT, CommandError, inspect, log, run, show
from ops.deploy.records import Record, Version, prunable
from ops.errors import OpsError
from ops.locations import Location

KEPT = 3

# GraphQL names the image of a run once the run is launched. The image of a queued run is in the run itself, which is
# read through the webserver's instance.
_IMAGES_OF_UNFINISHED_RUNS = """
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
finished = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}
with DagsterInstance.get() as instance:
    for run in instance.get_runs(RunsFilter(statuses=[s for s in DagsterRunStatus if s not in finished])):
        origin = run.job_code_origin
        print(origin.repository_origin.container_image if origin else "")
        print(run.tags.get("dagster/image", ""))
"""


class TagError(OpsError):
    """The content of a location's folder cannot be named by a commit."""


def source_tag(name: str, root: Path = ROOT) -> str:
    """Names the content of a location's folder.

    Returns:
        The last commit that changed the folder, so that a commit of another team makes no new version of this location.
        If the folder has uncommitted changes, ``-dirty-`` and a digest of its files follow.

    Raises:
        TagError: the folder is not in a git clone, or not committed.
    """
    git = ("git", "-C", str(root))
    try:
        commit = run(*git, "log", "-1", "--format=%h", "--abbrev=10", "--", name).strip()
        changed = run(*git, "status", "--porcelain", "--untracked-files=all", "--", name)
    except CommandError as error:
        raise TagError(f"git cannot say which version of {name} this is. Give TAG=, an image's. {error}") from error
    if not commit:
        raise TagError(f"{name} is in no commit yet, so its image would have no name. Commit it, or give TAG=.")
    return f"{commit}-dirty-{_digest(name, root, git)}" if changed else commit


def _digest(name: str, root: Path, git: tuple[str, ...]) -> str:
    """Digest of the folder's files as git would commit them, computed in a copy of the index."""
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        shutil.copy(root / run(*git, "rev-parse", "--git-path", "index").strip(), index)
        env = {"GIT_INDEX_FILE": str(index)}
        run(*git, "add", "--all", "--", name, env=env)
        files = run(*git, "ls-files", "--stage", "--", name, env=env)
    return hashlib.sha256(files.encode()).hexdigest()[:8]


def build(location: Location) -> None:
    """Builds a location's image and the image with its tests unless they exist: the content of a tag never changes."""
    if inspect("image", location.image) is None:
        show("docker", "compose", "build", location.name, env=location.tag_setting)
    if inspect("image", location.tests_image) is None:
        run("docker", "build", "--target", "test", "--tag", location.tests_image, str(ROOT / location.name))


def restore_tag(image: str, version: Version) -> None:
    """Points a tag at the image that it was deployed with; `docker compose up --build` may have moved it."""
    there = inspect("image", image)
    if (there is None or there["Id"] != version.image) and inspect("image", version.image):
        run("docker", "image", "tag", version.image, image)


def prune(location: Location, records: list[Record]) -> None:
    """Removes the images of this location's deploys that nothing needs, except the last three that were deployed.

    A run that is created meanwhile uses the version that the daemon has loaded: the one in use or, shortly after a
    deploy, the one before. Both are kept.
    """
    try:
        needed = {image.rpartition(":")[2] for image in _needed_images() if image.startswith(f"{location.name}:")}
    except CommandError as error:
        log(f"old images were not removed: {error}")
        return
    for tag in prunable(records, needed, KEPT):
        images = [f"{location.name}:{tag}-test", f"{location.name}:{tag}"]
        try:
            # Without --force, so that the engine refuses if a container was created meanwhile.
            if there := [image for image in images if inspect("image", image)]:
                run("docker", "image", "rm", *there)
                log(f"{location.name}:{tag}: removed, since nothing needs it")
        except CommandError as error:
            log(f"{location.name}:{tag}: not removed: {error}")


def _needed_images() -> set[str]:
    """The images of all unfinished runs and of all containers, running or not."""
    of_runs = run("docker", "compose", "exec", "-T", "webserver", "python", "-", stdin=_IMAGES_OF_UNFINISHED_RUNS)
    # After the runs: a run that is launched in between is in the first list, and its container in the second.
    of_containers = run("docker", "ps", "--all", "--no-trunc", "--format", "{{.Image}}")
    return {*of_runs.split(), *of_containers.split()}
