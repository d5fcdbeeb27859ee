"""The sensor ``new_zone_files``: loads the zones when one of their files is new at the source."""

from datetime import UTC, datetime

import dagster as dg

from ingestion_location.defs.zones.taxi_zones import ZONE_FILES
from ingestion_location.source import TlcSource
from ingestion_location.source_errors import SourceError
from ingestion_location.source_sensor import OPTIONS, Loads, SensorState, read_ledger
from ingestion_location.warehouse import Warehouse


def look_for_zones(
    context: dg.SensorEvaluationContext, tlc: TlcSource, warehouse: Warehouse, now: datetime
) -> dg.SensorResult:
    """One tick: requests a load of the zones if one is due, and describes what was found."""
    state = SensorState.from_cursor(context.cursor, tlc.name)
    if state.is_waiting(now):
        return state.result()
    loads = Loads(context, "taxi_zones")
    files = {file.url: file for file in read_ledger(warehouse, ZONE_FILES)}
    # Loaded is what both know: either may have been wiped, or restored from an older backup.
    is_loaded = bool(files) and loads.is_recorded(None)
    loaded = "zones loaded" if is_loaded else "no zones loaded"
    try:
        with tlc.looking() as look:
            lookup, shapes = look(tlc.zones_url), look(tlc.zone_shapes_url)
    except SourceError as error:
        return state.after_error(error, loaded, {}, now).result()
    if lookup is None:
        return SensorState(found=f"{loaded}, {tlc.zones_url} not published").result()
    # The zones are not loaded again only because the source no longer has the shapes.
    published = [file for file in (lookup, shapes) if file is not None]
    changed = [file for file in published if file.url not in files or not file.is_version(files[file.url])]
    new = changed if is_loaded else published
    if not new:
        return SensorState(found=f"{loaded}, nothing new").result()
    names = ", ".join(file.url.rpartition("/")[2] for file in new)
    version = " ".join(file.version for file in published)
    loaded_by = files[lookup.url].run_id if lookup.url in files else None
    if not changed:
        # Requested although it was loaded, which an earlier failure to load the files does not prevent.
        version += f" of run {loaded_by}"
    if loads.is_loading(None):
        return SensorState(found=f"{loaded}, being loaded ({names})").result()
    earlier = loads.earlier_request(version)
    if earlier is not None and not earlier.is_due(now, not is_loaded, loaded_by):
        return SensorState(found=f"{loaded}, {earlier}: {names}").result()
    request = loads.request(version, earlier)
    return SensorState(found=f"{loaded}, published and requested ({names})").result([request])


@dg.sensor(
    target=dg.AssetSelection.assets("taxi_zones"),
    **OPTIONS,
    description="Loads the zones when the source has another lookup or other shapes than the warehouse.",
)
def new_zone_files(context: dg.SensorEvaluationContext, tlc: TlcSource, warehouse: Warehouse) -> dg.SensorResult:
    return look_for_zones(context, tlc, warehouse, datetime.now(UTC))
