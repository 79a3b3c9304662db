"""Figures by source and week: how much came in, how much of it failed, and how conversations ended."""

from collections.abc import Iterator
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, and_, case, distinct, exists, func, or_, select

from logs_schema.coverage import how_many
from logs_schema.records import FeedbackKind, UtcDatetime, Value
from logs_schema.rows import CONTEXT, FEEDBACK, INTERACTION, WATERMARK
from logs_schema.taxonomy import SESSIONS, Signal

if TYPE_CHECKING:
    import pandas as pd

WEEK = timedelta(days=7)


class WeekStats(Value):
    """One source in one week, which begins on Monday, 00:00 UTC."""

    week: UtcDatetime
    source: str
    records: int
    with_feedback: int
    """Records with feedback that somebody gave."""
    contexts: int
    errors: int
    """Records whose application logged an error."""
    latency_ms: float | None
    """Mean over those that log it."""
    conversations: int
    """Sessions; a record without one is a conversation of its own."""
    escalated: int | None
    """Conversations that a person had to take over; None while no sessions were read."""
    resolved: int | None
    """Conversations without an escalation, an error, a bad vote or giving up; None likewise."""


def weeks(engine: Engine, *, last: int | None = None) -> tuple[WeekStats, ...]:
    """Figures by week and source, the newest week first; weeks without records are left out.

    Args:
        engine: the store.
        last: how many weeks at the most, from the newest on.
    """
    with engine.connect() as connection:
        return tuple(row for begin in _begins(connection, last) for row in _week(connection, begin))


def weeks_frame(engine: Engine) -> "pd.DataFrame":
    """The same as a DataFrame: the columns of WeekStats."""
    import pandas as pd

    return pd.DataFrame([row.model_dump() for row in weeks(engine)], columns=list(WeekStats.model_fields))


def table_of(rows: tuple[WeekStats, ...]) -> list[str]:
    """Lines of a table for people."""
    if not rows:
        return []
    head = ("week of", "source", "records", "feedback", "contexts", "errors", "latency", "resolved", "escalated")
    cells = [head, *(_cells(row) for row in rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(head))]
    aligned = [[cell.ljust(w) for cell, w in zip(row, widths, strict=True)] for row in cells]
    lines = ["  ".join(row).rstrip() for row in aligned]
    unread = any(row.resolved is None for row in rows)
    note = "Resolved and escalated are shares of conversations, read off sessions by `factory mine`"
    return [*lines, f"{note}: not run yet." if unread else f"{note}."]


def _cells(row: WeekStats) -> tuple[str, ...]:
    return (
        f"{row.week:%Y-%m-%d}",
        row.source if len(row.source) <= 30 else row.source[:29] + "…",
        f"{row.records:,}",
        f"{row.with_feedback:,}",
        f"{row.contexts:,}",
        f"{row.errors:,}",
        "-" if row.latency_ms is None else f"{row.latency_ms:,.0f} ms",
        _share(row.resolved, row.conversations),
        _share(row.escalated, row.conversations),
    )


def _share(part: int | None, whole: int) -> str:
    return "-" if part is None else f"{part / whole:.0%} of {whole:,}"


def _begins(connection: Connection, last: int | None) -> Iterator[datetime]:
    """Mondays of the weeks that hold records, the newest first."""
    moment = INTERACTION.c.occurred_at
    newest: datetime | None = connection.scalar(select(func.max(moment)))
    count = 0
    while newest is not None and (last is None or count < last):
        day = newest.date() - timedelta(days=newest.weekday())
        begin = datetime.combine(day, time(), newest.tzinfo)
        yield begin
        count += 1
        newest = connection.scalar(select(func.max(moment)).where(moment < begin))


def _week(connection: Connection, begin: datetime) -> Iterator[WeekStats]:
    columns = INTERACTION.c
    when = (columns.occurred_at >= begin, columns.occurred_at < begin + WEEK)
    conversation = func.coalesce(columns.session_id, columns.id)
    told = and_(FEEDBACK.c.source == columns.source, FEEDBACK.c.source_id == columns.source_id)
    given = exists().where(told, FEEDBACK.c.kind != FeedbackKind.implicit.value)
    escalated = exists().where(told, FEEDBACK.c.identifier == Signal.escalated.value)
    bad = exists().where(told, FEEDBACK.c.value < 0, FEEDBACK.c.identifier != Signal.rephrased.value)
    ended_badly = or_(bad, columns.error.is_not(None))
    figures = select(
        columns.source,
        func.count(),
        how_many(given),
        func.count(columns.error),
        func.avg(columns.latency_ms),
        func.count(distinct(conversation)),
        func.count(distinct(case((escalated, conversation)))),
        func.count(distinct(case((ended_badly, conversation)))),
    )
    links = CONTEXT.join(INTERACTION, columns.id == CONTEXT.c.interaction_id)
    of_source = select(columns.source, func.count()).select_from(links).where(*when).group_by(columns.source)
    contexts = {row.source: row[1] for row in connection.execute(of_source)}
    read = connection.scalar(select(WATERMARK.c.step).where(WATERMARK.c.step.startswith(f"{SESSIONS} "))) is not None
    rows: Any = connection.execute(figures.where(*when).group_by(columns.source).order_by(columns.source))
    for source, records, feedback, errors, latency, conversations, taken_over, failed in rows:
        yield WeekStats(
            week=begin,
            source=source,
            records=records,
            with_feedback=feedback,
            contexts=contexts.get(source, 0),
            errors=errors,
            latency_ms=None if latency is None else float(latency),
            conversations=conversations,
            escalated=taken_over if read else None,
            resolved=conversations - failed if read else None,
        )
