"""The door of the running stack: what a web page in somebody's browser attempts, raw and in a real browser."""

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack.attacker import run_policy
from tests.stack.browser import Browser, browser
from tests.stack.conftest import Stack

JSON = {"Content-Type": "application/json"}
# It changes nothing, whoever sends it.
MUTATION = 'mutation { logTelemetry(action: "test", clientTime: "0", clientId: "", metadata: "{}") { __typename } }'
BODY = json.dumps({"query": MUTATION})
IN_URL = "/graphql?query=mutation%20%7B%20logTelemetry%20%7B%20__typename%20%7D%20%7D"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def ask(stack: Stack, method: str, path: str, body: str = "", **headers: str) -> tuple[int, http.client.HTTPMessage]:
    """Sends a request as it is given, and returns the status and the headers of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=180)
    connection.request(method, path, body or None, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers


def test_a_client_that_sends_json_is_answered(stack: Stack) -> None:
    assert ask(stack, "POST", "/graphql", BODY, **JSON)[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", IN_URL, "", {}, 403),
        ("HEAD", IN_URL, "", {}, 403),
        ("GET", IN_URL.replace("/graphql", "/./graphql"), "", {}, 403),
        ("GET", IN_URL.replace("/graphql", "/%67raphql"), "", {}, 403),
        ("GET", IN_URL, "", {"Upgrade": "websocket"}, 403),
        ("POST", IN_URL, "a=b", FORM, 415),
        ("POST", IN_URL, "", {}, 415),
        ("POST", "/graphql", BODY, {"Content-Type": "text/plain"}, 415),
        # A browser sends this without asking, and Dagster looks for `application/json` anywhere in it.
        ("POST", "/graphql", BODY, {"Content-Type": "text/plain; application/json"}, 415),
        ("POST", "/graphql", BODY, {"Content-Type": "multipart/form-data; boundary=application/json"}, 415),
        ("POST", "/graphql", MUTATION, {"Content-Type": "application/graphql"}, 415),
        ("POST", "/report_asset_materialization/taxi_trips", "", {}, 415),
        ("POST", "/report_asset_check/taxi_trips", "a=b", FORM, 415),
        ("POST", "/report_asset_observation/taxi_trips", "{}", {"Content-Type": "text/plain"}, 415),
        ("POST", "/report_asset_materialization/taxi_trips", "{}", JSON | {"Origin": "http://evil.example"}, 403),
        ("OPTIONS", "/graphql", "", {"Origin": "http://evil.example"}, 405),
        ("PUT", "/graphql", BODY, JSON, 405),
        ("TRACE", "/", "", {}, 405),
        ("POST", "/graphql", BODY, JSON | {"Origin": "http://evil.example"}, 403),
        ("POST", "/graphql", BODY, JSON | {"Origin": "null"}, 403),
        # Another port of the same machine is another site.
        ("POST", "/graphql", BODY, JSON | {"Origin": "http://127.0.0.1:1"}, 403),
        ("POST", "/graphql", BODY, JSON | {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", "/graphql", BODY, JSON | {"Sec-Fetch-Site": "same-site"}, 403),
        ("POST", "/graphql", BODY, JSON | {"Sec-Fetch-Site": "none"}, 403),
        ("GET", "/logs/a/b.out", "", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        (
            "GET",
            "/",
            "",
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
            403,
        ),
        ("POST", "/graphql", BODY, JSON | {"Host": "evil.example"}, 421),
        ("GET", "/", "", {"Host": "localhost.evil.example"}, 421),
        ("GET", "/", "", {"Host": "webserver:3000"}, 421),
        ("POST", "/graphql", "", JSON | {"Content-Length": "9000000"}, 413),
        ("POST", "/graphql", "", JSON | {"Transfer-Encoding": "chunked"}, 411),
    ],
)
def test_a_request_that_a_web_page_can_have_a_browser_send_is_refused(
    stack: Stack, method: str, path: str, body: str, headers: dict[str, str], status: int
) -> None:
    assert ask(stack, method, path, body, **headers)[0] == status


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "127.0.0.1:1234", "[::1]:3000"])
def test_each_name_of_this_machine_is_served(stack: Stack, host: str) -> None:
    assert ask(stack, "GET", "/server_info", Host=host)[0] == 200


def test_a_link_on_another_site_leads_to_the_ui(stack: Stack) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert ask(stack, "GET", "/runs", **link)[0] == 200


@pytest.mark.parametrize("path", ["/", "/graphql", "/reports/dbt_location/", "/nothing/here.js", "/door/health"])
def test_no_page_may_be_framed_or_taken_for_something_else(stack: Stack, path: str) -> None:
    _, headers = ask(stack, "GET", path, Accept="text/html")
    assert any("frame-ancestors 'none'" in policy for policy in headers.get_all("Content-Security-Policy", []))
    assert (headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == ("DENY", "nosniff")
    assert (headers["Referrer-Policy"], headers["Server"]) == ("same-origin", "Apache")


def test_the_uis_websocket_is_answered_and_one_of_another_site_refused(stack: Stack) -> None:
    own = stack.webserver.url

    def handshake(origin: str | None, host: str = own.removeprefix("http://"), **headers: str) -> int:
        sent = {"Host": host, **({"Origin": origin} if origin else {}), **headers}
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        upgrade |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol": "graphql-ws"}
        connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=180)
        connection.request("GET", "/graphql", headers=sent | upgrade)
        status = connection.getresponse().status
        connection.close()
        return status

    refused = [
        handshake("http://evil.example"),
        handshake("null"),
        handshake(own.replace("http", "https")),
        handshake(None, host="evil.example"),
        handshake(own, **{"Sec-Fetch-Site": "cross-site"}),
    ]
    assert (handshake(own), handshake(None), refused) == (101, 101, [403, 403, 403, 421, 403])


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Browser]:
    with browser(tmp_path / "profile") as opened:
        yield opened


def test_the_ui_works_in_a_browser(stack: Stack, chromium: Browser) -> None:
    chromium.open(f"{stack.webserver.url}/locations")
    chromium.wait("['ingestion_location', 'dbt_location'].every(name => document.body.innerText.includes(name))")
    socket = """new Promise(done => {
        const socket = new WebSocket(location.origin.replace("http", "ws") + "/graphql", "graphql-ws")
        socket.onopen = () => socket.send(JSON.stringify({type: "connection_init"}))
        socket.onmessage = message => done(JSON.parse(message.data).type)
        socket.onclose = () => done("closed") })"""
    assert chromium.run(socket) == "connection_ack"
    chromium.open(f"{stack.webserver.url}/asset-groups")
    chromium.wait("document.body.innerText.includes('raw_taxis')")
    assert chromium.log == []


# Each tries to read and to launch, and says in its title what it got.
HOSTILE = """<!doctype html><title>nothing</title><body>a report
<meta http-equiv="refresh" content="1; url=/graphql?query=mutation%20%7B%20__typename%20%7D">
<form id="form" method="post" action="/graphql"><input name="query" value="{version}"></form>
<script>
document.title = "script"
fetch("/graphql", {method: "POST", headers: {"Content-Type": "application/json"}, body: '{"query":"{version}"}'})
    .then(answer => answer.text()).then(text => document.title = text)
document.getElementById("form").submit()
</script>"""


def test_a_hostile_report_cannot_act_as_its_reader(stack: Stack, chromium: Browser) -> None:
    volume = next(volume for volume in run_policy(stack, "dbt_location")["volumes"] if "reports" in volume)
    write = "import sys; open('/opt/dagster/reports/2019-01.html', 'w').write(sys.argv[1])"
    remove = "import os; os.remove('/opt/dagster/reports/2019-01.html')"
    writer = ["docker", "run", "--rm", "--network=none", "--volume", volume, stack.services()["dbt_location"]["Image"]]
    stack.command(*writer, "python", "-c", write, HOSTILE)
    try:
        url = f"{stack.webserver.url}/reports/dbt_location/2019-01.html"
        chromium.open(url)
        # Neither its scripts run nor its timers, so there is nothing that says when they are done.
        time.sleep(2)
        assert chromium.run("[document.title, location.href, self.origin]") == ["nothing", url, "null"]
        # Whatever the server of the reports says.
        _, headers = ask(stack, "GET", "/reports/dbt_location/2019-01.html")
        assert any(
            policy.startswith("sandbox; default-src") for policy in headers.get_all("Content-Security-Policy", [])
        )
        # And if the browser did run the script: what it sends is refused.
        sent = JSON | {"Origin": "null", "Sec-Fetch-Site": "cross-site"}
        assert ask(stack, "POST", "/graphql", BODY, **sent)[0] == 403
    finally:
        stack.command(*writer, "python", "-c", remove)


def test_a_page_of_another_site_neither_reads_nor_acts(stack: Stack, chromium: Browser) -> None:
    chromium.open("data:text/html,<title>another site</title>")
    attempts: dict[str, Any] = {
        "fetch": "fetch(URL + '/graphql', {method: 'POST', headers: {'Content-Type': 'text/plain'}, body: BODY})",
        "json": "fetch(URL + '/graphql', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: BODY})",
        "no-cors": "fetch(URL + '/graphql', {method: 'POST', mode: 'no-cors', body: BODY}).then(a => a.type)",
        "websocket": "new Promise((yes, no) => { const s = new WebSocket(URL.replace('http', 'ws') + '/graphql',"
        " 'graphql-ws'); s.onopen = () => yes('open'); s.onerror = () => no(new Error('refused')) })",
        "frame": "new Promise(done => { const f = document.createElement('iframe'); f.src = URL;"
        " f.onload = () => { try { done(f.contentDocument === null ? 'Error: blank' : 'read') } catch (e) {"
        " done(String(e)) } }; document.body.append(f) })",
    }
    names = f"const URL = {stack.webserver.url!r}, BODY = {json.dumps(BODY)};"
    seen = {name: str(chromium.run(f"(() => {{ {names} return {script} }})()")) for name, script in attempts.items()}
    assert [name for name, what in seen.items() if "Error" not in what] == []
