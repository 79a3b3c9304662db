"""The review queue: a share per failure, and an audit slice that never passes through the miner."""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush, nsmallest
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, Table, and_, delete, exists, func, or_, select, update

from factory.mining.clusters import cluster_findings
from factory.mining.rank import PAGED, QUEUED, Asking, Candidate, Factors, askings, candidates
from factory.mining.scratch import scratch
from factory.mining.settings import MiningSettings
from logs_schema.database import writing
from logs_schema.records import Value
from logs_schema.rows import CONTEXT, FINDING, INTERACTION, chunks, put
from logs_schema.scores import Track, untracked
from logs_schema.tables import QueueItem, Review, now
from logs_schema.taxonomy import QueueReason

QUEUE: Table = QueueItem.__table__  # type: ignore[attr-defined]
REVIEW: Table = Review.__table__  # type: ignore[attr-defined]
JUDGEABLE = and_(
    func.trim(INTERACTION.c.response, " \n\r\t") != "", exists().where(CONTEXT.c.interaction_id == INTERACTION.c.id)
)
"""Of a record: an answer and passages are there, so that a curator can judge it."""
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
    """Flagged records that were passed over because their question, or nearly it, is in the queue or was reviewed."""
    over_limit: int
    """Flagged records that were passed over because their user or session has enough in the queue."""
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
        lines += [f"{self.duplicates} ask nearly what is queued or reviewed already."] if self.duplicates else []
        lines += [f"{self.over_limit} are over the limit of one user or session."] if self.over_limit else []
        lines += [f"{self.left} more are flagged and wait for room."] if self.left else []
        return "\n".join(lines)


def drawn_for_audit(record_id: str, settings: MiningSettings) -> bool:
    """Whether a record belongs to the audit slice: a seeded hash of its id, and nothing else, decides.

    A record of the slice is never queued as a finding. That makes audit records a uniform sample of all
    records at any time, whatever the miner flagged before.
    """
    return _draw(record_id, settings.seed) < settings.audit_share


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
            picker = _Picker(connection, settings, tables)
            picker.pick()
        why = picker.passed_over()
        items = [(candidate, _ranked(candidate, factors)) for candidate, factors in picker.chosen]
        for ticket, reason in ((True, QueueReason.ticket), (False, QueueReason.finding)):
            _insert(connection, reason, [(one.id, values) for one, values in items if one.is_ticket is ticket])
        waiting = _waiting(connection)
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


TABLES = f"""
CREATE TABLE asking ({", ".join(("cluster PRIMARY KEY", *Asking._fields))});
CREATE TABLE candidate ({", ".join((*Candidate._fields, "highest", "draw"))});
"""


class _Picker:
    """Chooses findings for one run: room, shares, questions, documents and people are counted as it goes.

    What may be chosen is put into order on disk, for it may be millions.
    """

    def __init__(self, connection: Connection, settings: MiningSettings, tables: sqlite3.Connection) -> None:
        self.settings = settings
        self._connection = connection
        self._tables = tables
        self.chosen: list[tuple[Candidate, Factors]] = []
        self._waiting = _waiting(connection)
        self._taken = _taken(connection)
        self._users, self._sessions, self._documents = _queued(connection)

    def pick(self) -> None:
        """Choose as many as there is room for."""
        audits = self._waiting.get(QueueReason.audit.value, 0)
        rest = self.settings.budget - _audit_budget(self.settings)
        room = min(rest + audits, self.settings.budget) - sum(self._waiting.values())
        if room <= 0:
            return
        shares = {failure: share for failure, share in self.settings.shares.items() if share > 0}
        self._fill()
        walks = {failure: self._best_first(failure) for failure in shares}
        for failure, walk in walks.items():
            own = round(shares[failure] * rest) - self._waiting.get(failure, 0)
            room -= self._take(walk, min(own, room))
        for walk in walks.values():
            room -= self._take(walk, room)

    def passed_over(self) -> Counter[str]:
        """Why the others were not chosen → how many: `asked` before, over the limit of their `person`, no `room`."""
        known = {candidate.id for candidate, _ in self.chosen}
        why: Counter[str] = Counter()
        for candidate in _flagged(self._connection, self.settings):
            if candidate.id not in known:
                asked, allowed = candidate.cluster in self._taken, self._allowed(candidate)
                why["asked" if asked else "room" if allowed else "person"] += 1
        return why

    def _take(self, walk: Iterator[tuple[Candidate, Factors]], count: int) -> int:
        some = list(islice(walk, max(count, 0)))
        self.chosen += some
        return len(some)

    def _fill(self) -> None:
        """Put down the flagged records, with the highest priority that each can have."""
        with_questions = ((name, *asking) for name, asking in askings(self._connection))
        self._tables.execute("BEGIN")
        _insert_into(self._tables, "asking", len(Asking._fields) + 1, with_questions)
        flagged = (
            (*one, self._factors(one, alike=0).priority, _draw(one.id, self.settings.seed))
            for one in _flagged(self._connection, self.settings)
            if one.cluster not in self._taken
        )
        _insert_into(self._tables, "candidate", len(Candidate._fields) + 2, flagged)
        self._tables.execute("CREATE INDEX best ON candidate (failure, highest DESC, draw, id)")
        self._tables.execute("COMMIT")

    def _best_first(self, failure: str) -> Iterator[tuple[Candidate, Factors]]:
        """One record a question, by priority as it is then: it only falls, as more of one document are chosen."""
        query = "SELECT * FROM candidate WHERE failure = ? ORDER BY highest DESC, draw, id"
        waiting = self._tables.execute(query, (failure,))
        following = next(waiting, None)
        heap: list[tuple[float, float, str, Candidate]] = []
        while True:
            while following and (not heap or following[-2] >= -heap[0][0]):
                *columns, highest, draw = following
                heappush(heap, (-highest, draw, columns[0], Candidate(*columns)))
                following = next(waiting, None)
            if not heap:
                return
            order, draw, name, best = heappop(heap)
            if best.cluster in self._taken or not self._allowed(best):
                continue
            factors = self._factors(best, self._documents[best.document] if best.document is not None else 0)
            if factors.priority < -order:
                heappush(heap, (-factors.priority, draw, name, best))
                continue
            self._taken.add(best.cluster)
            self._users[best.user] += 1
            self._sessions[best.session] += 1
            self._documents[best.document] += 1
            yield best, factors

    def _factors(self, candidate: Candidate, alike: int) -> Factors:
        query = "SELECT * FROM asking WHERE cluster = ?"
        known = self._tables.execute(query, (candidate.cluster,)).fetchone()
        return candidate.factors(Asking(*known[1:]) if known else Asking(), alike)

    def _allowed(self, candidate: Candidate) -> bool:
        per_user, per_session = self.settings.per_user, self.settings.per_session
        return (candidate.user is None or self._users[candidate.user] < per_user) and (
            candidate.session is None or self._sessions[candidate.session] < per_session
        )


def _refresh(connection: Connection) -> int:
    """Bring unsent items up to date with their findings and rank; those whose finding is gone are dropped."""
    unsent = and_(QUEUE.c.reason != QueueReason.audit.value, QUEUE.c.pushed_at.is_(None), ~_REVIEWED)
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
    waiting = _waiting(connection)
    wanted = _audit_budget(settings) - waiting.get(QueueReason.audit.value, 0)
    wanted = min(wanted, settings.budget - sum(waiting.values()))
    if wanted <= 0:
        return 0
    ids = connection.scalars(select(INTERACTION.c.id).where(JUDGEABLE, _new(INTERACTION.c.id)), execution_options=PAGED)
    drawn = nsmallest(wanted, ((_draw(i, settings.seed), i) for i in ids if drawn_for_audit(i, settings)))
    blind = {"failure": None, "confidence": None, "miner_version": None, "factors": None}
    _insert(connection, QueueReason.audit, [(name, {**blind, "priority": 1 - draw}) for draw, name in drawn])
    return len(drawn)


def _audit_budget(settings: MiningSettings) -> int:
    return round(settings.audit_share * settings.budget)


def _flagged(connection: Connection, settings: MiningSettings) -> Iterator[Candidate]:
    """Flagged records that are neither queued, nor reviewed, nor of the audit slice."""
    for candidate in candidates(connection, FINDING.c.route.in_(QUEUED), _new(FINDING.c.interaction_id)):
        # tickets are no answers of the application: the audit slice leaves them out
        audited = not candidate.is_ticket and drawn_for_audit(candidate.id, settings)
        if settings.shares.get(candidate.failure, 0) > 0 and not audited:
            yield candidate


def _new(identifier: Any) -> Any:
    """Neither queued nor reviewed."""
    queued = exists().where(QUEUE.c.interaction_id == identifier)
    return ~or_(queued, exists().where(REVIEW.c.interaction_id == identifier))


def _taken(connection: Connection) -> set[str]:
    """Clusters of questions that were ever queued or reviewed."""
    seen = or_(
        exists().where(QUEUE.c.interaction_id == FINDING.c.interaction_id),
        exists().where(REVIEW.c.interaction_id == FINDING.c.interaction_id),
    )
    return set(connection.scalars(select(func.coalesce(FINDING.c.cluster, FINDING.c.interaction_id)).where(seen)))


def _queued(connection: Connection) -> tuple[Counter[str | None], Counter[str | None], Counter[str | None]]:
    """Unreviewed records in the queue of each user, of each session, and with each document retrieved first."""
    waiting = exists().where(QUEUE.c.interaction_id == FINDING.c.interaction_id, ~_REVIEWED)
    users, sessions, documents = Counter[str | None](), Counter[str | None](), Counter[str | None]()
    for item in candidates(connection, waiting):
        users[item.user] += 1
        sessions[item.session] += 1
        documents[item.document] += 1
    return users, sessions, documents


def _waiting(connection: Connection) -> dict[str, int]:
    """Unreviewed records in the queue, by `audit` or failure."""
    query = select(QUEUE.c.reason, QUEUE.c.failure, func.count()).where(~_REVIEWED)
    counts: Counter[str] = Counter()
    for reason, failure, count in connection.execute(query.group_by(QUEUE.c.reason, QUEUE.c.failure)):
        counts[failure if reason == QueueReason.finding.value and failure else reason] += count
    return dict(counts)


def _insert(connection: Connection, reason: QueueReason, items: Sequence[tuple[str, dict[str, Any]]]) -> None:
    same = {"reason": reason.value, "queued_at": now(), "pushed_at": None, "pushed_to": None}
    put(connection, QUEUE, [{"interaction_id": name, **same, **values} for name, values in items], replace=False)


def _insert_into(tables: sqlite3.Connection, table: str, width: int, rows: Iterable[Sequence[Any]]) -> None:
    tables.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * width)})", rows)


def _draw(record_id: str, seed: int) -> float:
    """Uniform in [0, 1), from seed and id alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{record_id}".encode()).digest()[:7]) / 2**56
