"""What waits in the review queue, why it is there, and what its rank is made of."""

from collections.abc import Iterator

from sqlalchemy import Engine, func, select

from factory.mining.finding import Finding
from factory.mining.queue import QUEUE, REVIEW
from factory.mining.rank import Factors
from labeling.push import mixed
from logs_schema.records import UtcDatetime, Value
from logs_schema.rows import FINDING, INTERACTION
from logs_schema.taxonomy import QueueReason, Route


class QueueEntry(Value):
    """One unreviewed record of the queue."""

    record_id: str
    reason: str
    """`finding`, `audit` or `ticket`."""
    failure: str | None
    """None for audit records and tickets."""
    priority: float
    query: str
    why: str | None
    """What the miner says; None for audit records, on which nobody shall know it before the review."""
    factors: Factors | None
    """None for audit records, and for what an older version queued."""
    queued_at: UtcDatetime
    pushed_to: str | None

    def lines(self, place: int) -> Iterator[str]:
        """What it is, what was asked, why it is there, what its rank is made of."""
        state = "sent to the curators" if self.pushed_to else "not sent yet"
        yield f"{place}. {self.failure or self.reason}   priority {self.priority:.2f}   {state}   {self.record_id}"
        yield f"   asked: {_line(self.query)}"
        if self.reason == QueueReason.audit:
            yield "   drawn at random: it shows what the miner misses"
        elif self.why:
            yield f"   {_line(self.why)}"
        if self.factors:
            yield f"   = {self.factors.text()}"


class QueueList(Value):
    """Unreviewed records of the queue, in the order in which they are sent to the curators."""

    entries: tuple[QueueEntry, ...]
    waiting: dict[str, int]
    """`audit`, `ticket` or primary failure → all records that wait, most frequent first."""
    reviewed: int
    """Queued records that were reviewed."""

    def text(self) -> str:
        """A few lines each."""
        total = sum(self.waiting.values())
        if not total:
            return f"Nothing waits for review, {self.reviewed} records are reviewed. `factory mine` fills the queue."
        kinds = ", ".join(f"{count} {name}" for name, count in self.waiting.items())
        shown = f"{len(self.entries)} of {total} records that wait for review ({kinds}); {self.reviewed} are reviewed."
        entries = ["\n".join(entry.lines(place)) for place, entry in enumerate(self.entries, start=1)]
        return "\n\n".join([*entries, shown])


def list_queue(engine: Engine, *, limit: int | None = None) -> QueueList:
    """What waits for review: the findings by priority, the audit records spread evenly among them."""
    reviewed = select(REVIEW.c.interaction_id).where(REVIEW.c.interaction_id == QUEUE.c.interaction_id).exists()
    kind = func.coalesce(QUEUE.c.failure, QUEUE.c.reason)
    count = select(kind, func.count()).where(~reviewed).group_by(kind).order_by(func.count().desc(), kind)
    names = [QUEUE.c[name] for name in ("reason", "failure", "priority", "factors", "queued_at", "pushed_to")]
    joined = QUEUE.join(INTERACTION, INTERACTION.c.id == QUEUE.c.interaction_id)
    joined = joined.outerjoin(FINDING, FINDING.c.interaction_id == QUEUE.c.interaction_id)
    query = (
        select(QUEUE.c.interaction_id.label("record_id"), *names, INTERACTION.c.query, FINDING.c.why)
        .select_from(joined)
        .where(~reviewed)
        .order_by(QUEUE.c.priority.desc(), QUEUE.c.interaction_id)
    )
    audit = QUEUE.c.reason == QueueReason.audit.value
    with engine.connect() as connection:
        waiting = {row[0]: row[1] for row in connection.execute(count)}
        findings = [dict(row) for row in connection.execute(query.where(~audit)).mappings()]
        audits = [{**row, "why": None} for row in connection.execute(query.where(audit)).mappings()]
        done = connection.scalar(select(func.count()).select_from(QUEUE).where(reviewed)) or 0
    rows = mixed(findings, audits)[:limit]
    return QueueList(entries=tuple(QueueEntry(**row) for row in rows), waiting=waiting, reviewed=done)


def review_state(engine: Engine, finding: Finding) -> str | None:
    """Where the record of a finding stands in the review, one sentence; None when nobody is to review it."""
    with engine.connect() as connection:
        item = connection.execute(select(QUEUE).where(QUEUE.c.interaction_id == finding.record_id)).first()
        mine = REVIEW.c.interaction_id == finding.record_id
        decided = select(REVIEW.c.reviewer, REVIEW.c.decision).where(mine).order_by(REVIEW.c.reviewed_at)
        reviews = connection.execute(decided).all()
    if reviews:
        return "It was reviewed: " + ", ".join(f"{row.reviewer} decided {row.decision}" for row in reviews) + "."
    if item is None:
        flagged = finding.route in (Route.behaviour, Route.ticket)
        return "It is not in the review queue: others came first, or nearly the same was asked." if flagged else None
    drawn = " It was drawn at random, for the audit." if item.reason == QueueReason.audit.value else ""
    where = "It was sent to the curators" if item.pushed_to else "It waits in the review queue (`factory queue show`)"
    return f"{where}.{drawn}"


def _line(text: str) -> str:
    return " ".join(text.split())
