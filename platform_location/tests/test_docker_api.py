"""Calls Docker's API through the proxy."""

import pytest
from platform_location.docker_api import Docker, DockerError, frames


def test_the_frames_of_a_log_are_put_together_in_their_order() -> None:
    stream = b"\x01\0\0\0\0\0\0\x04out\n" + b"\x02\0\0\0\0\0\0\x04err\n" + b"\x01\0\0"
    assert b"".join(frames(stream)) == b"out\nerr\n"


@pytest.mark.parametrize("address", ["", "unix:///var/run/docker.sock", "tcp://housekeeping-proxy"])
def test_an_address_that_is_no_tcp_address_is_refused_with_the_settings_name(address: str) -> None:
    with pytest.raises(
        DockerError, match=r"^DOCKER_HOST='.*' is not an address\. It looks like tcp://housekeeping-proxy:2375"
    ):
        Docker(address)


def test_a_proxy_that_is_away_is_named() -> None:
    with pytest.raises(
        DockerError, match=r"127\.0\.0\.1:1 does not answer .*docker compose logs housekeeping-proxy"
    ) as problem:
        Docker("tcp://127.0.0.1:1").containers([])
    assert problem.value.status == 0
