"""The webserver serves the metrics to whoever has a role, and to nobody else."""

from pathlib import Path

import platform_host.webserver
import pytest
import requests
from platform_host.access_file import token_hash

from tests.platform_host.served import KEY, Served

TEXT = "# TYPE taxi_evaluation_timestamp_seconds gauge\ntaxi_evaluation_timestamp_seconds 1.7e+09\n"


@pytest.fixture
def file(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "metrics.prom"
    path.write_text(TEXT)
    monkeypatch.setattr(platform_host.webserver, "METRICS", path)
    served.allow(users={"ana": {"viewer": "all"}}, tokens={"prometheus": {"viewer": "all", "sha256": token_hash("x")}})
    return path


def scrape(served: Served, **headers: str) -> requests.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.get(f"{served.url}/metrics", headers=given, timeout=60)


def test_a_service_token_and_a_user_read_the_metrics(served: Served, file: Path) -> None:
    answer = scrape(served, X_Door_Key=KEY, Authorization="Bearer x")
    assert (answer.status_code, answer.text) == (200, TEXT)
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert scrape(served, X_Door_Key=KEY, X_Forwarded_User="ana").text == TEXT


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Authorization": "Bearer x"}, 403),
        ({"X_Door_Key": KEY, "Authorization": "Bearer y"}, 401),
        ({"X_Door_Key": KEY, "X_Forwarded_User": "eve"}, 403),
    ],
)
def test_nobody_else_reads_them(served: Served, file: Path, headers: dict[str, str], status: int) -> None:
    answer = scrape(served, **headers)
    assert (answer.status_code, "taxi_look" in answer.text) == (status, False)


def test_before_the_first_look_the_answer_says_what_is_missing(served: Served, file: Path) -> None:
    file.unlink()
    answer = scrape(served, X_Door_Key=KEY, Authorization="Bearer x")
    assert (answer.status_code, "the service alerts has not evaluated the state yet" in answer.text) == (404, True)
