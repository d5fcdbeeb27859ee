"""`make watch` on the live compose stack: a changed line is served, and the next run uses it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.command import ROOT
from tests.checkout import commit, copy_repository
from tests.stack.conftest import PROJECT, Stack
from tests.stack.webserver import wait_for

pytestmark = [pytest.mark.drill, pytest.mark.release]

DBT = "dbt_location"
ASSET = "src/dbt_location/defs/metrics/manhattan_stats.py"
MODEL = "analytics/models/marts/daily_metrics.yml"
DESCRIPTION = """query ($asset: AssetKeyInput!) { assetOrError(assetKey: $asset) {
  ... on Asset { definition { description } } } }"""


class Developer:
    """Somebody who changes files of a location in a clone in which `make watch` runs."""

    def __init__(self, stack: Stack, clone: Path) -> None:
        self.stack, self.folder, self.log = stack, clone / DBT, clone / "watch.log"
        command = ("make", "--no-print-directory", "watch", f"LOCATION={DBT}")
        with self.log.open("w") as log:
            self.watch = subprocess.Popen(command, cwd=clone, env=stack.env, stdout=log, stderr=log, process_group=0)
        self.wait_until_printed("served is what is in the folder")

    def wait_until_printed(self, text: str) -> None:
        wait_for(f"{text!r} in the output of make watch", 60, lambda: text in self.log.read_text() or None)

    def change(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def wait_until_described(self, asset: str, text: str) -> None:
        """Waits until the webserver describes an asset with a text; it must describe it all the time."""

        def served() -> bool | None:
            answer = self.stack.webserver.ask(DESCRIPTION, asset={"path": [asset]})
            return text in answer["assetOrError"]["definition"]["description"] or None

        wait_for(f"{asset} with {text!r}", 60, served)

    def image_of_next_run(self) -> str:
        run_id = self.stack.webserver.launch(DBT, ["stg_zones"])
        # Without zones it fails, which does not matter here.
        self.stack.webserver.finished(run_id)
        return str(self.stack.run_container(run_id)["Image"])


@pytest.fixture
def developer(stack: Stack, tmp_path: Path) -> Iterator[Developer]:
    clone = tmp_path / "clone"
    copy_repository(clone)
    commit(clone, "before")
    (clone / ".git/info/exclude").write_text(".venv\nwatch.log\n")
    (clone / ".venv").symlink_to(ROOT / ".venv")
    developer = Developer(stack, clone)
    try:
        yield developer
        subprocess.run(["git", "checkout", "--quiet", "."], cwd=clone, check=True)
        developer.wait_until_described("manhattan_stats", "Grain: one day.")
    finally:
        # As Ctrl-C does.
        os.killpg(developer.watch.pid, signal.SIGINT)
        developer.watch.wait()


def test_a_changed_line_is_served_and_used_by_the_next_run_unless_it_does_not_load(
    stack: Stack, developer: Developer
) -> None:
    developer.change(ASSET, "Grain: one day.", "Grain: one more day.")
    developer.wait_until_described("manhattan_stats", "one more day")
    developer.change(MODEL, "A day without trips has no row.", "A day without trips has none.")
    developer.wait_until_described("daily_metrics", "has none")
    (served,) = stack.inspect(f"{DBT}:{PROJECT}")
    assert developer.image_of_next_run() == served["Id"]

    developer.change("src/dbt_location/definitions.py", '"""\n', '"""\nimport no_such_module\n')
    developer.wait_until_printed("no_such_module")
    developer.wait_until_printed("not served")
    developer.wait_until_described("manhattan_stats", "one more day")
    assert developer.image_of_next_run() == served["Id"]
    containers = stack.command("docker", "compose", "ps", "--all", "--quiet", DBT).split()
    assert [container["Image"] for container in stack.inspect(*containers)] == [served["Id"]]
