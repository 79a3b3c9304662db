"""Rows to and from records, on a connection that the caller opened. `store` is the way in; only it comes here."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Dialect, Table, and_, bindparam, delete, exists, select, update
from sqlalchemy.dialects import postgresql, sqlite

from logs_schema.records import (
    Feedback,
    FeedbackKind,
    PromptTemplate,
    RagRecord,
    Trace,
    record_id,
)
from logs_schema.tables import (
    ContextLink,
    DocumentVersion,
    FeedbackEvent,
    FindingRow,
    ImportRun,
    Interaction,
    JoinedSpan,
    Passage,
    PendingSpan,
    Prompt,
    Watermark,
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
DOCUMENT: Table = DocumentVersion.__table__  # type: ignore[attr-defined]
WATERMARK: Table = Watermark.__table__  # type: ignore[attr-defined]

CHUNK = 500
"""Values in one IN list: far below the limit of every database."""
SAME_COLUMNS = (
    *("source", "source_id", "occurred_at", "query", "response", "prompt_version", "truncated", "model", "reference"),
    *("latency_ms", "prompt_tokens", "completion_tokens", "session_id", "user_id", "error"),
)
"""Fields of RagRecord that are columns of the same name and type."""
CONTEXT_COLUMNS = ("doc_id", "title", "url", "version", "updated_at", "score")
EARLIEST = datetime.min.replace(tzinfo=UTC)
_INTERACTIONS = select(*(INTERACTION.c[name] for name in ("id", "prompt_hash", "history", "tags", *SAME_COLUMNS)))
_CONTEXT_FIELDS = ("text", "groups", *CONTEXT_COLUMNS)
_CONTEXTS = (
    select(CONTEXT.c.interaction_id, PASSAGE.c.text, *(CONTEXT.c[name] for name in _CONTEXT_FIELDS[1:]))
    .join(PASSAGE, PASSAGE.c.hash == CONTEXT.c.passage_hash)
    .order_by(CONTEXT.c.interaction_id, CONTEXT.c.rank)
)


def put(connection: Connection, table: Table, rows: Iterable[dict[str, Any]], *, replace: bool) -> None:
    """Insert rows; those whose key exists are replaced or left as they are."""
    batch = list(rows)
    if not batch:
        return
    sql, names, converters, positional = _insert(connection.dialect, table, tuple(batch[0]), replace)
    # converted here, a column at a time: SQLAlchemy takes several times as long for every row
    columns = [[row[name] for row in batch] for name in names]
    converted = [
        column if convert is None else [convert(value) for value in column]
        for column, convert in zip(columns, converters, strict=True)
    ]
    values = list(zip(*converted, strict=True))
    connection.exec_driver_sql(sql, values if positional else [dict(zip(names, each, strict=True)) for each in values])


@lru_cache(100)
def _insert(
    dialect: Dialect, table: Table, names: tuple[str, ...], replace: bool
) -> tuple[str, list[str], list[Callable[[Any], Any] | None], bool]:
    """(SQL, columns in its order, what makes each of their values what the driver takes, whether by position)."""
    insert = (postgresql if dialect.name == "postgresql" else sqlite).insert(table)
    keys = [column.name for column in table.primary_key]
    others = {name: insert.excluded[name] for name in names if name not in keys}
    statement = (
        insert.on_conflict_do_update(index_elements=keys, set_=others) if replace else insert.on_conflict_do_nothing()
    )
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    order = compiled.positiontup or list(names)
    converters = [table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in order]
    return str(compiled), order, converters, compiled.positional


def prompt_row(prompt: PromptTemplate) -> dict[str, Any]:
    """Row of `prompt`."""
    return {"hash": prompt.hash, "template": prompt.model_dump(mode="json")}


def interaction_row(
    record: RagRecord, content_hash: str, line_hash: str | None, imported_at: datetime
) -> dict[str, Any]:
    """Row of `interaction`."""
    return {
        **{name: getattr(record, name) for name in SAME_COLUMNS},
        "line_hash": line_hash,
        "id": record.record_id,
        "content_hash": content_hash,
        "history": [message.model_dump() for message in record.history] or None,
        "prompt_hash": record.prompt.hash if record.prompt else None,
        "tags": list(record.tags) or None,
        "imported_at": imported_at,
    }


def context_rows(record: RagRecord, passages: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Rows of `context`, by rank; `passages` gives the hash of each text."""
    identifier = record.record_id
    for rank, context in enumerate(record.contexts):
        yield {
            "interaction_id": identifier,
            "rank": rank,
            "passage_hash": passages[context.text],
            "doc_id": context.doc_id,
            "title": context.title,
            "url": context.url,
            "version": context.version,
            "updated_at": context.updated_at,
            "score": context.score,
            "groups": None if context.groups is None else list(context.groups),
        }


def in_order(events: Iterable[Feedback]) -> tuple[Feedback, ...]:
    """Undated events first, then by time: the order in which every record reads back."""
    return tuple(sorted(events, key=lambda e: (e.occurred_at is not None, e.occurred_at or EARLIEST, e.identifier)))


def load(connection: Connection, ids: Sequence[str]) -> dict[str, RagRecord]:
    """Records by id, ordered by (occurred_at, id); ids that do not exist are left out."""
    found: list[tuple[str, RagRecord]] = []
    for some in chunks(ids):
        rows = connection.execute(_INTERACTIONS.where(INTERACTION.c.id.in_(some))).all()
        contexts = _contexts_of(connection, some)
        feedback = feedback_of(connection, [Trace(row.source, row.source_id) for row in rows])
        prompts = _prompts_of(connection, {row.prompt_hash for row in rows if row.prompt_hash})
        for identifier, prompt_hash, history, tags, *same in rows:
            values = dict(zip(SAME_COLUMNS, same, strict=True))
            # validated as one: pydantic makes the parts from dicts faster than Python makes them one by one
            record = RagRecord.model_validate(
                {
                    **values,
                    "history": history or (),
                    "contexts": contexts[identifier],
                    "prompt": prompts[prompt_hash] if prompt_hash else None,
                    "tags": tags or (),
                    "feedback": feedback.get(Trace(values["source"], values["source_id"]), ()),
                }
            )
            found.append((identifier, record))
    found.sort(key=lambda each: (each[1].occurred_at, each[0]))
    return dict(found)


def _contexts_of(connection: Connection, ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Fields of the contexts, by record."""
    query = _CONTEXTS.where(CONTEXT.c.interaction_id.in_(ids))
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for interaction_id, *values in connection.execute(query):
        found[interaction_id].append(dict(zip(_CONTEXT_FIELDS, values, strict=True)))
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


def drop_orphans(connection: Connection, passages: Iterable[str], prompts: Iterable[str]) -> int:
    """Delete those of the passages and prompt templates that no record uses; the number of passages deleted."""
    shown = exists().where(CONTEXT.c.passage_hash == PASSAGE.c.hash)
    sent = exists().where(INTERACTION.c.prompt_hash == PROMPT.c.hash)
    count = 0
    for some in chunks(sorted(passages)):
        count += connection.execute(delete(PASSAGE).where(PASSAGE.c.hash.in_(some), ~shown)).rowcount
    for some in chunks(sorted(prompts)):
        connection.execute(delete(PROMPT).where(PROMPT.c.hash.in_(some), ~sent))
    return count


def content_hashes(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Content hash of each of the records that exists."""
    found: dict[str, str] = {}
    for some in chunks(ids):
        query = select(INTERACTION.c.id, INTERACTION.c.content_hash).where(INTERACTION.c.id.in_(some))
        found |= {row.id: row.content_hash for row in connection.execute(query)}
    return found


def rehash(connection: Connection, traces: Iterable[Trace]) -> None:
    """Bring records up to date whose feedback changed: they are due for mining, and no longer as a log line says."""
    changed = load(connection, [record_id(*trace) for trace in traces]).values()
    if changed:
        statement = update(INTERACTION).where(INTERACTION.c.id == bindparam("record"))
        values = [{"record": record.record_id, "hash": record.content_hash} for record in changed]
        connection.execute(statement.values(content_hash=bindparam("hash"), line_hash=None), values)


def chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """The items in lists of `size`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
