"""Images that nobody needs any more."""

from ops.command import CommandError, inspect, run
from ops.deploy.history import Record, prunable
from ops.deploy.location import Location

KEPT = 3

# GraphQL names the image of a run once it was launched; the image that a queued one will be launched with is in the
# run itself, which the webserver's instance knows.
_IMAGES_OF_UNFINISHED_RUNS = """
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
finished = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}
with DagsterInstance.get() as instance:
    for run in instance.get_runs(RunsFilter(statuses=[s for s in DagsterRunStatus if s not in finished])):
        origin = run.job_code_origin
        print(origin.repository_origin.container_image if origin else "")
        print(run.tags.get("dagster/image", ""))
"""


def needed_images() -> set[str]:
    """The images that a run that has not ended, or a container, running or not, was made with.

    Raises:
        CommandError: webserver or engine do not answer.
    """
    of_runs = run("docker", "compose", "exec", "-T", "webserver", "python", "-", stdin=_IMAGES_OF_UNFINISHED_RUNS)
    # After the runs: one that was launched in between is in the first list, whose container is in the second.
    of_containers = run("docker", "ps", "--all", "--no-trunc", "--format", "{{.Image}}")
    return {*of_runs.split(), *of_containers.split()}


def prune(location: Location, records: list[Record]) -> list[str]:
    """Removes the images of this location's deploys that nobody needs, but for the last three that were deployed.

    A run that is created while this looks is created with what the daemon has loaded: the version in use or, for a
    moment after a deploy, the one before. Both stay.

    Returns:
        The tags that are gone.
    """
    needed = {image.rpartition(":")[2] for image in needed_images() if image.startswith(f"{location.name}:")}
    gone = []
    for tag in prunable(records, needed, KEPT):
        images = [f"{location.name}:{tag}-test", f"{location.name}:{tag}"]
        there = [image for image in images if inspect("image", image)]
        try:
            # Not by force: the engine refuses where a container came up meanwhile.
            if there:
                run("docker", "image", "rm", *there)
                gone.append(tag)
        except CommandError as error:
            print(f"  {location.name}:{tag} stays: {error}", flush=True)
    return gone
