"""Forgetting: rows leave the store, and a mark stays, so that a later import leaves them out (see `admission`)."""

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, Table, and_, delete, exists, func, select, update

from logs_schema.marks import FORGOTTEN, Kind, mark
from logs_schema.records import Trace, Value, record_id
from logs_schema.rows import (
    CHUNK,
    CONTEXT,
    DOCUMENT,
    FEEDBACK,
    FINDING,
    INTERACTION,
    JOINED,
    PENDING,
    QUEUE,
    REVIEW,
    WATERMARK,
    chunks,
    drop_orphans,
    put,
    rehash,
)
from logs_schema.tables import DatasetRow, ForgottenExample, now
from logs_schema.taxonomy import QueueReason, Split

FORGOTTEN_EXAMPLE: Table = ForgottenExample.__table__  # type: ignore[attr-defined]
DATASET_ROW: Table = DatasetRow.__table__  # type: ignore[attr-defined]
FILES = "files"
"""What is left to do in files: passages (hashes) whose dataset rows go. Other work is named by the Argilla it is in."""
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


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
    documents: int = 0
    """Versions of documents."""

    def __add__(self, other: tuple[int, ...]) -> "Gone":  # type: ignore[override]
        """Counts of both."""
        return Gone(*(one + another for one, another in zip(self, other, strict=True)))


NOTHING = Gone(*[0] * 9)


class Taint(Value):
    """Rows of a dataset version that were forgotten after it was built, by side."""

    train: int = 0
    validation: int = 0
    test: int = 0

    def text(self) -> str:
        """Such as `2 train, 1 test`."""
        return ", ".join(f"{count} {side.value}" for side in Split if (count := getattr(self, side.value)))


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
            left = {FILES: sorted(only_here.get(identifier, ()))} if any(deleted) else {}
            left |= {targets[identifier]: [identifier]} if identifier in targets else {}
            values = {"record_id": identifier, "left_to_do": left or None, "forgotten_at": moment}
            rows.append({**mark(key, Kind.trace, *trace)._asdict(), **values})
        nothing_left = {"record_id": None, "left_to_do": None, "forgotten_at": moment}
        rows += [{**mark(key, Kind.trace, *span)._asdict(), **nothing_left} for span in sorted(spans - set(some))]
        put(connection, FORGOTTEN, rows, replace=False)
    if any(gone):  # what the neighbours' sessions showed is read anew, without them
        connection.execute(update(WATERMARK).values(moment=BEGINNING))
    return gone


def forget_documents(connection: Connection, key: bytes, documents: Sequence[str]) -> Gone:
    """Delete the versions of documents, and the findings that quote them; leave marks with what is still to be done.

    Findings quote what a search of the corpus found. Curators may have been shown them: those records are
    to be taken out of Argilla, and pushed again. Records that were shown the documents are not looked for.
    """
    versions = findings = 0
    for some in chunks(sorted(set(documents))):
        versions += connection.execute(delete(DOCUMENT).where(DOCUMENT.c.doc_id.in_(some))).rowcount
    quoting = _quoting(connection, set(documents))
    rows = []
    for document in sorted(set(documents)):
        left: dict[str, list[str]] = {FILES: []}
        for some in chunks(quoting.get(document, ())):
            shown = QUEUE.c.interaction_id.in_(some), QUEUE.c.reason != QueueReason.audit.value
            pushed = select(QUEUE.c.interaction_id, QUEUE.c.pushed_to).where(*shown, QUEUE.c.pushed_to.is_not(None))
            for identifier, target in connection.execute(pushed):
                left.setdefault(target, []).append(identifier)
            findings += connection.execute(delete(FINDING).where(FINDING.c.interaction_id.in_(some))).rowcount
        marked = mark(key, Kind.document, document)._asdict()
        rows.append({**marked, "record_id": None, "left_to_do": left, "forgotten_at": now()})
    put(connection, FORGOTTEN, rows, replace=True)
    return NOTHING._replace(documents=versions, findings=findings)


def push_again(connection: Connection, ids: Sequence[str]) -> None:
    """Let queued records that were taken out of Argilla go there with the next push."""
    for some in chunks(ids):
        taken = update(QUEUE).where(QUEUE.c.interaction_id.in_(some))
        connection.execute(taken.values(pushed_at=None, pushed_to=None))


def _quoting(connection: Connection, documents: Set[str]) -> dict[str, list[str]]:
    """Document → records whose findings quote it."""
    found: dict[str, list[str]] = {}
    query = select(FINDING.c.interaction_id, FINDING.c.evidence).execution_options(yield_per=CHUNK)
    for identifier, evidence in connection.execute(query):
        for document in {each.get("document") for each in evidence} & documents:
            found.setdefault(document, []).append(identifier)
    return found


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
    rehash(connection, [Trace(*trace) for trace in traces])
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
