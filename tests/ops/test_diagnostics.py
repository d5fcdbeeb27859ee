"""`make diagnostics`: what its archive has, and that no secret is in it, however it was printed."""

import json
import os
import re
import stat
import subprocess
import sys
import tarfile
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from ops.command import ROOT
from ops.diagnostics import write
from ops.diagnostics.collect import compose_config
from ops.diagnostics.redact import REMOVED, Redactor, parts
from ops.diagnostics.secrets import of_machine, of_volumes


def read(path: Path) -> dict[str, str]:
    """The texts in an archive by their names in its one folder."""
    with tarfile.open(path) as archive:
        files = [(member.name.partition("/")[2], archive.extractfile(member)) for member in archive]
        return {name: file.read().decode() for name, file in files if file}


SECRETS = [
    "s3cret/with+odd&chars=%",
    'a "quoted" pass\\word',
    "päss wörd",
    "0123456789abcdef0123456789abcdef",
    "short6",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "printed",
    [
        str,
        quote_plus,
        lambda text: quote(text, safe=""),
        lambda text: quote(text, safe="/:@&=+"),
        lambda text: re.sub("%..", lambda code: code[0].lower(), quote(text)),
        lambda text: json.dumps(text)[1:-1],
        lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
        lambda text: repr(text)[1:-1],
    ],
)
def test_a_secret_is_removed_in_each_form_in_which_it_is_printed(secret: str, printed: Callable[[str], str]) -> None:
    assert Redactor([secret]).clean(f"before {printed(secret)}, after") == f"before {REMOVED}, after"


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("before", ["", "u", "us", "user:"])
@pytest.mark.parametrize("after", ["", "\n", "@h"])
@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
def test_a_secret_is_removed_from_base64_wherever_it_begins(
    secret: str, before: str, after: str, encode: Callable[[bytes], bytes]
) -> None:
    encoded = encode(f"{before}{secret}{after}".encode()).decode()
    cleaned = Redactor([secret]).clean(f"got {encoded}.")
    assert REMOVED in cleaned
    # What is left has at most the bytes around it, and two bits of a character of it.
    assert len(cleaned.replace(REMOVED, "")) <= len("got .") + (len(before) + len(after)) * 4 // 3 + 8


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("GET https://ana:s3cret@tlc.example/trips?x=1", f"GET https://{REMOVED}@tlc.example/trips?x=1"),
        ("postgresql://dbt:p@ss@postgres:5432/x and b", f"postgresql://{REMOVED}@postgres:5432/x and b"),
        ("https://token@host/path", f"https://{REMOVED}@host/path"),
        ("http://webserver:3000/graphql", "http://webserver:3000/graphql"),
        ("Authorization: Bearer abc.def-123", f"Authorization: Bearer {REMOVED}"),
        ("-H 'Authorization: Basic dXNlcjpwdw=='", f"-H 'Authorization: Basic {REMOVED}'"),
        ('{"password": "two words", "name": "ana"}', f'{{"password": "{REMOVED}", "name": "ana"}}'),
        ("url?api_key=abc&page=2", f"url?api_key={REMOVED}&page=2"),
        ("TLS_KEY_FILE=tls/privkey.pem", "TLS_KEY_FILE=tls/privkey.pem"),
        ('"dbt_location_secrets:/run/secrets:ro"', '"dbt_location_secrets:/run/secrets:ro"'),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\nend", f"{REMOVED}\nend"),
    ],
)
def test_a_secret_that_nobody_knows_is_removed_by_what_is_around_it(text: str, left: str) -> None:
    assert Redactor([]).clean(text) == left


def test_what_a_file_of_secrets_has_is_found_down_to_the_password() -> None:
    assert "hexhexhex" in parts("*:*:dagster:dbt_location:hexhexhex\n*:*:warehouse:dbt_location:hexhexhex\n")
    assert "pass:word" in parts("ana:pass:word")
    receivers = parts(
        "# notes\nteam=slack://T1KENA23/TokenB99/c0ffeec0ffee/#x\nmailtos://bo:pa%20sswd@mail.example?to=b\n"
    )
    assert {"T1KENA23", "TokenB99", "c0ffeec0ffee", "pa sswd", "pa%20sswd"} <= receivers
    assert "mail.example" not in receivers
    assert "from-json" in parts('{"id": "x1", "private": "from-json"}')


def test_the_secrets_of_this_machine_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("access/tls", "backup_settings"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "access/tls/key.pem").write_text("first line of the key\n")
    (tmp_path / "access/users.htpasswd").write_text("ana:$2y$05$hash\n")
    (tmp_path / "backup_settings/key").write_text("the key of the repository\n")
    (tmp_path / "backup_settings/pgbackrest.conf").write_text("repo2-s3-key-secret=of the store\nrepo2-type=s3-type\n")
    (tmp_path / ".env").write_text(
        "TLS_KEY_FILE=tls/key.pem\nMY_PASSPHRASE=of mine\nTLC_BASE_URL=https://ana:of-the-source@tlc.example\n"
        "TAXI_STRAT_DATE=2023-01-01\nCOMPOSE_PROFILES=sample\nTAXI_START_DATE=2023-03-01\n"
    )
    monkeypatch.setenv("COMPOSE_ENV_FILES", str(tmp_path / ".env"))
    monkeypatch.setenv("DAGSTER_TOKEN", "of-the-shell")
    found = of_machine(tmp_path / "access", tmp_path / "backup_settings")
    assert found >= {"first line of the key", "the key of the repository", "of mine", "of-the-source", "of-the-shell"}
    assert found >= {"$2y$05$hash"}
    assert found & {"sample", "2023-01-01", "2023-03-01", "s3-type"} == set()


def test_a_volume_with_secrets_that_cannot_be_read_is_named() -> None:
    mounts = [{"Type": "volume", "Name": name, "Destination": "/x"} for name in ("p_door_key", "p_metrics")]
    assert of_volumes([{"Id": "no-such-container", "Mounts": mounts}]) == (set(), ["p_door_key"])


def test_the_configuration_shows_known_settings_only() -> None:
    environment = {
        "TAXI_START_DATE": "2023-01-01",
        "MY_PASSWORD": "planted",
        "WEATHER_KEY": "planted",
        "LEVEL": "planted",
    }
    build = {"context": ".", "args": {"PYTHON_IMAGE": "python:3.13-slim", "PIP_INDEX": "planted"}}
    config = {
        "services": {"one": {"environment": environment, "build": build}, "two": {"environment": None}},
        "configs": {"c": {"content": "planted"}},
    }
    shown = compose_config(config)
    assert "planted" not in shown
    assert json.loads(shown)["services"]["one"]["environment"]["TAXI_START_DATE"] == "2023-01-01"
    assert json.loads(shown)["services"]["one"]["build"]["args"]["PYTHON_IMAGE"] == "python:3.13-slim"
    assert environment["MY_PASSWORD"] == "planted"


def test_an_archive_is_for_its_owner_alone_and_has_no_secret(tmp_path: Path) -> None:
    planted = "planted/secret+123"
    path = tmp_path / "diagnostics-x.tar.gz"
    texts = {"a.txt": f"{planted} {quote(planted, safe='')}", f"{planted}.log": b64encode(planted.encode()).decode()}
    write(path, texts, Redactor([planted]))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read(path) == {"a.txt": f"{REMOVED} {REMOVED}", f"{REMOVED}.log": REMOVED}


@pytest.mark.parametrize("engine", [{"DOCKER_HOST": "tcp://127.0.0.1:1"}, {}])
def test_without_a_stack_or_an_engine_there_is_an_archive_of_the_rest(tmp_path: Path, engine: dict[str, str]) -> None:
    (tmp_path / ".env").write_text("MY_NOTE=planted-note\nHISTORY_DAYS=7\nTLC_BASE_URL=https://a:planted@b.example\n")
    env = {**os.environ, "COMPOSE_ENV_FILES": str(tmp_path / ".env"), "COMPOSE_PROJECT_NAME": "there-is-none", **engine}
    command = [sys.executable, "-m", "ops", "diagnostics", f"--folder={tmp_path}"]
    subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE)
    (path,) = tmp_path.glob("diagnostics-*.tar.gz")
    found = read(path)
    assert found.keys() >= {"versions.txt", "doctor.txt", "settings.txt", "status.json", "not_collected.txt"}
    assert "planted" not in "".join(found.values())
    assert {"HISTORY_DAYS=7", "MY_NOTE"} <= set(found["settings.txt"].splitlines())
    assert [problem["kind"] for problem in json.loads(found["status.json"])["needs_a_person"]] in (
        ["engine"],
        ["stack"],
    )
    if engine:
        assert re.search("^containers: .*(Cannot connect|no such command)", found["not_collected.txt"], re.MULTILINE)


def test_a_long_log_is_cleaned_in_a_moment() -> None:
    redactor = Redactor([f"{number:032x}" for number in range(100)])
    text = "2026-01-01T00:00:00Z dagster INFO a line of a log: with a few words\n" * 20_000 + "x" * 1_000_000
    begun = time.process_time()
    assert redactor.clean(text) == text
    assert time.process_time() - begun < 20
