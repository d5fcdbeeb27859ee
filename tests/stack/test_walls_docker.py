"""The walls before Docker's socket, attacked from inside the networks that lead to them.

The proxies are those of the compose file, in a project of their own. The location that they know is made up: its image
is the proxies' own. The launcher is not there, so nothing but docker-proxy decides what is created.
"""

import copy
import gzip
import json
import os
import random
import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from platform_host.run_container import container_config
from platform_host.run_policy import RunPolicy

from ops.command import ROOT
from tests.stack.conftest import IMAGES, PROJECT
from tests.stack.docker_client import Insider
from tests.stack.webserver import wait_for

pytestmark = pytest.mark.drill

WALLS = f"{PROJECT}-walls"
# A tag of its own: an image that another project builds again would recreate the services of the stack.
TAG = IMAGES or WALLS
IMAGE = f"proxies:{TAG}"
LOCATION = "walls_location"
DEPLOYED = f"{LOCATION}:{WALLS}"
RUN_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
NAME = f"{WALLS}-run-{RUN_ID}"
CREATE = f"/v1.41/containers/create?name={NAME}"
POLICY: dict[str, Any] = {
    "location": LOCATION,
    "project": WALLS,
    "images": [DEPLOYED, f"{LOCATION}:before"],
    "environment": {"TAXI_START_DATE": "2023-01-01", "TAXI_END_DATE": ""},
    "network": f"{WALLS}_docker",
    "volumes": [
        f"{WALLS}_{LOCATION}_credentials:/run/credentials:ro",
        f"{WALLS}_{LOCATION}_compute_logs:/opt/dagster/compute_logs",
    ],
    "memory": 64 * 2**20,
    "cpus": 0.5,
    "pids": 64,
}
# All members of the body of a create, as of Docker's API 1.50, and those that only older engines know.
CONFIG = re.findall(
    r"\w+",
    """ArgsEscaped AttachStderr AttachStdin AttachStdout Cmd Domainname Entrypoint Env ExposedPorts Healthcheck
    HostConfig Hostname Image Labels MacAddress NetworkDisabled NetworkingConfig OnBuild OpenStdin Shell StdinOnce
    StopSignal StopTimeout Tty User Volumes WorkingDir CpuShares Cpuset Memory MemorySwap PortSpecs VolumesFrom""",
)
HOST_CONFIG = re.findall(
    r"\w+",
    """Annotations AutoRemove Binds BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps
    BlkioDeviceWriteIOps BlkioWeight BlkioWeightDevice CapAdd CapDrop Capabilities Cgroup CgroupParent CgroupnsMode
    ConsoleSize ContainerIDFile CpuCount CpuPercent CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpuShares
    CpusetCpus CpusetMems DeviceCgroupRules DeviceRequests Devices Dns DnsOptions DnsSearch ExtraHosts GroupAdd
    IOMaximumBandwidth IOMaximumIOps Init IpcMode Isolation KernelMemory KernelMemoryTCP Links LogConfig LxcConf
    MaskedPaths Memory MemoryReservation MemorySwap MemorySwappiness Mounts NanoCpus NetworkMode OomKillDisable
    OomScoreAdj PidMode PidsLimit PortBindings Privileged PublishAllPorts ReadonlyPaths ReadonlyRootfs RestartPolicy
    Runtime SecurityOpt ShmSize StorageOpt Sysctls Tmpfs UTSMode Ulimits UsernsMode VolumeDriver VolumesFrom""",
)
OTHER_VALUES = [True, 1, "host", [], ["x"], {"x": "y"}]
EMPTY: list[Any] = [None, False, 0, "", [], {}]
RANDOM_VALUES = [
    *OTHER_VALUES,
    None,
    False,
    0,
    -1,
    1.5,
    2**31,
    "",
    {},
    [{"Type": "bind", "Source": "/", "Target": "/x"}],
]


def command(*arguments: str, text: str | None = None) -> str:
    env = os.environ | {"COMPOSE_PROJECT_NAME": WALLS, "PLATFORM_TAG": TAG}
    ended = subprocess.run(arguments, cwd=ROOT, env=env, input=text, capture_output=True, text=True)
    assert ended.returncode == 0, f"{' '.join(arguments)}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def record(location: str, policy: str) -> None:
    """Writes a run policy as the one-shot service of a location does."""
    volume = f"{WALLS}_run_policies:/policies"
    command(
        *("docker", "run", "--rm", "--interactive", "--volume", volume, IMAGE),
        *("bash", "-c", f"cat > /policies/{location}.json"),
        text=policy,
    )


def remove(name: str) -> None:
    subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)


@pytest.fixture(scope="module")
def proxies() -> Iterator[None]:
    """The proxies of the compose file, and a location that has a run policy."""
    try:
        if not IMAGES:
            command("docker", "compose", "build", "docker-proxy")
        command("docker", "image", "tag", IMAGE, DEPLOYED)
        command("docker", "compose", "up", "-d", "--no-deps", "docker-proxy", "housekeeping-proxy", "alerts-proxy")
        record(LOCATION, json.dumps(POLICY))
        yield
    finally:
        remove(NAME)
        command("docker", "compose", "down", "--volumes")
        volumes = command("docker", "volume", "ls", "--quiet", "--filter", f"name={WALLS}_").split()
        subprocess.run(["docker", "volume", "rm", "--force", *volumes], capture_output=True, check=False)
        own = [DEPLOYED] if IMAGES else [DEPLOYED, IMAGE]
        subprocess.run(["docker", "image", "rm", *own], capture_output=True, check=False)


def inside(network: str, proxy: str) -> Iterator[Insider]:
    insider = Insider(IMAGE, f"{WALLS}_{network}", proxy)
    try:
        wait_for(f"an answer of {proxy}", 30, lambda: insider.call("GET", "/_ping")[0] == 200)
        yield insider
    finally:
        insider.close()


@pytest.fixture(scope="module")
def launcher(proxies: None) -> Iterator[Insider]:
    """A process in the network of webserver and daemon."""
    yield from inside("docker", "docker-proxy")


@pytest.fixture(scope="module")
def housekeeper(proxies: None) -> Iterator[Insider]:
    """A process in the network of platform_location's code server."""
    yield from inside("housekeeping", "housekeeping-proxy")


@pytest.fixture(scope="module")
def watcher(proxies: None) -> Iterator[Insider]:
    """A process in the network of the alerts."""
    yield from inside("alerts", "alerts-proxy")


def good() -> dict[str, Any]:
    """What the launcher asks for: the container of a run of the made up location."""
    command = ["dagster", "api", "execute_run", '{"job": "ü \\" : {"}']
    return copy.deepcopy(container_config(RunPolicy(**POLICY), RUN_ID, "__ASSET_JOB", DEPLOYED, command))


def create(launcher: Insider, body: dict[str, Any]) -> tuple[int, Any]:
    return launcher.call("POST", CREATE, json.dumps(body).encode(), "Content-Type: application/json")


def facts(name: str) -> dict[str, Any]:
    """What Docker knows of a container, without what differs from one container to the next."""
    (found,) = json.loads(command("docker", "inspect", name))
    del found["Config"]["Hostname"]
    return {
        **found["Config"],
        **found["HostConfig"],
        "Env": sorted(found["Config"]["Env"]),
        "Mounts": sorted(found["Mounts"], key=str),
    }


@pytest.fixture(scope="module")
def accepted(launcher: Insider) -> dict[str, Any]:
    """The container that Docker creates of the good body, as Docker describes it."""
    assert create(launcher, good())[0] == 201
    found = facts(NAME)
    remove(NAME)
    return found


def test_a_run_as_its_policy_says_is_created_started_inspected_and_stopped_by_its_name(launcher: Insider) -> None:
    try:
        assert create(launcher, good())[0] == 201
        assert launcher.call("POST", f"/v1.41/containers/{NAME}/start", b"", "Content-Length: 0")[0] == 204
        assert launcher.call("GET", f"/v1.41/containers/{NAME}/json")[1]["Config"]["Image"] == DEPLOYED
        assert launcher.call("POST", f"/v1.41/containers/{NAME}/stop?t=0", b"", "Content-Length: 0")[0] in (204, 304)
    finally:
        remove(NAME)


def test_docker_gets_what_the_policy_says_of_a_runs_container(accepted: dict[str, Any]) -> None:
    expected = good()["HostConfig"] | {
        "LogConfig": {"Type": "json-file", "Config": {"max-file": "2", "max-size": "10m"}}
    }
    assert {name: accepted[name] for name in expected} == expected
    assert {*good()["Env"]} <= {*accepted["Env"]}
    assert (accepted["User"], accepted["Privileged"], accepted["MaskedPaths"] != []) == ("", False, True)


def survivors(launcher: Insider, bodies: dict[str, dict[str, Any]]) -> list[str]:
    """The names of the bodies that are not refused by name."""
    passed = []
    for what, body in bodies.items():
        status, answer = create(launcher, body)
        if status != 403 or NAME not in answer["message"]:
            passed.append(f"{what}: {status} {answer}")
            remove(NAME)
    return passed


def changed(section: str, key: str, value: Any) -> dict[str, Any]:
    body = good()
    (body[section] if section else body)[key] = value
    return body


@pytest.mark.parametrize(("section", "keys"), [("", CONFIG), ("HostConfig", HOST_CONFIG)])
def test_a_run_with_one_option_that_the_policy_does_not_give_is_refused(
    launcher: Insider, section: str, keys: list[str]
) -> None:
    bodies = {f"{key}={value}": changed(section, key, value) for key in keys for value in OTHER_VALUES}
    right = {f"{key}=True" for key in ("Init", "ReadonlyRootfs")}
    assert survivors(launcher, {what: body for what, body in bodies.items() if what not in right}) == []


def test_a_run_that_lacks_one_of_its_options_is_refused(launcher: Insider) -> None:
    bodies = {}
    for section in ("", "HostConfig"):
        of = good()[section] if section else good()
        for key in of:
            for value in EMPTY:
                bodies[f"{section} {key}={value}"] = changed(section, key, value)
    assert survivors(launcher, bodies) == []


SOCKET = "/var/run/docker.sock:/var/run/docker.sock"
ATTEMPTS: dict[str, tuple[str, str, Any]] = {
    "a folder of the host": ("HostConfig", "Binds", ["/:/host"]),
    "a folder of the host besides": ("HostConfig", "Binds", [*POLICY["volumes"], "/:/host"]),
    "the engine's socket": ("HostConfig", "Binds", [*POLICY["volumes"], SOCKET]),
    "another's credentials": ("HostConfig", "Binds", [f"{WALLS}_dbt_location_credentials:/run/credentials:ro"]),
    "Postgres's socket": ("HostConfig", "Binds", [f"{WALLS}_postgres_socket:/var/run/postgresql"]),
    "its own credentials to write": ("HostConfig", "Binds", [bind.removesuffix(":ro") for bind in POLICY["volumes"]]),
    "one volume twice": ("HostConfig", "Binds", [*POLICY["volumes"], POLICY["volumes"][0]]),
    "one volume less": ("HostConfig", "Binds", POLICY["volumes"][:1]),
    "another's image": ("", "Image", "postgres:17"),
    "an image of its name that was not deployed": ("", "Image", f"{LOCATION}:evil"),
    "an image by its id": ("", "Image", "sha256:" + "0" * 64),
    "the network of the engine": ("HostConfig", "NetworkMode", f"{WALLS}_housekeeping"),
    "the network of the host": ("HostConfig", "NetworkMode", "host"),
    "the network of a container": ("HostConfig", "NetworkMode", "container:postgres"),
    "a second network": ("", "NetworkingConfig", {"EndpointsConfig": {f"{WALLS}_platform": {}}}),
    "an alias in its network": ("", "NetworkingConfig", {"EndpointsConfig": {POLICY["network"]: {"Aliases": ["x"]}}}),
    "no limit of memory": ("HostConfig", "Memory", -1),
    "more memory": ("HostConfig", "Memory", 2**40),
    "memory as text": ("HostConfig", "Memory", str(POLICY["memory"])),
    "a huge number": ("HostConfig", "Memory", 10**400),
    "unlimited processes": ("HostConfig", "PidsLimit", -1),
    "fewer dropped capabilities": ("HostConfig", "CapDrop", ["NET_RAW"]),
    "a security option more": ("HostConfig", "SecurityOpt", ["no-new-privileges:true", "seccomp=unconfined"]),
    "a larger temporary folder": ("HostConfig", "Tmpfs", {"/tmp": "size=1g"}),
    "a temporary folder without a size": ("HostConfig", "Tmpfs", {"/tmp": ""}),
    "a temporary folder with exec": ("HostConfig", "Tmpfs", {"/tmp": "size=1g,exec"}),
    "a second temporary folder": ("HostConfig", "Tmpfs", {"/tmp": "size=33554432", "/opt/venv": "size=1g"}),
    "another log driver": (
        *("HostConfig", "LogConfig"),
        {"Type": "syslog", "Config": {"syslog-address": "udp://1.1.1.1:514"}},
    ),
    "an option of the log": (
        *("HostConfig", "LogConfig"),
        {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2", "env": "X"}},
    ),
    "a longer log": ("HostConfig", "LogConfig", {"Type": "json-file", "Config": {"max-size": "99m", "max-file": "2"}}),
    "a log without a limit": ("HostConfig", "LogConfig", {"Type": "json-file", "Config": {}}),
    "another command": ("", "Cmd", ["sh", "-c", "id"]),
    "a command as text": ("", "Cmd", "dagster api execute_run {}"),
    "another command of Dagster": ("", "Cmd", ["dagster", "instance", "migrate"]),
    "an object as the command": ("", "Cmd", {"1": "dagster", "2": "api", "3": "execute_run"}),
    "a number in the command": ("", "Cmd", ["dagster", "api", "execute_run", 1]),
    "a variable more": ("", "Env", [*good()["Env"], "LD_PRELOAD=/tmp/x.so"]),
    "a variable less": ("", "Env", good()["Env"][1:]),
    "another value of a variable": ("", "Env", [text.replace("2023", "1999") for text in good()["Env"]]),
    "a label more": ("", "Labels", {**good()["Labels"], "com.docker.compose.service": "postgres"}),
    "a label less": ("", "Labels", {"location": LOCATION}),
    "the label of another project": ("", "Labels", {**good()["Labels"], "project": "another"}),
    "another run's id": ("", "Labels", {**good()["Labels"], "dagster/run_id": str(uuid.uuid4())}),
    "a location without a policy": ("", "Labels", {**good()["Labels"], "location": "new_location"}),
    "a location outside of the policies": ("", "Labels", {**good()["Labels"], "location": "../etc/passwd"}),
    "a job that is no name": ("", "Labels", {**good()["Labels"], "dagster/job_name": "a\nb"}),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_run_that_is_right_except_for_one_thing_is_refused(launcher: Insider, attempt: str) -> None:
    assert survivors(launcher, {attempt: changed(*ATTEMPTS[attempt])}) == []


def test_a_refusal_names_the_run_and_the_option(launcher: Insider) -> None:
    status, answer = create(launcher, changed("HostConfig", "Privileged", True))
    expected = f"docker-proxy refuses to create the container {NAME}: HostConfig.Privileged is not allowed."
    assert (status, answer) == (403, {"message": expected})


def test_an_option_in_another_spelling_is_refused(launcher: Insider) -> None:
    """Docker ignores the case of a name, and takes letters for the same that Unicode folds."""
    spellings: list[Callable[[str], str]] = [
        str.lower,
        str.upper,
        lambda name: name.replace("s", "\u017f"),
        lambda name: name.replace("k", "\u212a"),
    ]
    bodies = {}
    for section, keys in (("", CONFIG), ("HostConfig", HOST_CONFIG)):
        for key in keys:
            for name in {spell(key) for spell in spellings} - {key}:
                bodies[f"{section} {name}"] = changed(section, name, ["x"])
    assert survivors(launcher, bodies) == []


TEXT = json.dumps(good()).encode()
BODIES: dict[str, bytes] = {
    "a key twice, the evil one first": b'{"HostConfig": {"Privileged": true}, ' + TEXT[1:],
    "a key twice, the evil one last": TEXT[:-1] + b', "HostConfig": {"Privileged": true}}',
    "a key of a part twice": TEXT.replace(b'"Memory"', b'"Binds": ["/:/host"], "Memory"'),
    "a key twice, one of them escaped": b'{"\\u0049mage": "postgres:17", ' + TEXT[1:],
    "text after the end": TEXT + b'{"HostConfig": {"Privileged": true}}',
    "a NUL after the end": TEXT + b"\0",
    "a byte order mark": b"\xef\xbb\xbf" + TEXT,
    "half of it": TEXT[: len(TEXT) // 2],
    "UTF-16": TEXT.decode().encode("utf-16"),
    "invalid UTF-8": TEXT.replace(b"execute_run", b"execute_run\xff"),
    "compressed": gzip.compress(TEXT),
    "nothing": b"",
    "null": b"null",
    "a list": b"[" + TEXT + b"]",
    "a string": json.dumps(TEXT.decode()).encode(),
    "deep nesting": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "deep lists": TEXT[:-1] + b', "OnBuild": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "not a number": TEXT.replace(b'"Memory": 67108864', b'"Memory": NaN'),
    "infinity": TEXT.replace(b'"Memory": 67108864', b'"Memory": 1e999'),
    "a fraction": TEXT.replace(b'"Memory": 67108864', b'"Memory": 67108864.5'),
    "a form": b"fromImage=postgres&HostConfig=x",
}


@pytest.mark.parametrize("what", BODIES)
def test_a_body_that_parsers_may_read_differently_is_refused(launcher: Insider, what: str) -> None:
    status, answer = launcher.call("POST", CREATE, BODIES[what], "Content-Type: application/json")
    assert (status, "refuses to create" in answer["message"]) == (403, True)


def test_a_body_that_is_too_long_is_refused_as_such(launcher: Insider) -> None:
    body = good()
    body["Cmd"][3] = "x" * 262_144
    assert create(launcher, body) == (413, {"message": "The proxy of Docker refuses a body of more than 256 KiB."})


def test_a_run_with_a_long_command_is_created_with_the_whole_of_it(launcher: Insider) -> None:
    body = good()
    body["Cmd"][3] = "ü" * 20_000
    try:
        assert create(launcher, body)[0] == 201
        assert facts(NAME)["Cmd"] == body["Cmd"]
    finally:
        remove(NAME)


@pytest.mark.parametrize(
    ("headers", "body", "statuses"),
    [
        (("Transfer-Encoding: chunked",), b"%x\r\n%s\r\n0\r\n\r\n" % (len(TEXT), TEXT), (403,)),
        (("Transfer-Encoding: chunked", "Content-Length: 5"), b"%x\r\n%s\r\n0\r\n\r\n" % (len(TEXT), TEXT), (400, 403)),
        (("Transfer-Encoding: gzip, chunked", "Content-Length: 5"), b"0\r\n\r\n", (400, 403, 422)),
        ((f"Content-Length: {len(TEXT)}", "Content-Length: 2"), TEXT, (400,)),
        (("Content-Length: 99999999999999999999",), TEXT, (400,)),
        (("Content-Length: -1",), TEXT, (400,)),
        ((f"Content-Length: {len(TEXT)}", "Upgrade: tcp", "Connection: Upgrade, close"), TEXT, (403,)),
    ],
)
def test_a_body_whose_length_is_unclear_is_refused(
    launcher: Insider, headers: tuple[str, ...], body: bytes, statuses: tuple[int, ...]
) -> None:
    assert launcher.call("POST", CREATE, body, *headers)[0] in statuses


def test_a_second_request_behind_a_body_is_judged_for_itself(launcher: Insider) -> None:
    hidden = b"POST /containers/create?name=x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    assert launcher.call("POST", CREATE, TEXT + hidden, f"Content-Length: {len(TEXT)}")[0] == 201
    remove(NAME)
    assert command("docker", "ps", "--all", "--quiet", "--filter", "name=^x$") == ""


def test_http_2_is_not_spoken(launcher: Insider) -> None:
    assert launcher.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")[0] in (0, 400)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?name=postgres",
        f"?name={NAME}&name=postgres",
        f"?name=postgres&name={NAME}",
        f"?name={NAME}&platform=linux/arm64",
        f"?name={NAME}%00",
        f"?name={NAME}%26name=postgres",
        f"?name={NAME};name=postgres",
        f"?Name={NAME}",
        f"?name={WALLS}-run-{RUN_ID.upper()}",
        f"?name={WALLS}-run-{uuid.uuid4()}",
        f"?name=another-run-{RUN_ID}",
    ],
)
def test_a_run_under_another_name_than_its_own_is_refused(launcher: Insider, query: str) -> None:
    assert launcher.call("POST", f"/containers/create{query}", TEXT)[0] == 403


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (None, "has no run policy"),
        ("", "is not a run policy"),
        ("{", "is not a run policy"),
        ("[]", "is not a run policy"),
        (json.dumps({**POLICY, "location": LOCATION}), "is not a run policy"),
        (json.dumps({**POLICY, "location": "odd_location", "project": "another"}), "is not a run policy"),
        (json.dumps({**POLICY, "location": "odd_location", "memory": 0}), "is not a run policy"),
        (json.dumps({**POLICY, "location": "odd_location", "pids": None}), "is not a run policy"),
        (json.dumps({**POLICY, "location": "odd_location", "volumes": "/:/host"}), "is not a run policy"),
    ],
)
def test_a_location_without_a_usable_policy_is_refused_by_name_and_the_proxy_stays_healthy(
    launcher: Insider, policy: str | None, reason: str
) -> None:
    location = "odd_location" if policy is not None else "unknown_location"
    if policy is not None:
        record(location, policy)
    status, answer = create(launcher, changed("", "Labels", {**good()["Labels"], "location": location}))
    assert (status, location in answer["message"], reason in answer["message"]) == (403, True, True)
    assert f"make deploy LOCATION={location}" in answer["message"]
    assert launcher.call("GET", "/_ping") == (200, "OK")


OTHERS = [
    *[
        ("POST", f"/containers/{NAME}/{verb}")
        for verb in ("exec", "attach", "kill", "restart", "pause", "update", "wait")
    ],
    *[
        ("POST", f"/containers/{NAME}/{verb}")
        for verb in ("rename?name=x", "resize", "copy", "json", "stop?signal=KILL")
    ],
    *[("POST", f"/containers/{NAME}/stop?{query}") for query in ("t=1&t=2", "t=-1", "t=", "t=1&signal=KILL", "T=1")],
    *[("POST", f"/containers/{NAME}/start?{query}") for query in ("detachKeys=a", "checkpoint=x", "checkpoint-dir=/")],
    *[
        ("GET", f"/containers/{NAME}/{verb}")
        for verb in ("top", "logs", "archive?path=/", "export", "changes", "stats")
    ],
    ("GET", f"/containers/{NAME}/json?size=1"),
    *[("HEAD", f"/containers/{NAME}/archive?path=/"), ("PUT", f"/containers/{NAME}/archive?path=/")],
    *[("DELETE", f"/containers/{NAME}"), ("GET", "/containers/json"), ("POST", "/containers/prune")],
    *[("GET", f"/containers/{name}/json") for name in ("postgres", f"{WALLS}-docker-proxy-1", "0f8fad5b", RUN_ID)],
    *[("POST", f"/containers/{name}/stop") for name in ("postgres", f"{WALLS}-docker-proxy-1", f"{WALLS}-run-x")],
    *[("POST", f"/containers/{name}/start") for name in ("postgres", f"another-run-{RUN_ID}", f"x{NAME}", f"{NAME}x")],
    # Paths that Docker would decode or clean.
    *[("POST", f"/containers/{NAME}/{path}") for path in ("../postgres/stop", "%2e%2e/x/stop", "../../build/stop")],
    *[
        ("POST", f"/containers/{NAME}{path}")
        for path in ("%2fstop", "//stop", "/./stop", "/stop/", ";/stop", "/stop%00")
    ],
    *[
        ("POST", f"{path}/{NAME}/stop")
        for path in ("//containers", "/./containers", "/x/../containers", "/%63ontainers")
    ],
    *[("POST", f"{path}/containers/{NAME}/stop") for path in ("/v1.41/v1.12", "/v1.41/", "/vx", "/v1.41%2f", "/v")],
    *[("GET", "/v1.41/../_ping"), ("GET", "/_ping/"), ("GET", "/_ping?x=1"), ("GET", "http://docker/containers/json")],
    *[("CONNECT", "/_ping"), ("OPTIONS", "/_ping"), ("TRACE", "/_ping"), ("get", "/_ping"), ("POST", "/_ping")],
    # Images, and ways to bring one here: a registry may have somebody else's under the name of a location.
    *[("POST", f"/images/create?{query}") for query in ("fromSrc=-", f"fromSrc=-&repo={LOCATION}&tag={WALLS}", "")],
    *[("POST", f"/images/create?fromImage={query}") for query in ("postgres&tag=17", f"{LOCATION}&tag={WALLS}")],
    *[("GET", f"/images/{image}/json") for image in ("postgres:17", DEPLOYED)],
    *[("GET", f"/images/{DEPLOYED}/{verb}") for verb in ("history", "get")],
    *[("POST", f"/images/{DEPLOYED}/{verb}") for verb in ("json", "push", "tag?repo=x")],
    *[("DELETE", f"/images/{DEPLOYED}"), ("GET", "/images/json"), ("POST", "/images/load"), ("POST", "/build")],
    # All else.
    *[("GET", path) for path in ("/info", "/events", "/system/df", "/networks", "/volumes", "/secrets", "/swarm", "/")],
    *[("GET", f"/networks/{WALLS}_docker"), ("POST", f"/networks/{WALLS}_platform/connect")],
    *[("POST", path) for path in ("/networks/create", "/volumes/create", "/commit", "/auth", "/session", "/grpc")],
    *[("POST", path) for path in ("/exec/x/start", "/plugins/pull", "/swarm/init", "/containers/create/")],
]


@pytest.mark.parametrize(("method", "path"), OTHERS)
def test_the_docker_proxy_refuses_what_launching_a_run_does_not_need(launcher: Insider, method: str, path: str) -> None:
    assert launcher.call(method, path)[0] in (400, 403)


@pytest.mark.parametrize(
    "path",
    [f"/containers/{NAME}/start", f"/containers/{NAME}/stop"],
)
def test_a_call_without_a_body_is_refused_with_one(launcher: Insider, path: str) -> None:
    """Docker would read parameters from a form, and old versions of its API options of the host from a start."""
    form = ("Content-Type: application/x-www-form-urlencoded",)
    assert launcher.call("POST", path, b"fromSrc=-&repo=evil", *form)[0] == 403
    assert launcher.call("POST", path, b"0\r\n\r\n", "Transfer-Encoding: chunked", *form)[0] == 403


@pytest.mark.parametrize("length", [2**32, 2**64 - 1])
def test_a_call_with_a_body_of_a_length_beyond_32_bits_is_refused(
    launcher: Insider, housekeeper: Insider, length: int
) -> None:
    header = f"Content-Length: {length}"
    assert launcher.call("POST", f"/containers/{NAME}/stop", b"t=0", header)[0] == 413
    assert launcher.call("POST", CREATE, b"{}", header)[0] == 413
    assert housekeeper.call("DELETE", f"/containers/{NAME}", b"v=1", header)[0] == 403


def test_a_deployed_image_that_is_not_here_is_neither_started_nor_pulled(launcher: Insider) -> None:
    status, answer = create(launcher, good() | {"Image": f"{LOCATION}:before"})
    assert (status, answer["message"]) == (404, f"No such image: {LOCATION}:before")


def places(part: Any) -> list[tuple[Any, Any]]:
    """All places within a body, each as the list or the object, and the key in it."""
    found = []
    for key in list(part) if isinstance(part, dict) else range(len(part)):
        found.append((part, key))
        if isinstance(part[key], dict | list):
            found += places(part[key])
    return found


def changed_anywhere(choice: random.Random) -> bytes:
    """The good body with one random change of a value or a key, and sometimes one of a byte."""
    body = good()
    part, key = choice.choice(places(body))
    value = choice.choice([*RANDOM_VALUES, DEPLOYED, NAME, str(part[key])[:-1], [part[key]], *part])
    match choice.choice(["replace", "remove", "add"]):
        case "replace":
            part[key] = value
        case "remove":
            del part[key]
        case "add" if isinstance(part, dict):
            part[choice.choice([*CONFIG, *HOST_CONFIG, str(key).lower(), f"{key}\0"])] = value
        case "add":
            part.insert(0, value)
    text = json.dumps(body).encode()
    if choice.random() < 0.3:
        place = choice.randrange(len(text))
        byte = choice.choice([b"", b" ", b"\0", b'"', b",", b"}", bytes([choice.randrange(256)])])
        text = text[:place] + byte + text[place + 1 :]
    return text


def test_no_change_of_a_good_body_gives_docker_another_container(launcher: Insider, accepted: dict[str, Any]) -> None:
    changes = 3000
    choice = random.Random(changes)
    refused = 0
    for _ in range(changes):
        text = changed_anywhere(choice)
        status, answer = launcher.call("POST", CREATE, text)
        if status == 201:
            found = facts(NAME)
            remove(NAME)
            # The arguments of the command are free.
            assert found.pop("Cmd")[:3] == accepted["Cmd"][:3]
            assert found == {name: value for name, value in accepted.items() if name != "Cmd"}, text
        else:
            assert (status, "refuses to create" in answer["message"]) == (403, True), (text, answer)
            refused += 1
    assert refused > changes / 2


def listing(*labels: str) -> str:
    return "/containers/json?" + urlencode({"all": 1, "filters": json.dumps({"label": labels})})


@pytest.fixture
def ended(launcher: Insider) -> Iterator[None]:
    """The container of a run that has ended."""
    try:
        assert create(launcher, good())[0] == 201
        yield
    finally:
        remove(NAME)


def test_housekeeping_lists_inspects_reads_and_removes_the_container_of_a_run(
    housekeeper: Insider, ended: None
) -> None:
    status, listed = housekeeper.call("GET", listing(f"project={WALLS}", "dagster/run_id"))
    assert (status, [each["Names"] for each in listed]) == (200, [[f"/{NAME}"]])
    assert housekeeper.call("GET", f"/containers/{NAME}/json")[1]["Config"]["Image"] == DEPLOYED
    assert housekeeper.call("GET", f"/containers/{NAME}/logs?stdout=1&stderr=1&tail=200") == (200, "")
    assert housekeeper.call("DELETE", f"/containers/{NAME}") == (204, "")


def test_housekeeping_does_not_remove_a_container_that_runs(housekeeper: Insider) -> None:
    command("docker", "run", "--detach", "--init", "--name", NAME, IMAGE, "sleep", "600")
    try:
        assert housekeeper.call("DELETE", f"/containers/{NAME}")[0] == 409
    finally:
        remove(NAME)


LABELS = (f"project={WALLS}", "dagster/run_id")
CREDENTIALS_OF_OTHERS = f"{WALLS}-docker-proxy-1"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *[("GET", f"/containers/json{query}") for query in ("", "?all=1", "?all=1&filters={}", "?all=1&filters=")],
        *[("GET", listing(*labels)) for labels in ((), LABELS[:1], LABELS[1:], ("project=x", LABELS[1]), LABELS[::-1])],
        *[
            ("GET", listing(*LABELS) + more)
            for more in ("&all=1", "&filters={}", "&size=1", "%26filters={}", ";filters={}")
        ],
        *[
            ("GET", listing(*LABELS).replace(*change))
            for change in (("all=1&", ""), ("all=1&", "all=1%26"), ("?", "?filters={}&"))
        ],
        *[("GET", f"/containers/{name}/json") for name in (CREDENTIALS_OF_OTHERS, RUN_ID, f"another-run-{RUN_ID}")],
        *[("GET", f"/containers/{CREDENTIALS_OF_OTHERS}/logs?{query}") for query in ("stdout=1&stderr=1&tail=200",)],
        *[
            ("GET", f"/containers/{NAME}/logs{query}")
            for query in ("", "?stdout=1&stderr=1&tail=1&follow=1", "?follow=1")
        ],
        *[
            ("GET", f"/containers/{NAME}/{verb}")
            for verb in ("archive?path=/", "export", "top", "stats", "json?size=1")
        ],
        *[("DELETE", f"/containers/{NAME}?{query}") for query in ("force=1", "%66orce=1", "v=1", "link=1")],
        *[
            ("DELETE", f"/containers/{name}")
            for name in (CREDENTIALS_OF_OTHERS, RUN_ID, f"{NAME}/../postgres", f"{NAME}%2f")
        ],
        *[
            ("DELETE", path)
            for path in (
                "/images/postgres:17",
                f"/volumes/{WALLS}_{LOCATION}_compute_logs",
                f"/networks/{WALLS}_docker",
            )
        ],
        *[
            ("POST", f"/containers/{NAME}/{verb}")
            for verb in ("start", "stop", "kill", "restart", "exec", "rename?name=x")
        ],
        *[
            ("POST", path)
            for path in (f"/containers/create?name={NAME}", "/images/create?fromSrc=-", "/containers/prune")
        ],
        *[
            ("GET", path)
            for path in (f"/images/{DEPLOYED}/json", "/info", "/events", "/v1.41/_ping", "//_ping", "/_ping?")
        ],
    ],
)
def test_the_housekeeping_proxy_refuses_what_removing_runs_containers_does_not_need(
    housekeeper: Insider, method: str, path: str
) -> None:
    assert housekeeper.call(method, path)[0] in (400, 403)


def test_a_removal_with_a_body_is_refused(housekeeper: Insider) -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    assert housekeeper.call("DELETE", f"/containers/{NAME}", b"force=1", form)[0] == 403


SERVICES = (f"com.docker.compose.project={WALLS}", "com.docker.compose.oneoff=False")


def test_the_alerts_list_and_inspect_the_containers_of_services(watcher: Insider) -> None:
    status, listed = watcher.call("GET", listing(*SERVICES))
    names = {each["Names"][0] for each in listed}
    assert (status, names) == (200, {f"/{WALLS}-{proxy}-proxy-1" for proxy in ("docker", "housekeeping", "alerts")})
    assert watcher.call("GET", f"/containers/{WALLS}-docker-proxy-1/json")[1]["State"]["Status"] == "running"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *[("GET", f"/containers/json{query}") for query in ("", "?all=1", "?all=1&filters={}", "?all=1&filters=")],
        *[("GET", listing(*labels)) for labels in ((), SERVICES[:1], SERVICES[1:], SERVICES[::-1], LABELS)],
        *[("GET", listing(*SERVICES) + more) for more in ("&all=1", "&filters={}", "&size=1", "%26filters={}")],
        *[("GET", f"/containers/{name}/json") for name in (NAME, RUN_ID, "postgres", "another-postgres-1")],
        *[
            ("GET", f"/containers/{WALLS}-docker-proxy-1/{verb}")
            for verb in ("logs?stdout=1", "archive?path=/", "export", "top", "stats", "json?size=1", "changes")
        ],
        *[("POST", f"/containers/{WALLS}-docker-proxy-1/{verb}") for verb in ("start", "stop", "kill", "exec")],
        *[("DELETE", path) for path in (f"/containers/{WALLS}-docker-proxy-1", f"/volumes/{WALLS}_run_policies")],
        *[("POST", path) for path in (f"/containers/create?name={NAME}", "/containers/prune")],
        *[("GET", path) for path in ("/info", "/events", "/version", "/v1.41/_ping", "/images/json", "/secrets")],
    ],
)
def test_the_alerts_proxy_refuses_what_looking_at_the_services_does_not_need(
    watcher: Insider, method: str, path: str
) -> None:
    assert watcher.call(method, path)[0] in (400, 403)


def test_launching_does_not_reach_housekeepings_proxy_nor_housekeeping_launchings(
    launcher: Insider, housekeeper: Insider
) -> None:
    ping = b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"
    assert launcher.send(ping, "housekeeping-proxy") == (0, "")
    assert housekeeper.send(ping, "docker-proxy") == (0, "")


@pytest.mark.parametrize("proxy", ["docker-proxy", "housekeeping-proxy", "alerts-proxy"])
def test_a_proxy_has_no_capability_and_nothing_to_write_to_but_the_socket(proxies: None, proxy: str) -> None:
    found = facts(f"{WALLS}-{proxy}-1")
    assert (found["CapDrop"], found["CapAdd"], found["Privileged"]) == (["ALL"], None, False)
    assert (found["SecurityOpt"], found["ReadonlyRootfs"]) == (["no-new-privileges:true"], True)
    assert [mount["Destination"] for mount in found["Mounts"] if mount["RW"]] == ["/var/run/docker.sock"]
