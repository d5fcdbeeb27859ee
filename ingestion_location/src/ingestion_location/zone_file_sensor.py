"""The sensor ``new_zone_files``: the zones are loaded when one of their files is new at the source."""

from datetime import UTC, datetime

import dagster as dg

from ingestion_location import zone_files
from ingestion_location.download import SourceError
from ingestion_location.source import TlcSource
from ingestion_location.source_watch import DEFAULT_STATUS, INTERVAL_SECONDS, Runs, Watch, read_ledger, request_load
from ingestion_location.warehouse import Warehouse


def look_for_zones(
    context: dg.SensorEvaluationContext, tlc: TlcSource, warehouse: Warehouse, now: datetime
) -> dg.SensorResult:
    """One tick: whether to load the zones, and what was found, in a sentence.

    Raises:
        RuntimeError: the warehouse does not say which files are loaded.
    """
    watch = Watch.from_cursor(context.cursor)
    if watch.waits(now):
        return watch.result()
    # Before the ledger: a load that ends in between is in the ledger then, and one that does not is still running.
    runs = Runs(context, "taxi_zones")
    ledger = read_ledger(warehouse, zone_files.read)
    loaded = "zones loaded" if ledger else "no zones loaded"
    try:
        with tlc.looking() as look:
            lookup, shapes = look(tlc.zones_url), look(tlc.zone_shapes_url)
    except SourceError as error:
        return watch.refused(error, loaded, {}, now).result()
    if lookup is None:
        return watch.answered(f"{loaded}, {tlc.zones_url} not published", {}).result()
    # Shapes that are gone from the source are no reason to load the zones without them.
    published = [file for file in (lookup, shapes) if file is not None]
    new = [file for file in published if file.url not in ledger or not file.is_content_of(ledger[file.url])]
    if not new:
        return watch.answered(f"{loaded}, nothing new", {}).result()
    names = ", ".join(file.url.rpartition("/")[2] for file in new)
    version = " ".join(file.version for file in published)
    if runs.is_loading(None):
        return watch.answered(f"{loaded}, being loaded ({names})", {}).result()
    asked = runs.asked_before(version)
    if asked is not None and not asked.is_due(now):
        return watch.answered(f"{loaded}, {asked.said()}: {names}", {}).result()
    request = request_load("taxi_zones", version, tries=asked.tries if asked else 0)
    return watch.answered(f"{loaded}, published and requested ({names})", {}).result([request])


@dg.sensor(
    target=dg.AssetSelection.assets("taxi_zones"),
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=DEFAULT_STATUS,
    description="Loads the zones when the source has another lookup or other shapes than the warehouse.",
)
def new_zone_files(context: dg.SensorEvaluationContext, tlc: TlcSource, warehouse: Warehouse) -> dg.SensorResult:
    """Looks for zones to load."""
    return look_for_zones(context, tlc, warehouse, datetime.now(UTC))
