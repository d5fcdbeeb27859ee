"""CPU and memory of the containers of a stack that has nothing to do."""

import json
import statistics
import subprocess
import time
from collections import defaultdict

MEGABYTES = {"KiB": 1024 / 1e6, "MiB": 1024**2 / 1e6, "GiB": 1024**3 / 1e6}


def idle(project: str, seconds: int) -> dict[str, dict[str, float]]:
    """Per service of a compose project: memory in MB (10^6 bytes), and CPU in percent of one core.

    Both are means of `docker stats` over so many seconds. Health checks run in the containers, so they count.
    """
    label = f"label=com.docker.compose.project={project}"
    listing = ["docker", "ps", "--filter", label, "--format", '{{.ID}} {{.Label "com.docker.compose.service"}}']
    services = dict(line.split() for line in _output(listing))
    samples = defaultdict(list)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for line in _output(["docker", "stats", "--no-stream", "--format", "{{json .}}", *services]):
            stats = json.loads(line)
            used = stats["MemUsage"].partition(" / ")[0]
            sample = (float(used[:-3]) * MEGABYTES[used[-3:]], float(stats["CPUPerc"].rstrip("%")))
            samples[services[stats["ID"]]].append(sample)
    means = {service: tuple(map(statistics.mean, zip(*values, strict=True))) for service, values in samples.items()}
    return {
        service: {"memory_mb": round(memory, 1), "cpu_percent": round(cpu, 2)}
        for service, (memory, cpu) in sorted(means.items())
    }


def _output(command: list[str]) -> list[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
