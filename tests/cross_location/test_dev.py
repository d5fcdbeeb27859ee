"""The settings that `make dev` serves with."""

import pytest

from demo.dev import with_demo

DEMO = {"source": "file:///sample", "taxi_type": "green", "months": [{"month": "2023-01"}, {"month": "2023-03"}]}
OF_THE_DEMO = {
    "TAXI_AUTOMATION": "off",
    "TLC_BASE_URL": "file:///sample",
    "TLC_TAXI_TYPE": "green",
    "TAXI_START_DATE": "2023-01-01",
    "TAXI_END_DATE": "2023-04-01",
}


def test_the_source_and_the_range_are_those_of_the_last_demo_and_automation_is_off() -> None:
    assert with_demo({"PATH": "/bin"}, DEMO) == {**OF_THE_DEMO, "PATH": "/bin"}


def test_without_a_demo_only_automation_is_off() -> None:
    assert with_demo({}, None) == {"TAXI_AUTOMATION": "off"}


@pytest.mark.parametrize("name", sorted({*OF_THE_DEMO} - {"TAXI_END_DATE"}))
def test_an_empty_setting_is_as_good_as_none(name: str) -> None:
    assert with_demo({name: ""}, DEMO) == OF_THE_DEMO


def test_an_empty_end_is_an_open_one() -> None:
    assert with_demo({"TAXI_END_DATE": ""}, DEMO)["TAXI_END_DATE"] == ""


def test_a_setting_of_the_environment_is_kept() -> None:
    own = {"TAXI_AUTOMATION": "on", "TLC_BASE_URL": "https://example.org", "TAXI_START_DATE": "2022-01-01"}
    assert with_demo(own, DEMO) == {**OF_THE_DEMO, **own}
