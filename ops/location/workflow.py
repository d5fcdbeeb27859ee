"""Runs the steps that CI runs for a change of one location, up to its deploy, from the workflow's own file.

usage: python -m ops.location.workflow NAME
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from ops.command import ROOT

WORKFLOWS = ROOT / ".github/workflows"


def commands(workflow: Path, job: str) -> list[str]:
    """The shell commands of a job, in order; the actions before them prepare a machine that is prepared here."""
    content: dict[str, Any] = yaml.safe_load(workflow.read_text())
    return [step["run"] for step in content["jobs"][job]["steps"] if "run" in step]


if __name__ == "__main__":
    name = sys.argv[1]
    for command in commands(WORKFLOWS / "location.yml", "check"):
        print(f"$ {command}", flush=True)
        if subprocess.run(["bash", "-e", "-c", command], cwd=ROOT, env={**os.environ, "LOCATION": name}).returncode:
            sys.exit(f"{name}: {command} failed; it says why above.")
