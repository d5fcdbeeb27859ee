"""The operator's command line: `python -m ops COMMAND`. The targets of the Makefile call it."""

import sys
from collections.abc import Callable

import typer

from ops.access import roles, tokens, users, whoami
from ops.alerts import alerts
from ops.audit import audit
from ops.backup.age import backup_key
from ops.backup.backup import backup
from ops.backup.rehearse import rehearse_upgrade
from ops.backup.restore import restore
from ops.command import Interrupted, OpsError
from ops.contract.workspace import contract
from ops.deploy.deploy import deploy, rollback
from ops.deploy.history import deployments, pin
from ops.deploy.watch import watch
from ops.diagnostics import diagnostics
from ops.doctor import doctor
from ops.kubernetes import kubernetes
from ops.rebuild import rebuild
from ops.rotate import rotate_password
from ops.scaffold.check import check_location
from ops.scaffold.new import new_location
from ops.scaffold.remove import remove_location
from ops.secret import remove_secret, secret, secrets
from ops.status.command import status

app = typer.Typer(
    help="Operates the compose stack and its code locations.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# In the order of --help. Each function's annotations and docstring are its arguments and its help.
COMMANDS: tuple[Callable[..., None], ...] = (deploy, rollback, deployments, watch, status, rebuild, backup)
COMMANDS += (restore, rehearse_upgrade, backup_key, rotate_password, secret, secrets, remove_secret)
COMMANDS += (new_location, remove_location, check_location, contract, roles, whoami, audit)
COMMANDS += (doctor, diagnostics)
for command in COMMANDS:
    app.command()(command)
app.add_typer(users, name="users")
app.add_typer(tokens, name="tokens")
app.add_typer(kubernetes, name="kubernetes")
app.add_typer(alerts, name="alerts")
app.command(hidden=True)(pin)

if __name__ == "__main__":
    try:
        app(prog_name="python -m ops")
    except OpsError as error:
        sys.exit(str(error))
    except (Interrupted, KeyboardInterrupt) as error:
        sys.exit(str(error) or "interrupted")
