"""The instance of webserver and daemon, and what it gives to code servers and runs."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from platform_host.instance import HostInstance, reference_for_run
from platform_host.location_logs import LocationLogs

from ops.command import ROOT

SETTINGS = yaml.safe_load((ROOT / "dagster.yaml").read_text())


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance with the classes of dagster.yaml, and a storage of its own."""
    kept = {name: SETTINGS[name] for name in ("instance_class", "compute_logs")}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(kept))
    with dg.DagsterInstance.from_config(str(tmp_path)) as opened:
        yield opened


def rebuilt(reference: InstanceRef) -> dg.DagsterInstance:
    """The instance that a code server or a run makes of its reference."""
    return dg.DagsterInstance.from_ref(reference)


def test_the_platforms_processes_read_logs_from_the_gateways(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance, HostInstance)
    assert isinstance(instance.compute_log_manager, LocationLogs)


def test_a_code_server_gets_no_class_of_the_platform_and_keeps_no_log_of_a_sensor(instance: dg.DagsterInstance) -> None:
    with rebuilt(instance.get_ref()) as served:
        assert type(served) is dg.DagsterInstance
        assert isinstance(served.compute_log_manager, NoOpComputeLogManager)


def test_a_run_gets_no_class_of_the_platform_and_writes_to_its_volume(instance: dg.DagsterInstance) -> None:
    with rebuilt(reference_for_run(instance)) as run:
        assert type(run) is dg.DagsterInstance
        assert isinstance(run.compute_log_manager, LocalComputeLogManager)
        path = Path(run.compute_log_manager.get_captured_local_path(["run", "compute_logs", "step"], "out"))
        assert path.parents[2] == Path("/opt/dagster/compute_logs")


@pytest.mark.parametrize(
    "log_key",
    [[], ["x"], ["..", "..", "etc", "passwd"], ["repository", "sensor", "1"], ["no-such-run", "compute_logs", "x"]],
)
def test_what_is_no_log_of_a_run_has_no_lines(instance: dg.DagsterInstance, log_key: list[str]) -> None:
    assert instance.compute_log_manager.get_log_data(log_key).stderr is None


def test_the_daemon_keeps_no_log_of_its_own(instance: dg.DagsterInstance) -> None:
    with instance.compute_log_manager.open_log_stream(["a", "b"], ComputeIOType.STDERR) as stream:
        assert stream is None
