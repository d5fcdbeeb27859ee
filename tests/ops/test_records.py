"""What follows from what was deployed: what to put back, what to go back to, what nobody needs any more."""

import dataclasses
import re

import pytest

from ops.deploy.history import print_records
from ops.deploy.records import (
    DEPLOYED,
    FAILED,
    REFUSED,
    REPLACING,
    RESTORED,
    Record,
    Version,
    before_deploy,
    from_lines,
    good,
    prunable,
    rollback_target,
    to_line,
    unverified,
)


def version(tag: str) -> Version:
    return Version(tag, f"sha256:{tag}")


A, B, C, D, LOCAL = (version(tag) for tag in ("a", "b", "c", "d", "local"))


def record(number: int, new: Version, result: str, previous: Version | None = None, action: str = "deploy") -> Record:
    return Record(
        attempt=str(number),
        at=f"2026-01-0{number}T12:00:00+00:00",
        location="dbt_location",
        action=action,
        version=new,
        by="ana@laptop",
        result=result,
        previous=previous,
    )


def deployed(*versions: Version) -> list[Record]:
    """The history of these versions, one after the other, the first one on a stack that ran none."""
    before = (None, *versions)
    return [record(n, new, DEPLOYED, before[n - 1]) for n, new in enumerate(versions, 1)]


def back_to(number: int, target: Version, running: Version) -> Record:
    return record(number, target, DEPLOYED, running, "rollback")


def test_a_line_says_what_the_record_says() -> None:
    written = [record(1, A, REPLACING), record(1, A, RESTORED, LOCAL)]
    assert from_lines("\n".join(map(to_line, written))) == written


def test_a_line_that_a_crash_cut_off_takes_no_other_along() -> None:
    first, second = record(1, A, DEPLOYED), record(2, B, DEPLOYED, A)
    text = f"\n{to_line(first)}\n\n{to_line(record(9, C, FAILED))[:40]}\n{to_line(second)}\n"
    assert from_lines(text) == [first, second]


@pytest.mark.parametrize(
    ("result", "verified"),
    [(REPLACING, False), (FAILED, False), (DEPLOYED, True), (RESTORED, True), (REFUSED, True)],
)
def test_what_runs_is_unverified_after_an_attempt_that_ended_in_the_middle_or_failed(
    result: str, verified: bool
) -> None:
    history = [*deployed(A), record(2, B, REPLACING, A), record(2, B, result, A)]
    assert (unverified(history) is None) is verified


def test_an_attempt_that_was_refused_verifies_nothing() -> None:
    history = [*deployed(A, B), record(3, C, REPLACING, B), record(4, D, REFUSED, B)]
    assert before_deploy(history, C) == B


def test_an_attempt_that_was_interrupted_long_ago_no_longer_matters() -> None:
    assert unverified([record(1, A, REPLACING), record(2, B, DEPLOYED)]) is None


def test_where_a_deploy_fails_what_ran_is_put_back_even_if_nobody_deployed_it() -> None:
    assert before_deploy(deployed(A, B), LOCAL) == LOCAL


def test_where_a_deploy_fails_after_an_interrupted_one_the_last_good_version_is_put_back() -> None:
    assert before_deploy([*deployed(A, B), record(3, C, REPLACING, B)], C) == B


def test_where_the_very_first_deploy_was_interrupted_what_ran_before_it_is_put_back() -> None:
    assert before_deploy([record(1, A, REPLACING, LOCAL)], A) == LOCAL


def test_where_nothing_ran_there_is_nothing_to_put_back() -> None:
    assert before_deploy([record(1, A, REPLACING)], A) is None


def test_a_rollback_goes_to_the_good_version_before_the_one_that_runs() -> None:
    assert rollback_target(deployed(A, B, C), C) == B


def test_a_second_rollback_goes_further_back_instead_of_forth() -> None:
    assert rollback_target([*deployed(A, B, C), back_to(4, B, C)], B) == A


def test_a_rollback_after_a_rollback_and_a_deploy_leaves_out_what_was_taken_back() -> None:
    history = [*deployed(A, B), back_to(3, A, B), record(4, C, DEPLOYED, A)]
    assert rollback_target(history, C) == A


def test_a_rollback_of_the_first_deploy_goes_to_what_ran_before_it() -> None:
    assert rollback_target([record(1, A, DEPLOYED, LOCAL)], A) == LOCAL


@pytest.mark.parametrize("result", [REFUSED, RESTORED, FAILED])
def test_a_rollback_never_goes_to_what_did_not_work(result: str) -> None:
    assert rollback_target([*deployed(A), record(2, B, result, A), record(3, C, DEPLOYED, A)], C) == A


def test_a_rollback_after_an_interrupted_deploy_goes_to_the_last_good_version() -> None:
    assert rollback_target([*deployed(A, B), record(3, C, REPLACING, B)], C) == B


def test_a_rollback_of_what_someone_started_by_hand_goes_to_the_last_good_version() -> None:
    assert rollback_target(deployed(A, B), LOCAL) == B


def test_a_rollback_of_a_tag_that_was_built_over_goes_to_what_the_tag_was() -> None:
    assert rollback_target(deployed(A, B), Version("b", "sha256:other")) == B


def test_there_is_nothing_before_the_first_version() -> None:
    assert rollback_target(deployed(A), A) is None


def test_an_older_tag_that_is_deployed_again_is_one_more_version() -> None:
    assert good([*deployed(A, B), record(3, A, DEPLOYED, B)]) == [A, B, A]


def test_the_last_three_that_were_deployed_stay() -> None:
    assert prunable(deployed(A, B, C, D), [], keep=3) == ["a"]


def test_an_image_that_a_run_or_a_container_needs_stays() -> None:
    assert prunable(deployed(A, B, C, D), ["a"], keep=3) == []


def test_what_was_refused_goes_once_nobody_needs_it() -> None:
    assert prunable([*deployed(A), record(2, B, REFUSED, A)], ["a"], keep=3) == ["b"]


def test_what_a_rollback_goes_back_to_stays_although_newer_ones_were_deployed() -> None:
    history = [*deployed(A, B, C, D), back_to(5, C, D), back_to(6, B, C)]
    assert prunable(history, [], keep=3) == []


def test_what_no_deploy_made_is_not_touched() -> None:
    history = [record(1, A, DEPLOYED, LOCAL), *(record(n, new, DEPLOYED) for n, new in ((2, B), (3, C), (4, D)))]
    assert "local" not in prunable(history, [], keep=3)


def test_the_list_marks_what_is_in_use_and_says_why_something_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    history = [
        *deployed(A, B),
        dataclasses.replace(record(3, C, RESTORED, B), reason="it fell\nover"),
        record(4, D, REPLACING, B),
    ]
    print_records(history)
    heading, *lines = capsys.readouterr().out.splitlines()
    assert "location" in heading
    assert [(line[0], re.split(r"  +", line)[-1]) for line in lines] == [
        (" ", "deployed"),
        ("*", "deployed"),
        (" ", "it fell over"),
        (" ", "interrupted"),
    ]
