"""What waits in the review queue, why it is there, and what its rank is made of."""

from collections.abc import Iterator

from sqlalchemy import Engine, Select, func, select

from factory.mining.finding import Finding
from factory.mining.rank import Factors
from labeling.push import mixed
from logs_schema.records import UtcDatetime, Value
from logs_schema.rows import FINDING, INTERACTION, QUEUE, REVIEW, REVIEWED
from logs_schema.taxonomy import Decision, QueueReason, Route
from logs_schema.visible import visible
from logs_schema.wording import counted


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
            reviewed = counted(self.reviewed, "record is", "records are")
            return f"Nothing waits for review, {reviewed} reviewed. `factory mine` fills the queue."
        kinds = ", ".join(f"{count:,} {name}" for name, count in self.waiting.items())
        wait = counted(total, "record that waits", "records that wait")
        reviewed = counted(self.reviewed, "is", "are")
        shown = f"{len(self.entries):,} of {wait} for review ({kinds}); {reviewed} reviewed."
        entries = ["\n".join(entry.lines(place)) for place, entry in enumerate(self.entries, start=1)]
        return "\n\n".join([*entries, shown])


def list_queue(engine: Engine, *, limit: int | None = None) -> QueueList:
    """What waits for review: the findings by priority, the audit records spread evenly among them."""
    kind = func.coalesce(QUEUE.c.failure, QUEUE.c.reason)
    count = select(kind, func.count()).where(~REVIEWED).group_by(kind).order_by(func.count().desc(), kind)
    names = [QUEUE.c[name] for name in ("reason", "failure", "priority", "factors", "queued_at", "pushed_to")]
    joined = QUEUE.join(INTERACTION, INTERACTION.c.id == QUEUE.c.interaction_id)
    joined = joined.outerjoin(FINDING, FINDING.c.interaction_id == QUEUE.c.interaction_id)
    query = (
        select(QUEUE.c.interaction_id.label("record_id"), *names, INTERACTION.c.query, FINDING.c.why)
        .select_from(joined)
        .where(~REVIEWED)
        .order_by(QUEUE.c.priority.desc(), QUEUE.c.interaction_id)
    )
    audit = QUEUE.c.reason == QueueReason.audit.value
    with engine.connect() as connection:
        waiting = {row[0]: row[1] for row in connection.execute(count)}
        findings = [dict(row) for row in connection.execute(query.where(~audit)).mappings()]
        audits = [{**row, "why": None} for row in connection.execute(query.where(audit)).mappings()]
        done = connection.scalar(select(func.count()).select_from(QUEUE).where(REVIEWED)) or 0
    rows = mixed(findings, audits)[:limit]
    return QueueList(entries=tuple(QueueEntry(**row) for row in rows), waiting=waiting, reviewed=done)


def next_step(engine: Engine, finding: Finding) -> str:
    """What happens next with a finding, or what people decided about it: a sentence a line."""
    item_of = select(QUEUE.c.reason, QUEUE.c.pushed_to).where(QUEUE.c.interaction_id == finding.record_id)
    columns = [REVIEW.c[name] for name in ("reviewer", "decision", "ideal_answer", "reviewed_at")]
    of_it = select(*columns).where(REVIEW.c.interaction_id == finding.record_id).order_by(REVIEW.c.reviewed_at)
    with engine.connect() as connection:
        item = connection.execute(item_of).first()
        reviews = connection.execute(of_it).all()
        asked = connection.scalar(_nearly_the_same(finding.record_id))
    if reviews:
        lines = [
            f"Reviewed by {row.reviewer} on {row.reviewed_at:%Y-%m-%d}: {_decided(row.decision, row.ideal_answer)}"
            for row in reviews
        ]
        agreed = len({row.decision for row in reviews}) == 1
        return "\n".join([*lines, "Nothing more to do." if agreed else "They do not agree."])
    if item is not None:
        drawn = "It was drawn at random, for the audit. " if item.reason == QueueReason.audit.value else ""
        decides = "confirms or rejects it, and writes the right answer."
        if item.pushed_to:
            return f"{drawn}It waits for a curator in Argilla, who {decides}"
        return f"{drawn}It waits in the review queue (`factory queue show`) to be sent to a curator, who {decides}"
    if finding.route not in (Route.behaviour, Route.ticket):
        return _ELSEWHERE if finding.route is not Route.no_action else "Nothing: it is not flagged."
    if asked:
        return f"It is not in the review queue, because nearly the same question is: record {asked}."
    return "It is not in the review queue: other findings came first (the budget and the limits of `[mining]`)."


_ELSEWHERE = "Training cannot mend this: it is on the list of the RAG team (`factory worklist`)."


def _nearly_the_same(record_id: str) -> Select[tuple[str]]:
    """A queued record whose question is in the same cluster."""
    other = FINDING.alias()
    return (
        select(QUEUE.c.interaction_id)
        .select_from(QUEUE.join(other, other.c.interaction_id == QUEUE.c.interaction_id))
        .join(FINDING, FINDING.c.cluster == other.c.cluster)
        .where(FINDING.c.interaction_id == record_id, QUEUE.c.interaction_id != record_id)
        .order_by(QUEUE.c.interaction_id)
        .limit(1)
    )


def _decided(decision: str, ideal: str | None) -> str:
    match Decision(decision):
        case Decision.not_usable:
            return "not usable; it will not be trained on."
        case Decision.good_as_is:
            return "the response is good as it is."
        case Decision.abstain if not ideal:
            return 'the right answer is "I don\'t know".'
        case _:
            return f'the right answer is "{_line(visible(ideal or ""))}".'


def _line(text: str) -> str:
    return " ".join(text.split())
