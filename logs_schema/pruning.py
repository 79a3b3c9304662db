"""Pruning: old log records leave the store, except those that the work of people or a dataset rests on."""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, and_, exists, func, select

from logs_schema.database import writing
from logs_schema.forgetting import DATASET_ROW, NOTHING, delete_traces
from logs_schema.records import Trace, Value
from logs_schema.rows import CHUNK, FEEDBACK, INTERACTION, PENDING, QUEUE, REVIEW, chunks
from logs_schema.tables import SplitPlacement
from logs_schema.wording import counted

PLACEMENT = SplitPlacement.__table__  # type: ignore[attr-defined]


class PruneReport(Value):
    """What pruning deleted, or would delete."""

    before: datetime
    dry_run: bool
    records: int
    passages: int | None
    """Passages that nothing else uses; None in a dry run, which does not look for them."""
    feedback: int
    """Feedback events, with those on traces whose log line never came."""
    waiting: int
    """Traces of which only spans had come."""
    kept: dict[str, int]
    """Why older records stay → how many; a record counts under the first reason only."""

    def text(self) -> str:
        """A few lines."""
        verb = "Would delete" if self.dry_run else "Deleted"
        unused = "" if self.passages is None else counted(self.passages, "passage")
        passages = f" with {unused} that nothing else uses" if unused else ""
        lines = [
            f"{verb} {counted(self.records, 'record')} from before {self.before:%Y-%m-%d %H:%M} UTC{passages}, "
            f"{counted(self.feedback, 'feedback event')}, and the spans of {counted(self.waiting, 'unfinished trace')}."
        ]
        lines += [f"Kept {counted(count, 'older one')}: {reason}." for reason, count in self.kept.items()]
        if any(self.kept.values()):
            lines.append("What people or datasets rest on is deleted by `factory logs forget` only.")
        if self.records and not self.dry_run:
            lines.append("The log files still hold what was deleted: importing an old file brings its records back.")
        return "\n".join(lines)


def prune(engine: Engine, before: datetime, *, dry_run: bool = False) -> PruneReport:
    """Delete records that occurred before a moment, in batches: a killed run is completed by running it again.

    Records stay that have a review, that a dataset has rows of, that are placed on a side of the
    split, or that wait for curators in Argilla.
    """
    old = INTERACTION.c.occurred_at < before
    reasons = _reasons()
    free = and_(old, *(~condition for condition in reasons.values()))
    with engine.connect() as connection:
        kept: dict[str, int] = {}
        for at, (reason, condition) in enumerate(reasons.items()):
            earlier = [~other for other in list(reasons.values())[:at]]
            counted = select(func.count()).select_from(INTERACTION).where(old, condition, *earlier)
            kept[reason] = connection.scalar(counted) or 0
        records = connection.scalar(select(func.count()).select_from(INTERACTION).where(free)) or 0
        same = and_(INTERACTION.c.source == FEEDBACK.c.source, INTERACTION.c.source_id == FEEDBACK.c.source_id)
        late = select(FEEDBACK.c.source, FEEDBACK.c.source_id).where(
            FEEDBACK.c.occurred_at < before, ~exists().where(same)
        )
        alone = [Trace(*row) for row in connection.execute(late.distinct())]
        given = select(func.count()).select_from(FEEDBACK)
        feedback = connection.scalar(given.where(exists().where(same, free))) or 0
        feedback += connection.scalar(given.where(FEEDBACK.c.occurred_at < before, ~exists().where(same))) or 0
        waiting = _stale_spans(connection, before)
    gone = NOTHING
    if not dry_run:
        while True:
            with writing(engine) as connection:
                page = select(INTERACTION.c.source, INTERACTION.c.source_id).where(free).limit(CHUNK)
                traces = [Trace(*row) for row in connection.execute(page)]
                gone += delete_traces(connection, traces)
            if not traces:
                break
        for some in chunks(sorted({*alone, *waiting})):
            with writing(engine) as connection:
                gone += delete_traces(connection, some)
    return PruneReport(
        before=before,
        dry_run=dry_run,
        records=records if dry_run else gone.records,
        passages=None if dry_run else gone.passages,
        feedback=feedback if dry_run else gone.feedback,
        waiting=len(waiting),
        kept={reason: count for reason, count in kept.items() if count},
    )


def _reasons() -> dict[str, ColumnElement[bool]]:
    identifier = INTERACTION.c.id
    return {
        "a dataset has rows of them": exists().where(DATASET_ROW.c.interaction_id == identifier),
        "people reviewed them": exists().where(REVIEW.c.interaction_id == identifier),
        "they are placed on a side of the split": exists().where(PLACEMENT.c.interaction_id == identifier),
        "they wait for curators": exists().where(QUEUE.c.interaction_id == identifier, QUEUE.c.pushed_at.is_not(None)),
    }


def _stale_spans(connection: Connection, before: datetime) -> list[Trace]:
    """Traces whose spans all began before a moment, and that gave no record."""
    here = and_(INTERACTION.c.source == PENDING.c.source, INTERACTION.c.source_id == PENDING.c.trace_id)
    newest: dict[Trace, datetime] = {}
    spans = select(PENDING.c.source, PENDING.c.trace_id, PENDING.c.span).where(~exists().where(here))
    for source, trace_id, span in connection.execute(spans.execution_options(yield_per=CHUNK)):
        trace, started = Trace(source, trace_id), datetime.fromisoformat(span["started"])
        newest[trace] = max(started, newest.get(trace, started))
    return sorted(trace for trace, moment in newest.items() if moment < before)
