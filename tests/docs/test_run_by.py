"""A test runs every command of the pages that somebody reads when something is wrong."""

import re

import pytest

from ops.command import ROOT
from tests.docs.pages import shell_blocks

PAGES = ("docs/backup.md", "docs/alerts.md", "docs/status.md", "docs/doctor.md")
# For each command, without its values: the test file that runs it, and how it is written there.
RUN_BY = {
    "make restore TO= FORCE=": ("stack/test_backup_moment.py", 'restore(backed_up, f"TO={then}", "FORCE=1")'),
    "make restore": ("stack/test_backup_moment.py", "restore(backed_up))"),
    "make backup": ("stack/test_backup.py", '["make", "backup"]'),
    "make restore BACKUP=": ("stack/test_backup.py", '"make", "restore", f"BACKUP={backup.folder}"'),
    "(umask 077 && head -c 48 /dev/urandom | base64 > backup_settings/key)": (
        "stack/test_backup_repository.py",
        "(umask 077 && head -c 48 /dev/urandom | base64 > key)",
    ),
    "docker compose exec backups backups rehearse": ("stack/test_backup_moment.py", '"backups", "backups", "rehearse"'),
    "docker compose exec backups pgbackrest expire --repo=1 --set=20260131-120000F_20260201-120000I": (
        "stack/test_backup_store.py",
        '"pgbackrest", "expire", f"--set={damaged}"',
    ),
    "docker compose exec backups pgbackrest backup --repo=1 --type=full": (
        "stack/test_backup_store.py",
        '"pgbackrest", "backup", "--type=full"',
    ),
    "make backup-key BACKUP_RECIPIENT_FILE= BACKUP_KEY_FILE=": ("stack/test_backup.py", '"make", "backup-key"'),
    "make backup BACKUP_RECIPIENT_FILE=": (
        "stack/test_backup.py",
        '"make", "backup", BACKUP_DIR=str(folder), BACKUP_REC',
    ),
    "make restore BACKUP= BACKUP_KEY_FILE=": ("stack/test_backup.py", 'COMPOSE_PROFILES="sample", BACKUP_KEY_FILE=key'),
    "make secret LOCATION= NAME= < receivers.txt": ("stack/test_alerts.py", "SECRETS[0], lines)"),
    "make alerts-test": ("stack/test_alerts.py", '"alerts-test"'),
    "make silence NAME= FOR=": ("stack/test_alerts.py", '"make", "silence", "NAME=dbt_location", "FOR=2h"'),
    "make unsilence NAME=": ("stack/test_alerts.py", '"make", "unsilence", "NAME=dbt_location"'),
    "make alerts": ("stack/test_alerts.py", '"make", "alerts")'),
    'echo "" | make secret LOCATION= NAME=': ("stack/test_alerts.py", "SECRETS[1], "),
    "make doctor": ("stack/test_shared_stack.py", 'shared.type("make doctor"'),
    "make diagnostics": ("stack/test_shared_stack.py", 'shared.type("make diagnostics"'),
    "make status": ("stack/test_stack.py", "up_to_date.status()"),
    "make status FORMAT=": ("stack/test_stack.py", 'status("FORMAT=json")'),
    "make --silent status FORMAT= | jq '.needs_a_person'": ("stack/test_stack.py", "jq '.needs_a_person'"),
}


def commands() -> set[str]:
    """The lines of the pages' shell blocks, without the comments and the values; a setting for .env is no command."""
    lines = [line for page, block in shell_blocks() if page in PAGES for line in block.splitlines()]
    lines = [re.sub(r"\s+#.*", "", line).strip() for line in lines]
    lines = [line for line in lines if line and not re.match(r"[A-Z_]+=", line)]
    return {
        re.sub(r'([A-Z_]+=|echo )("[^"]*"|\S+)', lambda found: found[1] + '""' * (found[1] == "echo "), line)
        for line in lines
    }


def test_every_command_of_these_pages_is_in_the_list() -> None:
    assert commands() == set(RUN_BY)


@pytest.mark.parametrize("command", RUN_BY)
def test_the_test_of_a_command_runs_it(command: str) -> None:
    file, text = RUN_BY[command]
    assert text in (ROOT / "tests" / file).read_text()
