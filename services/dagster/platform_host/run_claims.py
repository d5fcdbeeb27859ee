"""What a run's row says of itself, compared with what the platform knows of the run's location.

A location can write to the rows of runs, so none of this is believed. A row that claims anything else than the
location's own code in an image that was deployed is refused. The origins of a run are not a public part of Dagster;
tests/platform_host/test_run_claims.py fails when they change.
"""

from collections.abc import Iterator

from dagster import DagsterRun
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT, JobPythonOrigin, RepositoryPythonOrigin

from platform_host.run_policy import LocationPolicy

# The Python of every location's image.
PYTHON = "/opt/venv/bin/python"


class RunRefusedError(RuntimeError):
    """A run is not launched; the message says which of its claims was refused."""


def location_of(run: DagsterRun) -> str:
    """The name of the location that a run belongs to; raises RunRefusedError if the row names none."""
    if run.remote_job_origin is None:
        raise RunRefusedError("Refused: the run names no location. Launch it in the UI or through the API.")
    return run.remote_job_origin.location_name


def claimed_image(run: DagsterRun, policy: LocationPolicy) -> str:
    """The image of a run whose claims are all right; otherwise raises RunRefusedError."""
    wrong = list(_wrong(run, policy))
    origin = run.job_code_origin
    if wrong or origin is None:
        claims = "; ".join(wrong or ["it names no code"])
        raise RunRefusedError(
            f"Refused, and nothing was started: {claims}. Launch it again in the UI. If that is refused as well: "
            f"make deploy LOCATION={policy.location}"
        )
    return str(origin.repository_origin.container_image)


def _wrong(run: DagsterRun, policy: LocationPolicy) -> Iterator[str]:
    location = policy.location
    if run.job_code_origin is None:
        return
    code = run.job_code_origin.repository_origin
    if code.container_image not in policy.images:
        yield f"the image {code.container_image!r} was not deployed for {location}, only {', '.join(policy.images)}"
    if code.container_context:
        yield f"the run brings a container context ({', '.join(map(str, code.container_context))}), and no run may"
    if not _is_own(code, location):
        yield f"the code pointer {code.code_pointer!r} is not that of {location}, defs in {location}.definitions"
    if code.executable_path != PYTHON:
        yield f"the executable {code.executable_path!r} is not {PYTHON}"
    if list(code.entry_point or DEFAULT_DAGSTER_ENTRY_POINT) != DEFAULT_DAGSTER_ENTRY_POINT:
        yield f"the entry point {code.entry_point!r} is not {DEFAULT_DAGSTER_ENTRY_POINT!r}"
    names = {run.job_name, run.job_code_origin.job_name, run.remote_job_origin and run.remote_job_origin.job_name}
    if len(names) > 1:
        yield f"the run names several jobs ({', '.join(sorted(map(str, names)))})"


def _is_own(code: RepositoryPythonOrigin, location: str) -> bool:
    # The folder is that of the image of a location, or of one made by `make new-location`.
    folders = (None, f"/opt/dagster/{location}", "/opt/dagster/location")
    return code.code_pointer in [ModuleCodePointer(f"{location}.definitions", "defs", folder) for folder in folders]


def own_origin(job_name: str, location: str, image: str) -> JobPythonOrigin:
    """A job's code as the platform knows it, of which nothing is taken from a row."""
    pointer = ModuleCodePointer(f"{location}.definitions", "defs")
    return JobPythonOrigin(job_name, RepositoryPythonOrigin(PYTHON, pointer, image, DEFAULT_DAGSTER_ENTRY_POINT))
