"""What is wrong outside the model's behaviour, read from the findings: one case a record and cause."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine, select

from factory.mining.questions import Words, topic_of
from factory.mining.rank import PERSON
from logs_schema.rows import CONTEXT, FINDING, INTERACTION, PAGED, chunks
from logs_schema.taxonomy import Route, WorkKind

_ROUTES = {Route.behaviour.value, Route.retrieval.value, Route.content.value, Route.prompt.value}
_KINDS = frozenset(WorkKind)
_UNKNOWN = {WorkKind.insufficient_context, WorkKind.knowledge_gap}
_PLACES = {WorkKind.stale_context: "newer_version", WorkKind.multi_hop: "multi_hop"}
"""Kind of the evidence whose places say which documents a case is about."""


class Case(NamedTuple):
    """A record with one cause."""

    kind: WorkKind
    key: tuple[str, ...]
    """Documents, or what else it is about; empty: its topic."""
    record_id: str
    cluster: str
    query: str
    words: Words
    person: str
    vote: float | None
    confidence: float
    why: str
    occurred_at: datetime


def read_cases(engine: Engine, since: datetime | None) -> Iterator[Case]:
    """Every cause of every record that occurred since, in the order of their ids."""
    columns = (
        *(FINDING.c[name] for name in ("failure", "secondary", "confidence", "evidence", "why", "vote", "cluster")),
        *(INTERACTION.c[name] for name in ("id", "source", "query", "history", "occurred_at")),
        PERSON.label("person"),
    )
    joined = FINDING.join(INTERACTION, INTERACTION.c.id == FINDING.c.interaction_id)
    query = select(*columns).select_from(joined).where(FINDING.c.route.in_(sorted(_ROUTES)))
    query = query.where(INTERACTION.c.occurred_at >= since) if since else query
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(INTERACTION.c.id), execution_options=PAGED)
        for some in rows.partitions():
            held = [(row, causes) for row in some if (causes := _causes(row))]
            documents = _documents(engine, [row.id for row, _ in held])
            for row, causes in held:
                for kind in causes:
                    about = _about(kind, row, documents.get(row.id, {}))
                    yield Case(
                        kind=kind,
                        key=about,
                        record_id=row.id,
                        cluster=row.cluster or row.id,
                        query=row.query,
                        words=frozenset() if about else topic_of(row.query, row.history),
                        person=row.person,
                        vote=row.vote,
                        confidence=row.confidence,
                        why=row.why,
                        occurred_at=row.occurred_at,
                    )


def _causes(row: Any) -> list[WorkKind]:
    """Kinds of the work list that a finding belongs to."""
    causes = [WorkKind(name) for name in (row.failure, *row.secondary) if name in _KINDS]
    joins = any(item["kind"] == WorkKind.multi_hop for item in row.evidence)
    return [WorkKind.multi_hop if joins and cause in _UNKNOWN else cause for cause in causes]


def _about(kind: WorkKind, row: Any, documents: dict[int, str]) -> tuple[str, ...]:
    """What a case is grouped by."""
    if kind is WorkKind.truncated_context:
        return ("", row.source)
    if kind is WorkKind.retrieval_miss:
        return tuple(item["document"] for item in row.evidence if item["kind"] == "corpus" and item["document"])[:1]
    if kind is WorkKind.knowledge_gap:
        return ()
    wanted = _PLACES.get(kind, "holds_answer")
    spans = [span["where"] for item in row.evidence if item["kind"] == wanted for span in item["spans"]]
    ranks = [int(where.removeprefix("context:")) for where in spans if where.startswith("context:")]
    found = [documents[rank] for rank in ranks if rank in documents]
    return tuple(sorted(set(found if kind is WorkKind.multi_hop else found[:1])))


def _documents(engine: Engine, ids: Sequence[str]) -> dict[str, dict[int, str]]:
    """Record → rank → document of its contexts."""
    found: dict[str, dict[int, str]] = {}
    with engine.connect() as connection:
        for some in chunks(ids):
            where = (CONTEXT.c.interaction_id.in_(some), CONTEXT.c.doc_id.is_not(None))
            for name, rank, document in connection.execute(
                select(CONTEXT.c.interaction_id, CONTEXT.c.rank, CONTEXT.c.doc_id).where(*where)
            ):
                found.setdefault(name, {})[rank] = document
    return found
