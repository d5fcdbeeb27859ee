"""The code of three locations, for test_code_location.py: one that owns assets, and one that asks for those of others.

Each repository is served by `dagster api grpc`, as in the stack.
"""

from collections.abc import Callable
from typing import Any

import dagster as dg
import dagster._grpc.impl as code_server
from dagster._core.asset_graph_view.serializable_entity_subset import SerializableEntitySubset
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.declarative_automation.serialized_objects import AutomationConditionEvaluation
from dagster._core.definitions.run_request import DagsterRunReaction
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.snap.execution_plan_snapshot import (
    ExecutionPlanSnapshot,
    ExecutionStepOutputSnap,
    snapshot_from_execution_plan,
)

TRIPS = dg.AssetKey("trips")
CHECK = dg.AssetCheckKey(TRIPS, "complete")
MONTHS = dg.DynamicPartitionsDefinition(name="months")
ON_ROOTS = dg.AutomationCondition.any_job_root_assets_match(dg.AutomationCondition.missing())
OWN_DAYS = dg.DynamicPartitionsDefinition(name="own_days")
Answer = Callable[[dg.SensorEvaluationContext], dict[str, Any]]


@dg.asset
def trips() -> None: ...


@dg.asset_check(asset=TRIPS)
def complete() -> dg.AssetCheckResult:
    raise NotImplementedError


@dg.asset(partitions_def=MONTHS)
def by_month() -> None: ...


@dg.asset(deps=["expected"])
def totals() -> None: ...


owner = dg.Definitions(
    assets=[trips, by_month, totals],
    asset_checks=[complete],
    jobs=[dg.define_asset_job("build_trips", selection=[trips], automation_condition=ON_ROOTS)],
)


@dg.asset(deps=[TRIPS])
def mine() -> None: ...


@dg.asset(partitions_def=OWN_DAYS)
def mine_by_day() -> None: ...


# The partitions of what it is made from, as is usual.
@dg.asset(partitions_def=MONTHS, deps=["by_month"])
def mine_by_month() -> None: ...


@dg.asset
def planned() -> None: ...


class AnswersSensor(dg.SensorDefinition):
    """A sensor whose answer Dagster's own checks, which are in this process, do not see."""

    def __init__(self, name: str, answer: Answer) -> None:
        super().__init__(
            name,
            evaluation_fn=lambda context: None,
            jobs=[own_job, planned_job],
            default_status=dg.DefaultSensorStatus.RUNNING,
        )
        self._answer = answer

    def evaluate_tick(self, context: dg.SensorEvaluationContext) -> SensorExecutionData:
        return SensorExecutionData(**self._answer(context))


def requests(tags: dict[str, str] | None = None, **request: Any) -> Answer:
    return lambda _: {"run_requests": [dg.RunRequest(job_name="own_job", tags=tags or {}, **request)]}


def reacts(to: str) -> Answer:
    def answer(context: dg.SensorEvaluationContext) -> dict[str, Any]:
        (run,) = context.instance.get_runs(dg.RunsFilter(tags={"of": to}))
        return {"dagster_run_reactions": [DagsterRunReaction(run, run_status=dg.DagsterRunStatus.FAILURE)]}

    return answer


def says_that_a_foreign_run_is_its_own(context: dg.SensorEvaluationContext) -> dict[str, Any]:
    (own,) = context.instance.get_runs(dg.RunsFilter(tags={"of": "dbt_location"}))
    (foreign,) = context.instance.get_runs(dg.RunsFilter(tags={"of": "ingestion_location"}))
    assert own.remote_job_origin
    claimed = foreign.with_job_origin(own.remote_job_origin)
    return {"dagster_run_reactions": [DagsterRunReaction(claimed, run_status=dg.DagsterRunStatus.FAILURE)]}


def evaluation(key: dg.AssetKey) -> AutomationConditionEvaluation[dg.AssetKey]:
    subset = SerializableEntitySubset(key, False)
    snapshot = dg.AutomationCondition.missing().get_node_snapshot("")
    return AutomationConditionEvaluation(snapshot, None, None, subset, subset, [], [])


own_job = dg.define_asset_job("own_job", selection=[mine])
planned_job = dg.define_asset_job("planned_job", selection=[planned])
ANSWERS: dict[str, Answer] = {
    "reports_a_foreign_asset_as_built": lambda _: {"asset_events": [dg.AssetMaterialization(TRIPS)]},
    "reports_a_foreign_asset_as_observed": lambda _: {"asset_events": [dg.AssetObservation(TRIPS)]},
    "reports_a_foreign_check": lambda _: {
        "asset_events": [dg.AssetCheckEvaluation(asset_key=TRIPS, check_name="complete", passed=True)]
    },
    "adds_foreign_partitions": lambda _: {"dynamic_partitions_requests": [MONTHS.build_add_request(["x"])]},
    "deletes_foreign_partitions": lambda _: {"dynamic_partitions_requests": [MONTHS.build_delete_request(["kept"])]},
    "requests_a_backfill_of_a_foreign_asset": lambda _: {
        "run_requests": [
            dg.RunRequest.for_asset_graph_subset(AssetGraphSubset({}, {TRIPS}), tags={})  # type: ignore[call-arg]
        ]
    },
    "requests_a_run_of_a_foreign_asset": requests(asset_selection=[TRIPS]),
    "requests_a_run_of_a_foreign_check": requests(asset_check_keys=[CHECK]),
    "requests_a_run_whose_plan_has_a_foreign_asset": lambda _: {
        "run_requests": [dg.RunRequest(job_name="planned_job")]
    },
    "acts_on_a_foreign_run": reacts("ingestion_location"),
    "acts_on_a_run_that_it_says_is_its_own": says_that_a_foreign_run_is_its_own,
    "says_what_a_foreign_asset_needs": lambda _: {"automation_condition_evaluations": [evaluation(TRIPS)]},
    "gives_its_run_a_priority": requests({"dagster/priority": "9"}),
    "gives_its_run_unlimited_time": requests({"dagster/max_runtime": "999999999"}),
    "puts_its_run_into_a_backfill": requests({"dagster/backfill": "x"}),
    "retries_a_foreign_run": requests({"dagster/parent_run_id": "x", "dagster/root_run_id": "x"}),
    "moves_its_run_to_another_location": requests({"dagster/code_location": "ingestion_location"}),
    "says_who_launched_its_run": requests({"user": "somebody"}),
    "keeps_the_events_of_its_plan_back": requests({"dagster/defer_asset_events": "true"}),
    "has_an_endless_cursor": lambda _: {"cursor": "x" * 2_000_000},
    # What a location may do.
    "is_as_it_should_be": lambda _: {
        "asset_events": [dg.AssetMaterialization("mine")],
        "dynamic_partitions_requests": [OWN_DAYS.build_add_request(["today"])],
        "run_requests": [dg.RunRequest(job_name="own_job", tags={"note": "x", "dagster/max_retries": "1"})],
        "automation_condition_evaluations": [evaluation(dg.AssetKey("mine"))],
        "cursor": "here",
    },
    "acts_on_its_own_run": reacts("dbt_location"),
}


class HostileSchedule(dg.ScheduleDefinition):
    def evaluate_tick(self, context: dg.ScheduleEvaluationContext) -> Any:
        data = super().evaluate_tick(context)
        return data._replace(run_requests=[dg.RunRequest(tags={"dagster/backfill": "x"}, asset_selection=[TRIPS])])


def plan_of_a_foreign_asset(*arguments: Any, **named: Any) -> ExecutionPlanSnapshot:
    """The snapshot of a plan, in which the step `planned` builds the other location's asset."""
    snapshot = snapshot_from_execution_plan(*arguments, **named)
    steps = [
        step._replace(outputs=[_of_trips(output) for output in step.outputs]) if step.key == "planned" else step
        for step in snapshot.steps
    ]
    return snapshot._replace(steps=steps)


def _of_trips(output: ExecutionStepOutputSnap) -> ExecutionStepOutputSnap:
    return output._replace(properties=output.properties and output.properties._replace(asset_key=TRIPS))


vars(code_server)["snapshot_from_execution_plan"] = plan_of_a_foreign_asset

hostile = dg.Definitions(
    # It refers to the other location's assets, as it may.
    assets=[mine, mine_by_day, mine_by_month, planned, dg.AssetSpec(TRIPS), dg.AssetSpec("by_month")],
    jobs=[own_job, planned_job],
    sensors=[AnswersSensor(name, answer) for name, answer in ANSWERS.items()],
    schedules=[
        HostileSchedule(
            "schedules_a_foreign_asset",
            job=own_job,
            cron_schedule="* * * * *",
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
    ],
)


@dg.asset(key=TRIPS)
def trips_again() -> None: ...


# `totals` of the other location is made from this.
@dg.asset(deps=["totals"])
def expected() -> None: ...


duplicate = dg.Definitions(
    assets=[trips_again, expected],
    asset_checks=[complete],
    jobs=[dg.define_asset_job("build_trips", selection=[expected], automation_condition=ON_ROOTS)],
)
foreign_jobs = dg.AutomationConditionSensorDefinition("foreign_jobs", target=[mine], run_tags={"dagster/priority": "9"})
foreign_jobs._metadata = dg._core.definitions.metadata.normalize_metadata({"dagster/asset_job_keys": ["build_trips"]})
HUNDREDS = dg.StaticPartitionsDefinition([str(number) for number in range(400)])
MINUTES = dg.TimeWindowPartitionsDefinition(start="1970-01-01", fmt="%Y-%m-%d", cron_schedule="*/7 * * * *")


@dg.asset(partitions_def=dg.MultiPartitionsDefinition({"one": HUNDREDS, "other": HUNDREDS}))
def squared() -> None: ...


@dg.asset(partitions_def=MINUTES)
def by_minute() -> None: ...


misdeclared = dg.Definitions(
    assets=[mine, squared, by_minute, dg.AssetSpec(TRIPS, deps=[mine])],
    jobs=[dg.define_asset_job("urgent", selection=[mine], tags={"dagster/priority": "9"})],
    sensors=[foreign_jobs],
)
