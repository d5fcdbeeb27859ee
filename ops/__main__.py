"""The operator's command line: `python -m ops COMMAND`. The targets of the Makefile call it."""

import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from ops.errors import Interrupted, OpsError

app = typer.Typer(
    help="Operates the compose stack and its code locations.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Each command imports its own module, so that --help and short commands start fast.
Force = Annotated[bool, typer.Option("--force", help="Deploy although the contract with another location breaks.")]
Location = Annotated[str, typer.Argument(metavar="LOCATION", help="Name of the location, such as dbt_location.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the location, such as weather_location.")]


@app.command()
def deploy(
    location: Location,
    tag: Annotated[str | None, typer.Option(help="Tag of an existing image. Without it, the folder is built.")] = None,
    force: Force = False,
) -> None:
    """Replace one location's code server by a new version, verified."""
    from ops.deploy.deploy import deploy as run

    run(location, tag, force)


@app.command()
def rollback(location: Location, force: Force = False) -> None:
    """Go back to a location's previous good version."""
    from ops.deploy.deploy import rollback as run

    run(location, force)


@app.command()
def deployments(
    location: Annotated[str | None, typer.Argument(metavar="LOCATION", help="Only this location.")] = None,
) -> None:
    """List what was deployed when, by whom, and with what result."""
    from ops.deploy.deployed import list_deployments

    list_deployments(location)


@app.command(hidden=True)
def pin() -> None:
    """Write the deployed tags into the env file, and print the services that compose must build."""
    from ops.deploy.deployed import pin as run

    print(" ".join(run()))


@app.command()
def status(
    format: Annotated[Literal["text", "json"], typer.Option(help="For people, or for programs.")] = "text",
) -> None:
    """Show the state of the stack; exit with 1 if anything in it needs a person."""
    from ops.status import show

    raise typer.Exit(show(format))


@app.command()
def backup() -> None:
    """Back up both databases and the reports of the running stack into BACKUP_DIR."""
    from ops.backup.backup import backup as run

    started = time.monotonic()
    folder = run()
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size / 1e6:,.1f} MB in {time.monotonic() - started:.0f} s")


@app.command()
def restore(
    backup: Annotated[Path, typer.Argument(metavar="BACKUP", help="Folder of the backup, or a file in it.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the content of a stack that is not empty.")] = False,
) -> None:
    """Replace the content of the stack by a backup, and start the stack."""
    from ops.backup.restore import restore as run

    run(backup, force)
    print("Restored. Runs that were in flight are marked as failed and launched again within a minute or so.")


@app.command()
def new_location(
    name: Name, team: Annotated[str, typer.Argument(metavar="TEAM", help="GitHub team that owns it, without @.")] = ""
) -> None:
    """Make a code location from the template."""
    from ops.scaffold.new import NEXT
    from ops.scaffold.new import new_location as run
    from ops.scaffold.tree import schema_of

    run(name, team)
    print(NEXT.format(name=name, schema=schema_of(name)))


@app.command()
def remove_location(
    name: Name, drop_data: Annotated[bool, typer.Option("--drop-data", help="Drop its tables.")] = False
) -> None:
    """Remove a location from the stack and from the repository."""
    from ops.scaffold.remove import remove_location as run

    run(name, drop_data)


@app.command()
def check_location(
    name: Name,
    python: Annotated[Path | None, typer.Option(help="Python of an environment with the location's dev.lock.")] = None,
    tests_only: Annotated[bool, typer.Option("--tests-only", help="Skip format, lint and types.")] = False,
) -> None:
    """Check and test one location in a copy without the others."""
    from ops.scaffold.check import check_location as run

    run(name, python, tests_only)


@app.command()
def ci_location(name: Name) -> None:
    """Run the steps of CI for a change of one location, except its deploy."""
    from ops.scaffold.check import ci_location as run

    run(name)


@app.command()
def contract() -> None:
    """List the assets of the locations with data, and check the contract between these locations."""
    from ops.contract.workspace import show

    show()


if __name__ == "__main__":
    try:
        app(prog_name="python -m ops")
    except OpsError as error:
        sys.exit(str(error))
    except (Interrupted, KeyboardInterrupt) as error:
        sys.exit(str(error) or "interrupted")
