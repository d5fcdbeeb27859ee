"""What cannot be the name of a secret, or of its location, is refused before anything else happens."""

from collections.abc import Callable

import pytest

from ops.command import OpsError
from ops.secret import remove_secret, secret

COMMANDS = [secret, remove_secret]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["", "A", "../pgpass", ".new", "a/b", "a b", "1a", "a" * 64, "$(id)", "ä", "a\n"])
def test_a_name_that_is_no_files_name_is_refused(command: Callable[[str, str], None], name: str) -> None:
    with pytest.raises(OpsError, match=r"^NAME='.*' is not a secret's name\. Use lower case letters"):
        command("dbt_location", name)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_location_that_does_not_exist_is_refused_with_those_that_do(command: Callable[[str, str], None]) -> None:
    with pytest.raises(OpsError, match=r"LOCATION=.weather. is not a location\. The locations are: dbt_location"):
        command("weather", "a")
