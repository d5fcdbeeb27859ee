"""Redirects of the source lead nowhere they must not, and its password goes nowhere else."""

import socket
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from helpers.misbehaving_server import Act, Site, send, serving, status
from ingestion_location.download import Limits
from ingestion_location.source import TlcSource
from ingestion_location.source_errors import SourceError, SourceRefused
from ingestion_location.urls import without_secrets

from ingestion_location import web

BODY = b"the trips of a month"
MONTH = date(2023, 2, 1)
# Every address of 127.0.0.0/8 is this machine; in these tests one of them stands for the public internet.
PUBLIC = "127.0.0.2"


@pytest.fixture(autouse=True)
def one_public_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "is_private", lambda address: address.removeprefix("::ffff:") != PUBLIC)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


def source(base_url: str, monkeypatch: pytest.MonkeyPatch, login: str = "") -> TlcSource:
    """The source of these settings, which gives up soon."""
    monkeypatch.setenv("TLC_BASE_URL", base_url)
    monkeypatch.setenv("TLC_LOGIN", login)
    return TlcSource.from_env().model_copy(update={"limits": Limits(attempts=1, read_seconds=1)})


def fetched(tlc: TlcSource) -> bytes:
    with tlc.fetch(tlc.trips_url(MONTH), lambda line: None) as file:
        return file.file.read()


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Resolves the name `source.example` to the next of these addresses, and later to the last."""
    left = list(addresses)
    resolve = socket.getaddrinfo

    def resolve_in_turn(host: str, port: Any, *arguments: Any, **others: Any) -> Any:
        if host == "source.example" and not others:
            host = left.pop(0) if len(left) > 1 else left[0]
        return resolve(host, port, *arguments, **others)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_in_turn)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:10.0.0.1", "2002:a00:1::", "64:ff9b::a00:1"),
    ],
)
def test_an_address_that_is_not_of_the_internet_is_private(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.undo()
    assert web.is_private(address)


@pytest.mark.parametrize("address", ["18.160.10.1", "2600:9000::1", "::ffff:18.160.10.1", "64:ff9b::12a0:a01"])
def test_an_address_of_the_internet_is_public(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.undo()
    assert not web.is_private(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"])
def test_a_redirect_from_a_public_address_to_a_private_one_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    with serving(send(BODY)) as private:
        target = private.root.replace("127.0.0.1", host)
        with serving(status(302, Location=f"{target}/x"), host=PUBLIC) as public:
            tlc = source(public.root, monkeypatch)
            with pytest.raises(
                SourceRefused, match=r"redirects from a public address to the private one .* not followed"
            ):
                fetched(tlc)
            with pytest.raises(SourceRefused, match="from a public address"), tlc.looking() as look:
                look(tlc.trips_url(MONTH))
        assert private.requests == []


def test_a_name_that_resolves_to_a_private_address_the_second_time_is_not_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(status(302, Location="/own"), send(BODY), host="0.0.0.0") as site:
        answers(monkeypatch, PUBLIC, "127.0.0.1")
        tlc = source(site.root.replace("0.0.0.0", "source.example"), monkeypatch)
        with pytest.raises(SourceRefused, match="to the private one 127"):
            fetched(tlc)
        assert [path for _, path, _ in site.requests] == ["/trip-data/yellow_tripdata_2023-02.parquet"]


def test_a_name_that_resolves_to_a_public_address_again_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(status(302, Location="/own"), send(BODY), host="0.0.0.0") as site:
        answers(monkeypatch, PUBLIC)
        assert fetched(source(site.root.replace("0.0.0.0", "source.example"), monkeypatch)) == BODY


def test_a_private_source_may_redirect_to_a_private_address_and_to_a_public_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(send(BODY)) as mirror, serving(status(302, Location=f"{mirror.root}/x")) as first:
        assert fetched(source(first.root, monkeypatch)) == BODY
    with serving(send(BODY), host=PUBLIC) as public, serving(status(302, Location=f"{public.root}/x")) as first:
        assert fetched(source(first.root, monkeypatch)) == BODY


def test_a_redirect_from_https_to_http_is_not_followed() -> None:
    with web.SourceSession() as session, pytest.raises(web.ForbiddenRedirect, match=r"^from https to http://other/x$"):
        session._checked("https://source.example/y", "http://user:secret@other/x?secret")


def endless_redirect(request: BaseHTTPRequestHandler) -> None:
    request.send_response(302)
    request.send_header("Location", "/x")
    request.end_headers()
    while True:
        request.wfile.write(b"x" * 65_536)


def test_the_body_of_a_redirect_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(endless_redirect, send(BODY)) as site:
        assert fetched(source(site.root, monkeypatch)) == BODY


ODD = ["9" * 5_000, "x" * 60_000, "\x01", "-1"]


@pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
@pytest.mark.parametrize("value", ODD)
def test_a_header_that_cannot_be_stored_is_none(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with serving(send(BODY, 200, None, **{name: value})) as site:
        tlc = source(site.root, monkeypatch)
        with tlc.fetch(tlc.trips_url(MONTH), lambda line: None) as file:
            assert (file.etag, file.last_modified) in ((None, None), ("-1", None), (None, "-1"))


@pytest.mark.parametrize("value", ODD)
def test_a_wait_that_is_no_number_of_seconds_is_still_a_busy_server(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    with (
        serving(status(503, Retry_After=value)) as site,
        pytest.raises(SourceError, match="the source answered HTTP 503"),
    ):
        fetched(source(site.root, monkeypatch))


@pytest.fixture
def with_password(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Site, TlcSource]]:
    """A site, and the source with user and password for it."""
    with serving(send(BODY)) as site:
        yield site, source(site.root, monkeypatch, "user:p@ss")


def test_user_and_password_are_used_for_every_request(with_password: tuple[Site, TlcSource]) -> None:
    site, tlc = with_password
    with tlc.looking() as look:
        look(tlc.trips_url(MONTH))
    assert fetched(tlc) == BODY
    assert site.headers("Authorization") == ["Basic dXNlcjpwQHNz"] * 2


@pytest.mark.parametrize(("user", "sent"), [("", None), ("user", "Basic dXNlcjo="), ("user:", "Basic dXNlcjo=")])
def test_a_user_without_a_password_is_sent_and_no_user_is_none(
    monkeypatch: pytest.MonkeyPatch, user: str, sent: str | None
) -> None:
    with serving(send(BODY)) as site:
        assert fetched(source(site.root, monkeypatch, user)) == BODY
        assert site.headers("Authorization") == [sent]


def test_a_redirect_to_another_host_gets_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(send(BODY), host="127.0.0.3") as other:
        with serving(status(302, Location="/own"), status(302, Location=f"{other.root}/x")) as site:
            fetched(source(site.root, monkeypatch, "user:secret"))
        assert [value is not None for value in site.headers("Authorization")] == [True, True]
        assert other.headers("Authorization") == [None]


NOT_URLS = ["http://user:secret@[/", "http://user:secret@127.0.0.1:99999/", "http://user:secret@127.0.0.1:x/", "/\xff"]


@pytest.mark.parametrize("location", NOT_URLS)
def test_a_redirect_to_what_is_not_a_url_is_not_followed(monkeypatch: pytest.MonkeyPatch, location: str) -> None:
    with serving(status(302, Location=location)) as site:
        tlc = source(site.root, monkeypatch)
        with pytest.raises(SourceRefused, match=r"redirects to what is not a URL: .* This redirect is not followed"):
            fetched(tlc)
        with pytest.raises(SourceRefused, match="to what is not a URL"), tlc.looking() as look:
            look(tlc.trips_url(MONTH))


@pytest.mark.parametrize(
    "act",
    [*map(status, (401, 404, 503)), *(status(302, Location=location) for location in ("/", *NOT_URLS))],
)
def test_no_refusal_shows_user_and_password(monkeypatch: pytest.MonkeyPatch, act: Act) -> None:
    with serving(act) as site:
        tlc = source(site.root, monkeypatch, "user:secret")
        with pytest.raises(SourceError) as refused:
            fetched(tlc)
    assert str(refused.value).startswith(f"{site.root}/trip-data/")
    assert "secret" not in str(refused.value)


def test_a_url_is_shown_without_secrets() -> None:
    assert without_secrets("https://u:p@host:8/a%20b?signature=1#x") == "https://host:8/a%20b"
    assert without_secrets("file:///a/b@c") == "file:///a/b@c"
