"""A door of its own: how it refuses to open, TLS, login with the file of users, and what it tells the webserver."""

import contextlib
import http.client
import socket
import ssl
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.stack.browser import Browser, browser
from tests.stack.conftest import Stack
from tests.stack.door import FORM, JSON, Door, cookie, door, refusal, users
from tests.stack.webserver import wait_for

CLAIMED = {"X-Forwarded-User": "admin", "X-Forwarded-Groups": "admins", "X-Forwarded-For": "1.2.3.4", "X-Door-Key": "x"}
CLAIMED |= {"X-Door-Login": "none"}


@pytest.fixture(scope="module")
def access(project: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder access/ with two users, a certificate and its key, which the user of the door may read."""
    project.start()  # it has the images
    folder = tmp_path_factory.mktemp("door") / "access"
    folder.mkdir(mode=0o755)
    for parent in (folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    make_certificate(folder, "a.example")
    (folder / "users.htpasswd").write_text(users(ada="first-word", ben="second-word"))
    return folder


def make_certificate(folder: Path, name: str) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={name}"]
    files = [f"-keyout={folder / 'key.pem'}", f"-out={folder / 'certificate.pem'}"]
    subprocess.run([*command, *(part for file in files for part in file.split("="))], check=True, capture_output=True)
    (folder / "key.pem").chmod(0o644)


TLS = {"TLS_CERTIFICATE_FILE": "certificate.pem", "TLS_KEY_FILE": "key.pem"}
SHARED = {"PUBLISH": "0.0.0.0", "PUBLIC_URL": "https://a.example", **TLS}


@pytest.fixture(scope="module")
def opened(access: Path) -> Iterator[Door]:
    """A door with login and without TLS, as somebody may have it on the loopback address."""
    with door("login", access) as started:
        yield started


@pytest.fixture(scope="module")
def shared(access: Path) -> Iterator[Door]:
    """A door with login and TLS."""
    with door("shared", access, **SHARED) as started:
        yield started


@pytest.fixture(scope="module")
def ada(opened: Door) -> str:
    """The cookie of a user who is logged in."""
    return cookie(opened.log_in("ada", "first-word"))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"PUBLISH": "0.0.0.0"}, ["PUBLIC_URL", "TLS_CERTIFICATE_FILE", "TLS_KEY_FILE", "people must log in"]),
        ({"PUBLISH": "::", "PUBLIC_URL": "https://a.example"}, ["TLS_CERTIFICATE_FILE", "people must log in"]),
        ({**SHARED}, ["people must log in"]),
        ({**TLS}, ["PUBLIC_URL is missing"]),
        ({**SHARED, "PUBLIC_URL": "https://a.example/dagster"}, ["PUBLIC_URL=https://a.example/dagster"]),
        ({**SHARED, "TLS_KEY_FILE": "other.pem"}, ["TLS_KEY_FILE=other.pem"]),
        ({"OIDC_ISSUER": "https://b.example"}, ["OIDC_CLIENT_ID is missing", "OIDC_CLIENT_SECRET_FILE is missing"]),
        ({"SESSION_SECONDS": "soon"}, ["SESSION_SECONDS=soon"]),
    ],
)
def test_a_door_that_must_not_open_names_the_settings(
    access: Path, tmp_path: Path, settings: dict[str, str], named: list[str]
) -> None:
    tmp_path.chmod(0o755)
    for file in ("certificate.pem", "key.pem"):
        (tmp_path / file).write_bytes((access / file).read_bytes())
    status, said = refusal("refused", tmp_path, **settings)
    assert (status, [part for part in named if part not in said]) == (1, [])


def test_without_login_everybody_of_this_machine_comes_in_and_nobody_has_a_name(project: Stack, tmp_path: Path) -> None:
    project.start()
    tmp_path.chmod(0o755)
    with door("open", tmp_path) as plain:
        got = plain.graphql(**CLAIMED, Authorization="Bearer abc", Cookie="a=b").got()
    assert not {"x-forwarded-user", "x-forwarded-groups", "cookie"} & got.keys()
    assert (got["authorization"], got["x-door-key"], got["x-door-login"]) == ("Bearer abc", "none", "none")
    assert "1.2.3.4" not in got["x-forwarded-for"]


def test_the_webserver_learns_who_is_logged_in_and_nothing_that_a_client_claims(opened: Door, ada: str) -> None:
    got = opened.graphql(Cookie=ada, **CLAIMED).got()
    assert (got["x-forwarded-user"], got["x-door-key"], "x-forwarded-groups" in got) == ("ada", "none", False)
    assert (
        got["x-door-login"] == opened.graphql(Authorization="Bearer abc", **CLAIMED).got()["x-door-login"] == "required"
    )
    assert ("1.2.3.4" in got["x-forwarded-for"], "cookie" in got) == (False, False)


@pytest.mark.parametrize("named", ["X-Forwarded-User", "close, x-forwarded-user", "X-Door-Key", "Authorization"])
def test_no_client_has_the_door_leave_out_what_it_tells_the_webserver(opened: Door, ada: str, named: str) -> None:
    assert opened.graphql(Cookie=ada, Connection=named).status == 400
    assert opened.graphql(Authorization="Bearer abc", Connection=named).status == 400
    assert opened.graphql(Cookie=ada, Connection="keep-alive, TE").status == 200


def test_the_server_of_a_locations_pages_learns_nothing_about_the_reader(opened: Door, ada: str) -> None:
    answer = opened.ask("GET", "/reports/dbt_location/2023-01.html", Cookie=ada, Authorization="Bearer abc", **CLAIMED)
    got = answer.got()
    assert answer.headers["Set-Cookie"] is None
    secret = {"cookie", "authorization", "x-forwarded-user", "x-forwarded-groups", "x-door-key"}
    assert (got["path"], secret & got.keys()) == ("/2023-01.html", set())


@pytest.mark.parametrize("path", ["/graphql", "/", "/reports/dbt_location/", "/logs/a.out", "/server_info", "/metrics"])
def test_who_is_not_logged_in_is_refused(opened: Door, path: str) -> None:
    method, body, headers = ("POST", "{}", JSON) if path == "/graphql" else ("GET", "", {})
    answer = opened.ask(method, path, body, **headers)
    assert (answer.status, "Log in to Dagster" in answer.text) == (401, True)


def test_a_websocket_without_login_is_refused(opened: Door) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert opened.ask("GET", "/graphql", **upgrade, **{"Sec-WebSocket-Key": "a" * 22 + "=="}).status == 401


def test_a_token_is_left_to_the_webserver_where_it_is_checked_and_opens_nothing_else(opened: Door) -> None:
    got = opened.graphql(Authorization="Bearer abc").got()
    assert (got["authorization"], "x-forwarded-user" in got) == ("Bearer abc", False)
    assert opened.ask("GET", "/metrics", Authorization="Bearer abc").got()["authorization"] == "Bearer abc"
    assert opened.ask("GET", "/reports/dbt_location/", Authorization="Bearer abc").status == 401
    assert opened.graphql(Authorization="Basic YWRhOmZpcnN0LXdvcmQ=").status == 401


def test_a_wrong_password_opens_nothing(opened: Door) -> None:
    answer = opened.log_in("ada", "second-word")
    assert (answer.status, answer.headers["Location"], cookie(answer)) == (302, "/door/login.html?failed", "")


def test_a_form_of_another_site_does_not_log_anybody_in(opened: Door) -> None:
    assert opened.log_in("ada", "first-word", Origin="http://evil.example").status == 403


def test_a_login_leads_to_no_other_site(opened: Door) -> None:
    for place in ("https://evil.example/", "//evil.example/", "/%5Cevil.example", "\\evil.example"):
        fields = f"httpd_username=ben&httpd_password=second-word&httpd_location={place}"
        answer = opened.ask("POST", "/door/login", fields, **FORM)
        assert (answer.status, answer.headers["Location"]) == (400, None), place
    # Nor when the place comes after more fields than are looked at.
    many = f"httpd_username=ben&httpd_password=second-word&{'a&' * 1100}httpd_location=//evil.example/"
    assert opened.ask("POST", "/door/login", many, **FORM).status == 400


def test_a_session_that_was_changed_or_made_up_is_none(opened: Door, ada: str) -> None:
    name, _, value = ada.partition("=")
    other = "A" if value[20] != "A" else "B"
    for made_up in (
        value[:20] + other + value[21:],
        value[:-8],
        "",
        "door-user=ada&door-pw=first-word&expiry=9999999999999999",
    ):
        assert opened.graphql(Cookie=f"{name}={made_up}").status == 401, made_up


def test_whoever_is_removed_from_the_file_is_out_at_once(opened: Door, access: Path) -> None:
    ben = cookie(opened.log_in("ben", "second-word"))
    assert opened.graphql(Cookie=ben).status == 200
    before = (access / "users.htpasswd").read_text()
    # A name that ends with the same letters stays.
    (access / "users.htpasswd").write_text(before.replace("ben:", "ruben:"))
    try:
        assert opened.graphql(Cookie=ben).status == 401
    finally:
        (access / "users.htpasswd").write_text(before)


def test_logging_out_takes_the_cookie_away(opened: Door) -> None:
    answer = opened.ask("GET", "/door/logout", Cookie=cookie(opened.log_in("ben", "second-word")))
    assert (answer.status, opened.graphql(Cookie=cookie(answer)).status) == (307, 401)


def test_a_link_on_another_site_logs_nobody_out(opened: Door, ada: str) -> None:
    link = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Cookie": ada}
    for site in ("cross-site", "same-site"):
        answer = opened.ask("GET", "/door/logout", **link, **{"Sec-Fetch-Site": site})
        assert (answer.status, answer.headers["Set-Cookie"]) == (403, None)
    assert opened.ask("GET", "/door/logout", **link, **{"Sec-Fetch-Site": "none"}).status == 307


def test_a_session_ends_when_it_was_not_used_for_the_stated_time(access: Path) -> None:
    with door("short", access, SESSION_SECONDS="1") as short:
        ada = cookie(short.log_in("ada", "first-word"))
        wait_for("the end of the session", 30, lambda: short.graphql(Cookie=ada).status == 401 or None)


def statuses(guessed: Door, tries: Iterable[tuple[str, str]]) -> list[int]:
    """The answers to tries of users and passwords, one after the other on one connection.

    The door counts a try before it reads the next one of the same connection; on others it may be a moment later.
    """
    found = []
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", guessed.port, timeout=180)) as connection:
        for user, password in tries:
            fields = f"httpd_username={user}&httpd_password={password}&httpd_location=/runs"
            connection.request("POST", "/door/login", fields, {**FORM, **CLAIMED})
            answer = connection.getresponse()
            answer.read()
            found.append(answer.status)
    return found


def test_guessing_passwords_is_stopped_for_a_user_after_ten_tries_and_for_an_address_after_sixty(access: Path) -> None:
    with door("guessed", access) as guessed:
        tries = statuses(guessed, [("ada", f"guess-{number}") for number in range(15)])
        assert tries == [302] * 10 + [429] * 5
        # With the right password, too, and whatever address a client claims to have; other users are not affected.
        assert guessed.log_in("ada", "first-word", **{"X-Forwarded-For": "5.6.7.8"}).status == 429
        assert cookie(guessed.log_in("ben", "second-word")) != ""
        # Two names in one form: the one that is counted could be another than the one that is tried.
        twice = "httpd_username=carl&httpd_password=x&httpd_username=ada&httpd_password=first-word"
        assert guessed.ask("POST", "/door/login", twice, **FORM).status == 400
        tries = statuses(guessed, [(f"nobody{number}", "x") for number in range(60)])
        # Eleven were answered before.
        assert tries == [302] * 49 + [429] * 11


def test_with_tls_http_leads_to_https_and_a_browser_keeps_to_it(shared: Door) -> None:
    plain = Door(shared.name).ask("GET", "/runs?a=b", Host="a.example")
    assert (plain.status, plain.headers["Location"]) == (308, "https://a.example/runs?a=b")
    answer = shared.log_in("ada", "first-word", Host="a.example")
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    set_cookie = answer.headers["Set-Cookie"]
    assert set_cookie.startswith("__Host-session=")
    assert {"Secure", "HttpOnly", "SameSite=Lax", "path=/"} <= set(set_cookie.split(";"))
    own = {"Cookie": cookie(answer), "Host": "a.example", "Origin": "https://a.example", **JSON}
    assert shared.ask("POST", "/graphql", "{}", **own).got()["x-forwarded-user"] == "ada"
    assert shared.ask("POST", "/graphql", "{}", **own | {"Origin": "http://a.example"}).status == 403


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_versions_of_tls_are_refused(shared: Door) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", shared.tls_port), 30) as connection,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(connection)


def test_a_renewed_certificate_is_served_after_a_graceful_reload(shared: Door, access: Path) -> None:
    before = ssl.get_server_certificate(("127.0.0.1", shared.tls_port))
    cookie_before = cookie(shared.log_in("ada", "first-word"))
    make_certificate(access, "renewed.example")
    subprocess.run(["docker", "kill", "--signal=USR1", shared.name], check=True)
    wait_for(
        "the new certificate",
        30,
        lambda: ssl.get_server_certificate(("127.0.0.1", shared.tls_port)) != before or None,
    )
    # Those who are logged in stay so.
    assert shared.ask("POST", "/graphql", "{}", Cookie=cookie_before, **JSON).status == 200


def test_somebody_logs_in_with_a_browser_and_gets_to_where_they_wanted(opened: Door, tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as chromium:
        chromium.open(f"http://127.0.0.1:{opened.port}/runs?a=b")
        assert chromium.run("document.title") == "Log in to Dagster"
        log_in(chromium, "ben", "wrong")
        chromium.wait("!document.getElementById('failed').hidden")
        chromium.open(f"http://127.0.0.1:{opened.port}/runs?a=b")
        log_in(chromium, "ben", "second-word")
        chromium.wait("document.body.innerText.includes('x-forwarded-user')")
        assert chromium.run("JSON.parse(document.body.innerText).path") == "/runs?a=b"
        assert chromium.run("document.cookie") == ""
        chromium.open(f"http://127.0.0.1:{opened.port}/door/logout")
        chromium.open(f"http://127.0.0.1:{opened.port}/runs")
        assert chromium.run("document.title") == "Log in to Dagster"


def log_in(chromium: Browser, user: str, password: str) -> None:
    chromium.run(
        f"document.getElementById('name').value = {user!r},"
        f" document.getElementById('password').value = {password!r}, document.querySelector('button').click()"
    )
