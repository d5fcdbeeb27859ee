"""Runs code as a team's own: in a container that has what a run of the team's location has."""

import json
import subprocess
from typing import Any

from tests.stack.conftest import Stack


def run_policy(stack: Stack, location: str) -> dict[str, Any]:
    """What the platform has recorded of a location's runs."""
    path = f"/opt/dagster/run_policies/{location}.json"
    policy: dict[str, Any] = json.loads(stack.command("docker", "compose", "exec", "-T", "daemon", "cat", path))
    return policy


def run_as(stack: Stack, location: str, code: str, *arguments: str, timeout: float = 120) -> tuple[int, str]:
    """Runs Python code with the image, network, volumes, settings and limits of a location's runs.

    Returns the exit code and what the code printed, stderr included. The container is removed in the end.
    """
    ended = subprocess.run(
        [*_docker_run(run_policy(stack, location)), "python", "-", *arguments],
        input=code,
        env=stack.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    return ended.returncode, ended.stdout


def _docker_run(policy: dict[str, Any]) -> list[str]:
    """The command that starts a container as the launcher does, of the policy's newest image."""
    labels = {"project": policy["project"], "location": policy["location"]}
    options = [
        *(f"--env={name}={value}" for name, value in policy["environment"].items()),
        *(f"--label={name}={value}" for name, value in labels.items()),
        *(f"--volume={volume}" for volume in policy["volumes"]),
        f"--network={policy['network']}",
        f"--memory={policy['memory']}",
        f"--cpus={policy['cpus']}",
        f"--pids-limit={policy['pids']}",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges:true",
        "--read-only",
        f"--tmpfs=/tmp:size={policy['memory'] // 2}",
    ]
    return ["docker", "run", "--rm", "--interactive", "--init", "--pull=never", *options, policy["images"][0]]
