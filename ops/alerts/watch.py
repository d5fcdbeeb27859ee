"""What has begun and what has ended since the last evaluation, by the judge of `make status`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from sqlite3 import Row

from ops.alerts.store import BEGINS, ENDED, FAILED, Store
from ops.status.facts import Facts, known
from ops.status.judge import Judgement, Problem, duration, is_hidden

# A problem is reported when two evaluations in a row have found it, and its end when two have not, because a
# service that is replaced is away for a moment. A failed run is reported at once.
EVALUATIONS = 2
# Events of concurrent transactions become visible out of order. So this many ids are read again.
OVERLAP = 1_000


@dataclass(frozen=True)
class FailedRun:
    """A run that failed, from the event log; ``event`` is the id of the failure's event."""

    event: int
    run_id: str
    what: str  # assets with their partitions, or the job
    location: str
    assets: tuple[str, ...]
    reason: str
    will_retry: bool
    retry_number: int

    def line(self, url: str) -> str:
        tried = f" (retry {self.retry_number})" if self.retry_number else ""
        where = f" in {self.location}" if self.location else ""
        then = "Dagster retries it." if self.will_retry else "Dagster does not retry it."
        return f"run failed{tried}: {self.what}{where}\n{self.reason}\n{then}\n{url}/runs/{self.run_id}"


def evaluate(store: Store, facts: Facts, judgement: Judgement, failed: Sequence[FailedRun], url: str) -> None:
    """Queues what has to be sent, in one transaction with what is remembered.

    ``failed`` are the runs that failed since ``store.get("after")``, the oldest first; ``url`` is the UI's address.
    """
    with store.transaction():
        _remember_owners(store, facts)
        _evaluate(store, facts, judgement, {run.run_id: run for run in failed}, url)
        store.put("evaluated", facts.time)


def tag(owner: str) -> str:
    """The tag of an owner of an asset, as receivers have it: ``team:analytics`` is ``analytics``."""
    return re.sub(r"[^a-z0-9_-]", "-", owner.removeprefix("team:").lower())


def is_silenced(names: Iterable[str], problem: Problem, tags: Iterable[str]) -> bool:
    return bool({problem.location, problem.kind, problem.about, *problem.assets, *tags} & {*names})


def _remember_owners(store: Store, facts: Facts) -> None:
    """Stores the owners of assets and locations, for when a location or the webserver does not answer."""
    owners: dict[str, list[str]] = store.get("owners", {})
    found: dict[str, set[str]] = {}
    for asset in known(facts.assets, ()):
        if asset.owners:
            found[asset.key] = set(map(tag, asset.owners))
            found.setdefault(asset.location, set()).update(map(tag, asset.owners))
    store.put("owners", owners | {name: sorted(tags) for name, tags in found.items()})
    names = {one.name for one in known(facts.services, ())} | {one.key for one in known(facts.assets, ())}
    if names:
        store.put("names", sorted(names))


def _tags(store: Store, location: str, assets: Iterable[str]) -> list[str]:
    owners: dict[str, list[str]] = store.get("owners", {})
    of_assets = {tag for name in assets for tag in owners.get(name, ())}
    return sorted(of_assets or owners.get(location, []))


def _evaluate(store: Store, facts: Facts, judgement: Judgement, failed: Mapping[str, FailedRun], url: str) -> None:
    now = facts.time
    silenced = [silence.name for silence in store.silences(now)]
    open_ones = {row["id"]: row for row in store.ask("select * from problems")}
    reported = {row["run_id"] for row in store.ask("select run_id from failed_runs")}
    present = {problem.id: problem for problem in judgement.problems}
    for id, problem in present.items():
        tags = _tags(store, problem.location, problem.assets)
        before = open_ones.get(id)
        evaluations = before["evaluations"] + 1 if before else 1
        began = before["began"] if before else now
        is_reported = (
            bool(before and before["reported"])
            or problem.about in reported
            or _was_reported(problem, open_ones.values())
        )
        run = failed.get(problem.about)
        line = run.line(url) if run else f"{problem.what}\nnext: {problem.next}"
        if (
            not is_reported
            and (evaluations >= EVALUATIONS or problem.kind == "run")
            and not is_silenced(silenced, problem, tags)
        ):
            store.add(now, BEGINS, tags, line)
            is_reported = True
        if run and is_reported:
            store.ask("insert or ignore into failed_runs values (?, ?)", run.run_id, run.event)
        store.ask(
            "insert or replace into problems values (?, ?, ?, ?, ?, ?, ?, ?, 0, ?)",
            *(id, problem.kind, problem.location, "\n".join(problem.assets), " ".join(tags), problem.what),
            *(began, evaluations, is_reported),
        )
    for id, row in open_ones.items():
        problem = Problem(row["kind"], row["line"], "", row["location"], tuple(row["assets"].split("\n")))
        if id in present or is_hidden(problem, facts, judgement):
            continue
        if row["reported"] and row["gone"] + 1 < EVALUATIONS:
            store.ask("update problems set gone = gone + 1 where id = ?", id)
            continue
        if row["reported"]:
            store.add(now, ENDED, row["tags"].split(), f"{row['line']} (for {duration(now - row['began'])})")
        store.ask("delete from problems where id = ?", id)
    # A run that needs nobody, or nobody any more, because it is retried or its partitions were built since.
    for run in failed.values():
        problem = Problem("run", "", "", run.location, run.assets, run.run_id)
        if run.run_id not in reported and problem.id not in present:
            tags = _tags(store, run.location, run.assets)
            if not is_silenced(silenced, problem, tags):
                store.add(now, FAILED, tags, run.line(url))
            store.ask("insert into failed_runs values (?, ?)", run.run_id, run.event)
    if failed:
        newest = max(run.event for run in failed.values())
        store.put("after", max(newest, store.get("after", 0)))
    store.ask("delete from failed_runs where event < ?", store.get("after", 0) - 2 * OVERLAP)


def _was_reported(problem: Problem, open_ones: Iterable[Row]) -> bool:
    """Whether this is about runs that were reported one by one, and are too old now to be read."""
    return problem.about.startswith("older ") and any(
        row["kind"] == "run" and row["reported"] and {*row["assets"].split("\n")} & {*problem.assets}
        for row in open_ones
    )
