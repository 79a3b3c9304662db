"""The review queue: a share per failure, and an audit slice that never passes through the miner."""

from collections import Counter
from collections.abc import Sequence
from heapq import nsmallest
from typing import Any

from sqlalchemy import Connection, Engine, and_, delete, exists, func, select, update

from factory.mining.clusters import cluster_findings
from factory.mining.picking import TABLES, Picker, audit_budget, draw_of, drawn_for_audit, seen, waiting_in
from factory.mining.rank import QUEUED, Asking, Candidate, Factors, askings, candidates
from factory.mining.settings import MiningSettings
from logs_schema.database import writing
from logs_schema.records import Value
from logs_schema.rows import CONTEXT, FINDING, INTERACTION, PAGED, QUEUE, REVIEWED, chunks, put
from logs_schema.scores import Track, untracked
from logs_schema.scratch import scratch
from logs_schema.tables import now
from logs_schema.taxonomy import QueueReason
from logs_schema.wording import counted

JUDGEABLE = and_(
    func.trim(INTERACTION.c.response, " \n\r\t") != "", exists().where(CONTEXT.c.interaction_id == INTERACTION.c.id)
)
"""Of a record: an answer and passages are there, so that a curator can judge it."""


class QueueReport(Value):
    """What filling the queue did, and what waits in it."""

    budget: int
    waiting: dict[str, int]
    """`audit` or primary failure → unreviewed records in the queue, sent to the curators or not."""
    added: dict[str, int]
    """The same for those added by this run."""
    dropped: int
    """Records taken out again: mined anew, they show no failure that curators can mend."""
    duplicates: int
    """Flagged records that were passed over because their question, or nearly it, is in the queue or was reviewed."""
    over_limit: int
    """Flagged records that were passed over because their user or session has enough in the queue."""
    left: int
    """Flagged records that did not fit into the budget."""

    def text(self) -> str:
        """A few lines."""
        waiting = sum(self.waiting.values())
        new = counted(sum(self.added.values()), "is new", "are new")
        wait = "waits" if waiting == 1 else "wait"
        lines = [f"Review queue: {waiting:,} of at most {counted(self.budget, 'record')} {wait}, {new}."]
        for name, count in self.waiting.items():
            note = "  uniformly random, unseen by the miner" if name == QueueReason.audit else ""
            lines.append(f"  {count:6d}  {name}{note}")
        lines += (
            [counted(self.dropped, "was taken out: its failure is gone.", "were taken out: their failure is gone.")]
            if self.dropped
            else []
        )
        lines += (
            [f"{counted(self.duplicates, 'asks', 'ask')} nearly what is queued or reviewed already."]
            if self.duplicates
            else []
        )
        lines += (
            [f"{counted(self.over_limit, 'is', 'are')} over the limit of one user or session."]
            if self.over_limit
            else []
        )
        lines += (
            [counted(self.left, "more is flagged and waits for room.", "more are flagged and wait for room.")]
            if self.left
            else []
        )
        return "\n".join(lines)


def fill_queue(engine: Engine, settings: MiningSettings, *, track: Track = untracked) -> QueueReport:
    """Add records until as many wait for review as the budget allows; cut off anywhere, the next run completes it.

    The audit slice comes first. Each failure then has its share of the rest; what it does not use goes to the
    others, in the order of the settings. Within a failure the highest priority comes first, one record a question.

    Args:
        engine: The store.
        settings: Budget, shares, limits and seed.
        track: Shows progress over the questions that are compared.
    """
    with writing(engine) as connection:
        dropped = _refresh(connection)
        audits = _add_audits(connection, settings)
    cluster_findings(engine, settings.near_duplicate, track=track)
    with writing(engine) as connection:
        _refresh(connection)  # now that it is known who asked the same
        with scratch(TABLES) as tables:
            picker = Picker(connection, settings, tables)
            picker.pick()
        why = picker.passed_over()
        items = [(candidate, _ranked(candidate, factors)) for candidate, factors in picker.chosen]
        for ticket, reason in ((True, QueueReason.ticket), (False, QueueReason.finding)):
            _insert(connection, reason, [(one.id, values) for one, values in items if one.is_ticket is ticket])
        waiting = waiting_in(connection)
    added = Counter(candidate.failure for candidate, _ in picker.chosen)
    return QueueReport(
        budget=settings.budget,
        waiting=dict(sorted(waiting.items(), key=lambda item: (item[0] != QueueReason.audit, -item[1], item[0]))),
        added=({QueueReason.audit.value: audits} if audits else {}) | dict(sorted(added.items())),
        dropped=dropped,
        duplicates=why["asked"],
        over_limit=why["person"],
        left=why["room"],
    )


def _refresh(connection: Connection) -> int:
    """Bring unsent items up to date with their findings and rank; those whose finding is gone are dropped."""
    unsent = and_(QUEUE.c.reason != QueueReason.audit.value, QUEUE.c.pushed_at.is_(None), ~REVIEWED)
    items = {row.interaction_id: row for row in connection.execute(select(QUEUE).where(unsent))}
    kept: dict[str, dict[str, Any]] = {}
    for some in chunks(items):
        flagged = FINDING.c.route.in_(QUEUED)
        found = list(candidates(connection, FINDING.c.interaction_id.in_(some), flagged))
        asking = dict(askings(connection, FINDING.c.cluster.in_({candidate.cluster for candidate in found})))
        for candidate in found:
            item = items[candidate.id]
            if candidate.is_ticket is (item.reason == QueueReason.ticket.value):
                before = (item.factors or {}).get("diversity", 1.0)
                factors = candidate.factors(asking.get(candidate.cluster, Asking()), 0)
                kept[candidate.id] = _ranked(candidate, factors.model_copy(update={"diversity": before}))
    for identifier, values in kept.items():
        if any(getattr(items[identifier], name) != value for name, value in values.items()):
            connection.execute(update(QUEUE).where(QUEUE.c.interaction_id == identifier).values(values))
    gone = sorted(items.keys() - kept.keys())
    for some in chunks(gone):
        connection.execute(delete(QUEUE).where(QUEUE.c.interaction_id.in_(some)))
    return len(gone)


def _ranked(candidate: Candidate, factors: Factors) -> dict[str, Any]:
    """Columns of a queue item that its rank fills."""
    return {
        "failure": None if candidate.is_ticket else candidate.failure,
        "priority": factors.priority,
        "confidence": candidate.confidence,
        "miner_version": candidate.miner_version,
        "factors": factors.model_dump(),
    }


def _add_audits(connection: Connection, settings: MiningSettings) -> int:
    """Queue the audit records with the lowest draws, as many as may wait."""
    waiting = waiting_in(connection)
    wanted = audit_budget(settings) - waiting.get(QueueReason.audit.value, 0)
    wanted = min(wanted, settings.budget - sum(waiting.values()))
    if wanted <= 0:
        return 0
    ids = connection.scalars(
        select(INTERACTION.c.id).where(JUDGEABLE, ~seen(INTERACTION.c.id)), execution_options=PAGED
    )
    drawn = nsmallest(wanted, ((draw_of(i, settings.seed), i) for i in ids if drawn_for_audit(i, settings)))
    blind = {"failure": None, "confidence": None, "miner_version": None, "factors": None}
    _insert(connection, QueueReason.audit, [(name, {**blind, "priority": 1 - draw}) for draw, name in drawn])
    return len(drawn)


def _insert(connection: Connection, reason: QueueReason, items: Sequence[tuple[str, dict[str, Any]]]) -> None:
    same = {"reason": reason.value, "queued_at": now(), "pushed_at": None, "pushed_to": None}
    put(connection, QUEUE, [{"interaction_id": name, **same, **values} for name, values in items], replace=False)
