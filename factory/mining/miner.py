"""Mines what is new in the store: score, diagnose, keep the findings, fill the review queue."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, and_, func, select

from factory.mining.batch import Batch, Judged, Known, Miner, Rules, store_miner
from factory.mining.calibrate import fit_names, fits_in_force
from factory.mining.cascade import StageReport
from factory.mining.combination import Fit, shipped
from factory.mining.queue import QueueReport, fill_queue
from factory.mining.sessions import SignalReport, read_sessions
from factory.mining.settings import MiningSettings, SignalSettings
from factory.mining.stages import dear_stages, identity
from factory.mining.workers import in_processes
from logs_schema.database import writing
from logs_schema.records import Value, content_hash
from logs_schema.rows import FINDING, INTERACTION, content_hashes, put
from logs_schema.scores import Scorer, Track, untracked
from logs_schema.settings import HouseSettings
from logs_schema.store import iter_unmined
from logs_schema.tables import now
from logs_schema.taxonomy import Failure, MiningEngine, Route

CODE_VERSION = 8
"""Raise it with every change of code that changes verdicts: the next run then mines everything again."""


class MineReport(Value):
    """What a mining run did, and what the store holds now."""

    miner_version: str
    total: int
    """Records in the store."""
    mined: int
    """Records mined by this run."""
    already: int
    """Records that were mined before, by this version and on their present content."""
    failures: dict[str, int]
    """Primary failure → records in the store, most frequent first."""
    routes: dict[str, int]
    """Route → records in the store, most frequent first."""
    queue: QueueReport
    sessions: SignalReport | None = None
    """What was read off sessions before; None when that was not asked for."""
    stages: tuple[StageReport, ...] = ()
    """What each scorer of the cascade did in this run, the cheapest first."""

    def text(self) -> str:
        """A short summary."""
        lines = [self.sessions.text()] if self.sessions else []
        lines += [f"Mined {self.mined} of {self.total} records ({self.already} were mined before)."]
        lines += [stage.text() for stage in self.stages] if len(self.stages) > 1 else []
        found = {failure: count for failure, count in self.failures.items() if failure != Failure.none}
        if found:
            lines += ["", f"{sum(found.values())} records show a failure, by its kind:"]
            lines += [f"  {count:6d}  {failure}" for failure, count in found.items()]
            lines += ["", "by who can mend it:"]
            nobody = {Route.no_action, Route.ticket}
            lines += [f"  {count:6d}  {route}" for route, count in self.routes.items() if route not in nobody]
        if tickets := self.routes.get(Route.ticket):
            lines += ["", f"{tickets} tickets that a person resolved, with documents, are candidates for curators."]
        return "\n".join([*lines, "", self.queue.text()])


def miner_version(settings: MiningSettings, house: HouseSettings, fits: Mapping[str, Fit] | None = None) -> str:
    """Identity of code, thresholds, calibration and wording, 16 hexadecimal digits; the review budget is no part of it.

    Args:
        settings: Thresholds and stages.
        house: The wording of "I don't know".
        fits: The calibrations in force, see `calibrate.fits_in_force`; the package's own when None.
    """
    scored = {"faithful", "sufficient", "incomplete", "unsettled", "much_better", "uncovered"}
    thresholds = settings.model_dump(mode="json", include=scored | {"citations", "format_regex", "format_schema"})
    probabilities = {
        name: (fits[name] if fits else shipped(name)).model_dump(mode="json") for name in fit_names(settings)
    }
    rest = {"abstention": house.abstention, "fits": probabilities, **identity(settings)}
    return content_hash({"code": CODE_VERSION, **thresholds, **rest})


def mine(
    engine: Engine,
    settings: MiningSettings,
    house: HouseSettings,
    *,
    signals: SignalSettings | None = None,
    scorer: Scorer | None = None,
    batch: int = 500,
    workers: int | None = None,
    run_on: MiningEngine = MiningEngine.local,
    parquet: Path | None = None,
    track: Track = untracked,
) -> MineReport:
    """Mine the records that are new or changed, or that another miner version mined; then fill the queue.

    One transaction a batch: a killed run is completed by the next one, which mines nothing twice.

    Args:
        engine: The store.
        settings: Thresholds, stages and budget.
        house: The wording of "I don't know".
        signals: When given, implicit feedback is read off sessions first.
        scorer: The first stage; `lexical_scorer(house)` when None. Several workers need one that can be pickled.
        batch: Records per transaction.
        workers: Processes or Ray actors that judge; `settings.workers` when None. The result is the same with any.
        run_on: This machine, or a Ray cluster (see `ray_engine.on_ray`).
        parquet: For Ray: a file of `factory logs export`; what it lacks is mined from the store afterwards.
        track: Shows progress over the batches.

    Raises:
        NotReadyError: an optional stage, or Ray, needs what is not installed.
        ConfigurationError: Ray cannot read the records.
        FactoryError: a worker died.
    """
    sessions = read_sessions(engine, signals, track=track) if signals else None
    fits = fits_in_force(engine, settings)
    version = miner_version(settings, house, fits)
    total, already = _counts(engine, version)
    mined, stages = 0, list[StageReport]()
    if already < total:
        rules = Rules(settings, house, scorer, fits)
        known = Known(engine)
        dear = store_miner(engine, rules, dear_stages(engine, rules), known)
        judged = _local(engine, rules, known, version, batch, workers or settings.workers)
        if run_on is MiningEngine.ray:
            from factory.mining.ray_engine import on_ray

            there = on_ray(engine, rules, version, batch, workers, parquet)
            judged = _one_after_the_other(there, judged) if parquet else there
        due = -(-(total - already) // batch)
        with closing(judged):
            mined, stages = _keep(engine, dear, track(judged, description="mine", total=due), version)
    queue = fill_queue(engine, settings, track=track)
    return MineReport(
        miner_version=version,
        total=total,
        mined=mined,
        already=already,
        failures=_tally(engine, "failure"),
        routes=_tally(engine, "route"),
        queue=queue,
        sessions=sessions,
        stages=tuple(stages),
    )


def _local(engine: Engine, rules: Rules, known: Known, version: str, batch: int, workers: int) -> Generator[Batch]:
    """What is due, judged on this machine."""
    pages = iter_unmined(engine, version, batch)
    if workers > 1:
        url = engine.url.render_as_string(hide_password=False)
        with closing(in_processes(url, rules, pages, workers)) as judged:
            yield from judged
    else:
        yield from map(store_miner(engine, rules, rules.cheap_stages(), known).judge, pages)


def _one_after_the_other(*parts: Generator[Batch]) -> Generator[Batch]:
    for part in parts:
        with closing(part):
            yield from part


def _keep(engine: Engine, dear: Miner, judged: Iterable[Batch], version: str) -> tuple[int, list[StageReport]]:
    """Let the dear stages refine every batch, and keep it; how many records, and what each stage did."""
    mined = 0
    stages: dict[str, StageReport] = {}
    for batch in judged:
        done = dear.refine(batch)
        mined += _save(engine, done.judged, version)
        for report in done.stages:
            stages[report.name] = stages[report.name] + report if report.name in stages else report
    return mined, list(stages.values())


def _counts(engine: Engine, version: str) -> tuple[int, int]:
    """Records in the store, and those that are mined."""
    current = and_(FINDING.c.miner_version == version, FINDING.c.record_hash == INTERACTION.c.content_hash)
    joined = INTERACTION.join(FINDING, FINDING.c.interaction_id == INTERACTION.c.id)
    with engine.connect() as connection:
        total = connection.scalar(select(func.count()).select_from(INTERACTION))
        mined = connection.scalar(select(func.count()).select_from(joined).where(current))
    return total or 0, mined or 0


def _save(engine: Engine, judged: Sequence[Judged], version: str) -> int:
    """Keep the findings of a batch; records that were removed from the store meanwhile are left out.

    What a stage has still to look at is due again: it is kept under no version.
    """
    mined_at = now()
    with writing(engine) as connection:
        there = content_hashes(connection, [one.finding.record_id for one in judged])
        rows: list[dict[str, Any]] = [
            {
                "interaction_id": finding.record_id,
                "miner_version": "" if finding.scores.pending else version,
                "record_hash": record_hash,
                "mined_at": mined_at,
                "cluster": None,
                **finding.model_dump(mode="json", exclude={"record_id": True, "scores": {"evidence"}}),
            }
            for record_hash, finding, _ in judged
            if finding.record_id in there
        ]
        put(connection, FINDING, rows, replace=True)
    return len(rows)


def _tally(engine: Engine, column: str) -> dict[str, int]:
    value = FINDING.c[column]
    query = select(value, func.count()).group_by(value).order_by(func.count().desc(), value)
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}
