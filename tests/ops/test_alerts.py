"""What needs a person is reported once when it begins and once when it ends, to its owners, through real receivers."""

import email
import email.policy
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from ops.alerts import service
from ops.alerts.send import ReceiverError, chosen, ping, read_receivers, send
from ops.alerts.store import GIVE_UP_SECONDS, Store
from ops.alerts.watch import EVALUATIONS, FailedRun, evaluate
from ops.command import OpsError
from ops.status.facts import Alerts as State
from ops.status.facts import Events, Facts, Location, Runs, Storage, Unknown, Workspace
from ops.status.judge import judge
from tests.ops.stack_facts import DAILY, HEALTHY, MONTHS, NOW, REPORT, SERVICES, TRIPS, ZONES, failed_run, newest
from tests.receiver import Receiver, receiving

URL = "https://dagster.example"
OWNED = (
    replace(TRIPS, owners=("team:ingestion",)),
    replace(DAILY, owners=("team:analytics",)),
    replace(REPORT, owners=("team:analytics",)),
    replace(ZONES, owners=("team:ingestion",)),
)
WELL = replace(HEALTHY, assets=OWNED)


def failed_month(id: str = "0a1b") -> Facts:
    trips = replace(OWNED[0], materialized=frozenset(MONTHS[:1]), failed=frozenset(MONTHS[1:]))
    return replace(WELL, assets=(trips, *OWNED[1:]), runs=Runs((), (failed_run(id=id),), ()))


def service_down(name: str = "dbt_location") -> Facts:
    changed: dict[str, Any] = {"state": "exited", "health": None, "exit_code": 137}
    return replace(WELL, services=tuple(replace(one, **changed) if one.name == name else one for one in SERVICES))


def disk_full(used: int = 95) -> Facts:
    assert isinstance(HEALTHY.storage, Storage)
    return replace(WELL, storage=replace(HEALTHY.storage, disk_used=used, disk_free=100 - used))


DISK_FULL = disk_full()


def failed(run_id: str, event: int = 1, **changed: Any) -> FailedRun:
    given: dict[str, Any] = {"what": "taxi_trips 2023-02-01", "location": "ingestion_location"}
    given |= {"assets": ("taxi_trips",), "reason": "HTTP 404", "will_retry": False, "retry_number": 0}
    return FailedRun(event, run_id, **given | changed)


class Alerts:
    """The alerts with receivers on this machine, whose clock the test moves; each given facts are evaluated once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.receivers, self.now, self.gap = folder, folder / "alerts", NOW, 0.0
        self.store = Store(folder)

    def receivers_are(self, *lines: str) -> None:
        self.receivers.write_text("\n".join(lines))

    def see(self, *each: Facts, runs: tuple[FailedRun, ...] = (), times: int = EVALUATIONS) -> None:
        for facts in each:
            for _ in range(times):
                self.now += 30
                found = replace(facts, time=self.now, alerts=State(self.now - 30))
                if not isinstance(facts.daemons, Unknown):
                    found = replace(found, daemons=tuple(replace(one, beat=self.now) for one in facts.daemons))
                evaluate(self.store, found, judge(found), runs, URL)
                self.deliver()

    def deliver(self) -> None:
        send(self.store, read_receivers(self.receivers), "taxi", self.now, self.gap)

    def restart(self) -> None:
        self.store = Store(self.folder)


@pytest.fixture
def alerts(tmp_path: Path) -> Alerts:
    return Alerts(tmp_path)


@pytest.fixture
def receiver(alerts: Alerts) -> Iterator[Receiver]:
    with receiving() as receiver:
        alerts.receivers_are(f"json://127.0.0.1:{receiver.port}/hook/secret")
        yield receiver


def titles(receiver: Receiver) -> list[str]:
    return [message["title"] for message in receiver.got]


def test_a_problem_is_reported_once_when_it_begins_and_once_when_it_ends(alerts: Alerts, receiver: Receiver) -> None:
    alerts.see(WELL, DISK_FULL, DISK_FULL, WELL, WELL)
    assert titles(receiver) == [
        "taxi: needs a person: the disk is 95% full",
        "taxi: over: the disk is 95% full (for 2 min)",
    ]
    assert receiver.got[0]["message"] == (
        "Needs a person:\n- the disk is 95% full\nnext: docker system df shows what uses the space"
    )


def test_what_only_one_evaluation_finds_is_not_reported(alerts: Alerts, receiver: Receiver) -> None:
    alerts.see(WELL, DISK_FULL, WELL, DISK_FULL, WELL, times=1)
    assert receiver.got == []


def test_a_problem_whose_numbers_change_is_one_problem(alerts: Alerts, receiver: Receiver) -> None:
    alerts.see(DISK_FULL, disk_full(97), WELL)
    assert titles(receiver) == [
        "taxi: needs a person: the disk is 95% full",
        "taxi: over: the disk is 97% full (for 2 min)",
    ]


def test_a_problem_that_cannot_be_seen_for_a_while_has_not_ended(alerts: Alerts, receiver: Receiver) -> None:
    away = Unknown("webserver is exited")
    webserver = replace(service_down("webserver"), workspace=away, daemons=away, assets=away, checks=away, runs=away)
    alerts.see(failed_month(), webserver, failed_month())
    assert titles(receiver) == [
        "taxi: needs a person: taxi_trips 2023-02-01 failed",
        "taxi: needs a person: webserver is exited (exit status 137, 62 min ago)",
        "taxi: over: webserver is exited (exit status 137, 62 min ago) (for 90 s)",
    ]


def test_what_a_location_owns_has_not_ended_while_the_location_is_being_loaded(
    alerts: Alerts, receiver: Receiver
) -> None:
    assert isinstance(WELL.workspace, Workspace)
    loading = replace(WELL.workspace, locations=(Location("ingestion_location", None, NOW, loading=True),))
    alerts.see(failed_month(), replace(WELL, workspace=loading, assets=OWNED[1:3]))
    assert titles(receiver) == ["taxi: needs a person: taxi_trips 2023-02-01 failed"]


def test_a_restart_reports_nothing_twice_and_loses_nothing(alerts: Alerts, receiver: Receiver) -> None:
    alerts.see(DISK_FULL, times=1)
    alerts.restart()
    alerts.see(DISK_FULL, times=1)
    alerts.restart()
    alerts.see(DISK_FULL)
    alerts.restart()
    alerts.see(WELL)
    alerts.restart()
    alerts.see(WELL)
    assert [title.split(": ")[1] for title in titles(receiver)] == ["needs a person", "over"]


def test_a_process_that_ends_between_an_evaluation_and_its_messages_sends_them_when_it_is_back(
    alerts: Alerts, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dies:
        dies.setattr(alerts, "deliver", lambda: None)
        alerts.see(DISK_FULL)
    alerts.restart()
    alerts.see(DISK_FULL, times=1)
    assert titles(receiver) == ["taxi: needs a person: the disk is 95% full"]


def test_an_evaluation_that_fails_in_the_middle_is_as_if_it_had_not_been(alerts: Alerts, receiver: Receiver) -> None:
    alerts.see(DISK_FULL, times=1)
    with pytest.raises(AttributeError):
        alerts.see(DISK_FULL, runs=(failed("a"), None), times=1)  # type: ignore[arg-type]
    alerts.see(DISK_FULL, times=1)
    assert len(receiver.got) == 1


# --- failed runs ----------------------------------------------------------------------------------------------------


def test_a_failed_run_is_reported_at_once_with_its_reason_and_its_link(alerts: Alerts, receiver: Receiver) -> None:
    alerts.see(failed_month(), runs=(failed("0a1b"),), times=1)
    assert receiver.got[0]["message"] == (
        "Needs a person:\n- run failed: taxi_trips 2023-02-01 in ingestion_location\nHTTP 404\n"
        "Dagster does not retry it.\nhttps://dagster.example/runs/0a1b"
    )


def test_a_failed_run_is_reported_once_in_however_many_evaluations(alerts: Alerts, receiver: Receiver) -> None:
    alerts.see(failed_month(), runs=(failed("0a1b"),), times=5)
    assert len(receiver.got) == 1


def test_a_failed_run_that_the_status_does_not_show_any_more_is_reported(alerts: Alerts, receiver: Receiver) -> None:
    alerts.see(WELL, runs=(failed("0a1b"),), times=3)
    assert titles(receiver) == ["taxi: failed: run failed: taxi_trips 2023-02-01 in ingestion_location"]


def test_a_run_that_is_retried_is_reported_with_that_and_needs_a_person_only_later(
    alerts: Alerts, receiver: Receiver
) -> None:
    retried = failed("0a1b", will_retry=True, retry_number=1)
    alerts.see(WELL, runs=(retried,))
    alerts.see(failed_month(), WELL)
    assert titles(receiver) == [
        "taxi: failed: run failed (retry 1): taxi_trips 2023-02-01 in ingestion_location",
        "taxi: over: taxi_trips 2023-02-01 failed (for 90 s)",
    ]
    assert "Dagster retries it." in receiver.got[0]["message"]


def test_the_end_of_a_failure_is_reported_when_the_partitions_are_built(alerts: Alerts, receiver: Receiver) -> None:
    alerts.see(failed_month(), WELL, runs=(failed("0a1b"),))
    assert titles(receiver)[1:] == ["taxi: over: taxi_trips 2023-02-01 failed (for 90 s)"]


def test_a_hundred_failed_runs_are_one_message(alerts: Alerts, receiver: Receiver) -> None:
    alerts.see(WELL, runs=tuple(failed(f"{number:04}", number) for number in range(100)))
    assert titles(receiver) == ["taxi: failed: 100"]
    assert receiver.got[0]["message"].endswith("and 90 more")


def test_a_run_that_is_too_old_to_be_read_has_not_ended_and_is_not_reported_again(
    alerts: Alerts, receiver: Receiver
) -> None:
    alerts.see(failed_month(), runs=(failed("0a1b"),))
    alerts.see(replace(failed_month(), runs=Runs()), WELL)
    assert titles(receiver)[1:] == ["taxi: over: 2"]


# --- receivers ------------------------------------------------------------------------------------------------------


def test_messages_are_at_least_so_far_apart_and_what_comes_between_is_in_the_next_one(
    alerts: Alerts, receiver: Receiver
) -> None:
    alerts.gap = 300
    alerts.see(WELL, runs=(failed("a", 1),), times=1)
    for number in range(2, 10):
        alerts.see(WELL, runs=(failed(f"b{number}", number),), times=1)
    assert len(receiver.got) == 1
    alerts.see(WELL, times=2)
    assert titles(receiver)[1:] == ["taxi: failed: 8"]


def test_a_receiver_that_is_away_gets_all_of_it_in_order_when_it_is_back(alerts: Alerts) -> None:
    with receiving() as receiver:
        port = receiver.port
    alerts.receivers_are(f"json://127.0.0.1:{port}/")
    alerts.see(DISK_FULL, runs=(failed("a"),))
    alerts.see(WELL)
    alerts.restart()
    with receiving(port=port) as back:
        alerts.see(WELL)
        (message,) = back.got
    heads = [line for line in message["message"].splitlines() if line.endswith(":")]
    assert heads == ["Needs a person:", "Failed:", "Over:"]


def test_a_receiver_that_is_away_does_not_hold_up_another_one(alerts: Alerts, receiver: Receiver) -> None:
    alerts.receivers_are("json://127.0.0.1:9/away", *alerts.receivers.read_text().splitlines())
    alerts.see(DISK_FULL, WELL)
    assert len(receiver.got) == 2
    assert service.state(alerts.store).troubles == (("receiver 1 (JSON): it does not answer, or refuses", NOW + 60),)


def test_a_receiver_that_refuses_gets_it_again_and_the_trouble_names_no_secret(
    alerts: Alerts, receiver: Receiver
) -> None:
    receiver.answers = [500]
    alerts.see(DISK_FULL)
    assert [text for text, _ in service.state(alerts.store).troubles] == ["receiver 1 (JSON): it answers HTTP 500"]
    alerts.see(DISK_FULL)
    assert (len(receiver.got), service.state(alerts.store).troubles) == (2, ())


def test_a_redirect_is_no_delivery(alerts: Alerts, receiver: Receiver) -> None:
    receiver.answers = [302]
    alerts.see(DISK_FULL)
    assert service.state(alerts.store).waiting == 1


def test_a_receiver_that_never_answers_is_given_up_after_some_seconds(alerts: Alerts, receiver: Receiver) -> None:
    receiver.silent.set()
    alerts.receivers_are(f"json://127.0.0.1:{receiver.port}/?rto=1")
    begun = time.monotonic()
    alerts.see(DISK_FULL)
    assert time.monotonic() - begun < 4
    receiver.silent.clear()
    alerts.see(DISK_FULL, times=1)
    assert len(receiver.got) == 1


def test_what_nobody_accepted_for_a_week_is_dropped_and_the_next_message_says_so(
    alerts: Alerts, receiver: Receiver
) -> None:
    receiver.answers = [500, 500]
    alerts.see(WELL, runs=(failed("a"),), times=1)
    alerts.now += GIVE_UP_SECONDS
    alerts.see(WELL, times=1)
    alerts.see(WELL, runs=(failed("b", 2),), times=1)
    assert receiver.got[-1]["message"].endswith(
        "1 older lines were dropped, because this receiver accepted none for a week."
    )


def test_each_owner_gets_its_own_alerts_and_the_default_the_rest(alerts: Alerts) -> None:
    with receiving() as analytics, receiving() as default:
        alerts.receivers_are(
            f"analytics=json://127.0.0.1:{analytics.port}/", f"default=json://127.0.0.1:{default.port}/"
        )
        alerts.see(WELL, service_down("dbt_location"), WELL)
        assert (len(analytics.got), len(default.got)) == (2, 0)
        alerts.see(failed_month(), DISK_FULL, times=EVALUATIONS)
    assert (len(analytics.got), len(default.got)) == (2, 2)


@pytest.mark.parametrize(
    ("tags", "numbers"), [(["analytics"], "1"), (["ingestion"], "24"), ([], "24"), (["analytics", "ingestion"], "1")]
)
def test_an_alert_goes_to_its_owners_else_to_the_default_else_to_all(
    tmp_path: Path, tags: list[str], numbers: str
) -> None:
    file = tmp_path / "alerts"
    file.write_text("analytics=json://a/\ndefault,oncall=json://b/\noncall=json://c/\njson://d/\n")
    assert [one.label.split()[1] for one in chosen(read_receivers(file), tags)] == [*numbers]


@pytest.mark.parametrize(("tags", "numbers"), [([], "12"), (["analytics"], "23")])
def test_a_receiver_of_every_alert_takes_none_from_the_default(tmp_path: Path, tags: list[str], numbers: str) -> None:
    file = tmp_path / "receivers"
    file.write_text("default=json://a/\nalways=json://b/\nanalytics=json://c/\n")
    assert [one.label.split()[1] for one in chosen(read_receivers(file), tags)] == [*numbers]


def test_apprise_files_of_both_formats_are_read(tmp_path: Path) -> None:
    text, yaml = tmp_path / "text", tmp_path / "yaml"
    text.write_text("# those on call\nanalytics=json://a/x\n")
    yaml.write_text("urls:\n  - json://a/x:\n      - tag: analytics\n")
    assert [one.label for one in read_receivers(text) + read_receivers(yaml)] == ["receiver 1 (JSON, analytics)"] * 2


def test_a_line_that_is_no_receiver_is_named_without_what_it_has(alerts: Alerts) -> None:
    alerts.receivers_are("analytics=json://a/", "", "slak://secret/secret")
    with pytest.raises(ReceiverError, match="alerts, line 3: Apprise knows no such receiver") as error:
        read_receivers(alerts.receivers)
    assert "secret" not in str(error.value)


def test_a_file_that_is_wrong_for_a_while_loses_nothing(
    alerts: Alerts, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRETS_DIR", str(alerts.folder))
    right = alerts.receivers.read_text()
    monkeypatch.setattr(alerts, "deliver", lambda: service.send_all(alerts.store, "taxi"))
    alerts.receivers_are("nonsense")
    alerts.see(DISK_FULL)
    assert service.state(alerts.store).troubles[0][0].startswith("alerts, line 1: ")
    alerts.receivers_are(right)
    alerts.see(DISK_FULL)
    assert len(receiver.got) == 1


def test_a_mail_has_the_problem_in_its_subject(alerts: Alerts) -> None:
    class Mailbox:
        got: list[Envelope] = []

        async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
            self.got.append(envelope)
            return "250 OK"

    mailbox = Mailbox()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        alerts.receivers_are(f"mailto://127.0.0.1:{port}?mode=insecure&from=taxi@example.com&to=ops@example.com")
        alerts.see(DISK_FULL)
    finally:
        controller.stop()
    (envelope,) = mailbox.got
    content = envelope.content
    assert isinstance(content, bytes)
    mail = email.message_from_bytes(content, policy=email.policy.default)
    assert (envelope.rcpt_tos, mail["Subject"]) == (["ops@example.com"], "taxi: needs a person: the disk is 95% full")


# --- silences -------------------------------------------------------------------------------------------------------


def silence(alerts: Alerts, name: str, seconds: float = 3600) -> None:
    alerts.store.ask("insert or replace into silences values (?, ?)", name, alerts.now + seconds)


@pytest.mark.parametrize("name", ["ingestion_location", "taxi_trips", "ingestion", "run"])
def test_nothing_is_sent_of_what_is_silenced(alerts: Alerts, receiver: Receiver, name: str) -> None:
    alerts.see(WELL)
    silence(alerts, name)
    alerts.see(failed_month(), WELL, runs=(failed("0a1b"),))
    assert receiver.got == []


def test_another_location_is_reported_while_one_is_silenced(alerts: Alerts, receiver: Receiver) -> None:
    silence(alerts, "dbt_location")
    alerts.see(failed_month())
    assert len(receiver.got) == 1


def test_what_is_still_wrong_when_a_silence_ends_is_reported_then(alerts: Alerts, receiver: Receiver) -> None:
    silence(alerts, "ingestion_location", seconds=100)
    alerts.see(failed_month(), runs=(failed("0a1b"),))
    assert receiver.got == []
    alerts.see(failed_month(), runs=(failed("0a1b"),), times=4)
    assert len(receiver.got) == 1


@pytest.fixture
def commands(alerts: Alerts, monkeypatch: pytest.MonkeyPatch) -> Alerts:
    monkeypatch.setenv("ALERTS_FOLDER", str(alerts.folder))
    monkeypatch.setenv("SECRETS_DIR", str(alerts.folder))
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "taxi")
    return alerts


def test_a_silence_is_listed_and_can_be_ended(commands: Alerts, capsys: pytest.CaptureFixture[str]) -> None:
    commands.see(WELL)
    service.silence("dbt_location", "2h")
    assert [name for name, _ in service.state(commands.store).silences] == ["dbt_location"]
    service.print_list()
    assert "dbt_location" in capsys.readouterr().out
    service.unsilence("dbt_location")
    assert service.state(commands.store).silences == ()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: service.silence("dbt_lokation", "2h"), "NAME='dbt_lokation' is no location, asset, service or team"),
        (lambda: service.silence("dbt_location", "2 hours"), "FOR='2 hours' is no time"),
        (lambda: service.silence("dbt_location", "90d"), "FOR='90d' is no time"),
        (lambda: service.unsilence("dbt_location"), "NAME='dbt_location' is not silenced"),
        (service.test, "There is no secret alerts"),
    ],
)
def test_a_command_that_cannot_be_done_says_why(commands: Alerts, call: Callable[[], None], message: str) -> None:
    commands.see(WELL)
    with pytest.raises(OpsError, match=message):
        call()


def test_a_test_goes_to_every_receiver_and_says_which_did_not_accept_it(
    commands: Alerts, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.receivers_are(f"json://127.0.0.1:{receiver.port}/", f"oncall=json://127.0.0.1:{receiver.port}/2")
    service.test()
    receiver.answers = [200, 500]
    with pytest.raises(OpsError, match="1 of 2 receivers did not accept the message"):
        service.test()
    assert capsys.readouterr().out.splitlines()[2:] == [
        "receiver 1 (JSON): accepted",
        "receiver 2 (JSON, oncall): it answers HTTP 500",
    ]


# --- the dead man's switch ------------------------------------------------------------------------------------------


def test_the_dead_mans_switch_is_pinged_as_long_as_the_judge_works(commands: Alerts, receiver: Receiver) -> None:
    (commands.folder / "alerts_ping_url").write_text(f"http://127.0.0.1:{receiver.port}/ping/secret\n")
    service.send_all(commands.store, "taxi")
    assert (receiver.pings, service.state(commands.store).troubles) == (1, ())
    receiver.answers = [404]
    service.send_all(commands.store, "taxi")
    (trouble,) = service.state(commands.store).troubles
    assert trouble[0] == "the dead man's switch (alerts_ping_url): it answers HTTP 404"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/secret", "no url secret", "http://[secret/"])
def test_a_ping_that_cannot_be_sent_says_so_without_the_url(url: str) -> None:
    assert ping(url).startswith("it does not answer")
    assert "secret" not in ping(url)


def test_events_of_the_status_are_the_ones_that_are_reported() -> None:
    facts = replace(failed_month(), events=Events(newest(), {"0a1b": "HTTP 404"}))
    assert [problem.id for problem in judge(facts).problems] == ["run 0a1b"]
