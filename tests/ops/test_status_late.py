"""What is late, a backfill that hangs and a certificate's end, as a real instance and a real TLS server have them."""

import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from socket import create_server
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import freeze_time
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.freshness import FreshnessDaemon
from dagster_graphql.test.utils import execute_dagster_graphql

from ops.command import OpsError
from ops.status import webserver
from ops.status.certificate import certificate_end
from ops.status.facts import Events
from ops.status.judge import judge
from tests.ops.stack_facts import HEALTHY

LOCATION = """
from datetime import timedelta
import dagster as dg

policy = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=1))
trips = dg.asset(name="trips", freshness_policy=policy)(lambda: None)
others = dg.asset(name="others")(lambda: None)
defs = dg.Definitions([trips, others])
"""
HOURS = 3 * 3600


class Inside:
    """Asks the API in this process, without HTTP."""

    def __init__(self, process: WorkspaceProcessContext) -> None:
        self.process = process

    def ask(self, query: str) -> Any:
        return execute_dagster_graphql(self.process.create_request_context(), query).data


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkspaceProcessContext]:
    """The API of an instance whose assets were built once, and which has a backfill that nobody works on."""
    file = tmp_path_factory.mktemp("location") / "location.py"
    file.write_text(LOCATION)
    target = PythonFileTarget(str(file), attribute=None, working_directory=None, location_name="a_location")
    with dg.DagsterInstance.local_temp() as instance, WorkspaceProcessContext(instance, target) as process:
        for name in ("trips", "others"):
            instance.report_runless_asset_event(dg.AssetMaterialization(name))
        assets = [dg.AssetKey("others")]
        backfill = PartitionBackfill(
            "abc", BulkActionStatus.REQUESTED, False, {}, time.time(), asset_selection=assets, partition_names=["one"]
        )
        instance.add_backfill(backfill)
        yield process


def found(process: WorkspaceProcessContext, later: float) -> list[str]:
    """What needs a person some seconds later, of what follows from the assets and backfills of the instance."""
    with freeze_time(time.time() + later):
        [*_] = FreshnessDaemon().run_iteration(process)
    api: Any = Inside(process)
    assets, runs = webserver.assets(api), webserver.runs(api)
    facts = replace(HEALTHY, time=time.time() + later, assets=assets, runs=runs, events=Events({}, {}), daemons=())
    return [problem.what for problem in judge(facts).problems if problem.kind in ("late", "backfill")]


def test_an_asset_that_failed_its_freshness_policy_is_late_and_a_backfill_without_runs_hangs(
    process: WorkspaceProcessContext,
) -> None:
    assert found(process, 0) == []
    assert found(process, HOURS) == [
        "trips is late by its freshness policy",
        "the backfill abc of others hangs: it has no run in progress, and nothing of it was built for 3 h",
    ]


def test_the_end_of_a_certificate_is_read_from_the_server_that_serves_it(tmp_path: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3", "-subj", "/CN=dagster.example"]
    files = ["-out", str(tmp_path / "certificate.pem"), "-keyout", str(tmp_path / "key.pem")]
    subprocess.run([*command, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    with closing(create_server(("127.0.0.1", 0))) as listening:

        def serve() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                with context.wrap_socket(connection, server_side=True) as served:
                    served.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        end = certificate_end(listening.getsockname())
        thread.join(10)
    assert end is not None
    assert end - time.time() == pytest.approx(3 * 86_400, abs=120)


def test_a_door_without_a_certificate_has_no_end() -> None:
    with closing(create_server(("127.0.0.1", 0))) as listening:
        address = listening.getsockname()
    assert certificate_end(address) is None


def test_a_server_that_does_not_speak_tls_is_an_error() -> None:
    with closing(create_server(("127.0.0.1", 0))) as listening:
        threading.Thread(target=lambda: listening.accept()[0].close(), daemon=True).start()
        with pytest.raises(OpsError, match="certificate cannot be read"):
            certificate_end(listening.getsockname())
