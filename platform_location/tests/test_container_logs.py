"""Cuts and cleans what a container printed before it is stored."""

import re

from platform_location.container_logs import MOST_BYTES, fenced, printable


def test_a_long_output_is_cut_at_a_lines_start_and_keeps_its_end() -> None:
    text = printable("".join(f"line {n} über\n" for n in range(5_000)).encode())
    assert len(text.encode()) <= MOST_BYTES
    assert (re.fullmatch(r"line \d+ über", text.splitlines()[0]) is not None, text.splitlines()[-1]) == (
        True,
        "line 4999 über",
    )


def test_one_endless_line_is_kept_by_its_end() -> None:
    assert printable(b"x" * 50_000 + b"the end") == "x" * (MOST_BYTES - 7) + "the end"


def test_colors_and_what_postgres_cannot_store_are_left_out() -> None:
    assert printable(b"\x1b[31mred\x1b[0m \x00\xff!\n") == "red \ufffd!"


def test_output_that_contains_fences_does_not_end_its_block() -> None:
    assert fenced("```\nx") == "````text\n```\nx\n````"
