"""The failed runs that nothing has made good since."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ops.status.facts import Key, Newest, Run
from ops.status.pictures import BUILT, FAILED, STALE, Picture, covered
from ops.status.ranges import Range, in_words, ranges

# From the end of a lost run to the launch of the one that replaces it: the daemon looks every half minute.
RETRY_SECONDS = 300


@dataclass(frozen=True)
class Failure:
    """A failed run that nothing has made good since; ``run`` is None where it is older than those looked at."""

    run: Run | None
    location: str
    assets: tuple[str, ...]
    ranges: tuple[Range, ...]
    reason: str
    retrying: bool = False  # the daemon is about to launch it again

    @property
    def label(self) -> str:
        """What failed, in words."""
        what = ", ".join(self.assets) or (self.run.job if self.run else "")
        return " ".join([what, in_words(self.ranges)]).strip()


def unrepaired(
    failed: Iterable[Run],
    found: Sequence[Picture],
    newest: Newest,
    reasons: Mapping[str, str],
    last_runs: Mapping[tuple[str, str], str],
    now: float,
) -> list[Failure]:
    """The failed runs whose partitions nobody has built, or asked for, since; the newest first.

    A run that failed after it had built something, as on an asset check, is among them until that is built again.

    Args:
        failed: the failed runs, the newest first.
        found: the assets' states.
        newest: the newest materializations.
        reasons: why runs failed, by their ids.
        last_runs: the newest run of each job that is not of assets, by location and job.
        now: the time.
    """
    left = {picture.asset.key: {key for key, state in picture.states.items() if state == FAILED} for picture in found}
    failures = []
    for run in failed:
        keys_of = {picture.asset.key: covered(run, picture.asset) for picture in found}
        broken = {
            asset: mine for asset, keys in keys_of.items() if (mine := [key for key in keys if key in left[asset]])
        }
        for asset, mine in broken.items():
            left[asset].difference_update(mine)
        touched = {} if broken else _as_left_by(run, found, newest)
        of_job = not run.assets and last_runs.get((run.location, run.job)) == run.id
        if broken or touched or of_job:
            keys_in = {key for keys in (broken or touched).values() for key in keys}
            order = next((picture.asset.keys for picture in found if picture.asset.key in (broken or touched)), ())
            retrying = run.will_retry and now - (run.ended or run.created) < RETRY_SECONDS
            failures.append(
                Failure(
                    run=run,
                    location=run.location,
                    assets=tuple(broken or touched),
                    ranges=tuple(ranges(order, keys_in.__contains__)),
                    reason=reasons.get(run.id, ""),
                    retrying=retrying,
                )
            )
    for picture in found:
        if keys_left := left[picture.asset.key]:
            failures.append(
                Failure(
                    run=None,
                    location=picture.asset.location,
                    assets=(picture.asset.key,),
                    ranges=tuple(ranges(picture.asset.keys, keys_left.__contains__)),
                    reason="the run that failed is older than the newest failed runs that were looked at",
                )
            )
    return failures


def _as_left_by(run: Run, found: Sequence[Picture], newest: Newest) -> dict[str, Sequence[Key]]:
    """The keys of a failed run where it built all of them and nothing was built since; otherwise nothing."""
    keys_of = {picture.asset.key: (picture, covered(run, picture.asset)) for picture in found}
    for asset, (picture, keys) in keys_of.items():
        for key in keys:
            moment = newest.get((asset, key))
            if picture.states[key] not in (BUILT, STALE) or moment is None or run.started is None or run.ended is None:
                return {}
            if not run.started <= moment.time <= run.ended:
                return {}
    return {asset: keys for asset, (_, keys) in keys_of.items() if keys}
