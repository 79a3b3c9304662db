"""At the door of the store: what was forgotten is left out of what comes in."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlalchemy import Connection

from logs_schema.forgetting import forget_traces
from logs_schema.keys import store_key_in
from logs_schema.marks import Kind, Mark, any_marks, known_marks, mark
from logs_schema.prepared import Prepared
from logs_schema.records import Feedback, RagRecord, Trace


def admitted(connection: Connection, records: Sequence[Prepared]) -> list[Prepared]:
    """The records that were not forgotten.

    Forgotten are: those of a forgotten trace, those of a forgotten user from before that, and those that
    show a forgotten document. What the store holds of the others' traces goes too.
    """
    if not any_marks(connection):
        return list(records)
    key = store_key_in(connection)
    marks = [list(_marks(key, each.record)) for each in records]
    known = known_marks(connection, (mark for some in marks for mark in some))
    refused = [
        each
        for each, mine in zip(records, marks, strict=True)
        if any(
            mark in known and (mark.kind != Kind.user or each.record.occurred_at <= known[mark])  # a user may come back
            for mark in mine
        )
    ]
    forget_traces(connection, key, [each.trace for each in refused])
    left_out = {each.record_id for each in refused}
    return [each for each in records if each.record_id not in left_out]


def admitted_feedback(
    connection: Connection, feedback: Mapping[Trace, Sequence[Feedback]]
) -> dict[Trace, Sequence[Feedback]]:
    """Feedback on traces that were not forgotten, by people who were not (see `admitted`)."""
    if not any_marks(connection):
        return dict(feedback)
    key = store_key_in(connection)
    traces = admitted_traces(connection, feedback)
    by = {event.by: mark(key, Kind.user, event.by) for trace in traces for event in feedback[trace] if event.by}
    known = known_marks(connection, by.values())

    def is_admitted(event: Feedback) -> bool:
        moment = known.get(by[event.by]) if event.by else None
        return moment is None or (event.occurred_at is not None and event.occurred_at > moment)

    kept = {trace: [event for event in feedback[trace] if is_admitted(event)] for trace in traces}
    return {trace: events for trace, events in kept.items() if events}


def admitted_traces(connection: Connection, traces: Iterable[Trace]) -> list[Trace]:
    """Those of the traces that were not forgotten, in their order."""
    wanted = list(traces)
    if not wanted or not any_marks(connection):
        return wanted
    key = store_key_in(connection)
    marks = {trace: mark(key, Kind.trace, *trace) for trace in wanted}
    known = known_marks(connection, marks.values())
    return [trace for trace in wanted if marks[trace] not in known]


def admitted_documents(connection: Connection, doc_ids: Iterable[str]) -> set[str]:
    """Those of the documents that were not forgotten."""
    wanted = set(doc_ids)
    if not wanted or not any_marks(connection):
        return wanted
    key = store_key_in(connection)
    marks = {doc_id: mark(key, Kind.document, doc_id) for doc_id in wanted}
    known = known_marks(connection, marks.values())
    return {doc_id for doc_id in wanted if marks[doc_id] not in known}


def _marks(key: bytes, record: RagRecord) -> Iterator[Mark]:
    yield mark(key, Kind.trace, record.source, record.source_id)
    if record.user_id:
        yield mark(key, Kind.user, record.user_id)
    for doc_id in {context.doc_id for context in record.contexts if context.doc_id}:
        yield mark(key, Kind.document, doc_id)
