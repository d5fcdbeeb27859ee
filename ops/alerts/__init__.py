"""Alerts: messages when something begins to need a person, and when it ends (docs/alerts.md)."""

from typing import Annotated

import typer
from typer import Argument, Context, Option

from ops.command import run

SilencedArgument = Annotated[str, Argument(metavar="NAME", help="A location, an asset, a service or a team.")]
_SERVICE = ("docker", "compose", "exec", "-T", "alerts", "python", "-m", "ops.alerts.service")

alerts = typer.Typer(help="List, test and silence the alerts.", invoke_without_command=True)


@alerts.callback()
def list_alerts(context: Context) -> None:
    """List what needs a person, what is silenced, and the receivers."""
    if context.invoked_subcommand is None:
        print(run(*_SERVICE, "list"), end="")


@alerts.command()
def test() -> None:
    """Send a test message to every receiver now; exit with 1 if one does not take it."""
    print(run(*_SERVICE, "test"), end="")


@alerts.command()
def silence(
    name: SilencedArgument, length: Annotated[str, Option("--for", metavar="2h", help="30m, 2h or 7d.")] = "1h"
) -> None:
    """Send no alerts about a location, an asset, a service or a team for a time."""
    print(run(*_SERVICE, "silence", f"--for={length}", "--", name), end="")


@alerts.command()
def unsilence(name: SilencedArgument) -> None:
    """End a silence now."""
    print(run(*_SERVICE, "unsilence", "--", name), end="")
