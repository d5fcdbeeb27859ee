"""What a check of the doctor finds."""

from dataclasses import dataclass

# The stack does not start or does not work with it; it may go wrong later; nothing was found; it cannot be known here.
ERROR, WARNING, OK, UNKNOWN = "error", "warning", "ok", "unknown"


@dataclass(frozen=True)
class Finding:
    level: str
    check: str
    what: str = ""
    next: str = ""
