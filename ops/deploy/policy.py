"""The run policy of a location: what the platform records of its runs, outside of the location's reach."""

from collections.abc import Iterable
from typing import Any

from ops import compose
from ops.locations import Location, policy_service


def record(location: Location, without: Iterable[str] = ()) -> None:
    """Records what runs of this version get.

    The images of earlier versions stay, so that queued runs keep theirs, except for those of ``without``.
    """
    removed = [f"--without={image}" for image in without]
    compose.run_once(policy_service(location.name), *location.policy, *removed, env=location.tag_setting)


def remove(name: str, config: dict[str, Any]) -> None:
    """Removes the policy of a location, so that none of its runs is launched any more; ``config`` is compose's."""
    service = policy_service(name)
    compose.run_once(service, *config["services"][service]["command"], "--remove")
