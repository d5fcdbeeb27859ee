"""The containers of a location's code server, and the one of them that the location's gateway leads to.

While two of them run, the gateway leads to one. It looks for the name `code-server` in the location's network, and
stays with an address as long as that has the name. So a new container gets the name when it is verified, and a
gateway that starts anew finds one that is.
"""

import time
from socket import inet_aton
from typing import Any

from ops import compose
from ops.command import CommandError, OpsError, inspect, log, run
from ops.locations import Location

# As in services/proxies/gateway.cfg.
_SERVER = "code_server/code_server"
_TELL = 'exec 3<>/dev/tcp/127.0.0.1/4001; echo "$0" >&3; cat <&3'
# Waits until the gateway has no connection to an address, which is written as in /proc/net/tcp. It opens one per call.
_WAIT_FOR_CALLS = """
for ((end = SECONDS + $1; SECONDS < end;)); do grep -q " $0:0FA0 01 " /proc/net/tcp || exit 0; sleep 0.1; done; exit 1
"""
# The longest time limit that Dagster has for a call.
_CALL_SECONDS = 180
_DAEMON_SECONDS = 30
_GATEWAY_SECONDS = 20


def containers(location: Location) -> list[dict[str, Any]]:
    """The containers of a location's code server, as `docker inspect` describes them, the newest last.

    There is at most one, except during a deploy and after one that was killed.
    """
    ids = compose.containers(location.project, location.name, "--all")
    found = [inspect("container", container) for container in ids]
    return sorted((each for each in found if each), key=lambda each: str(each["Created"]))


def remove_all_but(location: Location, *stay: str) -> None:
    """Removes the containers of a location's code server whose ids are not given."""
    for each in containers(location):
        if each["Id"] not in stay:
            run("docker", "rm", "--force", "--volumes", each["Id"])


def leave_one(location: Location) -> None:
    """Removes what a deploy that was killed has left: all containers but the one that serves."""
    found = containers(location)
    if len(found) > 1:
        log(f"{location.name}: removing what an interrupted deploy has left")
        address = serving_address(location)
        serving = [each["Id"] for each in found if is_at(location, each, address)]
        remove_all_but(location, *(serving or [found[0]["Id"]]))


def is_at(location: Location, container: dict[str, Any], address: str) -> bool:
    """Whether a container runs and has this address in the location's network."""
    return address != "" and _address(location, container) == address


def start_beside(location: Location) -> str:
    """Starts one more container of a location's code server, which the gateway does not find; returns its id."""
    known = {each["Id"] for each in containers(location)}
    # Not `up --no-deps`: compose would record the service without its dependencies. The next `up` would take that for a
    # change, and recreate the container together with webserver and daemon.
    scale = f"--scale={location.name}={len(known) + 1}"
    run("docker", "compose", "create", "--no-recreate", "--no-build", scale, location.name, env=location.tag_setting)
    new = [str(each["Id"]) for each in containers(location) if each["Id"] not in known]
    if len(new) != 1:
        raise OpsError(f"compose created {len(new)} containers of {location.name} instead of one")
    _join_network(location, new[0])
    run("docker", "start", new[0])
    return new[0]


def switch(location: Location, container: str) -> None:
    """Makes the gateway find a container and lead to it from the next call on; calls in progress end where they are."""
    _join_network(location, container, "code-server", location.name)
    described = inspect("container", container)
    address = _address(location, described) if described else ""
    if not address:
        raise OpsError(f"The code server of {location.image} ended before the gateway led to it.")
    switch_to(location, address)


def switch_to(location: Location, address: str) -> None:
    """Makes the gateway lead to an address of the location's network."""
    deadline = time.monotonic() + _GATEWAY_SECONDS
    while True:
        answer = _tell_gateway(location, f"set server {_SERVER} addr {address} port 4000")
        if serving_address(location) == address:
            return
        # HAProxy refuses this while it leads to no address, as at a location's first deploy. It finds the name within
        # seconds, and then leads there by itself.
        if time.monotonic() > deadline:
            raise OpsError(f"The gateway of {location.name} did not switch to {address}: {answer.strip()}")
        time.sleep(0.2)


def serving_address(location: Location) -> str:
    """The address that the gateway leads to; empty if it finds no code server."""
    answer = _tell_gateway(location, f"show servers state {_SERVER.partition('/')[0]}")
    # A version, a heading, and a line for the server.
    address = answer.split("\n")[2].split()[4]
    return "" if address == "-" else address


def wait_for_calls(location: Location, address: str) -> None:
    """Waits until all calls to an address, if there is one, have ended, for as long as a call may take."""
    if not address:
        return
    words = (inet_aton(address)[::-1].hex().upper(), str(_CALL_SECONDS))
    try:
        _in_gateway(location, _WAIT_FOR_CALLS, *words)
    except CommandError:
        log(f"{location.name}: a call to the old code server has taken {_CALL_SECONDS} s and is ended")


def wait_for_daemon(location: Location, server_id: str) -> bool:
    """Waits until the daemon has loaded what the code server of this id serves; a deploy works without a daemon, too.

    Returns whether it has.
    """
    deadline = time.monotonic() + _DAEMON_SECONDS
    # services/dagster/platform_host/code_location.py prints it.
    while not any(server_id in _log(daemon) for daemon in compose.containers(location.project, "daemon")):
        if time.monotonic() > deadline:
            log(f"the daemon did not load it within {_DAEMON_SECONDS} s; see `docker compose logs daemon`")
            return False
        time.sleep(0.2)
    return True


def _log(container: str) -> str:
    # A container may end at any time, and has no log then.
    return run("sh", "-c", 'docker logs --tail 1000 "$0" 2>&1 || true', container)


def _join_network(location: Location, container: str, *names: str) -> None:
    """Gives a container these names, and no others, in the location's network."""
    network = f"{location.project}_{location.name}"
    run("docker", "network", "disconnect", network, container)
    run("docker", "network", "connect", *(f"--alias={name}" for name in names), network, container)


def _address(location: Location, container: dict[str, Any]) -> str:
    """The address of a container in the location's network; empty if it does not run."""
    networks = container["NetworkSettings"]["Networks"]
    return str(networks.get(f"{location.project}_{location.name}", {}).get("IPAddress", ""))


def _tell_gateway(location: Location, command: str) -> str:
    try:
        return _in_gateway(location, _TELL, command)
    except CommandError as error:
        raise _gateway_error(location, f"does not answer: {error.reason}") from error


def _in_gateway(location: Location, script: str, *words: str) -> str:
    gateways = compose.containers(location.project, f"{location.name}_gateway")
    if not gateways:
        raise _gateway_error(location, "does not run")
    return run("docker", "exec", gateways[0], "bash", "-c", script, *words)


def _gateway_error(location: Location, what: str) -> OpsError:
    step = f"Start it as it is now: docker compose up -d {location.name}_gateway"
    return OpsError(f"The gateway of {location.name} {what}. {step}")
