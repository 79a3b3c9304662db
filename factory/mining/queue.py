"""The review queue: a share per failure, and an audit slice that never passes through the miner."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Table, and_, delete, exists, func, or_, select, update

from factory.mining.settings import MiningSettings
from factory.mining.text import normalise
from logs_schema.database import writing
from logs_schema.records import Value
from logs_schema.rows import CONTEXT, FINDING, INTERACTION, chunks, put
from logs_schema.tables import QueueItem, Review, now
from logs_schema.taxonomy import QueueReason, Route

QUEUE: Table = QueueItem.__table__  # type: ignore[attr-defined]
REVIEW: Table = Review.__table__  # type: ignore[attr-defined]
_REVIEWED = exists().where(REVIEW.c.interaction_id == QUEUE.c.interaction_id)


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
    """Flagged records that were passed over because their question is in the queue or was reviewed."""
    over_user_limit: int
    """Flagged records that were passed over because their user has enough in the queue."""
    left: int
    """Flagged records that did not fit into the budget."""

    def text(self) -> str:
        """A few lines."""
        waiting = sum(self.waiting.values())
        lines = [f"Review queue: {waiting} of at most {self.budget} records wait, {sum(self.added.values())} are new."]
        for name, count in self.waiting.items():
            note = "  uniformly random, unseen by the miner" if name == QueueReason.audit else ""
            lines.append(f"  {count:6d}  {name}{note}")
        lines += [f"{self.dropped} were taken out: their failure is gone."] if self.dropped else []
        lines += [f"{self.duplicates} ask what is queued or reviewed already."] if self.duplicates else []
        lines += [f"{self.over_user_limit} are over the limit of one user."] if self.over_user_limit else []
        lines += [f"{self.left} more are flagged and wait for room."] if self.left else []
        return "\n".join(lines)


class _Candidate(NamedTuple):
    id: str
    failure: str
    """Primary failure, or `ticket`."""
    confidence: float


def drawn_for_audit(record_id: str, settings: MiningSettings) -> bool:
    """Whether a record belongs to the audit slice: a seeded hash of its id, and nothing else, decides.

    A record of the slice is never queued as a finding. That makes audit records a uniform sample of all
    records at any time, whatever the miner flagged before.
    """
    return _draw(record_id, settings.seed) < settings.audit_share


def fill_queue(engine: Engine, settings: MiningSettings) -> QueueReport:
    """Add records until as many wait for review as the budget allows; one transaction, repeatable.

    The audit slice comes first. Each failure then has its share of the rest; what it does not use goes to the
    others, in the order of the settings. Within a failure the surest come first.

    Args:
        engine: The store.
        settings: Budget, shares, limits and seed.
    """
    with writing(engine) as connection:
        dropped = _refresh(connection)
        audits = _add_audits(connection, settings)
        picked = _Picker(connection, settings).pick()
        tickets = [(c.id, None, c.confidence) for c in picked.chosen if c.failure == QueueReason.ticket]
        findings = [(c.id, c.failure, c.confidence) for c in picked.chosen if c.failure != QueueReason.ticket]
        _insert(connection, QueueReason.ticket, tickets)
        _insert(connection, QueueReason.finding, findings)
        waiting = _waiting(connection)
    added = Counter(candidate.failure for candidate in picked.chosen)
    return QueueReport(
        budget=settings.budget,
        waiting=dict(sorted(waiting.items(), key=lambda item: (item[0] != QueueReason.audit, -item[1], item[0]))),
        added=({QueueReason.audit.value: audits} if audits else {}) | dict(sorted(added.items())),
        dropped=dropped,
        duplicates=picked.duplicates,
        over_user_limit=picked.over_user_limit,
        left=picked.left,
    )


class _Picker:
    """Chooses findings for one run: room, shares, duplicates and users are counted as it goes."""

    def __init__(self, connection: Connection, settings: MiningSettings) -> None:
        self.connection = connection
        self.settings = settings
        self.chosen: list[_Candidate] = []
        self.duplicates = self.over_user_limit = self.left = 0
        self._waiting = _waiting(connection)
        self._questions, self._users = _queued(connection)

    def pick(self) -> "_Picker":
        audits = self._waiting.get(QueueReason.audit.value, 0)
        rest = self.settings.budget - _audit_budget(self.settings)
        room = min(rest + audits, self.settings.budget) - sum(self._waiting.values())
        candidates = _candidates(self.connection, self.settings)
        walks = {
            failure: self._suitable(candidates.get(failure, []))
            for failure, share in self.settings.shares.items()
            if share > 0
        }
        for failure, walk in walks.items():
            own = round(self.settings.shares[failure] * rest) - self._waiting.get(failure, 0)
            room -= self._take(walk, min(own, room))
        for walk in walks.values():
            room -= self._take(walk, room)
        known = {candidate.id for candidate in self.chosen}
        everyone = sum(candidate.id not in known for some in candidates.values() for candidate in some)
        self.left = everyone - self.duplicates - self.over_user_limit
        return self

    def _take(self, walk: "Iterator[_Candidate]", count: int) -> int:
        before = len(self.chosen)
        while len(self.chosen) - before < count and (candidate := next(walk, None)) is not None:
            self.chosen.append(candidate)
        return len(self.chosen) - before

    def _suitable(self, candidates: list[_Candidate]) -> "Iterator[_Candidate]":
        for some in chunks(candidates):
            columns = (INTERACTION.c.id, INTERACTION.c.query, INTERACTION.c.history, INTERACTION.c.user_id)
            query = select(*columns).where(INTERACTION.c.id.in_([candidate.id for candidate in some]))
            rows = {row.id: row for row in self.connection.execute(query)}
            for candidate in some:
                row = rows[candidate.id]
                question = _question(row.query, row.history)
                if question in self._questions:
                    self.duplicates += 1
                elif row.user_id is not None and self._users[row.user_id] >= self.settings.per_user:
                    self.over_user_limit += 1
                else:
                    self._questions.add(question)
                    if row.user_id is not None:
                        self._users[row.user_id] += 1
                    yield candidate


def _refresh(connection: Connection) -> int:
    """Bring unsent items up to date with their findings; those whose finding is gone are dropped."""
    unsent = and_(QUEUE.c.reason != QueueReason.audit.value, QUEUE.c.pushed_at.is_(None), ~_REVIEWED)
    joined = QUEUE.outerjoin(FINDING, FINDING.c.interaction_id == QUEUE.c.interaction_id)
    columns = (QUEUE.c.interaction_id, QUEUE.c.reason, QUEUE.c.failure, QUEUE.c.priority)
    query = select(*columns, FINDING.c.failure.label("now"), FINDING.c.route, FINDING.c.confidence)
    gone = []
    for row in connection.execute(query.select_from(joined).where(unsent)).all():
        ticket = row.reason == QueueReason.ticket.value
        present = None if ticket else row.now
        if row.route != (Route.ticket if ticket else Route.behaviour).value:
            gone.append(row.interaction_id)
        elif (present, row.confidence) != (row.failure, row.priority):
            this = QUEUE.c.interaction_id == row.interaction_id
            connection.execute(update(QUEUE).where(this).values(failure=present, priority=row.confidence))
    for some in chunks(gone):
        connection.execute(delete(QUEUE).where(QUEUE.c.interaction_id.in_(some)))
    return len(gone)


def _add_audits(connection: Connection, settings: MiningSettings) -> int:
    """Queue the audit records with the lowest draws, as many as may wait."""
    waiting = _waiting(connection)
    wanted = _audit_budget(settings) - waiting.get(QueueReason.audit.value, 0)
    wanted = min(wanted, settings.budget - sum(waiting.values()))
    if wanted <= 0:
        return 0
    judgeable = and_(
        func.trim(INTERACTION.c.response, " \n\r\t") != "", exists().where(CONTEXT.c.interaction_id == INTERACTION.c.id)
    )
    ids = connection.scalars(select(INTERACTION.c.id).where(judgeable, _new(INTERACTION.c.id)))
    drawn = sorted((_draw(i, settings.seed), i) for i in ids if drawn_for_audit(i, settings))[:wanted]
    _insert(connection, QueueReason.audit, [(identifier, None, 1 - draw) for draw, identifier in drawn])
    return len(drawn)


def _audit_budget(settings: MiningSettings) -> int:
    return round(settings.audit_share * settings.budget)


def _candidates(connection: Connection, settings: MiningSettings) -> dict[str, list[_Candidate]]:
    """Flagged records that are neither queued, nor reviewed, nor of the audit slice, the surest first."""
    columns = (FINDING.c.interaction_id, FINDING.c.failure, FINDING.c.confidence, FINDING.c.route)
    wanted = FINDING.c.route.in_([Route.behaviour.value, Route.ticket.value])
    found: dict[str, list[_Candidate]] = {}
    for identifier, failure, confidence, route in connection.execute(
        select(*columns).where(wanted, _new(FINDING.c.interaction_id))
    ):
        ticket = route == Route.ticket.value
        candidate = _Candidate(identifier, QueueReason.ticket.value if ticket else failure, confidence)
        # tickets are no answers of the application: the audit slice leaves them out
        audited = not ticket and drawn_for_audit(identifier, settings)
        if settings.shares.get(candidate.failure, 0) > 0 and not audited:
            found.setdefault(candidate.failure, []).append(candidate)
    for some in found.values():
        some.sort(key=lambda candidate: (-candidate.confidence, _draw(candidate.id, settings.seed)))
    return found


def _new(identifier: Any) -> Any:
    """Neither queued nor reviewed."""
    queued = exists().where(QUEUE.c.interaction_id == identifier)
    return ~or_(queued, exists().where(REVIEW.c.interaction_id == identifier))


def _queued(connection: Connection) -> tuple[set[tuple[str, ...]], Counter[str]]:
    """Questions that were ever queued or reviewed, and the number of unreviewed records of each user."""
    seen = or_(
        exists().where(QUEUE.c.interaction_id == INTERACTION.c.id),
        exists().where(REVIEW.c.interaction_id == INTERACTION.c.id),
    )
    asked = connection.execute(select(INTERACTION.c.query, INTERACTION.c.history).where(seen))
    questions = {_question(query, history) for query, history in asked}
    joined = QUEUE.join(INTERACTION, INTERACTION.c.id == QUEUE.c.interaction_id)
    users = connection.execute(
        select(INTERACTION.c.user_id, func.count())
        .select_from(joined)
        .where(~_REVIEWED, INTERACTION.c.user_id.is_not(None))
        .group_by(INTERACTION.c.user_id)
    )
    return questions, Counter({row[0]: row[1] for row in users})


def _question(query: str, history: list[dict[str, str]] | None) -> tuple[str, ...]:
    """What was asked, comparable: the query, and in a conversation the user's turns before it."""
    turns = [message["content"] for message in history or () if message["role"] == "user"]
    return tuple(normalise(text).casefold().strip(" ?!.") for text in (*turns, query))


def _waiting(connection: Connection) -> dict[str, int]:
    """Unreviewed records in the queue, by `audit` or failure."""
    query = select(QUEUE.c.reason, QUEUE.c.failure, func.count()).where(~_REVIEWED)
    counts: Counter[str] = Counter()
    for reason, failure, count in connection.execute(query.group_by(QUEUE.c.reason, QUEUE.c.failure)):
        counts[failure if reason == QueueReason.finding.value and failure else reason] += count
    return dict(counts)


def _insert(connection: Connection, reason: QueueReason, items: Sequence[tuple[str, str | None, float]]) -> None:
    moment = now()
    rows = [
        {
            "interaction_id": identifier,
            "reason": reason.value,
            "failure": failure,
            "priority": priority,
            "queued_at": moment,
            "pushed_at": None,
            "pushed_to": None,
        }
        for identifier, failure, priority in items
    ]
    put(connection, QUEUE, rows, replace=False)


def _draw(record_id: str, seed: int) -> float:
    """Uniform in [0, 1), from seed and id alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{record_id}".encode()).digest()[:7]) / 2**56
