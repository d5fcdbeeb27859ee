"""`make bench-door`: what the front door costs, and how many people it holds, on the running stack without a login.

First GraphQL calls through the door and to the webserver itself, in turns. Then as many sessions of browsers ask what
the UI asks by itself while a backfill of 90 days runs; the zones and the months of these days must be loaded.
"""

import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from benchmarks.measuring import log, save
from tests.stack.backfill import DAILY_ASSETS, DAYS
from tests.stack.browser import browser
from tests.stack.webserver import Webserver

CALLS, MOST_SECONDS = 4000, 60
# What the UI asks for every few seconds.
BODY = json.dumps({"query": "{ instance { daemonHealth { allDaemonStatuses { daemonType healthy } } } }"})

SESSIONS, SECONDS = 200, 60
PAGES = ("/overview", "/runs", "/assets")
# Until when a page is loaded, and then asks by itself. The slowest polls come every 30 s.
LOADED_SECONDS, SEEN_SECONDS = 10, 45

Trace = list[tuple[float, str]]


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def address(service: str) -> str:
    """The address of a service in the network `platform`. Docker's forwarding of ports is measured on neither way."""
    container = output("docker", "compose", "ps", "--quiet", service)
    networks = json.loads(output("docker", "inspect", container))[0]["NetworkSettings"]["Networks"]
    (found,) = (network["IPAddress"] for name, network in networks.items() if name.endswith("_platform"))
    return str(found)


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


def percentiles(milliseconds: list[float]) -> dict[int, float]:
    cuts = statistics.quantiles(milliseconds, n=100)
    return {part: round(cuts[part - 1], 2) for part in (50, 95, 99)}


def calls_in_turns() -> dict[str, Any]:
    """The figures of calls on both ways."""
    key = output("docker", "compose", "exec", "-T", "door", "cat", "/run/door/key")
    ways = {
        "door": caller(f"http://{address('door')}:8080", Host="127.0.0.1"),
        "webserver": caller(f"http://{address('webserver')}:3000", **{"X-Door-Key": key, "X-Door-Login": "none"}),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    until = time.monotonic() + MOST_SECONDS
    for number in range(-50, CALLS):
        for name, call in ways.items():
            milliseconds = call()
            if number >= 0:
                taken[name].append(milliseconds)
        if time.monotonic() > until:
            break
    found = {name: percentiles(values) for name, values in taken.items()}
    figures = {f"{name}_p{part}_ms": found[name][part] for name in ways for part in (50, 95)}
    return figures | {"p95_ratio": round(found["door"][95] / found["webserver"][95], 3), "calls": len(taken["door"])}


def asked_by_itself(url: str, page: str) -> Trace:
    """What a page of the UI asks for in a browser once it is loaded: seconds since the request before, and the body."""
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as tab:
        tab.call("Network.enable")
        tab.open(f"{url}{page}")
        opened, ended = (time.monotonic() + seconds for seconds in (LOADED_SECONDS, SEEN_SECONDS))
        while time.monotonic() < ended:
            time.sleep(0.5)
            tab.run("1")
            if time.monotonic() < opened:
                tab.posts.clear()
    assert tab.posts, f"{page} asked for nothing"
    times = [tab.posts[0][0], *(at for at, _ in tab.posts)]
    return [
        (later - sooner, body) for (sooner, later), (_, body) in zip(itertools.pairwise(times), tab.posts, strict=True)
    ]


def session(url: str, trace: Trace, until: float) -> tuple[list[float], list[str]]:
    """One tab: a websocket that stays open, and polls; returns the milliseconds of these, and what failed."""
    taken: list[float] = []
    failed: list[str] = []
    start = random.randrange(len(trace))
    # Tabs are not opened at the same moment.
    time.sleep(random.uniform(0, 5))
    try:
        socket = connect(
            f"ws{url.removeprefix('http')}/graphql",
            origin=Origin(url),
            subprotocols=[Subprotocol("graphql-ws")],
            open_timeout=60,
        )
        with socket as events, requests.Session() as http:
            http.trust_env = False
            http.headers.update({"Content-Type": "application/json", "Origin": url})
            events.send(json.dumps({"type": "connection_init", "payload": {}}))
            events.recv(timeout=60)
            for seconds, body in itertools.cycle(trace[start:] + trace[:start]):
                if time.monotonic() + seconds > until:
                    break
                time.sleep(seconds)
                began = time.perf_counter()
                try:
                    answer = http.post(f"{url}/graphql", body, timeout=120)
                    if answer.status_code != 200 or "errors" in answer.json():
                        failed.append(f"HTTP {answer.status_code}: {answer.text[:200]}")
                except (requests.RequestException, ValueError) as error:
                    failed.append(f"{type(error).__name__}: {error}")
                taken.append((time.perf_counter() - began) * 1000)
            # It raises an error if the connection was closed meanwhile.
            events.ping().wait(60)
    except Exception as error:
        failed.append(f"websocket: {type(error).__name__}: {error}")
    return taken, failed


def many_sessions(url: str) -> tuple[dict[str, Any], Counter[str]]:
    """The figures of many sessions during a backfill, and what failed how often."""
    with ThreadPoolExecutor() as pool:
        traces = list(pool.map(lambda page: asked_by_itself(url, page), PAGES))
    for page, trace in zip(PAGES, traces, strict=True):
        log(f"{page} asks {len(trace)} times in {SEEN_SECONDS - LOADED_SECONDS} s")
    webserver = Webserver(url)
    zones = webserver.finished(webserver.launch("dbt_location", ["stg_zones"]))
    if zones["status"] != "SUCCESS":
        sys.exit("stg_zones could not be built. Load taxi_zones and the months first.")
    backfill = webserver.backfill(DAILY_ASSETS, DAYS)
    until = time.monotonic() + SECONDS
    with ThreadPoolExecutor(SESSIONS) as pool:
        seen = list(pool.map(lambda number: session(url, traces[number % len(PAGES)], until), range(SESSIONS)))
    taken = [milliseconds for each, _ in seen for milliseconds in each]
    failed = Counter(failure for _, each in seen for failure in each)
    runs = Counter(run["status"] for run in webserver.runs() if run["tags"].get("dagster/backfill") == backfill)
    log(f"load of the machine: {os.getloadavg()[0]:.0f}; the backfill's runs: {dict(runs)}")
    figures = {f"poll_p{part}_ms": milliseconds for part, milliseconds in percentiles(taken).items()}
    return {"sessions": SESSIONS, "polls": len(taken), "failed_polls": failed.total(), **figures}, failed


def main() -> None:
    port = output("docker", "compose", "port", "door", "8080").rpartition(":")[2]
    calls = calls_in_turns()
    log(json.dumps(calls))
    sessions, failed = many_sessions(f"http://127.0.0.1:{port}")
    save("door", calls | sessions)
    for failure, times in failed.most_common(10):
        log(f"{times} times: {failure}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
