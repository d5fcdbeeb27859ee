"""What a deploy on any engine asks before anything is replaced: whether the contract between the locations holds."""

from collections.abc import Mapping, Sequence

from ops.command import OpsError, log
from ops.contract import served
from ops.contract.compare import Asset, new_breaches


def compare(name: str, known: Mapping[str, served.Entry], assets: Sequence[Asset], force: bool) -> str:
    """Checks the contract between the locations if a location has these assets; returns what the history must note.

    ``known`` is what the webserver has loaded. Raises OpsError for a new breach, unless it is forced.
    """
    unknown = served.not_loaded(known)
    new = new_breaches(name, served.describe_served(known), assets, unknown)
    notes = [f"not compared with {other}, which does not load" for other in unknown if other != name]
    if new and not force:
        raise OpsError("\n  ".join(["It would break the contract between the locations:", *new]))
    notes += [f"forced: {breach}" for breach in new]
    for note in notes:
        log(note)
    return "; ".join(notes)
