"""Joining spans to records: a trace's spans come in any order, in several files, on several days."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, and_, delete, func, select

from logs_schema.forgetting import admitted_traces
from logs_schema.importers.spans import Span, record_of
from logs_schema.records import RagRecord, record_id
from logs_schema.rows import INTERACTION, PENDING, Trace, chunks, content_hashes, put


class Joined(NamedTuple):
    """What a batch of spans came to."""

    records: list[RagRecord]
    """Of traces that are whole now."""
    known: list[str]
    """Traces whose whole record is stored already: a finished span never changes, so theirs bring nothing new."""
    waiting: list[str]
    """Traces that wait for more."""
    forgotten: list[str]
    """Traces that were forgotten: nothing of them is kept."""


def join(connection: Connection, source: str, spans: Sequence[Span]) -> Joined:
    """Put spans to those that wait; traces that are whole with them leave the waiting room.

    Those of forgotten traces never enter it.
    """
    given: dict[str, dict[str, Span]] = defaultdict(dict)
    for span in spans:
        given[span.trace_id][span.span_id] = span
    arrived = {trace: given[trace] for _, trace in admitted_traces(connection, [Trace(source, each) for each in given])}
    held = _held(connection, source, arrived)
    stored = content_hashes(connection, [record_id(source, trace) for trace in arrived])
    joined = Joined([], [], [], sorted(given.keys() - arrived.keys()))
    rows = []
    for trace, new in sorted(arrived.items()):
        if trace not in held and record_id(source, trace) in stored:
            joined.known.append(trace)
            continue
        made = record_of(list({**held.get(trace, {}), **new}.values()), source)
        if made and made[1]:
            joined.records.append(made[0])
        else:
            joined.waiting.append(trace)
            rows += [_row(source, span) for _, span in sorted(new.items())]
    put(connection, PENDING, rows, replace=True)
    for some in chunks([record.source_id for record in joined.records]):
        connection.execute(delete(PENDING).where(PENDING.c.source == source, PENDING.c.trace_id.in_(some)))
    return joined


def so_far(connection: Connection, source: str, traces: Collection[str]) -> list[RagRecord]:
    """Records of waiting traces, as far as their spans tell; the spans go on waiting for more."""
    made = [record_of(list(spans.values()), source) for _, spans in sorted(_held(connection, source, traces).items())]
    return [record for record, _ in filter(None, made)]


def count_waiting(connection: Connection) -> int:
    """Traces of which there are spans but no record."""
    here = and_(INTERACTION.c.source == PENDING.c.source, INTERACTION.c.source_id == PENDING.c.trace_id)
    missing = select(PENDING.c.source, PENDING.c.trace_id).outerjoin(INTERACTION, here)
    traces = missing.where(INTERACTION.c.id.is_(None)).distinct().subquery()
    return connection.scalar(select(func.count()).select_from(traces)) or 0


def _held(connection: Connection, source: str, traces: Collection[str]) -> dict[str, dict[str, Span]]:
    held: dict[str, dict[str, Span]] = defaultdict(dict)
    for some in chunks(sorted(traces)):
        mine = and_(PENDING.c.source == source, PENDING.c.trace_id.in_(some))
        for row in connection.execute(select(PENDING).where(mine)):
            held[row.trace_id][row.span_id] = Span.model_validate(row.span)
    return dict(held)


def _row(source: str, span: Span) -> dict[str, object]:
    told = span.model_dump(mode="json", exclude_defaults=True)
    return {"source": source, "trace_id": span.trace_id, "span_id": span.span_id, "span": told}
