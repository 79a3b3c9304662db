"""What people ask of the store: one record to read, figures over all of it, and whether it is sound."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, distinct, exists, func, select, text
from sqlmodel import SQLModel

from logs_schema.importers.joining import count_waiting
from logs_schema.records import RagRecord, Value
from logs_schema.rows import CONTEXT, FEEDBACK, FINDING, INTERACTION, PASSAGE, PROMPT
from logs_schema.store import load_records, resolve_id
from logs_schema.weeks import WeekStats, table_of, weeks
from logs_schema.wording import counted


class FindingView(Value):
    """What the miner said of a record."""

    failure: str
    route: str
    confidence: float
    why: str
    outdated: bool
    """True when the record has changed since it was mined."""


class RecordView(Value):
    """One record as a person wants to read it."""

    record_id: str
    record: RagRecord
    finding: FindingView | None
    """None when it has not been mined."""

    def text(self) -> str:
        """Plain text for a terminal."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        record = self.record
        yield f"{self.record_id}  {record.source}, trace {record.source_id}, {record.occurred_at:%Y-%m-%d %H:%M:%S} UTC"
        facts = {
            "model": record.model,
            "session": record.session_id,
            "user": record.user_id,
            "latency": None if record.latency_ms is None else f"{record.latency_ms:.0f} ms",
            "tokens in": record.prompt_tokens,
            "tokens out": record.completion_tokens,
            "tags": ", ".join(record.tags) or None,
            "prompt": record.prompt.hash if record.prompt else None,
            "prompt version": record.prompt_version,
            "the prompt held less than was retrieved": "yes" if record.truncated else None,
            "error": record.error,
        }
        known = [f"{name}: {value}" for name, value in facts.items() if value is not None]
        if known:
            yield " · ".join(known)
        for turn in record.history:
            yield f"\n{turn.role}: {turn.content}"
        yield f"\nQuery\n  {record.query}"
        yield f"\nContexts ({len(record.contexts)})"
        for number, context in enumerate(record.contexts, start=1):
            updated = f"updated {context.updated_at:%Y-%m-%d}" if context.updated_at else None
            score = f"score {context.score:g}" if context.score is not None else None
            yield f"  [{number}] {' · '.join(filter(None, (context.title, context.doc_id, updated, score)))}"
            yield f"      {context.text or '(no text in the log)'}"
        yield f"\nResponse\n  {record.response or '(empty)'}"
        if record.reference is not None:
            yield f"\nReference\n  {record.reference}"
        if record.feedback:
            yield "\nFeedback"
        for event in record.feedback:
            value = f"{event.value:+g}" if event.value is not None else None
            by = f"by {event.by}" if event.by else None
            made_up = "simulated" if event.simulated else None
            said = (event.kind.value, event.label, value, by, event.comment, event.correction, made_up)
            yield f"  {' · '.join(part for part in said if part)}"
        if self.finding:
            outdated = " (the record has changed since: run `factory mine`)" if self.finding.outdated else ""
            yield f"\nFinding: {self.finding.failure}, route {self.finding.route}{outdated}\n  {self.finding.why}"
        else:
            yield "\nFinding: not mined yet"


class StoreStats(Value):
    """Figures over the whole store."""

    records: int
    first: datetime | None
    last: datetime | None
    sources: dict[str, int]
    """Source → records."""
    models: dict[str, int]
    """Model → records; `unknown` where the log names none."""
    sessions: int
    users: int
    contexts: int
    passages: int
    documents: int
    prompts: int
    with_prompt: int
    """Records whose prompt template is known."""
    feedback: dict[str, int]
    """Kind → events about records."""
    feedback_waiting: dict[str, int]
    """Kind → events whose trace has not come."""
    mined: int
    pending: int
    """Traces that wait for spans before they become a record."""
    weeks: tuple[WeekStats, ...]
    """By week and source, the newest first."""

    def text(self) -> str:
        """Plain text for a terminal."""
        if not self.records:
            traces = counted(self.pending, "trace waits for the rest of its", "traces wait for the rest of their")
            events = counted(sum(self.feedback_waiting.values()), "feedback event for its", "feedback events for their")
            return f"The store holds no records; {traces} spans, {events} trace."
        records, documents = counted(self.records, "record"), counted(self.documents, "document")
        rows = {
            "records": f"{self.records:,}, {self.first:%Y-%m-%d %H:%M} to {self.last:%Y-%m-%d %H:%M} UTC",
            "sources": _listed(self.sources),
            "models": _listed(self.models),
            "sessions, users": f"{self.sessions:,}, {self.users:,}",
            "contexts": f"{self.contexts:,} of {counted(self.passages, 'passage')} from {documents}",
            "prompt templates": f"{self.prompts:,}, known for {self.with_prompt:,} of {records}",
            "feedback": _listed(self.feedback) or "none",
            "mined": f"{self.mined:,} of {records}",
            "waiting traces": f"{self.pending:,}",
            "waiting feedback": _listed(self.feedback_waiting) or "none",
        }
        return "\n".join([*(f"{name:<18}{value}" for name, value in rows.items()), "", *table_of(self.weeks)])


class CheckReport(Value):
    """Whether the database is sound."""

    sound: bool
    problems: tuple[str, ...]
    rows: dict[str, int]
    """Table → rows."""

    def text(self) -> str:
        """Plain text for a terminal."""
        verdict = "The store is sound." if self.sound else "The store is damaged:"
        counts = [f"{name:<18}{count:>12,}" for name, count in self.rows.items()]
        return "\n".join([verdict, *(f"  {problem}" for problem in self.problems), *counts])


class UpgradeReport(Value):
    """What `factory db upgrade` did."""

    old: str | None
    """Schema before; None when the store was empty."""
    new: str

    def text(self) -> str:
        """Plain text for a terminal."""
        if self.old == self.new:
            return f"The store already has schema {self.new}."
        return f"The store was upgraded from schema {self.old or '(empty)'} to {self.new}."


def record_view(engine: Engine, wanted: str) -> RecordView:
    """The record that a person means (see `store.resolve_id`), with its finding.

    Raises:
        InputError: there is no such record, or more than one.
    """
    identifier = resolve_id(engine, wanted)
    record = load_records(engine, [identifier])[identifier]
    with engine.connect() as connection:
        row = connection.execute(select(FINDING).where(FINDING.c.interaction_id == identifier)).one_or_none()
    finding = row and FindingView(
        failure=row.failure,
        route=row.route,
        confidence=row.confidence,
        why=row.why,
        outdated=row.record_hash != record.content_hash,
    )
    return RecordView(record_id=identifier, record=record, finding=finding)


def store_stats(engine: Engine, *, last_weeks: int = 8) -> StoreStats:
    """Figures over the whole store, and of its last weeks that hold records."""
    by_week = weeks(engine, last=last_weeks)
    with engine.connect() as connection:
        columns = INTERACTION.c
        joined = exists().where(columns.source == FEEDBACK.c.source, columns.source_id == FEEDBACK.c.source_id)
        moments = (func.min(columns.occurred_at), func.max(columns.occurred_at))
        people = (func.count(distinct(columns.session_id)), func.count(distinct(columns.user_id)))
        all_of = (func.count(), func.count(columns.prompt_hash), *moments, *people)
        records, with_prompt, first, last, sessions, users = connection.execute(select(*all_of)).one()
        return StoreStats(
            records=records,
            first=first,
            last=last,
            sources=_tally(connection, columns.source),
            models=_tally(connection, columns.model),
            sessions=sessions,
            users=users,
            contexts=_count(connection, func.count(CONTEXT.c.rank)),
            passages=_count(connection, func.count(PASSAGE.c.hash)),
            documents=_count(connection, func.count(distinct(CONTEXT.c.doc_id))),
            prompts=_count(connection, func.count(PROMPT.c.hash)),
            with_prompt=with_prompt,
            feedback=_tally(connection, FEEDBACK.c.kind, joined),
            feedback_waiting=_tally(connection, FEEDBACK.c.kind, ~joined),
            mined=_count(connection, func.count(FINDING.c.interaction_id)),
            pending=count_waiting(connection),
            weeks=by_week,
        )


def check_store(engine: Engine) -> CheckReport:
    """SQLite's own integrity and foreign-key checks (PostgreSQL holds both itself), and rows per table."""
    problems: list[str] = []
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            found = connection.execute(text("PRAGMA integrity_check")).scalars()
            problems += [str(line) for line in found if line != "ok"]
            broken = connection.execute(text("PRAGMA foreign_key_check"))
            problems += [f"row {row[1]} of {row[0]} refers to a row of {row[2]} that is gone" for row in broken]
        tables = SQLModel.metadata.sorted_tables
        rows = {table.name: _count(connection, func.count(table.primary_key.columns[0])) for table in tables}
    return CheckReport(sound=not problems, problems=tuple(problems), rows=rows)


def _count(connection: Connection, expression: ColumnElement[int]) -> int:
    return connection.scalar(select(expression)) or 0


def _tally(
    connection: Connection, column: ColumnElement[str | None], which: ColumnElement[bool] | None = None
) -> dict[str, int]:
    counting = select(column, func.count()).group_by(column)
    rows = connection.execute(counting if which is None else counting.where(which))
    counted = {name if name is not None else "unknown": count for name, count in rows}
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
