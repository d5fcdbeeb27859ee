"""A file is downloaded as a whole, or the download fails with a message that says what to do."""

import contextlib
import functools
import hashlib
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.misbehaving_server import Act, Site, cut, resumable, send, serving, status
from ingestion_location.download import FileVersion, Limits, Unchanged, fetch
from ingestion_location.load_errors import OutOfBounds
from ingestion_location.source import TlcSource
from ingestion_location.source_errors import FileUnavailable, SourceError, SourceRefused

BODY = b"PAR1 the trips of a month PAR1"
# Limits for tests: what takes a minute in production takes a fraction of a second here.
QUICK: dict[str, Any] = {
    "connect_seconds": 1,
    "read_seconds": 10,
    "total_seconds": 20,
    "attempts": 3,
    "longest_wait_seconds": 0.01,
}


def download(url: str, known: FileVersion | None = None, logged: list[str] | None = None, **limits: float) -> bytes:
    """Fetches a URL whose server never says why it forbids something."""
    log = logged.append if logged is not None else lambda line: None
    with fetch(url, Limits(**{**QUICK, **limits}), log, forbidden=lambda: None, known=known) as fetched:
        content = fetched.file.read()
        assert (fetched.bytes, fetched.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        return content


@contextlib.contextmanager
def refused(site: Site, kind: type[SourceError] = SourceError, **limits: float) -> Iterator[SimpleNamespace]:
    """Fetches from the site, which has to fail; the message, with the URL checked and taken off, is in ``message``."""
    answer = SimpleNamespace(message="")
    with pytest.raises(kind) as failed:
        download(f"{site.root}/file", None, None, **limits)
    answer.message = str(failed.value)
    assert answer.message.startswith(f"{site.root}/file: ")
    assert failed.type is kind
    yield answer


def test_a_file_arrives_with_what_the_server_says_about_it() -> None:
    with (
        serving(send(BODY, ETag='"1"', Last_Modified="Tue, 03 Jan 2023 00:00:00 GMT")) as site,
        fetch(f"{site.root}/file", Limits(), lambda line: None, forbidden=lambda: None) as fetched,
    ):
        assert fetched.file.read() == BODY
        assert (fetched.etag, fetched.last_modified) == ('"1"', "Tue, 03 Jan 2023 00:00:00 GMT")


def test_a_file_of_a_folder_arrives_the_same_way(tmp_path: Path) -> None:
    (tmp_path / "a b.parquet").write_bytes(BODY)
    assert download((tmp_path / "a b.parquet").as_uri()) == BODY


def test_a_file_that_the_folder_lacks_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(FileUnavailable, match=r"there is no such file\. Check TLC_BASE_URL"):
        download((tmp_path / "none.parquet").as_uri())


@pytest.mark.parametrize("code", [404, 410])
def test_a_file_that_the_server_lacks_is_asked_for_once(code: int) -> None:
    with serving(status(code)) as site, refused(site, FileUnavailable) as answer:
        assert f"the source does not have this file (HTTP {code}). The TLC publishes a month about" in answer.message
        assert len(site.requests) == 1


@pytest.mark.parametrize("code", [304, 400, 401, 451])
def test_a_refusal_that_waiting_does_not_change_is_not_tried_again(code: int) -> None:
    with serving(status(code)) as site, refused(site, SourceRefused) as answer:
        assert f"the source answered HTTP {code}. Check TLC_BASE_URL" in answer.message
        assert len(site.requests) == 1


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_a_server_that_is_busy_or_broken_for_now_is_asked_again(code: int) -> None:
    with serving(status(code), send(BODY)) as site:
        assert download(f"{site.root}/file") == BODY


def test_a_server_that_stays_broken_is_given_up_after_the_attempts() -> None:
    with serving(status(503)) as site, refused(site) as answer:
        assert "the source answered HTTP 503. Gave up after 3 attempts; nothing was loaded." in answer.message
        assert len(site.requests) == 3


def test_the_wait_that_a_busy_server_asks_for_is_kept() -> None:
    logged: list[str] = []
    with serving(status(429, Retry_After="1"), send(BODY)) as site:
        before = time.monotonic()
        assert download(f"{site.root}/file", logged=logged, longest_wait_seconds=2) == BODY
        assert time.monotonic() - before >= 1
    assert logged == [
        f"{site.root}/file: the source answered HTTP 429 and asks for a wait of 1 s; trying again in 1.0 s"
    ]


def test_a_wait_that_is_too_long_fails_at_once() -> None:
    with serving(status(503, Retry_After="3600")) as site, refused(site) as answer:
        assert "HTTP 503 and asks for a wait of 3,600 s" in answer.message
        assert len(site.requests) == 1


def test_a_wait_that_is_no_number_and_no_date_is_not_kept() -> None:
    with serving(status(503, Retry_After="soon"), send(BODY)) as site:
        assert download(f"{site.root}/file") == BODY


@pytest.mark.parametrize("after", range(len(BODY)))
def test_a_connection_cut_at_any_byte_is_resumed_there(after: int) -> None:
    with serving(resumable(BODY, '"1"', at_most=after), resumable(BODY, '"1"')) as site:
        assert download(f"{site.root}/file") == BODY
        assert site.headers("Range") == [None, f"bytes={after}-" if after else None]


@pytest.mark.parametrize("after", range(len(BODY)))
def test_a_connection_cut_at_any_byte_starts_again_where_the_server_cannot_resume(after: int) -> None:
    with serving(cut(BODY, after, ETag='"1"'), send(BODY, ETag='"1"')) as site:
        assert download(f"{site.root}/file") == BODY


def test_attempts_that_bring_new_bytes_do_not_count() -> None:
    with serving(resumable(BODY, '"1"', at_most=1)) as site:
        assert download(f"{site.root}/file") == BODY
        assert len(site.requests) == len(BODY)


def test_a_file_that_changes_between_two_attempts_is_the_new_one_alone() -> None:
    with serving(resumable(BODY, '"1"', at_most=9), resumable(BODY.upper(), '"2"')) as site:
        assert download(f"{site.root}/file") == BODY.upper()
        assert site.headers("If-Range") == [None, '"1"']


def test_a_weak_etag_is_not_trusted_to_resume() -> None:
    with serving(cut(BODY, 9, ETag='W/"1"'), send(BODY)) as site:
        assert download(f"{site.root}/file") == BODY
        assert site.headers("Range") == [None, None]


@pytest.mark.parametrize(
    "wrong",
    [send(BODY[9:], 206, Content_Range=f"bytes 5-{len(BODY) - 1}/{len(BODY)}"), send(BODY[9:], 206), status(416)],
    ids=["another part", "no Content-Range", "416"],
)
def test_another_part_than_asked_for_is_dropped_with_what_there_was(wrong: Act) -> None:
    with serving(resumable(BODY, '"1"', at_most=9), wrong, send(BODY)) as site:
        assert download(f"{site.root}/file") == BODY
        assert site.headers("Range")[2] is None


def test_a_connection_that_is_always_cut_at_the_same_byte_is_given_up() -> None:
    with serving(cut(BODY, 9)) as site, refused(site) as answer:
        assert "the source cannot be reached or broke off (" in answer.message
        # The first one brought new bytes.
        assert len(site.requests) == 4


def trickle(request: BaseHTTPRequestHandler, site: list[Site]) -> None:
    """Sends a byte every hundredth of a second."""
    request.send_response(200)
    request.send_header("Content-Length", "1000000")
    request.end_headers()
    while not site[0].over.wait(0.01):
        request.wfile.write(b".")


def hang(request: BaseHTTPRequestHandler, site: list[Site], head: bool) -> None:
    """Takes the request and never answers, or sends only the headers."""
    if head:
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
    site[0].over.wait()


def test_a_server_that_trickles_is_given_up_when_the_whole_takes_too_long() -> None:
    self: list[Site] = []
    with serving(functools.partial(trickle, site=self)) as site:
        self.append(site)
        with refused(site, total_seconds=0.3) as answer:
            assert "too slow: " in answer.message
            assert "of 1,000,000 bytes in 0 s. Nothing was loaded" in answer.message


@pytest.mark.parametrize("head", [False, True], ids=["before the headers", "after the headers"])
def test_a_server_that_hangs_is_given_up_after_the_attempts(head: bool) -> None:
    self: list[Site] = []
    with serving(functools.partial(hang, site=self, head=head)) as site:
        self.append(site)
        with refused(site, read_seconds=0.2) as answer:
            assert "timed out" in answer.message.lower()
            assert len(site.requests) == 3


def test_a_server_that_does_not_take_the_connection_is_given_up() -> None:
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        # With a full queue the kernel does not answer further connections.
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        with pytest.raises(SourceError, match=r"cannot be reached or broke off .*timed out"):
            download(f"http://127.0.0.1:{address[1]}/file", connect_seconds=0.2)


def test_a_server_that_is_not_there_is_given_up_with_the_reason() -> None:
    with pytest.raises(SourceError, match=r"^http://127\.0\.0\.1:9/file: .*Connection refused.* Check the network and"):
        download("http://127.0.0.1:9/file")


def test_a_host_that_does_not_exist_is_given_up_with_the_reason() -> None:
    with pytest.raises(SourceError, match=r"resolve 'no\.such\.host\.invalid'"):
        download("http://no.such.host.invalid/file")


def test_a_redirect_is_followed() -> None:
    with serving(status(302, Location="/other"), send(BODY)) as site:
        assert download(f"{site.root}/file") == BODY
        assert [path for _, path, _ in site.requests] == ["/file", "/other"]


@pytest.mark.parametrize("to", ["/file", "ftp://127.0.0.1/file"])
def test_a_redirect_in_a_circle_or_to_nowhere_fails_at_once(to: str) -> None:
    with serving(status(302, Location=to)) as site, refused(site, SourceRefused) as answer:
        assert "This redirect is not followed. Check TLC_BASE_URL" in answer.message


def test_of_a_body_larger_than_announced_only_the_announced_part_is_taken() -> None:
    with serving(send(BODY + b"more", length=len(BODY))) as site:
        assert download(f"{site.root}/file") == BODY


def test_a_body_of_unknown_length_is_taken_until_its_end() -> None:
    def act(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(BODY)

    with serving(act) as site:
        assert download(f"{site.root}/file") == BODY


def known(body: bytes = b"", etag: str | None = None, last_modified: str | None = None) -> FileVersion:
    sha256 = hashlib.sha256(body).hexdigest()
    return FileVersion(url="", etag=etag, last_modified=last_modified, bytes=len(body), sha256=sha256)


@pytest.mark.parametrize(
    ("earlier", "header"),
    [
        (known(etag='"1"', last_modified="yesterday"), "If-None-Match"),
        (known(last_modified="yesterday"), "If-Modified-Since"),
    ],
)
def test_a_file_that_the_server_says_is_unchanged_is_not_fetched(earlier: FileVersion, header: str) -> None:
    with serving(status(304)) as site, pytest.raises(Unchanged):
        download(f"{site.root}/file", earlier)
    assert site.headers(header) == [earlier.etag or earlier.last_modified]


def test_a_server_that_says_unchanged_without_being_asked_is_refused() -> None:
    with serving(status(304)) as site, pytest.raises(SourceRefused, match="the source answered HTTP 304"):
        download(f"{site.root}/file", known(BODY))


def test_the_same_content_is_unchanged_whatever_the_server_says() -> None:
    with serving(send(BODY, ETag='"2"')) as site, pytest.raises(Unchanged):
        download(f"{site.root}/file", known(BODY, etag='"1"'))


def test_other_content_is_fetched() -> None:
    with serving(send(BODY)) as site:
        assert download(f"{site.root}/file", known(b"older", etag='"1"')) == BODY


def test_a_file_of_a_folder_with_the_same_content_is_unchanged(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BODY)
    with pytest.raises(Unchanged):
        download((tmp_path / "file").as_uri(), known(BODY))


def test_no_room_for_the_download_says_where_and_what_to_do() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serving(send(b"x" * 5_000_000)) as site:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, hard))
        try:
            with refused(site) as answer:
                assert f"cannot be kept in {tempfile.gettempdir()} (" in answer.message
                assert "Make room there, or set TMPDIR" in answer.message
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_missing_folder_for_temporary_files_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with serving(send(BODY)) as site, refused(site) as answer:
        assert f"cannot be kept in {tmp_path / 'none'} (" in answer.message


def test_progress_is_logged_while_bytes_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion_location.progress.INTERVAL", 0)
    logged: list[str] = []
    with serving(send(b"x" * 1_000)) as site:
        download(f"{site.root}/file", logged=logged)
    assert logged[-1].startswith("downloaded 1,000 of 1,000 bytes (100%), ")


def published(only: str) -> Act:
    """A site that has one file and, as the TLC's, forbids all others."""

    def act(request: BaseHTTPRequestHandler) -> None:
        (send(BODY) if only in request.path else status(403))(request)

    return act


def of_may(site: Site) -> bytes:
    """Fetches the trips of May 2023 from the site."""
    source = TlcSource(base_url=site.root, taxi_type="yellow", limits=Limits(**QUICK))
    with source.fetch(source.trips_url(date(2023, 5, 1)), lambda line: None) as fetched:
        return fetched.file.read()


def test_a_forbidden_month_is_not_published_where_an_old_month_is_there() -> None:
    with serving(published("2023-01")) as site:
        with pytest.raises(FileUnavailable, match=r"\(HTTP 403\), while it has 2023-01\. The TLC publishes a month"):
            of_may(site)
        assert [(method, path[-15:]) for method, path, _ in site.requests] == [
            ("GET", "2023-05.parquet"),
            ("HEAD", "2023-01.parquet"),
        ]


def test_a_forbidden_month_is_throttled_where_the_old_month_is_forbidden_too() -> None:
    with serving(published("none")) as site, pytest.raises(SourceError, match=r"for now \(HTTP 403\), as it"):
        of_may(site)
    assert [method for method, _, _ in site.requests] == ["GET", "HEAD"] * 3


def test_a_throttled_month_is_downloaded_when_the_source_stops_throttling() -> None:
    with serving(status(403), status(403), send(BODY)) as site:
        assert of_may(site) == BODY


def test_a_forbidden_month_of_a_site_without_the_old_month_is_a_wrong_address() -> None:
    with serving(status(403), status(404)) as site, pytest.raises(FileUnavailable, match=r"nor .* Check TLC_BASE_URL"):
        of_may(site)


def test_a_download_leaves_no_file_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        serving(send(BODY)) as site,
        fetch(f"{site.root}/file", Limits(), lambda line: None, forbidden=lambda: None),
    ):
        assert list(tmp_path.iterdir()) == []


def endless(request: BaseHTTPRequestHandler) -> None:
    """Sends a body without a length and without an end."""
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b"x" * 65_536)


@pytest.mark.parametrize(
    "act", [endless, send(b"x" * 2_000_000), send(b"x" * 10, length=2_000_000)], ids=["endless", "whole", "announced"]
)
def test_a_body_larger_than_the_setting_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, act: Act) -> None:
    monkeypatch.setenv("TLC_MAX_FILE_MB", "1")
    with serving(act) as site, pytest.raises(OutOfBounds) as answer:
        download(f"{site.root}/file")
    assert str(answer.value).startswith(f"{site.root}/file: the size in MB is at least ")
    assert str(answer.value).endswith(
        "and TLC_MAX_FILE_MB=1 is the most that is accepted. Nothing was loaded. Compare the file with the TLC's; if "
        "it is right, raise TLC_MAX_FILE_MB."
    )
    assert len(site.requests) == 1


def test_a_file_of_a_folder_is_bounded_likewise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TLC_MAX_FILE_MB", "1")
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1_000_001)
    with pytest.raises(OutOfBounds, match="TLC_MAX_FILE_MB=1 is the most"):
        download((tmp_path / "file").as_uri())


def test_a_download_leaves_room_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    megabytes = shutil.disk_usage(tempfile.gettempdir()).free // 1_000_000 + 1_000
    monkeypatch.setenv("TLC_MIN_FREE_MB", f"{megabytes}")
    with serving(send(BODY)) as site, refused(site) as answer:
        assert f"less than TLC_MIN_FREE_MB={megabytes} would be left on the disk" in answer.message
        assert "Make room there, or set TMPDIR" in answer.message


def test_a_download_that_is_announced_larger_than_the_disk_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLC_MAX_FILE_MB", "1000000000")
    with serving(send(b"", length=10**14)) as site, refused(site) as answer:
        assert "less than TLC_MIN_FREE_MB=500 would be left on the disk" in answer.message
