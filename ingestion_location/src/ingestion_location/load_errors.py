"""How a load fails: with a message that says what to do, and with a tag on the run where another run may succeed."""

import contextlib
from collections.abc import Iterator

import dagster as dg
import psycopg2

from ingestion_location.bounds import Bounds
from ingestion_location.warehouse import Warehouse

# Tag on a run whose failure is transient, so that the sensor requests the load again. Its value is the run's own id,
# because launching the run again copies its tags.
TRANSIENT_FAILURE = "ingestion_location/transient_failure"
# Characters of a message: what it cites from a file may be of any length.
MOST_CHARACTERS = 2_000


class LoadError(Exception):
    """A load that failed; the message names the file, the column or the setting, and the next step.

    What the message cites from a file may be anything: control characters and half characters are escaped, and the
    middle of a long message is left out.
    """

    # Whether another run may succeed without anyone changing anything.
    transient = False

    def __init__(self, message: str) -> None:
        if len(message) > MOST_CHARACTERS:
            message = f"{message[: MOST_CHARACTERS // 2]}…{message[-MOST_CHARACTERS // 2 :]}"
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message))


class OutOfBounds(LoadError):  # noqa: N818, it names the state
    """What comes from outside is larger than a setting allows."""


def check_bound(bounds: Bounds, name: str, found: float, where: str) -> None:
    """Raises OutOfBounds if what was found ``where``, the file and a place in it, is above the bound ``name``."""
    most = getattr(bounds, name)
    if found > most:
        what = Bounds.model_fields[name].title
        shown = f"{found:,}" if isinstance(found, int) else f"{found:,.6g}"
        raise OutOfBounds(
            f"{where}: the {what} is at least {shown}, and {name.upper()}={most} is the most that is accepted. "
            f"Nothing was loaded. Compare the file with the TLC's; if it is right, raise {name.upper()}."
        )


def misfit_of(text: bytes) -> str:
    """Why Postgres cannot store these bytes as a text; empty if it can."""
    if b"\0" in text:
        return "has a NUL character, which a text in the warehouse cannot have"
    try:
        text.decode()
    except UnicodeDecodeError:
        return "is not UTF-8"
    return ""


@contextlib.contextmanager
def reporting_failures(context: dg.AssetExecutionContext, warehouse: Warehouse, subject: str) -> Iterator[None]:
    """Raises a Failure in place of a LoadError or psycopg2.Error, and tags the run where the failure is transient."""
    try:
        yield
    except LoadError as error:
        if error.transient:
            mark_transient_failure(context)
        # The message says it all; a stack trace would only hide it.
        raise dg.Failure(str(error), allow_retries=error.transient) from None
    except psycopg2.Error as error:
        if warehouse.is_away(error):
            mark_transient_failure(context)
        raise dg.Failure(f"{subject}: {warehouse.explain(error)}") from error


def mark_transient_failure(context: dg.AssetExecutionContext) -> None:
    context.instance.add_run_tags(context.run.run_id, {TRANSIENT_FAILURE: context.run.run_id})


def is_transient_failure(run: dg.DagsterRun) -> bool:
    """Whether this very run failed, and another one may succeed."""
    return run.status is dg.DagsterRunStatus.FAILURE and run.tags.get(TRANSIENT_FAILURE) == run.run_id
