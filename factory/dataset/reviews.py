"""What curators decided, read from the store: one case per record."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import Engine, Table, select

from factory.dataset.split import Place
from logs_schema.rows import QUEUE, REVIEW
from logs_schema.tables import SplitPlacement
from logs_schema.taxonomy import Decision, QueueReason, Split

PLACEMENT: Table = SplitPlacement.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One curator's review of one record."""

    review_id: str
    decision: Decision
    ideal_answer: str | None
    draft: str | None
    draft_source: str
    guidelines_version: str
    record_hash: str
    reviewed_at: datetime
    audit: bool


@dataclass(frozen=True, slots=True)
class Case:
    """All reviews of one record."""

    record_id: str
    verdicts: tuple[Verdict, ...]
    """Newest first."""
    failure: str | None
    """Primary failure for which it was queued; None for audit records."""
    audit: bool


def read_cases(engine: Engine) -> list[Case]:
    """Every reviewed record, by record id."""
    query = (
        select(REVIEW, QUEUE.c.reason, QUEUE.c.failure.label("queued_for"))
        .select_from(REVIEW.outerjoin(QUEUE, QUEUE.c.interaction_id == REVIEW.c.interaction_id))
        .order_by(REVIEW.c.interaction_id, REVIEW.c.reviewed_at.desc(), REVIEW.c.id)
    )
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    cases = []
    for record_id, group in groupby(rows, key=lambda row: str(row.interaction_id)):
        found = list(group)
        verdicts = tuple(
            Verdict(
                review_id=row.id,
                decision=Decision(row.decision),
                ideal_answer=row.ideal_answer,
                draft=row.draft,
                draft_source=row.draft_source,
                guidelines_version=row.guidelines_version,
                record_hash=row.record_hash,
                reviewed_at=row.reviewed_at,
                audit=row.audit,
            )
            for row in found
        )
        audit = any(verdict.audit for verdict in verdicts) or found[0].reason == QueueReason.audit
        cases.append(Case(record_id, verdicts, None if audit else found[0].queued_for, audit))
    return cases


def read_places(engine: Engine) -> Mapping[str, Place]:
    """Where records were placed by earlier builds."""
    with engine.connect() as connection:
        rows = connection.execute(select(PLACEMENT.c.interaction_id, PLACEMENT.c.split, PLACEMENT.c.leak_group)).all()
    return {row.interaction_id: Place(Split(row.split), row.leak_group) for row in rows}
