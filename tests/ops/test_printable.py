"""What containers, runs and files say reaches the terminal as text."""

import pytest

from ops.command import CommandError, OpsError, log, printable, run
from ops.table import print_table

HOSTILE = "a\x1b[2J\x1b]0;title\x07\x9b31m\r\u202eb\x7f"
ESCAPED = r"a\x1b[2J\x1b]0;title\x07\x9b31m\r\u202eb\x7f"


def test_control_characters_are_escaped_and_lines_stay() -> None:
    assert printable(f"{HOSTILE}\n\tü") == f"{ESCAPED}\n\tü"


def test_colours_are_left_out() -> None:
    assert printable("\x1b[1;31mred\x1b[0m") == "red"


@pytest.mark.parametrize("error", [OpsError(HOSTILE), CommandError(HOSTILE)])
def test_an_error_that_cites_something_is_printable(error: OpsError) -> None:
    assert str(error) == ESCAPED


def test_the_error_of_a_command_that_fails_is_printable() -> None:
    with pytest.raises(CommandError) as failed:
        run("sh", "-c", r"printf 'why\033[2J\033]0;title\a' >&2; exit 1")
    assert str(failed.value).endswith(r"why\x1b[2J\x1b]0;title\x07")


def test_lines_and_tables_are_printable(capsys: pytest.CaptureFixture[str]) -> None:
    log(HOSTILE)
    print_table(["reason"], [[HOSTILE]])
    assert capsys.readouterr().out.splitlines()[0::2] == [ESCAPED, ESCAPED]
