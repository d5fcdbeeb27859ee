"""Removes images of deploys that nothing needs any more."""

from ops.command import CommandError, inspect, log, run
from ops.deploy.records import Record, prunable
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
    of_runs = run("docker", "compose", "exec", "-T", "webserver", "python", "-", stdin=_IMAGES_OF_UNFINISHED_RUNS)
    # After the runs: a run that is launched in between is in the first list, and its container in the second.
    of_containers = run("docker", "ps", "--all", "--no-trunc", "--format", "{{.Image}}")
    return {*of_runs.split(), *of_containers.split()}
