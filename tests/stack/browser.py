"""A real browser: headless Chromium, driven by its own protocol."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.stack.webserver import wait_for

CHROMIUM = os.environ.get("CHROMIUM", "chromium")
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


class Browser:
    """One tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self.log: list[str] = []  # what the browser says about the pages: what it refuses to load, for example
        self.requests: list[str] = []  # the URLs that it asked for, after Network.enable
        self.posts: list[tuple[float, str]] = []  # those with a body: seconds of some clock, and the body
        self.call("Log.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Calls a method of Chromium's DevTools protocol and returns its result."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._connection.recv(timeout=180))
            if answer.get("method") == "Log.entryAdded":
                self.log.append(answer["params"]["entry"]["text"])
            if answer.get("method") == "Network.requestWillBeSent":
                request = answer["params"]["request"]
                self.requests.append(request["url"])
                if "postData" in request:
                    self.posts.append((answer["params"]["timestamp"], request["postData"]))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, url: str) -> None:
        """Leads the tab to a URL, as somebody does who types it, and waits until the page is there."""
        self.call("Page.navigate", url=url)
        self.wait(f"document.readyState === 'complete' && location.href !== 'about:blank' /* {url} */")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression on the page, or an error's text; a promise is waited for."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        thrown = result.get("exceptionDetails")
        return thrown["exception"].get("description", str(thrown)) if thrown else result["result"].get("value")

    def wait(self, script: str, seconds: float = 60) -> None:
        """Waits until an expression is true on the page."""
        wait_for(script, seconds, lambda: True if self.run(script) is True else None)


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A new browser with an empty profile; the test is skipped where there is none, except in CI."""
    if not shutil.which(CHROMIUM) and not os.environ.get("REQUIRE_DOCKER"):
        pytest.skip(f"there is no {CHROMIUM}; CHROMIUM=… names another one")
    # Addresses of this machine may be behind a proxy's name in the environment.
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    command = [CHROMIUM, *OPTIONS, "--ignore-certificate-errors", "--remote-debugging-port=0", "about:blank"]
    command.append(f"--user-data-dir={profile}")
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=env, start_new_session=True) as chromium:
        try:
            port = wait_for("Chromium's port", 60, lambda: _port(profile))
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
                (tab,) = [target for target in json.load(answer) if target["type"] == "page"]
            with connect(tab["webSocketDebuggerUrl"], max_size=None, proxy=None) as connection:
                yield Browser(connection)
        finally:
            chromium.terminate()
            chromium.wait()
            # Its helpers outlive it, and still write to the profile.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(chromium.pid, signal.SIGKILL)


def _port(profile: Path) -> str | None:
    file = profile / "DevToolsActivePort"
    lines = file.read_text().splitlines() if file.exists() else []
    return lines[0] if len(lines) > 1 else None
