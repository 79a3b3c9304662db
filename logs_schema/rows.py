"""Rows to and from records, on a connection that the caller opened. `store` is the way in; only it comes here."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Table, and_, select
from sqlalchemy.dialects import postgresql, sqlite

from logs_schema.records import (
    Context,
    Feedback,
    FeedbackKind,
    Message,
    PromptTemplate,
    RagRecord,
    Trace,
    passage_hash,
)
from logs_schema.tables import (
    ContextLink,
    FeedbackEvent,
    FindingRow,
    ImportRun,
    Interaction,
    JoinedSpan,
    Passage,
    PendingSpan,
    Prompt,
)

T = TypeVar("T")

INTERACTION: Table = Interaction.__table__  # type: ignore[attr-defined]
CONTEXT: Table = ContextLink.__table__  # type: ignore[attr-defined]
FEEDBACK: Table = FeedbackEvent.__table__  # type: ignore[attr-defined]
FINDING: Table = FindingRow.__table__  # type: ignore[attr-defined]
PASSAGE: Table = Passage.__table__  # type: ignore[attr-defined]
PROMPT: Table = Prompt.__table__  # type: ignore[attr-defined]
IMPORT_RUN: Table = ImportRun.__table__  # type: ignore[attr-defined]
JOINED: Table = JoinedSpan.__table__  # type: ignore[attr-defined]
PENDING: Table = PendingSpan.__table__  # type: ignore[attr-defined]

CHUNK = 500
"""Values in one IN list: far below the limit of every database."""
SAME_COLUMNS = (
    *("source", "source_id", "occurred_at", "query", "response", "prompt_version", "truncated", "model", "reference"),
    *("latency_ms", "prompt_tokens", "completion_tokens", "session_id", "user_id", "error"),
)
"""Fields of RagRecord that are columns of the same name and type."""
CONTEXT_COLUMNS = ("doc_id", "title", "url", "version", "updated_at", "score")
EARLIEST = datetime.min.replace(tzinfo=UTC)


def put(connection: Connection, table: Table, rows: Iterable[dict[str, Any]], *, replace: bool) -> None:
    """Insert rows; those whose key exists are replaced or left as they are."""
    batch = list(rows)
    if not batch:
        return
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
    keys = [column.name for column in table.primary_key]
    others = {name: insert.excluded[name] for name in batch[0] if name not in keys}
    statement = (
        insert.on_conflict_do_update(index_elements=keys, set_=others) if replace else insert.on_conflict_do_nothing()
    )
    connection.execute(statement, batch)


def prompt_row(prompt: PromptTemplate) -> dict[str, Any]:
    """Row of `prompt`."""
    return {"hash": prompt.hash, "template": prompt.model_dump(mode="json")}


def interaction_row(record: RagRecord, content_hash: str, imported_at: datetime) -> dict[str, Any]:
    """Row of `interaction`."""
    return {
        **{name: getattr(record, name) for name in SAME_COLUMNS},
        "id": record.record_id,
        "content_hash": content_hash,
        "history": [message.model_dump() for message in record.history] or None,
        "prompt_hash": record.prompt.hash if record.prompt else None,
        "tags": list(record.tags) or None,
        "imported_at": imported_at,
    }


def context_rows(record: RagRecord) -> Iterator[dict[str, Any]]:
    """Rows of `context`, by rank."""
    for rank, context in enumerate(record.contexts):
        yield {
            **{name: getattr(context, name) for name in CONTEXT_COLUMNS},
            "interaction_id": record.record_id,
            "rank": rank,
            "passage_hash": passage_hash(context.text),
            "groups": None if context.groups is None else list(context.groups),
        }


def in_order(events: Iterable[Feedback]) -> tuple[Feedback, ...]:
    """Undated events first, then by time: the order in which every record reads back."""
    return tuple(sorted(events, key=lambda e: (e.occurred_at is not None, e.occurred_at or EARLIEST, e.identifier)))


def load(connection: Connection, ids: Sequence[str]) -> dict[str, RagRecord]:
    """Records by id, ordered by (occurred_at, id); ids that do not exist are left out."""
    records: list[RagRecord] = []
    for some in chunks(ids):
        rows = connection.execute(select(INTERACTION).where(INTERACTION.c.id.in_(some))).all()
        contexts = _contexts_of(connection, some)
        feedback = feedback_of(connection, [Trace(row.source, row.source_id) for row in rows])
        prompts = _prompts_of(connection, {row.prompt_hash for row in rows if row.prompt_hash})
        for row in rows:
            prompt = prompts[row.prompt_hash] if row.prompt_hash else None
            trace = Trace(row.source, row.source_id)
            records.append(_record(row, contexts[row.id], feedback.get(trace, ()), prompt))
    records.sort(key=lambda record: (record.occurred_at, record.record_id))
    return {record.record_id: record for record in records}


def _record(
    row: Row[Any], contexts: list[Context], feedback: tuple[Feedback, ...], prompt: PromptTemplate | None
) -> RagRecord:
    return RagRecord(
        **{name: getattr(row, name) for name in SAME_COLUMNS},
        history=tuple(Message(**message) for message in row.history or ()),
        contexts=tuple(contexts),
        prompt=prompt,
        tags=tuple(row.tags or ()),
        feedback=feedback,
    )


def _contexts_of(connection: Connection, ids: Sequence[str]) -> dict[str, list[Context]]:
    query = (
        select(CONTEXT.c.interaction_id, CONTEXT.c.groups, PASSAGE.c.text, *(CONTEXT.c[n] for n in CONTEXT_COLUMNS))
        .join(PASSAGE, PASSAGE.c.hash == CONTEXT.c.passage_hash)
        .where(CONTEXT.c.interaction_id.in_(ids))
        .order_by(CONTEXT.c.interaction_id, CONTEXT.c.rank)
    )
    found: dict[str, list[Context]] = defaultdict(list)
    for interaction_id, groups, text, *same in connection.execute(query):
        values = dict(zip(CONTEXT_COLUMNS, same, strict=True))
        readers = None if groups is None else tuple(groups)
        found[interaction_id].append(Context(text=text, groups=readers, **values))
    return found


def feedback_of(connection: Connection, traces: Iterable[Trace]) -> dict[Trace, tuple[Feedback, ...]]:
    """Stored feedback of the traces that have some, whether or not their log line has come."""
    by_source: dict[str, list[str]] = defaultdict(list)
    for trace in traces:
        by_source[trace.source].append(trace.source_id)
    events: dict[Trace, list[Feedback]] = defaultdict(list)
    for source, source_ids in by_source.items():
        for some in chunks(source_ids):
            mine = and_(FEEDBACK.c.source == source, FEEDBACK.c.source_id.in_(some))
            for row in connection.execute(select(FEEDBACK).where(mine)).mappings():
                values = {name: row[name] for name in Feedback.model_fields}
                values["kind"] = FeedbackKind(row["kind"])
                events[Trace(source, row["source_id"])].append(Feedback(**values))
    return {trace: in_order(some) for trace, some in events.items()}


def _prompts_of(connection: Connection, hashes: set[str]) -> dict[str, PromptTemplate]:
    rows = connection.execute(select(PROMPT).where(PROMPT.c.hash.in_(sorted(hashes)))) if hashes else ()
    return {row.hash: PromptTemplate(**row.template) for row in rows}


def content_hashes(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Content hash of each of the records that exists."""
    found: dict[str, str] = {}
    for some in chunks(ids):
        query = select(INTERACTION.c.id, INTERACTION.c.content_hash).where(INTERACTION.c.id.in_(some))
        found |= {row.id: row.content_hash for row in connection.execute(query)}
    return found


def chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """The items in lists of `size`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
