"""How a load fails: with a message that says what to do, and with a tag on the run where another run may succeed."""

import contextlib
from collections.abc import Iterator

import dagster as dg
import psycopg2

from ingestion_location.warehouse import Warehouse

# Tag on a run whose failure is transient, so that the sensor requests the load again. Its value is the run's own id:
# whoever launches the run again copies its tags.
TRANSIENT_FAILURE = "ingestion_location/transient_failure"


class LoadError(Exception):
    """A load that failed; the message names the file, the column or the setting, and the next step."""

    # Whether another run may succeed without anyone changing anything.
    transient = False


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
