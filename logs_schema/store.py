"""The only code that turns records into rows and back.

A passage text is stored once however often it was retrieved; everything here works on SQLite and
PostgreSQL alike, in bulk, with SQLAlchemy Core.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Select, and_, delete, exists, func, or_, select, update

from logs_schema.database import open_store, upgrade, writing
from logs_schema.errors import InputError
from logs_schema.records import Feedback, RagRecord, Trace, Value, passage_hash, record_id
from logs_schema.rows import (
    CHUNK,
    CONTEXT,
    FEEDBACK,
    FINDING,
    INTERACTION,
    PASSAGE,
    PROMPT,
    chunks,
    content_hashes,
    context_rows,
    feedback_of,
    in_order,
    interaction_row,
    load,
    prompt_row,
    put,
)
from logs_schema.tables import now

__all__ = [
    "Coverage",
    "SaveCounts",
    "Trace",
    "coverage_in",
    "iter_records",
    "iter_unmined",
    "latest_documents",
    "load_records",
    "open_store",
    "resolve_id",
    "save_feedback",
    "save_feedback_in",
    "save_in",
    "save_records",
    "upgrade",
    "writing",
]


class SaveCounts(Value):
    """What saving a batch of records did."""

    new: int = 0
    updated: int = 0
    unchanged: int = 0

    def __add__(self, other: "SaveCounts") -> "SaveCounts":
        """Counts of both."""
        return SaveCounts(
            new=self.new + other.new, updated=self.updated + other.updated, unchanged=self.unchanged + other.unchanged
        )


# --- writing --------------------------------------------------------------------------------------


def save_records(engine: Engine, records: Sequence[RagRecord]) -> SaveCounts:
    """Save records in one transaction; a record of the same trace with other content is replaced.

    Feedback is merged by identifier, and feedback that came before its record is kept.
    """
    with writing(engine) as connection:
        return save_in(connection, records)


def save_feedback(engine: Engine, source: str, source_id: str, feedback: Sequence[Feedback]) -> int:
    """Save feedback on one trace, whose record may come later; the number of new or changed events."""
    with writing(engine) as connection:
        return save_feedback_in(connection, {Trace(source, source_id): feedback})


def save_in(connection: Connection, records: Sequence[RagRecord]) -> SaveCounts:
    """As `save_records`, in the caller's transaction (see `database.writing`)."""
    given: dict[Trace, RagRecord] = {}
    events: dict[Trace, list[Feedback]] = {}
    for record in records:
        trace = Trace(record.source, record.source_id)
        given[trace] = record
        events.setdefault(trace, []).extend(record.feedback)
    stored_feedback = feedback_of(connection, given)
    merged = {trace: _merge(stored_feedback.get(trace, ()), events[trace]) for trace in given}
    full = [record.model_copy(update={"feedback": merged[trace]}) for trace, record in sorted(given.items())]
    before = content_hashes(connection, [record.record_id for record in full])
    hashes = {record.record_id: record.content_hash for record in full}
    changed = [record for record in full if before.get(record.record_id) != hashes[record.record_id]]
    replaced = [record.record_id for record in changed if record.record_id in before]

    put(connection, PROMPT, {r.prompt.hash: prompt_row(r.prompt) for r in changed if r.prompt}.values(), replace=False)
    passages = {passage_hash(context.text): context.text for record in changed for context in record.contexts}
    put(connection, PASSAGE, ({"hash": h, "text": text} for h, text in sorted(passages.items())), replace=False)
    old_prompts = _prompts(connection, replaced)
    old = _unlink(connection, replaced)
    imported_at = now()
    put(
        connection,
        INTERACTION,
        [interaction_row(record, hashes[record.record_id], imported_at) for record in changed],
        replace=True,
    )
    put(connection, CONTEXT, [row for record in changed for row in context_rows(record)], replace=False)
    _put_feedback(connection, merged, stored_feedback)
    _drop_orphans(connection, old, old_prompts)
    new = len(changed) - len(replaced)
    return SaveCounts(new=new, updated=len(replaced), unchanged=len(full) - len(changed))


def save_feedback_in(connection: Connection, feedback: Mapping[Trace, Sequence[Feedback]]) -> int:
    """As `save_feedback`, for many traces, in the caller's transaction."""
    stored = feedback_of(connection, feedback)
    merged = {trace: _merge(stored.get(trace, ()), events) for trace, events in sorted(feedback.items())}
    count = _put_feedback(connection, merged, stored)
    ids = [record_id(*trace) for trace in merged if merged[trace] != stored.get(trace, ())]
    for record in load(connection, ids).values():
        connection.execute(
            update(INTERACTION).where(INTERACTION.c.id == record.record_id).values(content_hash=record.content_hash)
        )
    return count


def _merge(stored: Sequence[Feedback], given: Sequence[Feedback]) -> tuple[Feedback, ...]:
    """Events by identifier; one that is known to be older than the stored one does not replace it."""
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


def _drop_orphans(connection: Connection, passages: set[str], prompts: set[str]) -> None:
    """Delete those of the passages and prompt templates that no record uses."""
    shown = exists().where(CONTEXT.c.passage_hash == PASSAGE.c.hash)
    for some in chunks(sorted(passages)):
        connection.execute(delete(PASSAGE).where(PASSAGE.c.hash.in_(some), ~shown))
    if prompts:
        kept = select(INTERACTION.c.id).where(INTERACTION.c.prompt_hash == PROMPT.c.hash).exists()
        connection.execute(delete(PROMPT).where(PROMPT.c.hash.in_(sorted(prompts)), ~kept))


# --- reading --------------------------------------------------------------------------------------


def iter_records(engine: Engine, *, ids: Sequence[str] | None = None, batch: int = CHUNK) -> Iterator[list[RagRecord]]:
    """Records in batches, ordered by (occurred_at, id); all of them, or those of `ids` that exist.

    Each batch is read in a transaction of its own, so that the caller may write in between.
    """
    if ids is None:
        yield from _pages(engine, select(INTERACTION.c.id, INTERACTION.c.occurred_at), batch)
        return
    keys: list[tuple[datetime, str]] = []
    for some in chunks(sorted(set(ids))):
        with engine.connect() as connection:
            query = select(INTERACTION.c.occurred_at, INTERACTION.c.id).where(INTERACTION.c.id.in_(some))
            keys += [(row.occurred_at, row.id) for row in connection.execute(query)]
    for page in chunks(sorted(keys), batch):
        with engine.connect() as connection:
            records = list(load(connection, [identifier for _, identifier in page]).values())
        if records:
            yield records


def load_records(engine: Engine, ids: Sequence[str]) -> dict[str, RagRecord]:
    """Records by id, ordered by (occurred_at, id); ids that do not exist are left out."""
    return {record.record_id: record for batch in iter_records(engine, ids=ids) for record in batch}


def iter_unmined(engine: Engine, miner_version: str, batch: int = CHUNK) -> Iterator[list[RagRecord]]:
    """Records without a finding of this miner version on their present content, as `iter_records`.

    The caller may write findings between batches: a record comes once.
    """
    due = or_(
        FINDING.c.interaction_id.is_(None),
        FINDING.c.miner_version != miner_version,
        FINDING.c.record_hash != INTERACTION.c.content_hash,
    )
    joined = INTERACTION.outerjoin(FINDING, FINDING.c.interaction_id == INTERACTION.c.id)
    yield from _pages(engine, select(INTERACTION.c.id, INTERACTION.c.occurred_at).select_from(joined).where(due), batch)


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


def latest_documents(engine: Engine) -> dict[str, tuple[datetime, str | None]]:
    """Newest (updated_at, version) of each document that contexts date."""
    query = (
        select(CONTEXT.c.doc_id, CONTEXT.c.updated_at, CONTEXT.c.version)
        .where(CONTEXT.c.doc_id.is_not(None), CONTEXT.c.updated_at.is_not(None))
        .distinct()
    )
    newest: dict[str, tuple[datetime, str | None]] = {}
    with engine.connect() as connection:
        for doc_id, updated_at, version in connection.execute(query):
            known = newest.get(doc_id)
            if known is None or (updated_at, version or "") > (known[0], known[1] or ""):
                newest[doc_id] = (updated_at, version)
    return dict(sorted(newest.items()))


class Coverage(Value):
    """What records hold, as counts."""

    records: int = 0
    with_feedback: int = 0
    with_prompt: int = 0
    contexts: int = 0
    contexts_with_text: int = 0

    def __add__(self, other: "Coverage") -> "Coverage":
        """Counts of both."""
        return Coverage(**{name: getattr(self, name) + getattr(other, name) for name in Coverage.model_fields})


def coverage_in(connection: Connection, ids: Sequence[str]) -> Coverage:
    """How many of the records have feedback and a prompt, and how many of their contexts a text."""
    total = Coverage()
    for some in chunks(ids):
        mine = INTERACTION.c.id.in_(some)
        same = and_(FEEDBACK.c.source == INTERACTION.c.source, FEEDBACK.c.source_id == INTERACTION.c.source_id)
        told = select(func.count()).select_from(INTERACTION).where(mine, exists().where(same))
        links = CONTEXT.join(PASSAGE, PASSAGE.c.hash == CONTEXT.c.passage_hash)
        shown = select(func.count()).select_from(links).where(CONTEXT.c.interaction_id.in_(some))
        records, prompts = connection.execute(
            select(func.count(), func.count(INTERACTION.c.prompt_hash)).where(mine)
        ).one()
        total += Coverage(
            records=records,
            with_feedback=connection.scalar(told) or 0,
            with_prompt=prompts,
            contexts=connection.scalar(shown) or 0,
            contexts_with_text=connection.scalar(shown.where(PASSAGE.c.text != "")) or 0,
        )
    return total


def _pages(engine: Engine, query: Select[Any], batch: int) -> Iterator[list[RagRecord]]:
    """Records of a query for (id, occurred_at), a page at a time, each page from where the last ended."""
    moment, identifier = INTERACTION.c.occurred_at, INTERACTION.c.id
    page = query.order_by(moment, identifier).limit(batch)
    while True:
        with engine.connect() as connection:
            keys = connection.execute(page).all()
            records = list(load(connection, [key.id for key in keys]).values())
        if not keys:
            return
        yield records
        last = keys[-1]
        after = or_(moment > last.occurred_at, and_(moment == last.occurred_at, identifier > last.id))
        page = query.where(after).order_by(moment, identifier).limit(batch)
