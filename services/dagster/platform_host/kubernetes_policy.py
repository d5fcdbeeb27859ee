"""The run policy of a location in Kubernetes, and the Job of a run that is made from it.

By convention what belongs to a location has its name, with dashes: the service account, the Secrets and the claims. So
a policy cannot name those of another location.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from dagster_k8s.utils import sanitize_k8s_label
from pydantic import ConfigDict, Field, StringConstraints

from platform_host.run_policy import LocationPolicy, resource_name

USER = 10001
# libpq ignores a password file that others may read, and a mounted Secret belongs to root. The chart does the same
# for a code server.
WRITE_PASSWORD_FILE = (
    'umask 077 && printf "*:*:*:%s:%s\\n" "$PGUSER" "$(cat /run/password/password)" > /run/credentials/pgpass'
)
CONFINED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


class KubernetesPolicy(LocationPolicy):
    """What the platform knows of a location's runs in Kubernetes.

    Attributes:
        claims: the folders where claims of the location are mounted, by the claims' names without the location's.
        resources: requests and limits of the run's container.
        unreachable_seconds: how long a run stays bound to a node that is away, before it counts as lost.
        ttl_seconds: how long a Job is kept after its end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    registry: ClassVar[str] = r"([\w.-]+(:\d+)?/)?([\w.-]+/)*"
    written_by: ClassVar[str] = "The Helm release of {location} writes it"

    image_pull_policy: Annotated[str, StringConstraints(pattern=r"^(IfNotPresent|Always|Never)$")]
    image_pull_secrets: list[str]
    claims: dict[Annotated[str, StringConstraints(pattern=r"^[a-z]+(-logs)?$")], str]
    resources: Mapping[str, Mapping[str, str]]
    node_selector: dict[str, str]
    tolerations: list[dict[str, Any]]
    unreachable_seconds: Annotated[int, Field(ge=0)]
    ttl_seconds: Annotated[int, Field(ge=0)]


def run_job(
    policy: KubernetesPolicy, name: str, run_id: str, job_name: str, image: str, command: Sequence[str], grace: int
) -> dict[str, Any]:
    """The Job of a run, called ``name``, as the API takes it. ``grace`` is the time from SIGTERM to SIGKILL, in s."""
    own = resource_name(policy.location)
    labels = {
        "app.kubernetes.io/name": own,
        "app.kubernetes.io/component": "run",
        "app.kubernetes.io/part-of": "dagster-taxi",
        "app.kubernetes.io/managed-by": "dagster",
        "dagster/run-id": run_id,
        "dagster/job": sanitize_k8s_label(job_name),
    }
    environment = {**policy.environment, "DAGSTER_RUN_JOB_NAME": job_name}
    image_of = {"image": image, "imagePullPolicy": policy.image_pull_policy, "securityContext": CONFINED}
    away = [
        {"key": f"node.kubernetes.io/{what}", "operator": "Exists", "effect": "NoExecute"}
        | {"tolerationSeconds": policy.unreachable_seconds}
        for what in ("unreachable", "not-ready")
    ]
    pod = {
        "restartPolicy": "Never",
        "serviceAccountName": own,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "imagePullSecrets": [{"name": secret} for secret in policy.image_pull_secrets],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": grace,
        "nodeSelector": policy.node_selector,
        "tolerations": [*policy.tolerations, *away],
        "initContainers": [
            {
                "name": "password-file",
                **image_of,
                "command": ["sh", "-c", WRITE_PASSWORD_FILE],
                "env": [{"name": "PGUSER", "value": policy.location}],
                "resources": policy.resources,
                "volumeMounts": [
                    {"name": "password", "mountPath": "/run/password", "readOnly": True},
                    {"name": "credentials", "mountPath": "/run/credentials"},
                ],
            }
        ],
        "containers": [
            {
                "name": "run",
                **image_of,
                "args": list(command),
                "env": [{"name": name, "value": value} for name, value in environment.items()],
                "resources": policy.resources,
                "volumeMounts": [
                    {"name": "credentials", "mountPath": "/run/credentials", "readOnly": True},
                    {"name": "secrets", "mountPath": "/run/secrets", "readOnly": True},
                    {"name": "tmp", "mountPath": "/tmp"},
                    *({"name": claim, "mountPath": folder} for claim, folder in policy.claims.items()),
                ],
            }
        ],
        "volumes": [
            {"name": "password", "secret": {"secretName": f"{own}-credentials"}},
            {"name": "secrets", "secret": {"secretName": f"{own}-secrets", "optional": True}},
            {"name": "credentials", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "tmp", "emptyDir": {}},
            *({"name": claim, "persistentVolumeClaim": {"claimName": f"{own}-{claim}"}} for claim in policy.claims),
        ],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            # A second pod would start the run again; a lost run is a new run (run_retries in dagster.yaml).
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": policy.ttl_seconds,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
