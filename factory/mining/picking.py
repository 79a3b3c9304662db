"""Which findings take the places of the review queue, out of any number."""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import islice
from typing import Any

from sqlalchemy import Connection, exists, func, or_, select

from factory.mining.rank import QUEUED, Asking, Candidate, Factors, askings, candidates
from factory.mining.settings import MiningSettings
from logs_schema.rows import FINDING, QUEUE, REVIEW, REVIEWED
from logs_schema.taxonomy import QueueReason

TABLES = f"""
CREATE TABLE asking ({", ".join(("cluster PRIMARY KEY", *Asking._fields))});
CREATE TABLE candidate ({", ".join((*Candidate._fields, "highest", "draw"))});
"""


class Picker:
    """Chooses findings for one run: room, shares, questions, documents and people are counted as it goes.

    What may be chosen is put into order on disk, for it may be millions.
    """

    def __init__(self, connection: Connection, settings: MiningSettings, tables: sqlite3.Connection) -> None:
        self.settings = settings
        self._connection = connection
        self._tables = tables
        self.chosen: list[tuple[Candidate, Factors]] = []
        self._waiting = waiting_in(connection)
        self._taken = _taken(connection)
        self._users, self._sessions, self._documents = _queued(connection)

    def pick(self) -> None:
        """Choose as many as there is room for."""
        audits = self._waiting.get(QueueReason.audit.value, 0)
        rest = self.settings.budget - audit_budget(self.settings)
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
            (*one, self._factors(one, alike=0).priority, draw_of(one.id, self.settings.seed))
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


def _flagged(connection: Connection, settings: MiningSettings) -> Iterator[Candidate]:
    """Flagged records that are neither queued, nor reviewed, nor of the audit slice."""
    for candidate in candidates(connection, FINDING.c.route.in_(QUEUED), ~seen(FINDING.c.interaction_id)):
        # tickets are no answers of the application: the audit slice leaves them out
        audited = not candidate.is_ticket and drawn_for_audit(candidate.id, settings)
        if settings.shares.get(candidate.failure, 0) > 0 and not audited:
            yield candidate


def _taken(connection: Connection) -> set[str]:
    """Clusters of questions that were ever queued or reviewed."""
    cluster = func.coalesce(FINDING.c.cluster, FINDING.c.interaction_id)
    return set(connection.scalars(select(cluster).where(seen(FINDING.c.interaction_id))))


def _queued(connection: Connection) -> tuple[Counter[str | None], Counter[str | None], Counter[str | None]]:
    """Unreviewed records in the queue of each user, of each session, and with each document retrieved first."""
    waiting = exists().where(QUEUE.c.interaction_id == FINDING.c.interaction_id, ~REVIEWED)
    users, sessions, documents = Counter[str | None](), Counter[str | None](), Counter[str | None]()
    for item in candidates(connection, waiting):
        users[item.user] += 1
        sessions[item.session] += 1
        documents[item.document] += 1
    return users, sessions, documents


def seen(identifier: Any) -> Any:
    """Queued or reviewed."""
    queued = exists().where(QUEUE.c.interaction_id == identifier)
    return or_(queued, exists().where(REVIEW.c.interaction_id == identifier))


def drawn_for_audit(record_id: str, settings: MiningSettings) -> bool:
    """Whether a record belongs to the audit slice: a seeded hash of its id, and nothing else, decides.

    A record of the slice is never queued as a finding. That makes audit records a uniform sample of all
    records at any time, whatever the miner flagged before.
    """
    return draw_of(record_id, settings.seed) < settings.audit_share


def draw_of(record_id: str, seed: int) -> float:
    """Uniform in [0, 1), from seed and id alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{record_id}".encode()).digest()[:7]) / 2**56


def waiting_in(connection: Connection) -> dict[str, int]:
    """Unreviewed records in the queue, by `audit` or failure."""
    query = select(QUEUE.c.reason, QUEUE.c.failure, func.count()).where(~REVIEWED)
    counts: Counter[str] = Counter()
    for reason, failure, count in connection.execute(query.group_by(QUEUE.c.reason, QUEUE.c.failure)):
        counts[failure if reason == QueueReason.finding.value and failure else reason] += count
    return dict(counts)


def audit_budget(settings: MiningSettings) -> int:
    """Places of the queue that are the audit slice's."""
    return round(settings.audit_share * settings.budget)


def _insert_into(tables: sqlite3.Connection, table: str, width: int, rows: Iterable[Sequence[Any]]) -> None:
    tables.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * width)})", rows)
