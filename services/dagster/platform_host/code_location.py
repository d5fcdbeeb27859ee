"""A code location as webserver and daemon have it: what its code server says counts for its own assets and runs only.

Dagster does what a code server answers, whosever assets it is about. Here a location that declares what is another's is
not loaded, and an answer that asks for what is another's is an error, with which the tick of a sensor fails.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, takewhile
from math import prod
from typing import Any

from dagster import AssetCheckEvaluation, AssetCheckKey, AssetKey, DagsterInstance, DagsterRun, RunRequest
from dagster._core.definitions.asset_key import EntityKey
from dagster._core.definitions.automation_condition_sensor_definition import asset_job_keys_from_sensor_metadata
from dagster._core.definitions.partitions.snap import (
    DynamicPartitionsSnap,
    MultiPartitionsSnap,
    PartitionsSnap,
    StaticPartitionsSnap,
    TimeWindowPartitionsSnap,
)
from dagster._core.definitions.run_request import DagsterRunReaction
from dagster._core.definitions.schedule_definition import ScheduleExecutionData
from dagster._core.definitions.selector import JobSubsetSelector
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.remote_representation import code_location
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._core.remote_representation.external import RemoteExecutionPlan, RemoteJob, RemoteRepository
from dagster._core.remote_representation.external_data import (
    AssetNodeSnap,
    PartitionSetExecutionParamSnap,
    PartitionTagsSnap,
    RemoteJobSubsetResult,
)
from dagster._core.remote_representation.handle import RepositoryHandle
from dagster._core.storage import tags as names
from dagster._record import copy
from dagster._utils.schedules import cron_string_iterator
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import OperationalError

from platform_host.ownership import claim

# Of the cursor and of the reason of a skipped tick, in characters: Dagster reads those of all sensors at once.
MOST_TEXT = 2**20
# Of an asset or a job. Webserver and daemon make a list of them, and Dagster's documentation advises to have no more.
MOST_PARTITIONS = 100_000
SHOWN = 10
WAIT_SECONDS = 240
# The id of the code server that each location was last loaded from.
_printed: dict[str, str] = {}
# The tags of Dagster's that a location's code may give its runs. Not a priority or the longest time of a run, for the
# platform decides over the queue.
OWN_TAGS = {
    names.MAX_RETRIES_TAG,
    names.RETRY_STRATEGY_TAG,
    names.RETRY_ON_ASSET_OR_OP_FAILURE_TAG,
    names.RUN_ISOLATION_TAG,
    names.PARTITION_NAME_TAG,
    names.PARTITION_SET_TAG,
    names.ASSET_PARTITION_RANGE_START_TAG,
    names.ASSET_PARTITION_RANGE_END_TAG,
    names.SENSOR_NAME_TAG,
    names.SCHEDULE_NAME_TAG,
    names.COMPUTE_KIND_TAG,
}
OWN_TAG_PREFIXES = (names.MULTIDIMENSIONAL_PARTITION_PREFIX, names.KIND_PREFIX)
# As in services/migrate/instance_walls.sql, and the name of a user, which is the webserver's to write.
SYSTEM_TAG_PREFIXES = (".", "__", "dagster/", "docker/")
# What Dagster takes from all locations that declare an asset, not from its owner alone.
ACTED_ON = (
    "parent_edges",
    "pools",
    "execution_set_identifier",
    "automation_condition",
    "auto_observe_interval_minutes",
    "freshness_policy",
    "legacy_freshness_policy",
)


class RefusedError(RuntimeError):
    """A code server said something of what is not its location's; the message names both and the next step."""


def guard_code_locations() -> None:
    """Makes this process load code locations as in this module.

    Dagster has no setting for the class. It looks it up here each time that it loads or reloads a location of
    workspace.yaml.
    """
    code_location.GrpcServerCodeLocation = GuardedCodeLocation  # type: ignore[assignment, misc]


class GuardedCodeLocation(GrpcServerCodeLocation):
    """Raises RefusedError if the code server declares or requests what belongs to another location."""

    def __init__(self, origin: Any, instance: DagsterInstance, **options: Any) -> None:
        super().__init__(origin, instance, **options)
        repositories = self.get_repositories().values()
        nodes = [node for repository in repositories for node in repository.get_asset_node_snaps()]
        exclusive = [thing for repository in repositories for thing in _exclusive(repository)]
        shared = [thing for repository in repositories for thing in _dynamic_partitions(repository)]
        self._owned = frozenset((*exclusive, *shared))
        self._check_loaded(problem for repository in repositories for problem in self._misdeclared(repository))
        parents = {
            node.asset_key.to_string(): [edge.parent_asset_key.to_string() for edge in node.parent_edges]
            for node in nodes
        }
        end = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
                    self._owned, in_the_way = claim(connection, self.name, exclusive, shared, parents)
                break
            except (OperationalError, DagsterPostgresException):
                # The webserver tries to load a location once, and Postgres may be starting, also on another node.
                if time.monotonic() > end:
                    raise
                time.sleep(1)
        self._check_loaded(in_the_way)
        # A deploy waits for this line (ops/deploy/code_server.py). The daemon loads all locations once a minute.
        if _printed.get(self.name) != self.server_id:
            _printed[self.name] = self.server_id
            # The id is what the code server says.
            print(f"{self.name} is loaded from its code server {self.server_id[:40]!r}", flush=True)

    def _check_loaded(self, problems: Iterable[str]) -> None:
        if found := list(problems):
            raise RefusedError(
                f"{self.name} is not loaded, because its code {_listed(found)}. An asset belongs to the first location "
                "that builds it. Another location refers to it by an external AssetSpec, which has nothing of this "
                "(docs/security.md)."
            )

    def _misdeclared(self, repository: RemoteRepository) -> Iterator[str]:
        for whose, partitions in _partitions(repository):
            if _at_least(partitions) > MOST_PARTITIONS:
                yield f"gives {whose} more than {MOST_PARTITIONS} partitions"
        for node in repository.get_asset_node_snaps():
            if not _is_built(node) and (given := [name for name in ACTED_ON if getattr(node, name)]):
                yield f"gives {_name(node.asset_key)}, which it does not build, {', '.join(given)}"
        for sensor in repository.get_sensors():
            for key in asset_job_keys_from_sensor_metadata(sensor.metadata):
                yield from self._foreign([key])
            yield from _wrong_tags(sensor.run_tags, f"the sensor {sensor.name!r}")
        for job in repository.get_all_jobs():
            yield from self._wrong_job(job)

    def _wrong_job(self, job: RemoteJob) -> Iterator[str]:
        yield from self._foreign((*(job.asset_selection or ()), *(job.asset_check_selection or ())))
        for tags in (job.tags, job.run_tags):
            yield from _wrong_tags(tags, f"the job {job.name!r}")

    def _wrong_request(self, request: RunRequest) -> Iterator[str]:
        subset = request.asset_graph_subset
        yield from self._foreign(
            (
                *(request.asset_selection or ()),
                *(request.asset_check_keys or ()),
                *(subset.asset_keys if subset else ()),
            )
        )
        yield from _wrong_tags(request.tags, "a run")

    def _foreign(self, keys: Iterable[EntityKey]) -> Iterator[str]:
        for key in keys:
            if _name(key) not in self._owned:
                yield f"asks for {_name(key)}, which is not {self.name}'s"

    def _refuse(self, who: str, problems: Iterable[str]) -> None:
        if found := list(problems):
            raise RefusedError(
                f"{who} of {self.name} {_listed(found)}. Nothing of this answer is done. A location may ask for its "
                "own assets, checks, partitions and runs (docs/security.md)."
            )

    # --- what Dagster asks the code server, and believes its answer --------------------------------------------------

    def get_sensor_execution_data(
        self, instance: DagsterInstance, repository_handle: RepositoryHandle, name: str, *arguments: Any, **named: Any
    ) -> SensorExecutionData:
        data = super().get_sensor_execution_data(instance, repository_handle, name, *arguments, **named)
        problems = [problem for request in data.run_requests or () for problem in self._wrong_request(request)]
        problems += self._foreign(
            event.asset_check_key if isinstance(event, AssetCheckEvaluation) else event.asset_key
            for event in data.asset_events
        )
        problems += self._foreign(evaluation.key for evaluation in data.automation_condition_evaluations)
        for partitions in data.dynamic_partitions_requests or ():
            thing = _named("the dynamic partitions", partitions.partitions_def_name)
            if thing not in self._owned:
                problems.append(f"asks for {thing}, which are not {self.name}'s")
        reactions = [_stored(instance, reaction) for reaction in data.dagster_run_reactions or ()]
        problems += [
            f"acts on the run {reaction.dagster_run and reaction.dagster_run.run_id}, which is not {self.name}'s"
            for reaction in reactions
            if _location(reaction.dagster_run) != self.name
        ]
        data = copy(data, dagster_run_reactions=reactions)
        for what, given in (("cursor", data.cursor or ""), ("skip reason", data.skip_message or "")):
            if len(given) > MOST_TEXT:
                problems.append(f"gives a {what} of {len(given)} characters, of which {MOST_TEXT} are allowed")
        self._refuse(f"The sensor {name!r}", problems)
        return data

    def get_schedule_execution_data(
        self,
        instance: DagsterInstance,
        repository_handle: RepositoryHandle,
        schedule_name: str,
        *arguments: Any,
        **named: Any,
    ) -> ScheduleExecutionData:
        data = super().get_schedule_execution_data(instance, repository_handle, schedule_name, *arguments, **named)
        problems = [problem for request in data.run_requests or () for problem in self._wrong_request(request)]
        self._refuse(f"The schedule {schedule_name!r}", problems)
        return data

    def _get_remote_job_from_subset_result(
        self, selector: JobSubsetSelector, subset_result: RemoteJobSubsetResult
    ) -> RemoteJob:
        job = super()._get_remote_job_from_subset_result(selector, subset_result)
        asked = (*(selector.asset_selection or ()), *(selector.asset_check_selection or ()))
        self._refuse(f"The job {job.name!r}", [*self._foreign(asked), *self._wrong_job(job)])
        return job

    def get_execution_plan(self, remote_job: RemoteJob, *arguments: Any, **named: Any) -> RemoteExecutionPlan:
        return self._checked_plan(remote_job, super().get_execution_plan(remote_job, *arguments, **named))

    async def gen_execution_plan(self, remote_job: RemoteJob, *arguments: Any, **named: Any) -> RemoteExecutionPlan:
        return self._checked_plan(remote_job, await super().gen_execution_plan(remote_job, *arguments, **named))

    def _checked_plan(self, job: RemoteJob, plan: RemoteExecutionPlan) -> RemoteExecutionPlan:
        """A run may report the assets and checks that it is planned for (services/migrate/instance_walls.sql)."""
        outputs = [output for step in plan.execution_plan_snapshot.steps for output in step.outputs]
        made = [
            key
            for one in outputs
            if one.properties
            for key in (one.properties.asset_key, one.properties.asset_check_key)
        ]
        self._refuse(f"The plan of the job {job.name!r}", self._foreign(key for key in made if key))
        return plan

    def get_partition_tags_from_repo(self, *arguments: Any, **named: Any) -> Any:
        found = super().get_partition_tags_from_repo(*arguments, **named)
        if isinstance(found, PartitionTagsSnap):
            self._refuse("A job", _wrong_tags(found.tags, "a partition"))
        return found

    def get_partition_set_execution_params(self, *arguments: Any, **named: Any) -> Any:
        found = super().get_partition_set_execution_params(*arguments, **named)
        if isinstance(found, PartitionSetExecutionParamSnap):
            problems = [problem for one in found.partition_data for problem in _wrong_tags(one.tags, "a partition")]
            self._refuse("A job", problems)
        return found


def _is_built(node: AssetNodeSnap) -> bool:
    return node.is_executable or node.is_materializable or node.is_observable


def _exclusive(repository: RemoteRepository) -> Iterator[str]:
    """What one location alone may have. Of what two have, Dagster takes that of the first or the last by name."""
    for node in repository.get_asset_node_snaps():
        if _is_built(node):
            yield _name(node.asset_key)
    for check in repository.get_asset_check_node_snaps():
        yield _name(check.key)
    for key in repository.asset_graph.remote_asset_job_nodes_by_key:
        yield _name(key)


def _partitions(repository: RemoteRepository) -> Iterator[tuple[str, PartitionsSnap]]:
    for node in repository.get_asset_node_snaps():
        if node.partitions:
            yield _name(node.asset_key), node.partitions
    for check in repository.get_asset_check_node_snaps():
        if check.partitions_def_snapshot:
            yield _name(check.key), check.partitions_def_snapshot
    for one in repository.repository_snap.partition_sets:
        if one.partitions:
            yield _named("the job", one.job_name), one.partitions


def _at_least(partitions: PartitionsSnap) -> int:
    """How many there are, without counting far beyond MOST_PARTITIONS. The dynamic ones are not declared."""
    if isinstance(partitions, MultiPartitionsSnap):
        return prod(_at_least(one.partitions) for one in partitions.partition_dimensions)
    if isinstance(partitions, StaticPartitionsSnap):
        return len(partitions.partition_keys)
    if isinstance(partitions, TimeWindowPartitionsSnap):
        # Dagster's own count goes through all of them, which takes minutes for the minutes of decades.
        windows = partitions.get_partitions_definition()  # type: ignore[no-untyped-call]
        end = min(time.time(), partitions.end or time.time())
        starts = cron_string_iterator(partitions.start, windows.cron_schedule, partitions.timezone or "UTC")
        before_end = takewhile(lambda start: start.timestamp() < end, islice(starts, MOST_PARTITIONS + 1))
        return max(sum(1 for _ in before_end) + partitions.end_offset, 1)
    return 1


def _dynamic_partitions(repository: RemoteRepository) -> Iterator[str]:
    snaps = [node.partitions for node in repository.get_asset_node_snaps() if _is_built(node)]
    snaps += [one.partitions for one in repository.repository_snap.partition_sets]
    for name in dynamic_names(snaps):
        yield _named("the dynamic partitions", name)


def dynamic_names(snaps: Iterable[PartitionsSnap | None]) -> Iterator[str]:
    """The names of the dynamic partitions among partitions definitions, also as dimensions of others."""
    for snap in snaps:
        parts: list[Any] = (
            [one.partitions for one in snap.partition_dimensions] if isinstance(snap, MultiPartitionsSnap) else [snap]
        )
        yield from (part.name for part in parts if isinstance(part, DynamicPartitionsSnap))


def _name(key: EntityKey) -> str:
    if isinstance(key, AssetKey):
        return f"the asset {key.to_string()}"
    if isinstance(key, AssetCheckKey):
        return f"{_named('the check', key.name)} of {_name(key.asset_key)}"
    return _named("the job with a condition", key.job_name)


def _named(kind: str, name: str) -> str:
    return f"{kind} {json.dumps(name)}"


def _wrong_tags(tags: Mapping[str, object], whose: str) -> Iterator[str]:
    for tag in tags:
        if (tag.startswith(SYSTEM_TAG_PREFIXES) or tag == names.USER_TAG) and not (
            tag in OWN_TAGS or tag.startswith(OWN_TAG_PREFIXES)
        ):
            yield f"gives {whose} the tag {tag}, which only the platform gives"


def _stored(instance: DagsterInstance, reaction: DagsterRunReaction) -> DagsterRunReaction:
    """The same for the run as it is stored, since the answer may say anything of it; without a run if there is none."""
    claimed = reaction.dagster_run
    return reaction._replace(dagster_run=instance.get_run_by_id(claimed.run_id) if claimed else None)


def _location(run: DagsterRun | None) -> str | None:
    origin = run.remote_job_origin if run else None
    return origin.location_name if origin else None


def _listed(problems: Sequence[str]) -> str:
    more = len(problems) - SHOWN
    return "; ".join(problems[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
