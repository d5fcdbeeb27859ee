"""`make bench-door`: GraphQL calls through the door of the running stack and to the webserver itself, in turns."""

import json
import statistics
import subprocess
import time
from collections.abc import Callable

import requests

from benchmarks.measuring import save

CALLS = 400
# What the UI asks for every few seconds.
BODY = json.dumps({"query": "{ instance { daemonHealth { allDaemonStatuses { daemonType healthy } } } }"})


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def caller(url: str, **headers: str) -> Callable[[], float]:
    """A function that makes one call on a connection that stays open, and returns its milliseconds."""
    session = requests.Session()
    session.trust_env = False
    session.headers.update({"Content-Type": "application/json", **headers})

    def call() -> float:
        began = time.perf_counter()
        session.post(f"{url}/graphql", BODY, timeout=60).raise_for_status()
        return (time.perf_counter() - began) * 1000

    return call


def main() -> None:
    port = output("docker", "compose", "port", "door", "8080").rpartition(":")[2]
    webserver = output("docker", "compose", "ps", "--quiet", "webserver")
    address = output(
        "docker",
        "inspect",
        webserver,
        "--format",
        "{{range $name, $in := .NetworkSettings.Networks}}{{$name}} {{$in.IPAddress}}\n{{end}}",
    )
    (platform,) = [line.split()[1] for line in address.splitlines() if line.split()[0].endswith("_platform")]
    key = output("docker", "compose", "exec", "-T", "door", "cat", "/run/door/key")
    ways = {
        "door": caller(f"http://127.0.0.1:{port}"),
        "webserver": caller(f"http://{platform}:3000", **{"X-Door-Key": key}),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-20, CALLS):
        for name, call in ways.items():
            milliseconds = call()
            if number >= 0:
                taken[name].append(milliseconds)
    figures = {
        f"{name}_p{part}_ms": round(statistics.quantiles(values, n=100)[part - 1], 2)
        for name, values in taken.items()
        for part in (50, 95)
    }
    save("door", figures | {"p95_ratio": round(figures["door_p95_ms"] / figures["webserver_p95_ms"], 3)})


if __name__ == "__main__":
    main()
