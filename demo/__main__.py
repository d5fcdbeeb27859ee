"""The command line of the pipeline without Docker: `python -m demo COMMAND`. The targets of the Makefile call it."""

import csv
import fcntl
import os
import subprocess
import sys
from typing import Annotated

import psycopg2
import typer
from typer import Option

from demo.dev import dev
from demo.postgres import STATE, running
from demo.screenshots import take_pictures
from ops.command import OpsError, log, printable
from ops.environment import own_environment

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
# The arguments are those of another program.
FORWARD = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}


@app.command()
def demo(rebuild: Annotated[bool, Option(help="Also build again what is older than the zones.")] = False) -> None:
    """Load the months, build the days and the metrics of the months, and print a summary. Skips what is up to date."""
    from demo.demo import main

    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("Waiting for the end of another make demo")
            fcntl.flock(lock, fcntl.LOCK_EX)
        main(rebuild)


@app.command()
def query(statement: str) -> None:
    """Print the rows of a query on the warehouse as CSV with a header line."""
    if not statement.strip():
        sys.exit('Say what to ask: make query SQL="select * from analytics.daily_metrics limit 5"')
    if not (STATE / "postgres").exists():
        sys.exit("There is no embedded warehouse yet. Run make demo first.")
    with running() as env:
        connection = psycopg2.connect(host=env["WAREHOUSE_HOST"], dbname="warehouse", user="postgres")
        connection.set_session(readonly=True)
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow([column.name for column in cursor.description or ()])
            writer.writerows(cursor)


@app.command(context_settings=FORWARD)
def run(command: list[str]) -> None:
    """Run a command in the environment of the embedded Postgres, which both locations find there."""
    with running() as env:
        sys.exit(subprocess.run(command, env=env).returncode)


app.command(context_settings=FORWARD)(dev)
app.command("screenshots")(take_pictures)

if __name__ == "__main__":
    # Of this process too: it uses libpq and Dagster itself.
    kept = own_environment()
    os.environ.clear()
    os.environ.update(kept)
    try:
        app(prog_name="python -m demo")
    except (OpsError, PermissionError, psycopg2.Error) as error:
        sys.exit(printable(str(error).rstrip()))
