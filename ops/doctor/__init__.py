"""`make doctor`: checks whether this machine is ready for the stack, and says what to do. It changes nothing."""

from collections.abc import Iterable

from typer import Exit

from ops.command import log
from ops.doctor.examine import examine
from ops.doctor.finding import ERROR, Finding


def doctor() -> None:
    """Check whether this machine is ready for the stack; exit with 1 if there is an error."""
    findings = examine()
    log(report(findings))
    if any(finding.level == ERROR for finding in findings):
        raise Exit(1)


def report(findings: Iterable[Finding]) -> str:
    """A line for each finding, with the next step."""
    lines = []
    for each in findings:
        what = f": {each.what}" if each.what else ""
        then = f"; next: {each.next}" if each.next else ""
        lines.append(f"{each.level:<8} {each.check}{what}{then}")
    return "\n".join(lines)
