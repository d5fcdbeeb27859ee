"""The service `alerts`: evaluates the state every half minute, sends what began and ended, and writes the metrics.

It runs in the stack: python -m ops.alerts.service COMMAND. `python -m ops alerts` calls its commands from outside.
"""

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from ops.alerts import inside
from ops.alerts.send import GAP_SECONDS, ReceiverError, deliver, ping, read_receivers, send
from ops.alerts.store import Store
from ops.alerts.watch import evaluate
from ops.command import OpsError, log
from ops.metrics.export import Export
from ops.status.collect import Stack, collect
from ops.status.facts import Alerts, Facts
from ops.status.judge import Judgement, duration, judge
from ops.table import print_table

EVALUATION_SECONDS = 30
# In a volume that the webserver reads (docs/monitoring.md).
METRICS = Path("/var/lib/metrics/metrics.prom")
# The operator's files: secrets of platform_location.
RECEIVERS, PING = "alerts", "alerts_ping_url"
# What the receiver of failed runs was, before there were alerts.
OLD = "notify_webhook_url"
_LONGEST_SILENCE = 30 * 86_400
_UNITS = {"m": 60, "h": 3600, "d": 86_400}

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


def folder() -> Path:
    return Path(os.environ.get("ALERTS_FOLDER", "/var/lib/alerts"))


def secrets() -> Path:
    return Path(os.environ.get("SECRETS_DIR", "/run/secrets"))


def evaluate_once(
    store: Store, find: Callable[[Callable[[], Alerts]], Stack] = inside.from_inside
) -> tuple[Facts, Judgement]:
    """Collects and judges the facts, then queues and sends alerts. A source that does not answer is a problem, too."""
    url = os.environ.get("DAGSTER_URL", "")
    remembered = state(store)
    facts = collect(lambda: find(lambda: remembered))
    try:
        failed, after = inside.failed_runs(store.get("after"))
    except OpsError:  # Postgres is away, which the facts have, too
        failed, after = [], store.get("after")
    judgement = judge(facts)
    evaluate(store, facts, judgement, failed, url)
    if after is not None:
        store.put("after", after)
    send_all(store, facts.project)
    return facts, judgement


def send_all(store: Store, project: str) -> None:
    """Sends what waits. A file of receivers that cannot be read loses nothing: it is sent when the file is right."""
    try:
        receivers = read_receivers(secrets() / RECEIVERS)
    except ReceiverError as error:
        log(str(error))
        store.put("wrong", str(error))
    else:
        store.put("wrong", None)
        store.put("receivers", [one.label for one in receivers])
        if not receivers:
            for entry in store.waiting():
                log(f"not sent, because there is no secret {RECEIVERS}: {entry.mark}: {entry.line}")
        send(store, receivers, project, time.time(), float(os.environ.get("ALERTS_GAP_SECONDS") or GAP_SECONDS))
    try:
        url = (secrets() / PING).read_text().strip()
    except FileNotFoundError:
        return
    trouble = ping(url)
    store.put("ping", f"the dead man's switch ({PING}): {trouble}" if trouble else None)


def state(store: Store) -> Alerts:
    rows = store.ask("select since, trouble from receivers where trouble is not null")
    troubles = [(row["trouble"], row["since"]) for row in rows]
    now = time.time()
    troubles += [(text, 0.0) for name in ("wrong", "ping") if (text := store.get(name))]
    if (secrets() / OLD).exists() and not (secrets() / RECEIVERS).exists():
        troubles.append((f"the secret {OLD} is not read any more: store the secret {RECEIVERS} in its place", 0.0))
    silences = tuple((one.name, one.until) for one in store.silences(now))
    receivers = tuple(store.get("receivers", ()))
    return Alerts(store.get("evaluated"), receivers, silences, len(store.waiting()), tuple(troubles))


@app.command()
def run() -> None:
    """Evaluate for ever. An evaluation that fails is logged; if all fail, the health check ends this process."""
    store, export = Store(folder()), Export(METRICS)
    while True:
        begun = time.monotonic()
        try:
            found = evaluate_once(store)
            (folder() / "evaluated").touch()
            # After the alerts, which do not depend on it.
            export.write(store, *found, begun)
        except Exception as error:
            log(f"{type(error).__name__}: {error}")
        time.sleep(max(EVALUATION_SECONDS - (time.monotonic() - begun), 1))


@app.command("state")
def print_state() -> None:
    """Print what the alerts remember as JSON, for `make status`."""
    print(json.dumps(dataclasses.asdict(state(Store(folder())))))


@app.command("list")
def print_list() -> None:
    """List what needs a person, what is silenced, and the receivers."""
    store = Store(folder())
    now = time.time()
    rows = store.ask("select * from problems order by began")
    print_table(
        ["since (UTC)", "reported", "owners", "needs a person"],
        [
            [_stamp(row["began"]), "yes" if row["reported"] else "no", row["tags"] or "default", row["line"]]
            for row in rows
        ],
    )
    print()
    print_table(["silenced", "until (UTC)"], [[one.name, _stamp(one.until)] for one in store.silences(now)])
    print()
    receivers = read_receivers(secrets() / RECEIVERS)
    print("\n".join(one.label for one in receivers) or f"no receivers: there is no secret {RECEIVERS}")
    for text, _ in state(store).troubles:
        print(text)


@app.command()
def test() -> None:
    """Send a message to every receiver now; exit with 1 if one does not accept it."""
    receivers = read_receivers(secrets() / RECEIVERS)
    if not receivers:
        raise OpsError(
            f"There is no secret {RECEIVERS}. Store it: make secret LOCATION=platform_location NAME={RECEIVERS}"
        )
    project = os.environ["COMPOSE_PROJECT_NAME"]
    troubles = 0
    for one in receivers:
        trouble = deliver(one, f"{project}: test", "A test of the alerts. Nothing needs a person because of it.", True)
        print(f"{one.label}: {trouble or 'accepted'}")
        troubles += bool(trouble)
    if troubles:
        raise OpsError(f"{troubles} of {len(receivers)} receivers did not accept the message.")


@app.command()
def silence(name: Annotated[str, Argument()], length: Annotated[str, Option("--for")] = "1h") -> None:
    """Send no alerts about a location, an asset, a service or a team for a time."""
    store = Store(folder())
    seconds = _seconds(length)
    owners: dict[str, list[str]] = store.get("owners", {})
    names = {*store.get("names", ()), *owners, *(tag for tags in owners.values() for tag in tags)}
    if name not in names:
        raise OpsError(f"NAME={name!r} is no location, asset, service or team. There are: {', '.join(sorted(names))}.")
    until = time.time() + seconds
    store.ask("insert or replace into silences values (?, ?)", name, until)
    log(f"{name} is silenced until {_stamp(until)} UTC ({duration(seconds)}). Problems that remain are reported then.")


@app.command()
def unsilence(name: Annotated[str, Argument()]) -> None:
    """End a silence now."""
    store = Store(folder())
    names = [one.name for one in store.silences(time.time())]
    if name not in names:
        raise OpsError(f"NAME={name!r} is not silenced. Silenced are: {', '.join(names) or 'none'}.")
    store.ask("delete from silences where name = ?", name)
    log(f"{name} is not silenced any more.")


def _seconds(length: str) -> int:
    number, unit = length[:-1], length[-1:]
    if not (
        number.isascii() and number.isdigit() and unit in _UNITS and 0 < int(number) * _UNITS[unit] <= _LONGEST_SILENCE
    ):
        raise OpsError(f"FOR={length!r} is no time. Write 30m, 2h or 7d, at most 30d.")
    return int(number) * _UNITS[unit]


def _stamp(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M}"


if __name__ == "__main__":
    try:
        app(prog_name="alerts")
    except OpsError as error:
        sys.exit(str(error))
