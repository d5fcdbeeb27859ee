"""What an archive of diagnostics has: each part is a text, made from what answers."""

import copy
import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from ops.command import ROOT, OpsError, run
from ops.diagnostics.redact import REMOVED
from ops.doctor import report
from ops.doctor.examine import examine
from ops.settings import EXAMPLE, given, in_env_files, is_secret
from ops.status.as_json import as_json
from ops.status.collect import collect
from ops.status.facts import Events, Runs, known
from ops.status.judge import judge

SECONDS = 60
LINES = 500
FAILED_RUNS = 10


def versions() -> str:
    """Each program with its version, or why it has none."""
    commands = (
        ("docker", "version"),
        ("docker", "compose", "version"),
        ("docker", "buildx", "version"),
        ("git", "log", "-1", "--format=commit %H of %cI"),
        ("git", "status", "--short", "--untracked-files=no"),
    )
    texts = [f"{platform.platform()}\nPython {sys.version}"]
    for command in commands:
        try:
            texts.append(f"$ {' '.join(command)}\n{run(*command, timeout=SECONDS)}")
        except OpsError as error:
            texts.append(f"$ {' '.join(command)}\n{error}")
    return "\n\n".join(texts)


def doctor() -> str:
    return report(examine())


def settings() -> str:
    """Each setting that is not its default, and the names of what else the env files set."""
    there = given()
    lines = [f"{name}={REMOVED if is_secret(name) else there[name]}" for name in sorted(there)]
    others = sorted(in_env_files().keys() - EXAMPLE.keys())
    return "\n".join([*lines, "", "Not in .env.example, so without their values:", *others])


def compose_config(config: Mapping[str, Any]) -> str:
    """What Compose makes of its files. Variables that are no known settings are without their values."""
    shown = copy.deepcopy(dict(config))
    for service in shown["services"].values():
        places = [service, service.get("build") or {}]
        for variables in (place[key] for place in places for key in ("environment", "args") if place.get(key)):
            hidden = [name for name in variables if name not in EXAMPLE or is_secret(name)]
            variables.update(dict.fromkeys(hidden, REMOVED))
    for entry in [*shown.get("configs", {}).values(), *shown.get("secrets", {}).values()]:
        entry.pop("content", None)
    return json.dumps(shown, indent=2)


def states(found: list[dict[str, Any]]) -> str:
    """The state of each container, with its last health checks and without its environment."""
    shown = ("Name", "Image", "Created", "RestartCount", "State")
    return json.dumps([{"Tag": one["Config"]["Image"], **{key: one[key] for key in shown}} for one in found], indent=2)


def of_runs(project: str) -> list[dict[str, Any]]:
    """The newest containers of runs that failed, as `docker inspect` describes them."""
    listed = run("docker", "ps", "--all", "--quiet", "--filter", f"label=project={project}", timeout=SECONDS).split()
    described = json.loads(run("docker", "inspect", *listed, timeout=SECONDS)) if listed else []
    return [one for one in described if one["State"]["ExitCode"]][:FAILED_RUNS]


def log_of(container: str) -> str:
    """The last lines of what a container printed."""
    command = ("docker", "logs", "--timestamps", "--tail", str(LINES), container)
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS)
    return ended.stdout.decode(errors="replace")


def status() -> tuple[str, str]:
    """What `make status FORMAT=json` prints, and the last failed runs with their errors."""
    facts = collect()
    reasons = known(facts.events, Events({}, {})).reasons
    runs = [{**vars(one), "reason": reasons.get(one.id, "")} for one in known(facts.runs, Runs()).failed]
    return as_json(facts, judge(facts)), json.dumps(runs, indent=2)
