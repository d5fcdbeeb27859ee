"""The screen, the JSON form and the command itself."""

import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ops.command import ROOT
from ops.status.as_json import as_json
from ops.status.facts import (
    Backfill,
    Check,
    Daemon,
    Events,
    Facts,
    Instigator,
    Location,
    Role,
    Runs,
    Storage,
    Unknown,
    Workspace,
)
from ops.status.judge import Problem, duration, judge
from ops.status.render import WIDTH, screen, shorten, verdict
from tests.ops.stack_facts import DAILY, HEALTHY, MONTHS, NOW, TRIPS, ZONES, failed_run, newest

MONTH_FAILED = replace(
    HEALTHY,
    assets=(replace(TRIPS, materialized=frozenset(MONTHS[:1]), failed=frozenset(MONTHS[1:])), DAILY, ZONES),
    runs=Runs((), (failed_run(),), ()),
    events=Events(newest(), {"0a1b": "HTTP 404"}),
)


def shown(facts: Facts, colour: bool = False) -> str:
    return screen(facts, judge(facts), colour)


def test_the_last_line_says_that_nothing_needs_a_person() -> None:
    assert shown(HEALTHY).splitlines()[-1] == "nothing needs a person"


def test_the_last_lines_say_what_needs_a_person_and_what_to_do() -> None:
    assert shown(MONTH_FAILED).splitlines()[-1] == (
        "needs a person: taxi_trips 2023-02-01 failed; next: see its run above, then launch it again"
    )


def test_a_failure_is_shown_with_its_reason_and_its_link() -> None:
    lines = shown(MONTH_FAILED).splitlines()
    place = lines.index("Unresolved failures")
    assert lines[place + 1].startswith("  taxi_trips 2023-02-01 (ingestion_location), ")
    assert lines[place + 2 : place + 4] == ["    HTTP 404", "    http://127.0.0.1:3000/runs/0a1b"]


def test_months_are_loaded_and_days_are_built_as_ranges() -> None:
    lines = shown(MONTH_FAILED).splitlines()
    place = lines.index("Data")
    assert [line.strip() for line in lines[place + 1 : place + 6]] == [
        "taxi_trips (monthly, ingestion_location)",
        "loaded    2023-01-01 (1)",
        "failed    2023-02-01 (1)",
        "daily_metrics (daily, dbt_location)",
        "built     2023-01-30..2023-02-02 (4)",
    ]


def test_what_is_not_known_says_why() -> None:
    away = Unknown("the webserver does not answer in 20 s")
    assert "  not known: the webserver does not answer in 20 s" in shown(replace(HEALTHY, assets=away)).splitlines()


def test_blocks_that_are_not_known_for_the_same_reason_are_one() -> None:
    away = Unknown("the webserver does not answer in 20 s")
    lines = shown(replace(HEALTHY, workspace=away, daemons=away, assets=away)).splitlines()
    assert lines[lines.index("Code locations, Daemon, Data") + 1] == f"  not known: {away.reason}"


def with_text(text: str) -> Facts:
    """Facts in which this text is whatever may come from outside: names, images and messages."""
    assert isinstance(HEALTHY.services, tuple)
    assert isinstance(HEALTHY.storage, Storage)
    return replace(
        MONTH_FAILED,
        project=text,
        services=(replace(HEALTHY.services[0], image=f"registry/{text}:1", health="unhealthy"), *HEALTHY.services[1:]),
        workspace=Workspace(
            (Location("dbt_location", text, NOW),),
            (Instigator(text, text, "sensor", True, True, False, NOW, "FAILURE", text),),
        ),
        daemons=(Daemon(text, NOW, (text,) * 5), Daemon(text, None)),
        assets=(replace(TRIPS, key=text, failed=frozenset(MONTHS)), *(replace(ZONES, key=f"z{n}") for n in range(40))),
        checks=(Check(text, text, "FAILED", "ERROR", "1", text),),
        runs=Runs(
            (failed_run(text, status="STARTED"),),
            (failed_run(text),),
            (Backfill(text, "REQUESTED", (text,), 1, NOW), Backfill(text, "FAILED", (text,), 1, NOW, NOW, text)),
        ),
        events=Events(newest(), {"0a1b": text}),
        storage=replace(
            HEALTHY.storage, databases={text: 1}, roles=tuple(Role(f"{text}_{n}", 1, 20) for n in range(20))
        ),
    )


def test_no_line_is_too_long_whatever_the_names_and_messages() -> None:
    facts = with_text("a_name_of_some_length_" * 10)
    assert [line for line in shown(facts).splitlines() if len(line) > WIDTH] == []


def test_control_characters_from_outside_do_not_reach_the_terminal() -> None:
    facts = with_text("\x1b[2J\x1b]0;title\x07\x9b31m\r\u202ex\x7f")
    text = shown(facts) + as_json(facts, judge(facts))
    assert {char for char in text if not char.isprintable()} == {"\n"}
    assert "\\x1b[2J" in text


def test_a_message_that_looks_like_markup_is_shown_as_it_is() -> None:
    facts = replace(MONTH_FAILED, events=Events(newest(), {"0a1b": "[red]KeyError[/red] [/] :boom:"}))
    assert "    [red]KeyError[/red] [/] :boom:" in shown(facts).splitlines()


def test_a_long_verdict_is_shortened_in_what_is_wrong_and_not_in_the_next_step() -> None:
    line = verdict(Problem("location", "x" * 200, "docker compose logs -n 50 dbt_location"))
    assert len(line) == WIDTH
    assert line.endswith("; next: docker compose logs -n 50 dbt_location")


def test_the_screen_is_coloured_only_where_that_is_asked_for() -> None:
    assert ("\033[" in shown(MONTH_FAILED, colour=True), "\033[" in shown(MONTH_FAILED)) == (True, False)


def test_json_has_states_as_ranges_and_what_needs_a_person() -> None:
    found = json.loads(as_json(MONTH_FAILED, judge(MONTH_FAILED)))
    assert found["assets"][0] == {
        "key": "taxi_trips",
        "location": "ingestion_location",
        "partitions": "monthly",
        "counts": {"built": 1, "failed": 1},
        "ranges": {"built": [["2023-01-01", "2023-01-01"]], "failed": [["2023-02-01", "2023-02-01"]]},
    }
    assert [problem["what"] for problem in found["needs_a_person"]] == ["taxi_trips 2023-02-01 failed"]
    assert found["failures"][0]["url"] == "http://127.0.0.1:3000/runs/0a1b"
    assert found["time"] == "2023-11-14T22:13:20Z"


def test_json_says_what_is_not_known_and_why() -> None:
    facts = replace(HEALTHY, storage=Unknown("postgres is exited"))
    found = json.loads(as_json(facts, judge(facts)))
    assert (found["storage"], found["not_known"]) == (None, {"storage": "postgres is exited"})


@pytest.mark.parametrize(
    ("seconds", "text"), [(40, "40 s"), (180, "3 min"), (3 * 3600, "3 h"), (60 * 3600, "2 d"), (-3, "0 s")]
)
def test_a_duration_is_printed_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_text_is_shortened_in_its_middle() -> None:
    assert shorten("abcdefghij", 7) == "abcd…ij"


def test_without_docker_the_command_says_so_and_fails(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ops", "status"]
    ended = subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": str(tmp_path)}, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[-1] == ("needs a person: there is no command docker; next: start Docker")


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_gets_colours_unless_no_color_is_set(tmp_path: Path, no_color: str, coloured: bool) -> None:
    terminal, end = pty.openpty()
    env = {**os.environ, "PATH": str(tmp_path), "NO_COLOR": no_color}
    subprocess.run([sys.executable, "-m", "ops", "status"], cwd=ROOT, env=env, stdout=end)
    os.close(end)
    printed = os.read(terminal, 10_000)
    os.close(terminal)
    assert (b"\033[" in printed, b"needs a person" in printed) == (coloured, True)
