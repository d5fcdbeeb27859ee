"""Login at a real provider of OpenID Connect (the certified oidc-provider of npm), in a real browser."""

import contextlib
import ipaddress
import os
import shutil
import socket
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.browser import Browser, browser
from tests.stack.conftest import Stack
from tests.stack.door import Door, door
from tests.stack.webserver import wait_for

pytestmark = pytest.mark.drill
PROVIDER = Path(__file__).parent / "provider"
ANA = "ana@example.org"


class Provider:
    """A provider that both the door and the browser reach: it listens on the address of Docker's own bridge."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # An engine that was told no gateway names the subnet alone, whose first address it takes.
        address = "{{with index .IPAM.Config 0}}{{or .Gateway .Subnet}}{{end}}"
        bridge = ["docker", "network", "inspect", "bridge", "--format", address]
        found = subprocess.run(bridge, capture_output=True, text=True, check=True).stdout.strip()
        self.host = str(ipaddress.ip_network(found)[1]) if "/" in found else found
        with socket.socket() as free:
            free.bind((self.host, 0))
            self.port = free.getsockname()[1]
        self.issuer = f"http://{self.host}:{self.port}"

    @contextlib.contextmanager
    def running(self, public_url: str) -> Iterator[None]:
        command = ["node", "provider.mjs", self.host, str(self.port), public_url]
        with subprocess.Popen(command, cwd=self._folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            try:
                wait_for("the provider", 60, self._answers)
                yield
            finally:
                process.kill()

    def _answers(self) -> bool | None:
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 5):
            return True
        return None


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Provider:
    if not shutil.which("npm") and not os.environ.get("REQUIRE_DOCKER"):
        pytest.skip("there is no npm, which installs the provider")
    folder = tmp_path_factory.mktemp("provider")
    shutil.copytree(PROVIDER, folder, dirs_exist_ok=True)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder, check=True)
    return Provider(folder)


@pytest.fixture
def opened(project: Stack, provider: Provider, tmp_path: Path) -> Iterator[Door]:
    """A door whose people log in at the provider; its session lasts some seconds."""
    project.start()  # it has the images
    access = tmp_path / "access"
    access.mkdir()
    for folder in (access, tmp_path, tmp_path.parent):
        folder.chmod(0o755)
    (access / "secret").write_text("the-secret-of-the-door\n")
    settings = {"OIDC_ISSUER": provider.issuer, "OIDC_CLIENT_ID": "door", "OIDC_CLIENT_SECRET_FILE": "secret"}
    with door("openid", access, SESSION_SECONDS="20", **settings) as started:
        yield started


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Browser]:
    with browser(tmp_path / "profile") as started:
        yield started


def url(opened: Door) -> str:
    return f"http://127.0.0.1:{opened.port}"


def log_in(chromium: Browser, opened: Door, path: str, user: str = ANA) -> None:
    """Opens a page of the door, and logs in at the provider, which takes any password."""
    chromium.open(url(opened) + path)
    chromium.wait("document.querySelector('[name=login]') !== null")
    chromium.run(f"document.querySelector('[name=login]').value = '{user}'")
    chromium.run("document.querySelector('[name=password]').value = 'any'")
    chromium.run("document.querySelector('button[type=submit]').click()")
    # The provider asks whether the door may know who it is.
    chromium.wait("document.querySelector('[name=prompt][value=consent]') !== null")
    chromium.run("document.querySelector('button[type=submit]').click()")
    chromium.wait("document.body.innerText.includes('x-door-key')")


def session(chromium: Browser, opened: Door) -> str:
    """The cookie of the session, as the browser sends it."""
    cookies = chromium.call("Network.getCookies", urls=[url(opened)])["cookies"]
    (value,) = [cookie["value"] for cookie in cookies if cookie["name"] == "session"]
    assert all(cookie["httpOnly"] and cookie["sameSite"] == "Lax" for cookie in cookies)
    return f"session={value}"


def groups(got: dict[str, str]) -> list[str]:
    """The groups as the webserver takes them apart."""
    between, _, names = got["x-forwarded-groups"].partition(" ")
    return names.split(between)


def test_a_login_at_a_provider_lasts_until_it_ends_and_says_who_it_is(
    provider: Provider, opened: Door, chromium: Browser
) -> None:
    with provider.running(url(opened)):
        # A program gets an error and no redirect, and a token is left to the webserver.
        assert opened.graphql().status == 401
        assert opened.graphql(Authorization="Bearer abc").got().get("x-forwarded-user") is None
        log_in(chromium, opened, "/runs?a=b")
        assert chromium.run("JSON.parse(document.body.innerText).path") == "/runs?a=b"
        assert chromium.run("document.cookie") == ""
        cookie = session(chromium, opened)
        claimed: dict[str, str] = {
            "X-Forwarded-User": "admin",
            "X-Forwarded-Groups": "admins",
            "OIDC_CLAIM_groups": "admins",
        }
        got = opened.graphql(Cookie=cookie, **claimed).got()
        assert (got["x-forwarded-user"], groups(got)) == (ANA, ["analytics", "people"])
        assert not {"cookie", "oidc_claim_email", "oidc_access_token"} & got.keys()
        # Of a cookie that was changed there is no session.
        assert opened.graphql(Cookie=cookie[:-1] + ("0" if cookie[-1] != "0" else "1")).status == 401
        # The code with which the provider led back is good once, for this browser.
        history = chromium.call("Page.getNavigationHistory")["entries"]
        assert [entry for entry in history if "code=" in entry["url"]] == []
        replayed = f"/door/openid?code=made-up&state={'a' * 27}"
        assert opened.ask("GET", replayed, Cookie=cookie).status in (400, 401, 403, 500)
    # The provider is away: who is in stays in, and others get an error that says what it is.
    assert opened.graphql(Cookie=cookie).status == 200
    chromium.call("Network.clearBrowserCookies")
    chromium.open(url(opened) + "/runs")
    assert "ERR_CONNECTION_REFUSED" in str(chromium.run("document.body.innerText"))
    wait_for("the end of the session", 60, lambda: opened.graphql(Cookie=cookie).status == 401 or None)


def test_a_code_is_good_once_and_for_the_browser_that_asked_for_it(
    provider: Provider, opened: Door, chromium: Browser
) -> None:
    chromium.call("Network.enable")
    with provider.running(url(opened)):
        log_in(chromium, opened, "/")
        back = next(seen for seen in chromium.requests if "/door/openid?code=" in seen)
        path = "/door/openid?" + urllib.parse.urlsplit(back).query
        cookie = session(chromium, opened)
        for sent in ({}, {"Cookie": cookie}):
            answer = opened.ask("GET", path, **sent)
            assert "session=" not in str(answer.headers["Set-Cookie"])


def test_a_comma_in_the_name_of_a_group_makes_no_other_group(
    provider: Provider, opened: Door, chromium: Browser
) -> None:
    with provider.running(url(opened)):
        log_in(chromium, opened, "/", "eve@example.org")
        assert groups(opened.graphql(Cookie=session(chromium, opened)).got()) == ["people,admins", "a b"]


def test_a_line_break_in_what_the_provider_says_starts_no_header(
    provider: Provider, opened: Door, chromium: Browser
) -> None:
    with provider.running(url(opened)):
        log_in(chromium, opened, "/", "mallory@example.org")
        got = opened.graphql(Cookie=session(chromium, opened)).got()
    assert {"x-forwarded-user", "x-forwarded-groups"} & got.keys() == set()
    assert got["x-door-login"] == "required"


def test_a_link_on_another_site_logs_nobody_out(provider: Provider, opened: Door, chromium: Browser) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    with provider.running(url(opened)):
        log_in(chromium, opened, "/")
        cookie = session(chromium, opened)
        for path in ("/door/logout", f"/door/openid?logout={url(opened)}/door/bye.html", "/door/openid?a=b&logout=get"):
            assert opened.ask("GET", path, Cookie=cookie, **link).status == 403
        assert opened.graphql(Cookie=cookie).status == 200


def test_logging_out_ends_the_session_for_a_copy_of_its_cookie_too(
    provider: Provider, opened: Door, chromium: Browser
) -> None:
    with provider.running(url(opened)):
        log_in(chromium, opened, "/")
        cookie = session(chromium, opened)
        assert opened.graphql(Cookie=cookie).status == 200
        chromium.open(url(opened) + "/door/logout")
        assert opened.graphql(Cookie=cookie).status == 401
