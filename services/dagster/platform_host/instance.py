"""The instance as webserver and daemon have it."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from dagster import DagsterInstance
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import ConfigurableClassData

from platform_host.answer_size import limit_answers
from platform_host.code_location import guard_code_locations
from platform_host.grpc_calls import call_in_threads
from platform_host.launched_by import MarkingRunDomain, with_user
from platform_host.pauses import keep_connections, shorten_pauses
from platform_host.unreadable_events import survive_unreadable_events

NO_LOGS = ConfigurableClassData(
    "dagster._core.storage.noop_compute_log_manager", "NoOpComputeLogManager", config_yaml="{}"
)
# Runs write what they print to a folder, the volume of their location.
RUN_LOGS = ConfigurableClassData(
    "dagster._core.storage.local_compute_log_manager",
    "LocalComputeLogManager",
    config_yaml="{base_dir: /opt/dagster/compute_logs}",
)

# dagster.yaml names this module, so webserver and daemon import it first.
guard_code_locations()
shorten_pauses()
survive_unreadable_events()
limit_answers()
call_in_threads()


class HostInstance(DagsterInstance):
    """The instance of this process, which gives code servers and runs only classes that their images have.

    Dagster sends a reference of the instance with each call of a code server and with each run. The classes of
    dagster.yaml that are in this package cannot be imported there.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        keep_connections(self)

    @staticmethod
    def config_schema() -> Mapping[str, Any]:
        return {}

    @staticmethod
    def config_defaults(base_dir: str) -> Mapping[str, Any]:
        return InstanceRef.config_defaults(base_dir)

    def get_ref(self) -> InstanceRef:
        """The reference for code servers. What a sensor logs is only in the code server's own output."""
        return super().get_ref()._replace(custom_instance_class_data=None, compute_logs_data=NO_LOGS)

    @cached_property
    def run_domain(self) -> MarkingRunDomain:
        return MarkingRunDomain(self)

    def add_backfill(self, partition_backfill: PartitionBackfill) -> None:
        super().add_backfill(partition_backfill._replace(tags=with_user(partition_backfill.tags)))


def reference_for_run(instance: DagsterInstance) -> InstanceRef:
    """The reference of an instance for a run, whose output is captured."""
    return instance.get_ref()._replace(compute_logs_data=RUN_LOGS)
