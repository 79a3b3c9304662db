"""The only code that turns records into rows and back.

A passage text is stored once however often it was retrieved; everything here works on SQLite and
PostgreSQL alike, in bulk, with SQLAlchemy Core.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Engine, Select, and_, bindparam, delete, or_, select, update

from logs_schema.admission import admitted, admitted_feedback, admitted_traces
from logs_schema.database import open_store, upgrade, writing
from logs_schema.errors import InputError
from logs_schema.prepared import (
    CONTEXT_COLUMNS,
    INTERACTION_COLUMNS,
    PASSAGE_COLUMNS,
    Prepared,
    rows_of,
)
from logs_schema.records import Feedback, RagRecord, Trace, Value
from logs_schema.rows import (
    CHUNK,
    CONTEXT,
    FEEDBACK,
    FINDING,
    INTERACTION,
    PASSAGE,
    PROMPT,
    after,
    chunks,
    content_hashes,
    converted,
    drop_orphans,
    feedback_of,
    in_order,
    load,
    put,
    put_converted,
    rehash,
)
from logs_schema.tables import now

__all__ = [
    "SaveCounts",
    "Trace",
    "iter_records",
    "iter_unmined",
    "load_records",
    "open_store",
    "resolve_id",
    "save_feedback",
    "save_feedback_in",
    "save_in",
    "save_records",
    "set_feedback_in",
    "upgrade",
    "writing",
]


NO_LINES: Mapping[str, str | None] = MappingProxyType({})


class SaveCounts(Value):
    """What saving a batch of records did."""

    new: int = 0
    updated: int = 0
    unchanged: int = 0
    forgotten: int = 0
    """Left out, for they had been forgotten."""

    def __add__(self, other: "SaveCounts") -> "SaveCounts":
        """Counts of both."""
        return SaveCounts(**{name: getattr(self, name) + getattr(other, name) for name in SaveCounts.model_fields})


# --- writing --------------------------------------------------------------------------------------


def save_records(engine: Engine, records: Sequence[RagRecord]) -> SaveCounts:
    """Save records in one transaction; a record of the same trace with other content is replaced.

    Feedback is merged by identifier, and feedback that came before its record is kept.
    """
    with writing(engine) as connection:
        fates = Counter(save_in(connection, records).values())
    return SaveCounts(**fates)


def save_feedback(engine: Engine, source: str, source_id: str, feedback: Sequence[Feedback]) -> int:
    """Save feedback on one trace, whose record may come later; the number of new or changed events."""
    with writing(engine) as connection:
        return save_feedback_in(connection, {Trace(source, source_id): feedback})


def save_in(
    connection: Connection, records: Sequence[RagRecord | Prepared], lines: Mapping[str, str | None] = NO_LINES
) -> dict[str, str]:
    """As `save_records`, in the caller's transaction (see `database.writing`).

    Args:
        connection: see `database.writing`.
        records: to be saved; those that were forgotten are left out.
        lines: record ids with the hash of the log line that says all of the record (see `importers.seen`).

    Returns:
        What became of each record, by id: a field of `SaveCounts`.
    """
    prepared = [each if isinstance(each, Prepared) else Prepared(each) for each in records]
    wanted = [each.record_id for each in prepared]
    given: dict[Trace, Prepared] = {}
    events: dict[Trace, list[Feedback]] = {}
    for each in admitted(connection, prepared):
        given[each.trace] = each
        events.setdefault(each.trace, []).extend(each.feedback)
    stored_feedback = feedback_of(connection, given)
    merged = {trace: _merge(stored_feedback.get(trace, ()), events[trace]) for trace in given}
    by_id = {each.record_id: each.with_feedback(merged[trace]) for trace, each in sorted(given.items())}
    before = content_hashes(connection, list(by_id))
    updates = {name: each for name, each in by_id.items() if before.get(name) != each.content_hash}
    replaced = [name for name in updates if name in before]
    rows = rows_of(connection.dialect, list(updates.values()))
    imported_at = now()

    put(connection, PROMPT, {row["hash"]: row for each in rows for row in each.prompts}.values(), replace=False)
    passages = {hash: text for each in rows for hash, text in each.passages}
    put_converted(connection, PASSAGE, PASSAGE_COLUMNS, sorted(passages.items()), replace=False)
    old_prompts = _prompts(connection, replaced)
    old = _unlink(connection, replaced)
    ((moment,),) = converted(connection.dialect, INTERACTION, ("imported_at",), [(imported_at,)])
    put_converted(
        connection,
        INTERACTION,
        (*INTERACTION_COLUMNS, "line_hash", "imported_at"),
        [(*each.interaction, lines.get(name), moment) for name, each in zip(updates, rows, strict=True)],
        replace=True,
    )
    put_converted(connection, CONTEXT, CONTEXT_COLUMNS, [row for each in rows for row in each.contexts], replace=False)
    _note_lines(connection, {name: lines[name] for name in sorted(by_id.keys() - updates.keys() & lines.keys())})
    _put_feedback(connection, merged, stored_feedback)
    drop_orphans(connection, old, old_prompts)
    new = dict.fromkeys(by_id.keys() - before.keys(), "new")
    kept = dict.fromkeys(by_id, "unchanged") | dict.fromkeys(replaced, "updated") | new
    return dict.fromkeys(wanted, "forgotten") | kept


def _note_lines(connection: Connection, lines: Mapping[str, str | None]) -> None:
    """Note the lines of records that stay as they are: the last one said nothing else."""
    known: dict[str, str | None] = {}
    for some in chunks(lines):
        stored = select(INTERACTION.c.id, INTERACTION.c.line_hash).where(INTERACTION.c.id.in_(some))
        known |= {row.id: row.line_hash for row in connection.execute(stored)}
    lines = {name: line for name, line in lines.items() if known[name] != line}
    if lines:
        noted = update(INTERACTION).where(INTERACTION.c.id == bindparam("record")).values(line_hash=bindparam("line"))
        connection.execute(noted, [{"record": name, "line": line} for name, line in lines.items()])


def save_feedback_in(connection: Connection, feedback: Mapping[Trace, Sequence[Feedback]]) -> int:
    """As `save_feedback`, for many traces, in the caller's transaction; on forgotten ones it is left out."""
    feedback = admitted_feedback(connection, feedback)
    stored = feedback_of(connection, feedback)
    merged = {trace: _merge(stored.get(trace, ()), events) for trace, events in sorted(feedback.items())}
    count = _put_feedback(connection, merged, stored)
    rehash(connection, [trace for trace in merged if merged[trace] != stored.get(trace, ())])
    return count


def set_feedback_in(
    connection: Connection, wanted: Mapping[Trace, Sequence[Feedback]], identifiers: Collection[str]
) -> int:
    """Make the events of these identifiers exactly the wanted ones, in the caller's transaction.

    Args:
        connection: see `database.writing`.
        wanted: events by trace; an empty sequence takes them all off.
        identifiers: of the events that may be replaced or taken off; all others stay.

    Returns:
        How many traces changed.
    """
    wanted = {trace: wanted[trace] for trace in admitted_traces(connection, wanted)}
    stored = feedback_of(connection, wanted)
    merged = {
        trace: in_order([*(e for e in stored.get(trace, ()) if e.identifier not in identifiers), *events])
        for trace, events in sorted(wanted.items())
    }
    changed = {trace: events for trace, events in merged.items() if events != stored.get(trace, ())}
    for trace, events in changed.items():
        gone = {event.identifier for event in stored.get(trace, ())} - {event.identifier for event in events}
        if gone:
            mine = and_(FEEDBACK.c.source == trace.source, FEEDBACK.c.source_id == trace.source_id)
            connection.execute(delete(FEEDBACK).where(mine, FEEDBACK.c.identifier.in_(sorted(gone))))
    _put_feedback(connection, changed, stored)
    rehash(connection, changed)
    return len(changed)


def _merge(stored: Sequence[Feedback], given: Sequence[Feedback]) -> tuple[Feedback, ...]:
    """Events by identifier; one that is known to be older than the stored one does not replace it."""
    if not stored and not given:
        return ()
    events = {event.identifier: event for event in stored}
    for event in given:
        known = events.get(event.identifier)
        outdated = known and known.occurred_at and event.occurred_at and event.occurred_at < known.occurred_at
        if not outdated:
            events[event.identifier] = event
    return in_order(events.values())


def _put_feedback(
    connection: Connection,
    merged: Mapping[Trace, Sequence[Feedback]],
    stored: Mapping[Trace, Sequence[Feedback]],
) -> int:
    rows = [
        {"source": trace.source, "source_id": trace.source_id, **event.model_dump(), "kind": event.kind.value}
        for trace, events in merged.items()
        for event in events
        if event not in stored.get(trace, ())
    ]
    put(connection, FEEDBACK, rows, replace=True)
    return len(rows)


def _unlink(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Take the contexts off the records; the hashes of their passages."""
    hashes: set[str] = set()
    for some in chunks(ids):
        mine = CONTEXT.c.interaction_id.in_(some)
        hashes |= set(connection.scalars(select(CONTEXT.c.passage_hash).where(mine)))
        connection.execute(delete(CONTEXT).where(mine))
    return hashes


def _prompts(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Hashes of the records' prompt templates."""
    hashes: set[str] = set()
    for some in chunks(ids):
        mine = (INTERACTION.c.id.in_(some), INTERACTION.c.prompt_hash.is_not(None))
        hashes |= set(connection.scalars(select(INTERACTION.c.prompt_hash).where(*mine)))
    return hashes


# --- reading --------------------------------------------------------------------------------------


def iter_records(
    engine: Engine,
    *,
    ids: Sequence[str] | None = None,
    since: datetime | None = None,
    source: str | None = None,
    batch: int = CHUNK,
) -> Iterator[list[RagRecord]]:
    """Records in batches, ordered by (occurred_at, id); all of them, or those of `ids` that exist.

    Without `ids`, only those that occurred at `since` or later, and those of one source, may be asked for.
    Each batch is read in a transaction of its own, so that the caller may write in between.
    """
    if ids is None:
        query = select(INTERACTION.c.id, INTERACTION.c.occurred_at)
        query = query.where(INTERACTION.c.occurred_at >= since) if since else query
        query = query.where(INTERACTION.c.source == source) if source else query
        for found in _pages(engine, query, batch):
            yield from _loaded(engine, found)
        return
    keys: list[tuple[datetime, str]] = []
    for some in chunks(sorted(set(ids))):
        with engine.connect() as connection:
            wanted = select(INTERACTION.c.occurred_at, INTERACTION.c.id).where(INTERACTION.c.id.in_(some))
            keys += [(row.occurred_at, row.id) for row in connection.execute(wanted)]
    for page in chunks(sorted(keys), batch):
        yield from _loaded(engine, [identifier for _, identifier in page])


def load_records(engine: Engine, ids: Sequence[str]) -> dict[str, RagRecord]:
    """Records by id, ordered by (occurred_at, id); ids that do not exist are left out."""
    with engine.connect() as connection:
        return load(connection, ids)


def iter_unmined(engine: Engine, miner_version: str, batch: int = CHUNK) -> Iterator[list[str]]:
    """Ids of records without a finding of this miner version on their present content, by (occurred_at, id).

    The caller may write findings between batches: a record comes once.
    """
    due = or_(
        FINDING.c.interaction_id.is_(None),
        FINDING.c.miner_version != miner_version,
        FINDING.c.record_hash != INTERACTION.c.content_hash,
    )
    joined = INTERACTION.outerjoin(FINDING, FINDING.c.interaction_id == INTERACTION.c.id)
    query = select(INTERACTION.c.id, INTERACTION.c.occurred_at).select_from(joined).where(due)
    yield from _pages(engine, query, batch)


def resolve_id(engine: Engine, text: str) -> str:
    """Id of the record that a person means: a full id, a unique prefix (4 or more characters), or a trace id.

    Raises:
        InputError: there is no such record, or more than one.
    """
    wanted = text.strip()
    prefix = wanted.lower()
    with engine.connect() as connection:
        by_trace = select(INTERACTION.c.id).where(INTERACTION.c.source_id == wanted).limit(3)
        found = list(connection.scalars(by_trace))
        if not found and len(prefix) >= 4 and prefix.isalnum():
            by_prefix = select(INTERACTION.c.id).where(INTERACTION.c.id.startswith(prefix)).order_by(INTERACTION.c.id)
            found = list(connection.scalars(by_prefix.limit(3)))
    if len(found) == 1:
        return str(found[0])
    if found:
        raise InputError(f"{wanted!r} means several records, such as {', '.join(found)}: give more characters.")
    raise InputError(
        f"There is no record {wanted!r}: tried it as a trace id, and as a record id or the first 4 or more "
        "characters of one."
    )


def _loaded(engine: Engine, ids: Sequence[str]) -> Iterator[list[RagRecord]]:
    """The records of a page, unless all of them were removed meanwhile."""
    with engine.connect() as connection:
        records = list(load(connection, ids).values())
    if records:
        yield records


def _pages(engine: Engine, query: Select[Any], batch: int) -> Iterator[list[str]]:
    """Ids of a query for (id, occurred_at), a page at a time, each page from where the last ended."""
    moment, identifier = INTERACTION.c.occurred_at, INTERACTION.c.id
    page = query.order_by(moment, identifier).limit(batch)
    while True:
        with engine.connect() as connection:
            keys = connection.execute(page).all()
        if not keys:
            return
        yield [key.id for key in keys]
        page = query.where(after(keys[-1].occurred_at, keys[-1].id)).order_by(moment, identifier).limit(batch)
