"""Rows to and from records, on a connection that the caller opened. `store` is the way in; only it comes here."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import islice, zip_longest
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Dialect,
    Engine,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from logs_schema.garbage import paused
from logs_schema.passages import Texts
from logs_schema.records import (
    Context,
    Feedback,
    FeedbackKind,
    Message,
    PromptTemplate,
    RagRecord,
    Trace,
    Value,
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
    QueueItem,
    Review,
    Watermark,
)

T = TypeVar("T")
V = TypeVar("V", bound=Value)
_Convert = Callable[[Any], Any] | None
_Order = Callable[[tuple[Any, ...]], Any] | None
_Query = tuple[str, Sequence[str] | None, list[str]]
_fill = object.__setattr__

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
QUEUE: Table = QueueItem.__table__  # type: ignore[attr-defined]
REVIEW: Table = Review.__table__  # type: ignore[attr-defined]
REVIEWED = exists().where(REVIEW.c.interaction_id == QUEUE.c.interaction_id)
"""Of a queue item: somebody reviewed it."""

CHUNK = 500
"""Values in one IN list: far below the limit of every database."""
PAGED = {"yield_per": 1000}
"""Rows that are read at a time of a query that may have millions."""
EARLIEST = datetime.min.replace(tzinfo=UTC)
_KEYS: BindParameter[str] = bindparam("keys", expanding=True)
_RECORD = tuple(RagRecord.model_fields)[:-1]
"""Without `feedback`, the last one, which goes by the trace."""
_IN_PLACE = {"contexts": INTERACTION.c.id, "prompt": INTERACTION.c.prompt_hash}
"""What leads to the fields that are no columns."""
_INTERACTIONS = select(*(_IN_PLACE[name] if name in _IN_PLACE else INTERACTION.c[name] for name in _RECORD)).where(
    INTERACTION.c.id.in_(_KEYS)
)
_CONTEXTS = (
    select(
        CONTEXT.c.interaction_id, CONTEXT.c.passage_hash, *(CONTEXT.c[name] for name in tuple(Context.model_fields)[1:])
    )
    .where(CONTEXT.c.interaction_id.in_(_KEYS))
    .order_by(CONTEXT.c.interaction_id, CONTEXT.c.rank)
)
_PASSAGES = select(PASSAGE.c.hash, PASSAGE.c.text).where(PASSAGE.c.hash.in_(_KEYS))
_FEEDBACK = select(FEEDBACK.c.source_id, *(FEEDBACK.c[name] for name in Feedback.model_fields)).where(
    FEEDBACK.c.source == bindparam("source"), FEEDBACK.c.source_id.in_(_KEYS)
)
_CONTENT_HASHES = select(INTERACTION.c.id, INTERACTION.c.content_hash).where(INTERACTION.c.id.in_(_KEYS))
_LINES = select(INTERACTION.c.line_hash, INTERACTION.c.id).where(INTERACTION.c.line_hash.in_(_KEYS))
_PROMPTS = select(PROMPT.c.hash, PROMPT.c.template).where(PROMPT.c.hash.in_(_KEYS))
_FIELDS: dict[type[Value], set[str]] = {model: set(model.model_fields) for model in (RagRecord, Context, Feedback)}
_TEXTS = Texts(48 << 20)


def after(moment: datetime, identifier: str) -> ColumnElement[bool]:
    """Of records in order of (occurred_at, id): they come after this one.

    The first half lets every database begin at the index entry instead of reading what was read before.
    """
    when = INTERACTION.c.occurred_at
    return and_(when >= moment, or_(when > moment, INTERACTION.c.id > identifier))


def put(connection: Connection, table: Table, rows: Iterable[dict[str, Any]], *, replace: bool) -> None:
    """Insert rows; those whose key exists are replaced or left as they are."""
    batch = list(rows)
    if batch:
        names = tuple(batch[0])
        values = [tuple([row[name] for name in names]) for row in batch]
        put_converted(connection, table, names, converted(connection.dialect, table, names, values), replace=replace)


def put_converted(
    connection: Connection, table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]], *, replace: bool
) -> None:
    """As `put`, of rows that `converted` gave."""
    if rows:
        sql, order = _insert(connection.dialect, table, names, replace)
        values = list(map(order, rows)) if order else [dict(zip(names, row, strict=True)) for row in rows]
        connection.exec_driver_sql(sql, values)


def converted(
    dialect: Dialect, table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """Rows of values of these columns, each made what the driver takes.

    It is done a column at a time: SQLAlchemy takes several times as long for every row.
    """
    columns: list[Iterable[Any]] = []
    for column, convert in zip(zip(*rows, strict=True), _to_driver(dialect, table, names), strict=False):
        columns.append(column if convert is None or column.count(None) == len(column) else map(convert, column))
    return list(zip(*columns, strict=True))


@lru_cache(100)
def _to_driver(dialect: Dialect, table: Table, names: tuple[str, ...]) -> list[_Convert]:
    """What makes values of these columns what the driver takes."""
    return [table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names]


@lru_cache(100)
def _insert(dialect: Dialect, table: Table, names: tuple[str, ...], replace: bool) -> tuple[str, _Order]:
    """(SQL, what brings values of these columns into its order; None: it takes them by name)."""
    insert = (postgresql if dialect.name == "postgresql" else sqlite).insert(table)
    keys = [column.name for column in table.primary_key]
    others = {name: insert.excluded[name] for name in names if name not in keys}
    statement = (
        insert.on_conflict_do_update(index_elements=keys, set_=others) if replace else insert.on_conflict_do_nothing()
    )
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    places = [names.index(name) for name in compiled.positiontup or ()]
    return str(compiled), itemgetter(*places) if len(places) > 1 else tuple if places else None


def fetched(connection: Connection, query: Select[Any], keys: Sequence[str], **others: str) -> list[tuple[Any, ...]]:
    """Rows of a query of this module for `keys`, converted as `put` does it: a column at a time."""
    size = 1 << (len(keys) - 1).bit_length()
    sql, order, names = _query(connection.dialect, query, size, tuple(others))
    # filled up with the last key, so that there are ten statements of each query and not five hundred
    given = others | dict(zip_longest(names, keys, fillvalue=keys[-1]))
    result = connection.exec_driver_sql(sql, tuple(given[name] for name in order) if order else given)
    columns = list(zip(*result.cursor.fetchall(), strict=True))
    converters = _converters(connection.dialect, query, tuple(column[1] for column in result.cursor.description))
    result.close()
    for at, convert in enumerate(converters if columns else ()):
        if convert and columns[at].count(None) < len(columns[at]):
            columns[at] = tuple(map(convert, columns[at]))
    return list(zip(*columns, strict=True))


@lru_cache(1000)
def _query(dialect: Dialect, query: Select[Any], count: int, others: tuple[str, ...]) -> _Query:
    """(SQL for so many keys, order of all parameters if by position, names of the keys)."""
    given = {"keys": [""] * count, **dict.fromkeys(others, "")}
    state = query.compile(dialect=dialect).construct_expanded_state(given)
    return state.statement, state.positiontup, state.parameter_expansion["keys"]


@lru_cache(100)
def _converters(dialect: Dialect, query: Select[Any], codes: tuple[object, ...]) -> list[_Convert]:
    """What makes values of what the driver gives, of each column; `codes` is what the driver calls their types."""
    types = [column.type.dialect_impl(dialect) for column in query.selected_columns]
    return [kind.result_processor(dialect, code) for kind, code in zip(types, codes, strict=True)]


def stored(model: type[V], values: dict[str, Any]) -> V:
    """A value from all of its fields, which were validated before they were stored.

    It is filled as unpickling fills it; `model_construct` takes longer than validating everything again.
    """
    made = model.__new__(model)
    _fill(made, "__dict__", values)
    _fill(made, "__pydantic_fields_set__", _FIELDS[model])
    _fill(made, "__pydantic_extra__", None)
    _fill(made, "__pydantic_private__", None)
    return made


def in_order(events: Iterable[Feedback]) -> tuple[Feedback, ...]:
    """Undated events first, then by time: the order in which every record reads back."""
    return tuple(sorted(events, key=lambda e: (e.occurred_at is not None, e.occurred_at or EARLIEST, e.identifier)))


def load(connection: Connection, ids: Iterable[str]) -> dict[str, RagRecord]:
    """Records by id, ordered by (occurred_at, id); ids that do not exist are left out."""
    found: list[tuple[datetime, str, RagRecord]] = []
    with paused():
        for some in chunks(sorted(set(ids))):
            found += _loaded(connection, some)
    found.sort(key=lambda each: each[:2])
    return {identifier: record for _, identifier, record in found}


def _loaded(connection: Connection, ids: Sequence[str]) -> Iterator[tuple[datetime, str, RagRecord]]:
    rows = [dict(zip(_RECORD, row, strict=True)) for row in fetched(connection, _INTERACTIONS, ids)]
    contexts = _contexts_of(connection, ids)
    traces = [Trace(row["source"], row["source_id"]) for row in rows]
    feedback = feedback_of(connection, traces)
    prompts = _prompts_of(connection, {row["prompt"] for row in rows if row["prompt"]})
    for trace, values in zip(traces, rows, strict=True):
        identifier = values["contexts"]
        values["history"] = tuple(Message(**turn) for turn in values["history"] or ())
        values["contexts"] = tuple(contexts[identifier])
        values["prompt"] = prompts[values["prompt"]] if values["prompt"] else None
        values["tags"] = tuple(values["tags"] or ())
        values["feedback"] = feedback.get(trace, ())
        yield values["occurred_at"], identifier, stored(RagRecord, values)


def _contexts_of(connection: Connection, ids: Sequence[str]) -> dict[str, list[Context]]:
    """The contexts by record, in their order."""
    rows = fetched(connection, _CONTEXTS, ids)
    texts = _TEXTS.of({row[1] for row in rows}, partial(_passages, connection))
    found: dict[str, list[Context]] = defaultdict(list)
    for interaction_id, passage, doc_id, title, url, version, updated_at, groups, score in rows:
        values = {
            "text": texts[passage],
            "doc_id": doc_id,
            "title": title,
            "url": url,
            "version": version,
            "updated_at": updated_at,
            "groups": None if groups is None else tuple(groups),
            "score": score,
        }
        found[interaction_id].append(stored(Context, values))
    return found


def passage_texts(engine: Engine, hashes: Iterable[str]) -> dict[str, str]:
    """Texts of passages by hash; those that are gone are left out, unless they were read a moment ago."""

    def read(missing: Sequence[str]) -> list[tuple[str, str]]:
        with engine.connect() as connection:
            return list(_passages(connection, missing))

    return _TEXTS.of(hashes, read)


def _passages(connection: Connection, hashes: Sequence[str]) -> Iterator[tuple[str, str]]:
    return ((name, text) for some in chunks(hashes) for name, text in fetched(connection, _PASSAGES, some))


def feedback_of(connection: Connection, traces: Iterable[Trace]) -> dict[Trace, tuple[Feedback, ...]]:
    """Stored feedback of the traces that have some, whether or not their log line has come."""
    by_source: dict[str, list[str]] = defaultdict(list)
    for trace in traces:
        by_source[trace.source].append(trace.source_id)
    events: dict[Trace, list[Feedback]] = defaultdict(list)
    for source, source_ids in by_source.items():
        for some in chunks(source_ids):
            for source_id, *row in fetched(connection, _FEEDBACK, some, source=source):
                values = dict(zip(Feedback.model_fields, row, strict=True))
                values["kind"] = FeedbackKind(values["kind"])
                events[Trace(source, source_id)].append(stored(Feedback, values))
    return {trace: in_order(some) for trace, some in events.items()}


def _prompts_of(connection: Connection, hashes: Collection[str]) -> dict[str, PromptTemplate]:
    return {
        hash: PromptTemplate(**template)
        for some in chunks(sorted(hashes))
        for hash, template in fetched(connection, _PROMPTS, some)
    }


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
    return {name: hash for some in chunks(ids) for name, hash in fetched(connection, _CONTENT_HASHES, some)}


def records_of_lines(connection: Connection, hashes: Iterable[str]) -> dict[str, str]:
    """Hash of a log line → the record that is as it says, of those lines that the store holds so."""
    return {hash: name for some in chunks(hashes) for hash, name in fetched(connection, _LINES, some)}


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
