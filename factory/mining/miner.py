"""Mines what is new in the store: score, diagnose, keep the findings, fill the review queue."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, and_, func, select

from factory.mining.calibrate import fit_in_force
from factory.mining.combination import Fit, shipped
from factory.mining.corpus import Corpus
from factory.mining.diagnose import diagnose
from factory.mining.finding import Finding
from factory.mining.queue import QueueReport, fill_queue
from factory.mining.scorer import configured_scorer, fit_name
from factory.mining.sessions import SignalReport, read_sessions
from factory.mining.settings import MiningSettings, SignalSettings
from logs_schema.database import writing
from logs_schema.documents import histories
from logs_schema.records import RagRecord, Value, content_hash
from logs_schema.rows import FINDING, INTERACTION, content_hashes, put
from logs_schema.scores import Scorer, Track, untracked
from logs_schema.settings import HouseSettings
from logs_schema.store import iter_unmined
from logs_schema.tables import now
from logs_schema.taxonomy import Failure, Route

CODE_VERSION = 3
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

    def text(self) -> str:
        """A short summary."""
        lines = [self.sessions.text()] if self.sessions else []
        lines += [f"Mined {self.mined} of {self.total} records ({self.already} were mined before)."]
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


def miner_version(settings: MiningSettings, house: HouseSettings, fit: Fit | None = None) -> str:
    """Identity of code, thresholds, calibration and wording, 16 hexadecimal digits; the review budget is no part of it.

    Args:
        settings: Thresholds and the sentence encoder.
        house: The wording of "I don't know".
        fit: The calibration in force, see `calibrate.fit_in_force`; the package's own when None.
    """
    verdict = {
        "faithful",
        "sufficient",
        "incomplete",
        "much_better",
        "uncovered",
        "citations",
        "format_regex",
        "encoder",
    }
    thresholds = settings.model_dump(mode="json", include=verdict)
    probabilities = (fit or shipped(fit_name(settings))).model_dump(mode="json")
    return content_hash({"code": CODE_VERSION, "abstention": house.abstention, "fit": probabilities, **thresholds})


def mine(
    engine: Engine,
    settings: MiningSettings,
    house: HouseSettings,
    *,
    signals: SignalSettings | None = None,
    scorer: Scorer | None = None,
    batch: int = 500,
    track: Track = untracked,
) -> MineReport:
    """Mine the records that are new or changed, or that another miner version mined; then fill the queue.

    One transaction a batch: a killed run is completed by the next one, which mines nothing twice.

    Args:
        engine: The store.
        settings: Thresholds and budget.
        house: The wording of "I don't know".
        signals: When given, implicit feedback is read off sessions first.
        scorer: What the settings name when None, see `scorer.configured_scorer`.
        batch: Records per transaction.
        track: Shows progress over the batches.
    """
    sessions = read_sessions(engine, signals, track=track) if signals else None
    fit = fit_in_force(engine, fit_name(settings))
    version = miner_version(settings, house, fit)
    score = scorer or configured_scorer(engine, settings, house, fit)
    versions, corpus = histories(engine), Corpus(engine)
    total, already = _counts(engine, version)
    batches = -(-(total - already) // batch)
    mined = 0
    for records in track(iter_unmined(engine, version, batch), description="mine", total=batches):
        findings = [
            diagnose(record, scores, settings=settings, house=house, versions=versions, search=corpus.search)
            for record, scores in zip(records, score(records), strict=True)
        ]
        mined += _save(engine, records, findings, version)
    queue = fill_queue(engine, settings)
    return MineReport(
        miner_version=version,
        total=total,
        mined=mined,
        already=already,
        failures=_tally(engine, "failure"),
        routes=_tally(engine, "route"),
        queue=queue,
        sessions=sessions,
    )


def _counts(engine: Engine, version: str) -> tuple[int, int]:
    """Records in the store, and those that are mined."""
    current = and_(FINDING.c.miner_version == version, FINDING.c.record_hash == INTERACTION.c.content_hash)
    joined = INTERACTION.join(FINDING, FINDING.c.interaction_id == INTERACTION.c.id)
    with engine.connect() as connection:
        total = connection.scalar(select(func.count()).select_from(INTERACTION))
        mined = connection.scalar(select(func.count()).select_from(joined).where(current))
    return total or 0, mined or 0


def _save(engine: Engine, records: Sequence[RagRecord], findings: Sequence[Finding], version: str) -> int:
    """Keep the findings of a batch; records that were removed from the store meanwhile are left out."""
    mined_at = now()
    with writing(engine) as connection:
        there = content_hashes(connection, [record.record_id for record in records])
        rows: list[dict[str, Any]] = [
            {
                "interaction_id": finding.record_id,
                "miner_version": version,
                "record_hash": record.content_hash,
                "mined_at": mined_at,
                **finding.model_dump(mode="json", exclude={"record_id"}),
            }
            for record, finding in zip(records, findings, strict=True)
            if finding.record_id in there
        ]
        put(connection, FINDING, rows, replace=True)
    return len(rows)


def _tally(engine: Engine, column: str) -> dict[str, int]:
    value = FINDING.c[column]
    query = select(value, func.count()).group_by(value).order_by(func.count().desc(), value)
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}
