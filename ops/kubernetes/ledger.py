"""The history of a location's deploys and their lock, which are in the cluster: every clone and CI job shares them."""

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ops.command import CommandError, OpsError
from ops.deploy.records import Record, from_lines, to_line
from ops.kubernetes.releases import find, kubectl, labels, release_name

COMPONENT = "deployments"
_KEY = "history.jsonl"
# A ConfigMap has at most 1 MiB.
_KEPT, _MOST_TEXT = 400, 2000
# A lock that was not renewed for so long is that of a deploy that was killed.
_LOCK_SECONDS, _RENEW_SECONDS = 60, 15


@dataclass(frozen=True)
class Ledger:
    """The history of one location, which only the deploy that has the lock may write."""

    location: str

    def read(self) -> list[Record]:
        found = find("configmap", self._name)
        return from_lines(found["data"].get(_KEY, "")) if found else []

    def append(self, record: Record) -> None:
        lines = [to_line(one) for one in self.read()[1 - _KEPT :]]
        line = to_line(record)
        if len(line) > _MOST_TEXT:
            line = to_line(Record(**{**vars(record), "reason": record.reason[-_MOST_TEXT:]}))
        there = find("configmap", self._name)
        changed = there or {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self._name, "labels": labels(release_name(self.location), COMPONENT)},
        }
        changed["data"] = {_KEY: "\n".join([*lines, line])}
        kubectl("replace" if there else "create", "--filename", "-", stdin=json.dumps(changed))

    @property
    def _name(self) -> str:
        return f"{release_name(self.location)}-deployments"


def read_all() -> list[Record]:
    """The records of all locations, read without the locks."""
    selector = f"app.kubernetes.io/component={COMPONENT},app.kubernetes.io/part-of=dagster-taxi"
    found = json.loads(kubectl("get", "configmaps", "--selector", selector, "--output", "json"))["items"]
    return [record for one in found for record in from_lines(one["data"].get(_KEY, ""))]


@contextmanager
def locked(location: str, by: str) -> Iterator[Ledger]:
    """Locks a location, so that nobody else deploys it, from any machine, and opens its history.

    The lock is a Lease, which this process renews. That of a process that was killed ends a minute later.
    """
    name = f"{release_name(location)}-deploy"
    # Two deploys of one user are two.
    holder = f"{by} ({secrets.token_hex(4)})"
    _take(name, location, holder)
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(name, ended), daemon=True)
    renewing.start()
    try:
        yield Ledger(location)
    finally:
        ended.set()
        renewing.join()
        kubectl("delete", "lease", name, "--ignore-not-found")


def _take(name: str, location: str, holder: str) -> None:
    now = datetime.now(UTC)
    lease = find("lease", name)
    if lease:
        spec = lease["spec"]
        age = now - datetime.fromisoformat(spec["renewTime"])
        if age < timedelta(seconds=_LOCK_SECONDS):
            step = f"Try again when that has ended; a deploy that was killed is over {_LOCK_SECONDS} s later."
            raise OpsError(f"{location} is being deployed by {spec['holderIdentity']}. {step}")
    taken = lease or {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "labels": labels(release_name(location), "deploy")},
    }
    taken["spec"] = {"holderIdentity": holder, "leaseDurationSeconds": _LOCK_SECONDS, "renewTime": _time(now)}
    try:
        # One of two that try at once fails: the name is taken, or the version of the Lease is another one.
        kubectl("replace" if lease else "create", "--filename", "-", stdin=json.dumps(taken))
    except CommandError as error:
        if "AlreadyExists" in str(error) or "Conflict" in str(error) or "has been modified" in str(error):
            raise OpsError(f"{location} is being deployed by somebody else, who was faster. {error}") from error
        raise


def _renew(name: str, ended: threading.Event) -> None:
    while not ended.wait(_RENEW_SECONDS):
        change = json.dumps({"spec": {"renewTime": _time(datetime.now(UTC))}})
        # The API may be away for a moment.
        with suppress(CommandError):
            kubectl("patch", "lease", name, "--type", "merge", "--patch", change)


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
