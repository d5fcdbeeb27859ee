"""One deploy or rollback of a location and its results in the history, the same on every engine."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import NoReturn, Protocol

from ops.command import Interrupted, OpsError, log
from ops.deploy import records
from ops.deploy.records import Record, Version

# Faults of an image, the engine or the webserver, timeouts included, and interrupts.
FAILURES = (OpsError, Interrupted, KeyboardInterrupt)


class Ledger(Protocol):
    """The history of one location."""

    def read(self) -> list[Record]: ...
    def append(self, record: Record) -> None: ...


class Attempt:
    """A deploy or rollback, which is tried first, then replaces what runs, and puts that back if it fails.

    Attributes:
        past: the history before it.
        record: what is known of it; its result is written by the methods.
    """

    def __init__(
        self, ledger: Ledger, location: str, action: str, version: Version, by: str, running: Version | None
    ) -> None:
        self.past = ledger.read()
        if records.unverified(self.past):
            log("the deploy before this one was interrupted or failed, so the running version is not verified")
        self.record = Record(
            attempt=secrets.token_hex(4),
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            location=location,
            action=action,
            version=version,
            by=by,
            result=records.REPLACING,
            previous=records.before_deploy(self.past, running),
        )
        self._ledger = ledger

    def add(self, result: str, reason: str = "") -> None:
        """Adds a result to the history."""
        self._ledger.append(replace(self.record, result=result, reason=reason))

    @contextmanager
    def trial(self) -> Iterator[None]:
        """What fails here touches nothing: it is recorded as refused, and raised as OpsError."""
        try:
            yield
        except FAILURES as error:
            self.add(records.REFUSED, reason_of(error))
            untouched = f"{self.record.location}: refused; the running version was not touched."
            raise OpsError(f"{reason_of(error)}\n{untouched}") from error

    def put_back(self, failure: BaseException, previous: Callable[[], str], rollback: str) -> NoReturn:
        """Has the previous version run again after a failure, and raises OpsError.

        Args:
            previous: makes it run, and returns what runs now.
            rollback: the command that tries again where this fails.
        """
        location, reason = self.record.location, reason_of(failure)
        log(f"{reason}\n{location}: putting the previous version back")
        try:
            now = previous()
        except FAILURES as error:
            reason += f"\nThe previous version could not be put back: {reason_of(error)}"
            self.add(records.FAILED, reason)
            raise OpsError(f"{reason}\n{location}: failed. `{rollback}` tries again.") from error
        self.add(records.RESTORED, reason)
        raise OpsError(f"{reason}\n{location}: not deployed; {now}.")


def reason_of(error: BaseException) -> str:
    return str(error) or "interrupted"
