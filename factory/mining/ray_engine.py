"""Mining on a Ray cluster: actors judge ranges of records, the driver alone writes.

Records come from PostgreSQL, which every actor reads for itself, or from a Parquet export that all machines can read.
"""

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Engine, and_, or_, select

from factory.mining.batch import Batch, Known, Miner, Rules, store_miner
from logs_schema.documents import History
from logs_schema.errors import ConfigurationError, FactoryError, InputError, NotReadyError
from logs_schema.records import PromptTemplate, RagRecord
from logs_schema.rows import FINDING, INTERACTION, chunks
from logs_schema.store import iter_unmined, open_store

if TYPE_CHECKING:
    import pyarrow.parquet as pq

AHEAD = 2
"""Tasks of an actor that are on their way at a time."""
OBJECTS = 256 << 20
"""Bytes of shared memory of a cluster that is started here: what travels are verdicts."""


class Range(NamedTuple):
    """Records that one actor judges at a time."""

    ids: list[str]
    group: int | None = None
    """Row group of the Parquet file that holds them."""


class Source(NamedTuple):
    """Where the actors find records."""

    url: str | None = None
    """Store on PostgreSQL, with its password."""
    parquet: str | None = None


def on_ray(
    engine: Engine, rules: Rules, version: str, batch: int, actors: int | None, parquet: Path | None
) -> Generator[Batch]:
    """Batches judged by Ray actors, as they are done. Close it to stop them.

    The cluster is the one in `$RAY_ADDRESS`, else one that is started on this machine.

    Args:
        engine: The store.
        rules: What to judge by.
        version: Of the miner; what it has mined already is left out.
        batch: Records of a range of PostgreSQL; a Parquet file has its own.
        actors: How many, at most the cluster's processors, which is also the number when None.
        parquet: A file of `factory logs export`; records that have changed since are left out.

    Raises:
        NotReadyError: ray is not installed.
        ConfigurationError: the store is on SQLite, which other machines cannot read, and there is no Parquet file.
        InputError: the Parquet file is not an export of this version.
        FactoryError: an actor died.
    """
    try:
        import ray
    except ImportError as error:
        raise NotReadyError("--engine ray needs Ray: run pip install 'groundmill[ray]'.") from error
    if parquet is None and engine.dialect.name == "sqlite":
        raise ConfigurationError(
            "--engine ray needs records that other machines can read: a store on PostgreSQL, or --parquet FILE from "
            "`factory logs export`. On one machine use --workers."
        )
    ranges: Iterable[Range]
    versions: Any = None
    if parquet:
        source = Source(parquet=str(parquet.absolute()))
        ranges = _due_in_file(engine, version, parquet)
    else:
        source = Source(url=engine.url.render_as_string(hide_password=False))
        ranges = (Range(ids) for ids in iter_unmined(engine, version, batch))
    ours = _connect(ray, actors)
    try:
        if parquet:
            versions = ray.put(dict(Known(engine).versions))
        count = max(min(actors or 1 << 20, int(ray.cluster_resources().get("CPU", 1))), 1)
        remote = ray.remote(num_cpus=1, max_restarts=0)(Actor)
        yield from _run(ray, [remote.remote(source, rules, versions) for _ in range(count)], ranges)
    finally:
        if ours:
            ray.shutdown()


class Actor:
    """Judges ranges of records, on any machine of the cluster."""

    def __init__(self, source: Source, rules: Rules, versions: History | None) -> None:
        self._group: int | None = None
        if source.url is not None:
            engine = open_store(source.url)
            self._miner = store_miner(engine, rules, rules.cheap_stages(), Known(engine))
        else:
            file = _opened(Path(str(source.parquet)))
            self._miner = Miner(
                rules, rules.cheap_stages(), lambda ids: _records(file, self._group, ids), lambda: versions or {}, None
            )

    def judge(self, wanted: Range) -> Batch:
        """One range, judged."""
        self._group = wanted.group
        return self._miner.judge(wanted.ids)


def _connect(ray: Any, actors: int | None) -> bool:
    """Join the cluster, or start one here; whether to leave it afterwards."""
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            ray.init(address="local", num_cpus=actors, object_store_memory=OBJECTS, include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
        raise ConfigurationError(f"There is no reaching {where}: {' '.join(str(error).split())[:300]}") from error
    return True


def _run(ray: Any, actors: Sequence[Any], ranges: Iterable[Range]) -> Iterator[Batch]:
    """Hand out ranges, a few to each actor at a time, and give back what comes first."""
    todo = iter(ranges)
    running: dict[Any, Any] = {}

    def hand_out(actor: Any) -> None:
        wanted = next(todo, None)
        if wanted is not None:
            running[actor.judge.remote(wanted)] = actor

    try:
        for actor in list(actors) * AHEAD:
            hand_out(actor)
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            actor = running.pop(done)
            batch = ray.get(done)
            hand_out(actor)
            yield batch
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, FactoryError):
            raise error.cause from error
        raise
    except ray.exceptions.RayActorError as error:
        raise FactoryError(
            "A Ray actor died, perhaps with its machine or for want of memory. What was mined is kept: run "
            f"`factory mine` again. ({' '.join(str(error).split())[:200]})"
        ) from error
    finally:
        for actor in actors:
            ray.kill(actor)


# --- the Parquet export ---------------------------------------------------------------------------


def _opened(file: Path) -> "pq.ParquetFile":
    try:
        import pyarrow
        import pyarrow.parquet as pq
    except ImportError as error:
        raise NotReadyError("--parquet needs pyarrow: run pip install 'groundmill[parquet]'.") from error
    try:
        opened = pq.ParquetFile(file)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{file} cannot be read as a Parquet file: {' '.join(str(error).split())[:200]}") from error
    lacking = {"record_id", "content_hash", "prompt"} - set(opened.schema_arrow.names)
    if lacking:
        names = ", ".join(sorted(lacking))
        raise InputError(f"{file} is no export of this version (it lacks {names}): run `factory logs export` again.")
    return opened


def _due_in_file(engine: Engine, version: str, file: Path) -> Iterator[Range]:
    """Row groups, with those of their records that are due and are in the store as they are in the file."""
    opened = _opened(file)
    due = or_(
        FINDING.c.interaction_id.is_(None),
        FINDING.c.miner_version != version,
        FINDING.c.record_hash != INTERACTION.c.content_hash,
    )
    joined = INTERACTION.outerjoin(FINDING, FINDING.c.interaction_id == INTERACTION.c.id)
    query = select(INTERACTION.c.id, INTERACTION.c.content_hash).select_from(joined)
    for group in range(opened.num_row_groups):
        there = opened.read_row_group(group, columns=["record_id", "content_hash"]).to_pylist()
        hashes = {row["record_id"]: row["content_hash"] for row in there}
        ids: list[str] = []
        with engine.connect() as connection:
            for some in chunks(hashes):
                rows = connection.execute(query.where(and_(due, INTERACTION.c.id.in_(some))))
                ids += [row.id for row in rows if row.content_hash == hashes[row.id]]
        if ids:
            yield Range(ids, group)


def _records(file: "pq.ParquetFile", group: int | None, ids: Sequence[str]) -> list[RagRecord]:
    wanted = set(ids)
    columns = [*RagRecord.model_fields, "record_id", "content_hash"]
    rows = file.read_row_group(group or 0, columns=columns).to_pylist()
    records = [(row.pop("content_hash"), _record(row)) for row in rows if row.pop("record_id") in wanted]
    # one that does not come back as it was is left to the store
    return [record for kept, record in records if record.content_hash == kept]


def _record(row: Mapping[str, Any]) -> RagRecord:
    prompt = row["prompt"]
    return RagRecord.model_validate(
        {
            **row,
            **{name: row[name] or () for name in ("history", "contexts", "tags", "feedback")},
            "prompt": PromptTemplate.model_validate(prompt) if prompt else None,
        }
    )
