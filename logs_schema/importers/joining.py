"""Joining spans to records: a trace's spans come in any order, in several files, on several days."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, and_, delete, func, select

from logs_schema.importers.spans import Span, merged, record_of
from logs_schema.records import Feedback, RagRecord, Trace, record_id
from logs_schema.rows import FEEDBACK, INTERACTION, JOINED, PENDING, chunks, content_hashes, feedback_of, put
from logs_schema.store import save_feedback_in


class Joined(NamedTuple):
    """What a batch of spans came to."""

    records: list[RagRecord]
    """Of traces that are whole now."""
    known: list[str]
    """Traces whose whole record is stored already: a finished span never changes, so theirs bring nothing new."""
    waiting: list[str]
    """Traces that wait for more."""


def join(connection: Connection, source: str, spans: Sequence[Span]) -> Joined:
    """Put spans to those that wait; traces that are whole with them leave the waiting room."""
    arrived: dict[str, dict[str, Span]] = defaultdict(dict)
    for span in spans:
        known = arrived[span.trace_id].get(span.span_id, span)
        arrived[span.trace_id][span.span_id] = merged(known, span)
    held = held_spans(connection, source, arrived)
    stored = content_hashes(connection, [record_id(source, trace) for trace in arrived])
    joined = Joined([], [], [])
    rows, whole = [], []
    for trace, new in sorted(arrived.items()):
        if trace not in held and record_id(source, trace) in stored:
            joined.known.append(trace)
            continue
        before = held.get(trace, {})
        new = {name: merged(before.get(name, span), span) for name, span in new.items()}
        made = record_of(list({**before, **new}.values()), source)
        if made and made[1]:
            joined.records.append(made[0])
            whole += [_joined_row(source, span) for span in {**before, **new}.values() if span.span_id != trace]
        else:
            joined.waiting.append(trace)
            rows += [_row(source, span) for _, span in sorted(new.items())]
    put(connection, PENDING, rows, replace=True)
    put(connection, JOINED, whole, replace=False)
    for some in chunks([record.source_id for record in joined.records]):
        connection.execute(delete(PENDING).where(PENDING.c.source == source, PENDING.c.trace_id.in_(some)))
    return joined


def so_far(connection: Connection, source: str, traces: Collection[str]) -> list[RagRecord]:
    """Records of waiting traces, as far as their spans tell; the spans go on waiting for more."""
    made = [
        record_of(list(spans.values()), source) for _, spans in sorted(held_spans(connection, source, traces).items())
    ]
    return [record for record, _ in filter(None, made)]


def count_waiting(connection: Connection) -> int:
    """Traces of which there are spans but no record."""
    here = and_(INTERACTION.c.source == PENDING.c.source, INTERACTION.c.source_id == PENDING.c.trace_id)
    missing = select(PENDING.c.source, PENDING.c.trace_id).outerjoin(INTERACTION, here)
    traces = missing.where(INTERACTION.c.id.is_(None)).distinct().subquery()
    return connection.scalar(select(func.count()).select_from(traces)) or 0


def claim_feedback(connection: Connection, source: str, spans: Mapping[str, str]) -> dict[Trace, Sequence[Feedback]]:
    """Feedback that names one of these spans (id → trace), which is about its trace from now on; by that trace."""
    apart = [Trace(source, span) for span, trace in sorted(spans.items()) if span != trace]
    claimed: dict[Trace, list[Feedback]] = defaultdict(list)
    for about, events in feedback_of(connection, apart).items():
        claimed[Trace(source, spans[about.source_id])] += events
        mine = and_(FEEDBACK.c.source == source, FEEDBACK.c.source_id == about.source_id)
        connection.execute(delete(FEEDBACK).where(mine))
    save_feedback_in(connection, claimed)
    return dict(claimed)


def traces_of(connection: Connection, source: str, spans: Collection[str]) -> dict[str, str]:
    """Trace of each of these spans that has joined a record."""
    found: dict[str, str] = {}
    for some in chunks(sorted(spans)):
        mine = and_(JOINED.c.source == source, JOINED.c.span_id.in_(some))
        rows = connection.execute(select(JOINED.c.span_id, JOINED.c.trace_id).where(mine))
        found |= {row.span_id: row.trace_id for row in rows}
    return found


def waiting_feedback(connection: Connection, source: str) -> dict[str, str]:
    """Spans (id → trace) that wait for the rest of their trace and that feedback names."""
    here = and_(FEEDBACK.c.source == PENDING.c.source, FEEDBACK.c.source_id == PENDING.c.span_id)
    named = select(PENDING.c.span_id, PENDING.c.trace_id).join(FEEDBACK, here)
    found = connection.execute(named.where(PENDING.c.source == source, PENDING.c.span_id != PENDING.c.trace_id))
    return {row.span_id: row.trace_id for row in found}


def held_spans(connection: Connection, source: str, traces: Collection[str]) -> dict[str, dict[str, Span]]:
    """Trace → span id → span, of those of the traces that wait."""
    held: dict[str, dict[str, Span]] = defaultdict(dict)
    for some in chunks(sorted(traces)):
        mine = and_(PENDING.c.source == source, PENDING.c.trace_id.in_(some))
        for row in connection.execute(select(PENDING).where(mine)):
            held[row.trace_id][row.span_id] = Span.model_validate(row.span)
    return dict(held)


def _joined_row(source: str, span: Span) -> dict[str, object]:
    return {"source": source, "span_id": span.span_id, "trace_id": span.trace_id}


def _row(source: str, span: Span) -> dict[str, object]:
    told = span.model_dump(mode="json", exclude_defaults=True)
    return {"source": source, "trace_id": span.trace_id, "span_id": span.span_id, "span": told}
