"""Which location an asset belongs to: the first that says it builds it, until it says so no more or is removed.

The record is in Dagster's table of keys and values (``kvs``), one entry per location, which the host processes alone
write. Run as a module, this forgets the locations that a workspace file no longer has.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from sqlalchemy import Connection, Engine, bindparam, create_engine, text

from platform_host.record_policy import locations

PREFIX = "platform_host/owns/"
# Webserver and daemon load locations at the same time. A location's role, which only reads, can take no lock that is in
# the way of this one.
_LOCK = text("lock table kvs in share row exclusive mode")
_READ = text("select substr(key, length(:prefix) + 1) as location, value from kvs where starts_with(key, :prefix)")
_WRITE = text("insert into kvs (key, value) values (:key, :value) on conflict (key) do update set value = :value")
_FORGET = text("delete from kvs where starts_with(key, :prefix) and key not in :kept").bindparams(
    bindparam("kept", expanding=True)
)


def claim(
    connection: Connection,
    location: str,
    exclusive: Sequence[str],
    shared: Sequence[str],
    parents: Mapping[str, Sequence[str]],
) -> tuple[frozenset[str], list[str]]:
    """Records what a location declares, unless another location is in the way.

    ``exclusive`` are things that no other location may have, ``shared`` such as others may have as well, of which the
    first location is the owner; both as texts for messages. ``parents`` are the assets that each asset is made from.
    Returns what the location owns, and a sentence for each thing in the way; then nothing is recorded.
    """
    with connection.execution_options(isolation_level="READ COMMITTED").begin():
        connection.execute(_LOCK)
        others = {row.location: json.loads(row.value) for row in connection.execute(_READ, {"prefix": PREFIX})}
        others.pop(location, None)
        owners = {thing: other for other, record in others.items() for thing in record["owns"]}
        problems = [f"declares {thing}, which is {owners[thing]}'s" for thing in exclusive if thing in owners]
        problems += _cycle([*(record["parents"] for record in others.values()), parents])
        owned = [thing for thing in (*exclusive, *shared) if thing not in owners]
        if not problems:
            record = json.dumps({"owns": owned, "parents": parents})
            connection.execute(_WRITE, {"key": PREFIX + location, "value": record})
    return frozenset(owned), problems


def _cycle(graphs: Sequence[Mapping[str, Sequence[str]]]) -> list[str]:
    """Dagster sorts the assets of all locations by what they are made from, for the automation of each."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for graph in graphs:
        for asset, made_from in graph.items():
            # A partition may be made from an earlier one of the same asset.
            sorter.add(asset, *(one for one in made_from if one != asset))
    try:
        sorter.prepare()
    except CycleError as error:
        return [f"closes a circle of assets that are made from each other: {' -> '.join(error.args[1])}"]
    return []


def forget_others(engine: Engine, kept: Sequence[str]) -> None:
    """Removes what is recorded of all locations but these, so that others may have what they had."""
    with engine.begin() as connection:
        connection.execute(_FORGET, {"prefix": PREFIX, "kept": [PREFIX + location for location in kept]})


if __name__ == "__main__":
    forget_others(create_engine("postgresql+psycopg2:///dagster"), locations(Path(sys.argv[1])))
