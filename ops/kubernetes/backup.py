"""Backups of a stack in Kubernetes and their restore, in the folders of compose: each is restored on either engine.

The programs of Postgres run in a pod of their own, which has the passwords and the claims with the reports. So Postgres
may be in the cluster or elsewhere.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from ops.backup import age, manifest
from ops.backup.databases import (
    KNOWN,
    refuse_unless_empty,
    refuse_unless_migratable,
    refuse_unless_roles_exist,
    restore_dumps,
)
from ops.backup.folder import write
from ops.command import ROOT, CommandError, OpsError, log, run
from ops.compose import USER
from ops.kubernetes.releases import (
    PLATFORM,
    credentials,
    deployed_revision,
    find,
    helm,
    install,
    kubectl,
    labels,
    namespace,
    release_name,
)
from ops.locations import LOCATIONS

_POD = "backup"
_HOURS = 12
_STOP_SECONDS = 120
# libpq ignores a password file that others may read, and a mounted Secret belongs to root.
_WAIT = """
umask 077
for role in "$@"; do printf '*:*:*:%s:%s\\n' "$role" "$(cat "/run/passwords/$role")"; done > /run/credentials/pgpass
touch /tmp/ready
exec sleep infinity
"""


@dataclass(frozen=True)
class _Beside:
    """The pod beside Postgres."""

    superuser: str

    def command(self, *command: str, **environment: str) -> list[str]:
        """The command line for a program of Postgres, as the superuser; it may log in as any role, too."""
        variables = (f"{name}={value}" for name, value in ({"PGUSER": self.superuser} | environment).items())
        return ["kubectl", "--namespace", namespace(), "exec", "--stdin", _POD, "--", "env", *variables, *command]

    def pack(self, volume: str, file: IO[bytes]) -> None:
        script = 'tar --create --sparse --directory "$0" . || [ $? = 1 ]'
        run(*self.command("sh", "-c", script, f"/volumes/{volume}"), stdout=file)

    def unpack(self, volume: str, tar: IO[bytes]) -> None:
        # The folder itself may belong to somebody else.
        script = 'find "$0" -mindepth 1 -delete && tar --extract --no-overwrite-dir --directory "$0"'
        run(*self.command("sh", "-c", script, f"/volumes/{volume}"), stdin=tar)


def backup() -> None:
    """Writes a backup of the stack into BACKUP_DIR."""
    code = "import importlib.metadata as m; print(m.version('dagster'))"
    with _beside() as beside:
        write(_settings(), beside.command, beside.pack, _in_daemon("-c", code).strip())


def restore(backup: Path, force: bool) -> None:
    """Replaces the content of the stack by a backup of a stack on any engine."""
    folder, content = manifest.read(backup)
    log(f"{folder}: complete; of {content.created}, Dagster {content.dagster}, Postgres {content.postgres}")
    key = age.setting_path(_settings(), "key")
    if content.encrypted_for:
        age.check_key([folder / name for name in content.files], content.encrypted_for, key)
    with _beside() as beside:
        if not force:
            refuse_unless_empty(namespace(), beside.command)
        refuse_unless_migratable(content, _in_daemon("-c", KNOWN, content.schema), beside.command)
        refuse_unless_roles_exist(content, beside.command)
        _stop()
        restore_dumps(folder, content, key, "/tmp", beside.command)
        for volume in content.volumes:
            with age.reading(content.path(folder, f"{volume}.tar"), key) as tar:
                beside.unpack(volume, tar)
    log("migrating the instance and starting the stack")
    given = _platform_values()
    try:
        install(PLATFORM, PLATFORM, given)
    except OpsError as error:
        raise OpsError(f"Everything is restored, but the platform does not run: make kubernetes-up. {error}") from None
    log("Restored. Runs that were in progress are marked as failed and launched again within a minute or so.")


def _in_daemon(*arguments: str) -> str:
    try:
        return kubectl("exec", "deployment/daemon", "--container", "daemon", "--", "python", *arguments)
    except CommandError as error:
        raise OpsError(f"The daemon does not run in the namespace {namespace()}: make kubernetes-up. {error}") from None


def _platform_values(*options: str) -> dict[str, Any]:
    """The values of the platform's release as it runs. Those of an upgrade that failed later may be wrong."""
    revision = deployed_revision(PLATFORM)
    if revision is None:
        raise OpsError(f"The platform is not installed in the namespace {namespace()}: make kubernetes-up.")
    return json.loads(helm("get", "values", PLATFORM, "--revision", revision, *options, "--output", "json")) or {}


def _stop() -> None:
    """Ends daemon, webserver and runs: one that continues would write events into the restored history."""
    log("stopping daemon, webserver and runs")
    kubectl("scale", "deployment", "daemon", "webserver", "--replicas", "0")
    kubectl("delete", "jobs", "--selector", "app.kubernetes.io/component=run", "--cascade=foreground", "--wait=true")
    deadline = time.monotonic() + _STOP_SECONDS
    while left := kubectl(
        "get", "pods", "--selector", "app.kubernetes.io/name in (daemon, webserver)", "--output", "name"
    ):
        if time.monotonic() > deadline:
            raise OpsError(
                f"Nothing was changed: {left.split()} did not end. make kubernetes-up starts the stack again."
            )
        time.sleep(1)


def _volumes() -> list[str]:
    return list(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["x-backup"]["volumes"])


def _settings() -> dict[str, Any]:
    """The settings of backups, as those of compose are, from this environment alone."""
    settings = {
        "folder": os.environ.get("BACKUP_DIR") or "backups",
        "recipients": os.environ.get("BACKUP_RECIPIENT_FILE"),
        "key": os.environ.get("BACKUP_KEY_FILE"),
        "volumes": _volumes(),
    }
    return {"x-backup": settings}


@contextmanager
def _beside() -> Iterator[_Beside]:
    """Starts the pod, and removes it at the end."""
    if find("pod", _POD):
        ended = f"kubectl --namespace {namespace()} delete pod {_POD}"
        raise OpsError(f"Another backup or restore is running. Wait for its end; if it was killed: {ended}")
    values = _platform_values("--all")
    kubectl("create", "--filename", "-", stdin=json.dumps(_pod(values)))
    try:
        try:
            kubectl("wait", "pod", _POD, "--for=condition=Ready", "--timeout", "120s")
        except CommandError as error:
            raise OpsError(f"The pod {_POD} does not run: {kubectl('describe', 'pod', _POD)[-1500:]}") from error
        yield _Beside(values["postgres"]["superuser"])
    finally:
        kubectl("delete", "pod", _POD, "--grace-period=0", "--force", "--ignore-not-found")


def _pod(values: dict[str, Any]) -> dict[str, Any]:
    postgres, image = values["postgres"], values["image"]
    # The password of the superuser is that of `postgres`, whatever the role is called.
    secrets = {postgres["superuser"]: credentials("postgres")} | {role: credentials(role) for role in LOCATIONS}
    passwords = [
        {"secret": {"name": secret, "items": [{"key": "password", "path": role}]}} for role, secret in secrets.items()
    ]
    volumes: dict[str, tuple[str, Any]] = {
        "passwords": ("/run/passwords", {"projected": {"sources": passwords}}),
        "credentials": ("/run/credentials", {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}),
        # A restore has a dump here.
        "tmp": ("/tmp", {"emptyDir": {}}),
    }
    for volume in _volumes():
        claim = {"persistentVolumeClaim": {"claimName": release_name(volume)}}
        volumes[release_name(volume)] = (f"/volumes/{volume}", claim)
    environment = {"PGHOST": postgres["host"], "PGPORT": postgres["port"], "PGPASSFILE": "/run/credentials/pgpass"}
    container = {
        "name": _POD,
        "image": postgres["image"],
        "imagePullPolicy": image["pullPolicy"],
        "command": ["sh", "-c", _WAIT, "sh", *secrets],
        "env": [{"name": name, "value": str(value)} for name, value in environment.items()],
        "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": name, "mountPath": path} for name, (path, _) in volumes.items()],
    }
    spec = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": _HOURS * 3600,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "imagePullSecrets": [{"name": name} for name in image["pullSecrets"]],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": name, **source} for name, (_, source) in volumes.items()],
    }
    metadata = {"name": _POD, "labels": labels(_POD, "backup")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
