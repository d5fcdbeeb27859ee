"""What the launchers of both engines ask before they launch a run: whether it may be launched, and as what."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from dagster import DagsterInstance, DagsterRun
from dagster._core.storage.tags import MAX_RETRIES_TAG
from dagster._grpc.types import ExecuteRunArgs

from platform_host.instance import reference_for_run
from platform_host.run_claims import RunRefusedError, claimed_image, location_of, own_origin
from platform_host.run_policy import Policy, PolicyError, read_policy

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AcceptedRun(Generic[Policy]):
    """A run that may be launched: the policy of its location, its image and its command."""

    policy: Policy
    image: str
    command: Sequence[str]


def accept(
    instance: DagsterInstance, policies: Path, kind: type[Policy], run: DagsterRun
) -> AcceptedRun[Policy] | None:
    """Compares a run's claims with the policy of its location. None: the run is refused and has failed.

    ``policies`` is the folder of the run policies, ``kind`` the engine's kind of policy.
    """
    try:
        policy = read_policy(policies, location_of(run), kind)
        image = claimed_image(run, policy)
    except (RunRefusedError, PolicyError) as error:
        refuse(instance, run, str(error))
        return None
    arguments = ExecuteRunArgs(
        job_origin=own_origin(run.job_name, policy.location, image),
        run_id=run.run_id,
        instance_ref=reference_for_run(instance),
    )
    return AcceptedRun(policy, image, arguments.get_command_args())


def refuse(instance: DagsterInstance, run: DagsterRun, why: str) -> None:
    """Ends a run as failed, with a message that says why, and so that it is not retried."""
    logger.warning("Run %s: %s", run.run_id, why)
    # A retry would be a run of the location that this row names, with the configuration that it names.
    instance.add_run_tags(run.run_id, {MAX_RETRIES_TAG: "0"})
    instance.report_run_failed(run, why)
