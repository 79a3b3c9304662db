"""Forgetting: rows leave the store, and a keyed hash stays, so that a later import leaves them out.

A hash that nobody can turn back is all that is kept of a trace, a user or a document.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, Table, and_, delete, exists, func, select, update

from logs_schema.keys import keyed, store_key_in
from logs_schema.records import Feedback, RagRecord, Trace, Value, record_id
from logs_schema.rows import (
    CONTEXT,
    FEEDBACK,
    FINDING,
    INTERACTION,
    JOINED,
    PENDING,
    chunks,
    drop_orphans,
    load,
    put,
)
from logs_schema.tables import DatasetRow, Forgotten, ForgottenExample, QueueItem, Review, now
from logs_schema.taxonomy import Split

FORGOTTEN: Table = Forgotten.__table__  # type: ignore[attr-defined]
FORGOTTEN_EXAMPLE: Table = ForgottenExample.__table__  # type: ignore[attr-defined]
QUEUE: Table = QueueItem.__table__  # type: ignore[attr-defined]
REVIEW: Table = Review.__table__  # type: ignore[attr-defined]
DATASET_ROW: Table = DatasetRow.__table__  # type: ignore[attr-defined]

TRACE, USER, DOCUMENT = "trace", "user", "document"


class Mark(NamedTuple):
    """What the store remembers of something forgotten."""

    kind: str
    hash: str


class Gone(NamedTuple):
    """Rows that left the store."""

    records: int
    contexts: int
    passages: int
    feedback: int
    spans: int
    findings: int
    queued: int
    reviews: int

    def __add__(self, other: tuple[int, ...]) -> "Gone":  # type: ignore[override]
        """Counts of both."""
        return Gone(*(one + another for one, another in zip(self, other, strict=True)))


NOTHING = Gone(0, 0, 0, 0, 0, 0, 0, 0)


class Taint(Value):
    """Rows of a dataset version that were forgotten after it was built, by side."""

    train: int = 0
    validation: int = 0
    test: int = 0

    def text(self) -> str:
        """Such as `2 train, 1 test`."""
        return ", ".join(f"{count} {side.value}" for side in Split if (count := getattr(self, side.value)))


# --- at the door: what an import may bring in -------------------------------------------------------


def admitted(connection: Connection, records: Sequence[RagRecord]) -> list[RagRecord]:
    """The records that were not forgotten.

    Forgotten are: those of a forgotten trace, those of a forgotten user from before that, and those that
    show a forgotten document. What the store holds of the others' traces goes too.
    """
    if not _anything(connection):
        return list(records)
    key = store_key_in(connection)
    marks = {index: list(_marks(key, record)) for index, record in enumerate(records)}
    known = _known(connection, (mark for some in marks.values() for mark in some))
    refused = [
        record
        for index, record in enumerate(records)
        if any(
            mark in known and (mark.kind != USER or record.occurred_at <= known[mark])  # a user may come back
            for mark in marks[index]
        )
    ]
    forget_traces(connection, key, [Trace(record.source, record.source_id) for record in refused])
    left_out = {record.record_id for record in refused}
    return [record for record in records if record.record_id not in left_out]


def admitted_feedback(
    connection: Connection, feedback: Mapping[Trace, Sequence[Feedback]]
) -> dict[Trace, Sequence[Feedback]]:
    """Feedback on traces that were not forgotten, by people who were not (see `admitted`)."""
    if not _anything(connection):
        return dict(feedback)
    key = store_key_in(connection)
    traces = admitted_traces(connection, feedback)
    by = {event.by: mark(key, USER, event.by) for trace in traces for event in feedback[trace] if event.by}
    known = _known(connection, by.values())

    def is_admitted(event: Feedback) -> bool:
        moment = known.get(by[event.by]) if event.by else None
        return moment is None or (event.occurred_at is not None and event.occurred_at > moment)

    kept = {trace: [event for event in feedback[trace] if is_admitted(event)] for trace in traces}
    return {trace: events for trace, events in kept.items() if events}


def admitted_traces(connection: Connection, traces: Iterable[Trace]) -> list[Trace]:
    """Those of the traces that were not forgotten, in their order."""
    wanted = list(traces)
    if not wanted or not _anything(connection):
        return wanted
    key = store_key_in(connection)
    marks = {trace: mark(key, TRACE, *trace) for trace in wanted}
    known = _known(connection, marks.values())
    return [trace for trace in wanted if marks[trace] not in known]


def mark(key: bytes, kind: str, *names: str) -> Mark:
    """The mark of a trace (source and trace id), a user or a document."""
    return Mark(kind, keyed(key, "forgotten", kind, *names).hex()[:32])


def _marks(key: bytes, record: RagRecord) -> Iterator[Mark]:
    yield mark(key, TRACE, record.source, record.source_id)
    if record.user_id:
        yield mark(key, USER, record.user_id)
    for doc_id in {context.doc_id for context in record.contexts if context.doc_id}:
        yield mark(key, DOCUMENT, doc_id)


def _anything(connection: Connection) -> bool:
    return bool(connection.scalar(select(exists(select(FORGOTTEN.c.hash)))))


def _known(connection: Connection, marks: Iterable[Mark]) -> dict[Mark, datetime]:
    found: dict[Mark, datetime] = {}
    for some in chunks(sorted({each.hash for each in marks})):
        rows = connection.execute(select(FORGOTTEN).where(FORGOTTEN.c.hash.in_(some)))
        found |= {Mark(row.kind, row.hash): row.forgotten_at for row in rows}
    return found


# --- deleting ---------------------------------------------------------------------------------------


def forget_traces(connection: Connection, key: bytes, traces: Sequence[Trace]) -> Gone:
    """Delete everything of the traces, and leave their marks with what is still to be deleted outside the store.

    Their spans leave marks too: feedback that names one of them only is left out as well.
    The rows of dataset versions that came from them are noted as forgotten.
    """
    gone, moment = NOTHING, now()
    for some in chunks(sorted(set(traces))):
        ids = [record_id(*trace) for trace in some]
        pushed = select(QUEUE.c.interaction_id, QUEUE.c.pushed_to).where(
            QUEUE.c.interaction_id.in_(ids), QUEUE.c.pushed_to.is_not(None)
        )
        targets = {row.interaction_id: row.pushed_to for row in connection.execute(pushed)}
        taught = connection.execute(
            select(DATASET_ROW.c.dataset_id, DATASET_ROW.c.example_id).where(DATASET_ROW.c.interaction_id.in_(ids))
        )
        note_examples(connection, [(row.dataset_id, row.example_id) for row in taught])
        only_here = _only_here(connection, ids)
        spans = {span for source, mine in _by_source(some) for span in _spans_of(connection, source, mine)}
        deleted = delete_traces(connection, some)
        gone += deleted
        rows = []
        for trace, identifier in zip(some, ids, strict=True):
            left = {"files": sorted(only_here.get(identifier, ()))} if any(deleted) else {}
            left |= {"argilla": targets[identifier]} if identifier in targets else {}
            values = {"record_id": identifier, "left_to_do": left or None, "forgotten_at": moment}
            rows.append({**mark(key, TRACE, *trace)._asdict(), **values})
        nothing_left = {"record_id": None, "left_to_do": None, "forgotten_at": moment}
        rows += [{**mark(key, TRACE, *span)._asdict(), **nothing_left} for span in sorted(spans - set(some))]
        put(connection, FORGOTTEN, rows, replace=False)
    return gone


def delete_traces(connection: Connection, traces: Sequence[Trace]) -> Gone:
    """Delete all rows of the traces (500 at the most), with passages and prompts that nothing else uses."""
    ids = [record_id(*trace) for trace in traces]

    def count(column_of_ids: Table, column: str = "interaction_id") -> int:
        mine = select(func.count()).select_from(column_of_ids).where(column_of_ids.c[column].in_(ids))
        return connection.scalar(mine) or 0

    passages = set(connection.scalars(select(CONTEXT.c.passage_hash).where(CONTEXT.c.interaction_id.in_(ids))))
    prompts = set(connection.scalars(select(INTERACTION.c.prompt_hash).where(INTERACTION.c.id.in_(ids)))) - {None}
    dependants = [count(table) for table in (CONTEXT, FINDING, QUEUE, REVIEW)]
    records = connection.execute(delete(INTERACTION).where(INTERACTION.c.id.in_(ids))).rowcount
    feedback = spans = 0
    for source, mine in _by_source(traces):
        named = {span.source_id for span in _spans_of(connection, source, mine)}
        for some in chunks(sorted({*mine, *named})):
            told = FEEDBACK.c.source == source, FEEDBACK.c.source_id.in_(some)
            feedback += connection.execute(delete(FEEDBACK).where(*told)).rowcount
        waiting = PENDING.c.source == source, PENDING.c.trace_id.in_(mine)
        spans += connection.execute(delete(PENDING).where(*waiting)).rowcount
        connection.execute(delete(JOINED).where(JOINED.c.source == source, JOINED.c.trace_id.in_(mine)))
    orphans = drop_orphans(connection, passages, prompts)
    contexts, findings, queued, reviews = dependants
    return Gone(records, contexts, orphans, feedback, spans, findings, queued, reviews)


def _by_source(traces: Sequence[Trace]) -> list[tuple[str, list[str]]]:
    sources = sorted({trace.source for trace in traces})
    return [(source, [trace.source_id for trace in traces if trace.source == source]) for source in sources]


def _spans_of(connection: Connection, source: str, traces: Sequence[str]) -> set[Trace]:
    """The spans of the traces that the store knows, as what feedback may be about."""
    found: set[Trace] = set()
    for table in (JOINED, PENDING):
        mine = table.c.source == source, table.c.trace_id.in_(traces)
        found |= {Trace(source, span) for span in connection.scalars(select(table.c.span_id).where(*mine))}
    return found


def forget_feedback_by(connection: Connection, names: Sequence[str]) -> int:
    """Delete the feedback that these people gave on others' traces."""
    theirs = FEEDBACK.c.by.in_(names)
    traces = connection.execute(select(FEEDBACK.c.source, FEEDBACK.c.source_id).where(theirs).distinct()).all()
    count = connection.execute(delete(FEEDBACK).where(theirs)).rowcount
    for record in load(connection, [record_id(*trace) for trace in traces]).values():
        changed = update(INTERACTION).where(INTERACTION.c.id == record.record_id)
        connection.execute(changed.values(content_hash=record.content_hash))
    return count


def note_examples(connection: Connection, examples: Iterable[tuple[str, str]]) -> None:
    """Note rows (dataset id, example id) of dataset versions as forgotten."""
    moment = now()
    rows = [
        {"dataset_id": dataset, "example_id": example, "forgotten_at": moment} for dataset, example in sorted(examples)
    ]
    put(connection, FORGOTTEN_EXAMPLE, rows, replace=False)


def forgotten_examples(connection: Connection) -> set[tuple[str, str]]:
    """Rows (dataset id, example id) of dataset versions that were forgotten."""
    rows = connection.execute(select(FORGOTTEN_EXAMPLE.c.dataset_id, FORGOTTEN_EXAMPLE.c.example_id))
    return {(row.dataset_id, row.example_id) for row in rows}


def tainted(connection: Connection, besides: Set[tuple[str, str]] = frozenset()) -> dict[str, Taint]:
    """Dataset versions of which rows were forgotten, not counting some rows."""
    same = and_(
        DATASET_ROW.c.dataset_id == FORGOTTEN_EXAMPLE.c.dataset_id,
        DATASET_ROW.c.example_id == FORGOTTEN_EXAMPLE.c.example_id,
    )
    columns = DATASET_ROW.c.dataset_id, DATASET_ROW.c.example_id, DATASET_ROW.c.split
    found: dict[str, Counter[str]] = {}
    for dataset_id, example_id, split in connection.execute(select(*columns).join(FORGOTTEN_EXAMPLE, same)):
        if (dataset_id, example_id) not in besides:
            found.setdefault(dataset_id, Counter())[split] += 1
    return {dataset_id: Taint(**counts) for dataset_id, counts in sorted(found.items())}


def _only_here(connection: Connection, ids: Sequence[str]) -> dict[str, set[str]]:
    """Passages that no other record was shown, by record: dataset rows of other records may have borrowed them."""
    mine = CONTEXT.c.interaction_id.in_(ids)
    other = CONTEXT.alias()
    elsewhere = exists().where(other.c.passage_hash == CONTEXT.c.passage_hash, other.c.interaction_id.not_in(ids))
    found: dict[str, set[str]] = {}
    for row in connection.execute(select(CONTEXT.c.interaction_id, CONTEXT.c.passage_hash).where(mine, ~elsewhere)):
        found.setdefault(row.interaction_id, set()).add(row.passage_hash)
    return found
