"""Saving what a batch of log lines or a request holds: join spans, place feedback, note what became of each record."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, Engine

from logs_schema.importers.joining import claim_feedback, join, so_far, traces_of, waiting_feedback
from logs_schema.importers.parsed import Parsed
from logs_schema.importers.reading import Read, read_of
from logs_schema.importers.spans import Span
from logs_schema.importers.texts import keep_texts
from logs_schema.prepared import Prepared
from logs_schema.records import Feedback, Trace, record_id
from logs_schema.rows import content_hashes
from logs_schema.store import NO_LINES, save_feedback_in, save_in, writing

Done = dict[str, str]
"""Record id → what became of it: `new`, `updated`, `unchanged` or `forgotten` (left out)."""


class Batch:
    """What is saved in one transaction."""

    def __init__(self) -> None:
        self.records: list[Prepared] = []
        self.spans: list[Span] = []
        self.feedback: dict[Trace, list[Feedback]] = defaultdict(list)
        self.lines: dict[str, str | None] = {}
        """Record id → hash of the line that says all of it, when one does."""

    def __bool__(self) -> bool:
        """Whether there is anything to save."""
        return bool(self.records or self.spans or self.feedback)

    def add(self, read: Read, line: str | None = None) -> None:
        """Take what a line (of this hash, when it has one) or a request holds."""
        self.records.extend(read.records)
        self.spans.extend(read.spans)
        for trace, event in read.feedback:
            self.feedback[trace].append(event)
        alone = len(read.records) == 1 and not (read.spans or read.feedback or read.problems)
        for record in read.records:
            self.lines[record.record_id] = line if alone else None


def save_parsed(engine: Engine, parsed: Parsed, source: str, *, patience: float | None = None) -> Done:
    """Save what came otherwise than in a file, in one transaction; wait for the store as `writing` does.

    Traces that are not whole become records as far as their spans tell; their spans go on waiting for more.
    """
    batch, done = Batch(), Done()
    batch.add(read_of(parsed))
    with writing(engine, patience=patience) as connection:
        save_so_far(connection, source, save_batch(connection, batch, source, done), done)
        if batch.feedback:
            claim_waiting(connection, source, done)
    return done


def save_batch(connection: Connection, batch: Batch, source: str, done: Done) -> set[str]:
    """Save a batch, note what became of each record, and return the traces that wait."""
    joined = join(connection, source, batch.spans)
    told = [record_id(*trace) for trace in batch.feedback]
    before = content_hashes(connection, told)
    save_feedback_in(connection, batch.feedback)
    _note(connection, before, [identifier for identifier in told if identifier in before], done)
    named = traces_of(connection, source, {trace.source_id for trace in batch.feedback if trace.source == source})
    _claim(connection, source, {**named, **{span.span_id: span.trace_id for span in batch.spans}}, done)
    for trace in joined.known:
        done.setdefault(record_id(source, trace), "unchanged")
    done.update(dict.fromkeys((record_id(source, trace) for trace in joined.forgotten), "forgotten"))
    lines = batch.lines | dict.fromkeys(record.record_id for record in joined.records)
    _save(connection, [*batch.records, *map(Prepared, joined.records)], done, lines)
    return set(joined.waiting)


def save_so_far(connection: Connection, source: str, traces: Collection[str], done: Done) -> None:
    """Make records of waiting traces as far as their spans tell."""
    _save(connection, [Prepared(record) for record in so_far(connection, source, traces)], done)


def claim_waiting(connection: Connection, source: str, done: Done) -> None:
    """Feedback that names a waiting span goes to the span's trace."""
    _claim(connection, source, waiting_feedback(connection, source), done)


def _claim(connection: Connection, source: str, spans: Mapping[str, str], done: Done) -> None:
    """Feedback that names a span goes to the span's trace."""
    traces = [record_id(source, trace) for trace in set(spans.values())]
    before = content_hashes(connection, traces)
    claimed = [record_id(*trace) for trace in claim_feedback(connection, source, spans)]
    _note(connection, before, [identifier for identifier in claimed if identifier in before], done)


def _save(
    connection: Connection, records: Sequence[Prepared], done: Done, lines: Mapping[str, str | None] = NO_LINES
) -> None:
    for identifier, fate in save_in(connection, keep_texts(connection, records), lines).items():
        _set(done, identifier, fate)


def _note(connection: Connection, before: dict[str, str], ids: Sequence[str], done: Done) -> None:
    """Note what became of records that were there before."""
    stored = content_hashes(connection, ids)
    for identifier in ids:
        after = stored.get(identifier)
        fate = "forgotten" if after is None else "unchanged" if after == before[identifier] else "updated"
        _set(done, identifier, fate)


def _set(done: Done, identifier: str, fate: str) -> None:
    if fate == "unchanged" or (fate == "updated" and done.get(identifier) == "new"):
        done.setdefault(identifier, fate)
    else:
        done[identifier] = fate
