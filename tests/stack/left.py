"""What is left of runs and of parts that were killed: sessions, tables, files, slots, containers, and memory."""

import contextlib
import http.client
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from tests.stack.conftest import LABEL, ONE_SHOTS, PROJECT, Stack
from tests.stack.webserver import wait_for

T = TypeVar("T")
# These grow by design: the data, the archive of its log, and what steps print. Their owners delete what is old.
GROWING = ("postgres_data", "backup_repository", "backup_rehearsal", "_compute_logs")
# A health check, the archive and a webserver at work have a few files more at one moment than at another.
SPARE_FILES = 10
# Likewise a pool of connections.
SPARE_SESSIONS = 3
SLOTS = """
select format('a slot of pool %s is held by run %s', concurrency_key, run_id) as held from concurrency_slots
where run_id is not null
union all
select format('a step of run %s waits for pool %s', run_id, concurrency_key) from pending_steps
"""
RELATIONS = """
select format('%s.%s', nspname, relname) as name from pg_class
join pg_namespace on pg_namespace.oid = relnamespace
where nspname !~ '^pg_' and nspname <> 'information_schema' and relkind in ('r', 'p', 'v', 'm', 'S', 'f', 'c')
order by 1
"""
TEMPORARY = """
select format('the temporary table %s of %s', relname, pg_get_userbyid(relowner)) as name from pg_class
where relpersistence = 't' and relkind in ('r', 'p')
"""
SESSIONS = """
select usename || ' in ' || datname as who, count(*) as sessions from pg_stat_activity
where backend_type = 'client backend' and usename <> 'postgres' group by 1
"""
OPEN_TRANSACTIONS = """
select format('a transaction of %s is open since %s', usename, xact_start) as name from pg_stat_activity
where backend_type = 'client backend' and xact_start < now() - interval '1 minute'
"""
# After a crash Postgres cannot tell that a table was being made, and leaves its files. The file of a dropped table
# has no content and goes at the next checkpoint.
ORPHANS = """
select count(*) as files, coalesce(sum(size), 0)::bigint as bytes
from pg_database, pg_ls_dir('base/' || oid) as file,
lateral (select size from pg_stat_file('base/' || oid || '/' || file, true)) as stat
where datname = current_database() and file ~ '^[0-9]+$' and size > 0 and pg_filenode_relation(0, file::oid) is null
"""


@dataclass
class Rest:
    """What a stack at rest has. What has more afterwards was left behind."""

    relations: set[str]
    sessions: dict[str, int]
    files: dict[str, int]


def at_rest(stack: Stack) -> Rest:
    return Rest(_names(stack, RELATIONS), _sessions(stack), _files(stack))


def tried(look: Callable[[], T | None]) -> Callable[[], T | None]:
    """The same look, without an answer while the part that it asks is away."""

    def attempt() -> T | None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError, KeyError, AssertionError):
            return look()
        return None

    return attempt


def still(seconds: float, look: Callable[[], list[str]]) -> list[str]:
    """What a look finds, once it finds nothing or the time is over."""
    found = ["what is left could not be seen"]

    def clean() -> bool | None:
        found[:] = look()
        return not found or None

    with contextlib.suppress(TimeoutError):
        wait_for("nothing to be left", seconds, tried(clean))
    return found


def left(stack: Stack, before: Rest) -> list[str]:
    """What a stack whose runs have all ended has too much; what goes within a minute or two is waited for."""

    def containers() -> list[str]:
        names = stack.command("docker", "ps", "--all", "--filter", f"label=project={PROJECT}", "--format", "{{.Names}}")
        return [f"the container {name}" for name in names.splitlines()]

    return [
        *still(120, lambda: sorted(_names(stack, SLOTS, "dagster"))),
        *still(120, containers),
        # Postgres removes those of a crash when autovacuum comes to the database, which is once in some minutes.
        *still(300, lambda: sorted(_names(stack, TEMPORARY))),
        *still(60, lambda: [f"the relation {name}" for name in sorted(_names(stack, RELATIONS) - before.relations)]),
        *still(60, lambda: sorted(_names(stack, OPEN_TRANSACTIONS))),
        *still(60, lambda: _more("sessions of", before.sessions, _sessions(stack), SPARE_SESSIONS)),
        *still(60, lambda: _more("files in", before.files, _files(stack), SPARE_FILES)),
    ]


def orphans(stack: Stack) -> tuple[int, int]:
    """Number and bytes of files in the warehouse that belong to no table."""
    stack.command("docker", "exec", f"{PROJECT}-postgres-1", "psql", "-U", "postgres", "-qc", "checkpoint")
    ((number, size),) = stack.query(ORPHANS)
    return int(number), int(size)


def _names(stack: Stack, statement: str, database: str = "warehouse") -> set[str]:
    return {str(name) for (name,) in stack.query(statement, database)}


def _sessions(stack: Stack) -> dict[str, int]:
    return dict(stack.query(SESSIONS))


def _files(stack: Stack) -> dict[str, int]:
    """The number of files in every volume that is not to grow, and in each /tmp, and of Postgres's temporary files."""
    names = stack.command("docker", "volume", "ls", "--quiet", "--filter", LABEL).split()
    mounts = [f"--volume={name}:/volumes/{name}:ro" for name in names if not name.endswith(GROWING)]
    run = ("docker", "run", "--rm", "--network=none", "--user=0", *mounts, "--entrypoint=find", f"database:{PROJECT}")
    found = stack.command(*run, "/volumes", "-type", "f", "-printf", "%P\n")
    counts = Counter(f"the volume {path.split('/')[0]}" for path in found.splitlines())
    for service in stack.services().keys() - {*ONE_SHOTS, "sample"}:
        find = ("find", "/tmp", "-type", "f", "-printf", ".")
        counts[f"/tmp of {service}"] = len(stack.command("docker", "exec", f"{PROJECT}-{service}-1", *find))
    ((temporary,),) = stack.query("select count(*) as files from pg_ls_tmpdir()")
    return dict(counts) | {"the folder of Postgres's temporary files": int(temporary)}


def _more(what: str, before: dict[str, int], now: dict[str, int], spare: int) -> list[str]:
    return [
        f"{count} {what} {name}, and {before.get(name, 0)} before"
        for name, count in sorted(now.items())
        if count > before.get(name, 0) + spare
    ]


class Sample(NamedTuple):
    """The memory of a service in MB (10^6 bytes); ``life`` tells one start of its container from the next."""

    life: str
    runs: int
    megabytes: float


def slope(samples: Sequence[Sample]) -> tuple[float, float]:
    """MB per 100 runs by least squares, and its standard error. Each life has an intercept of its own.

    The error is infinite where there are too few samples.
    """
    lives: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        lives[sample.life].append(sample)
    points = []
    for life in lives.values():
        runs, used = statistics.mean(s.runs for s in life), statistics.mean(s.megabytes for s in life)
        points += [(sample.runs - runs, sample.megabytes - used) for sample in life]
    spread = sum(x * x for x, _ in points)
    freedom = len(points) - len(lives) - 1
    if not spread or freedom < 1:
        return 0.0, float("inf")
    rise = sum(x * y for x, y in points) / spread
    rest = sum((y - rise * x) ** 2 for x, y in points) / freedom
    return 100 * rise, 100 * (rest / spread) ** 0.5


def memory(stack: Stack) -> dict[str, float]:
    """The private memory of the processes of each service's container, in MB (10^6 bytes).

    Neither the files that the kernel keeps in memory for a container nor Postgres's shared buffers, which fill, are a
    part of it.
    """
    # The container of a run has the label of its project, too, and may end at any moment.
    listed = stack.command("docker", "ps", "--filter", LABEL, "--format", "{{.Names}}").split()
    used: dict[str, float] = {}
    for name in listed:
        if name.startswith(f"{PROJECT}-run-"):
            continue
        # It may just have ended.
        with contextlib.suppress(AssertionError):
            _, *processes = stack.command("docker", "top", name, "-eo", "pid").split()
            if megabytes := sum(map(_private_megabytes, processes)):
                used[name.removeprefix(f"{PROJECT}-").removesuffix("-1")] = megabytes
    assert used, "no process of a service is in /proc: this runs as root on the engine's machine"
    return used


def _private_megabytes(process: str) -> float:
    """RssAnon of a process of this machine; nothing if it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0
