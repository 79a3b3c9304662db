"""Which finding a curator should see first: confidence × impact × fixability × diversity."""

from collections.abc import Iterator, Sequence
from math import fsum, log2
from typing import Any, NamedTuple

from sqlalchemy import Connection, case, func, select

from logs_schema.records import Value
from logs_schema.rows import CONTEXT, FINDING, INTERACTION, PAGED
from logs_schema.taxonomy import Failure, QueueReason, Route
from logs_schema.wording import counted

PERSON = func.coalesce(INTERACTION.c.user_id, INTERACTION.c.session_id, INTERACTION.c.id)
"""Who asked: the user, else the session, else nobody known (each record then counts as somebody else's)."""
FIXABILITY = {
    Failure.bad_format.value: 0.6,
    Failure.incomplete.value: 0.7,
    Failure.bad_citation.value: 0.8,
}
"""How well training on a review mends it, against 1 for the others: a format is a matter of the prompt first, what is
left out is seldom clearly wrong, and citations are a habit that a few hundred examples teach."""
CAUSES = (Failure.truncated_context.value, Failure.stale_context.value)
CAUSED = 0.5
"""Factor of a finding whose passages were outdated or cut: whoever mends that may mend it."""
QUEUED = (Route.behaviour.value, Route.ticket.value)
"""Routes of what may be queued for review."""


class Factors(Value):
    """What the place of a record in the queue is made of."""

    confidence: float
    """Of the finding, 0 to 1."""
    asked: int
    """Flagged records that ask this or nearly this."""
    people: int
    """How many people asked it: users, else sessions, else records."""
    unhappy: int
    """How many of them were not content with the answer."""
    feedback: float | None
    """Mean of what they said, one voice a person, -1 (bad) to 1 (good); None when nobody said anything."""
    impact: float
    """1 for a question that one person asked and nobody complained about; see `impact`."""
    fixability: float
    """0 to 1: how well training mends this failure."""
    diversity: float
    """0 to 1: less, the more records wait or were chosen whose first passage is of the same document."""

    @property
    def priority(self) -> float:
        """Higher comes first."""
        return round(self.confidence * self.impact * self.fixability * self.diversity, 6)

    def text(self) -> str:
        """What stands behind each factor."""
        said = "nobody said how good it was"
        if self.feedback is not None:
            said = f"{self.unhappy} unhappy, mean vote {self.feedback:+.2f}"
        flagged = f"{counted(self.asked, 'flagged answer')} to {counted(self.people, 'person', 'people')}"
        return (
            f"{self.confidence:.2f} sure × {self.impact:.2f} impact ({flagged}, {said})"
            f" × {self.fixability:.2f} fixable × {self.diversity:.2f} diverse"
        )


class Candidate(NamedTuple):
    """A flagged record that may be queued."""

    id: str
    failure: str
    """Primary failure, or `ticket`."""
    confidence: float
    miner_version: str
    cluster: str
    """Near-duplicate questions have the same."""
    user: str | None
    session: str | None
    document: str | None
    """Document (else passage) that was retrieved first."""
    caused: bool
    """Outdated or cut passages are part of it."""

    @property
    def is_ticket(self) -> bool:
        """A support ticket, and no answer of the application."""
        return self.failure == QueueReason.ticket

    @property
    def fixability(self) -> float:
        """See `Factors`."""
        return FIXABILITY.get(self.failure, 1.0) * (CAUSED if self.caused else 1.0)

    @property
    def alone(self) -> float:
        """Its priority if nobody else had asked: it tells the records of one question apart."""
        return round(self.confidence * self.fixability, 6)

    def factors(self, asking: "Asking", alike: int) -> Factors:
        """Its factors.

        Args:
            asking: Of its cluster.
            alike: Records of the same document that wait or were chosen before.
        """
        return Factors(
            confidence=self.confidence,
            asked=asking.asked,
            people=asking.people,
            unhappy=asking.unhappy,
            feedback=asking.feedback,
            impact=round(asking.impact, 4),
            fixability=self.fixability,
            diversity=round((1 + alike) ** -0.5, 4),
        )


class Asking(NamedTuple):
    """How often a question was asked, and how content people were.

    Whoever said something has one voice, the mean of what they said, -1 to 1.
    """

    asked: int = 1
    people: int = 1
    voices: int = 0
    unhappy: int = 0
    """Voices below 0."""
    said: float = 0.0
    """Sum of all voices."""
    complaints: float = 0.0
    """Sum of the unhappy ones."""

    @classmethod
    def of(cls, asked: int, people: int, voices: Sequence[float]) -> "Asking":
        """From each voice."""
        complaints = [voice for voice in voices if voice < 0]
        return cls(asked, people, len(voices), len(complaints), fsum(voices), fsum(complaints))

    @property
    def feedback(self) -> float | None:
        """Mean over people."""
        return round(self.said / self.voices, 4) if self.voices else None

    @property
    def impact(self) -> float:
        """Doubling the people adds a half; bad feedback adds up to a half.

        One voice alone adds no more than a quarter, so that a single angry person does not decide.
        """
        bad = -self.complaints / (self.voices + 1)
        return (1 + 0.5 * log2(self.people)) * (1 + 0.5 * bad)


def askings(connection: Connection, *where: Any) -> Iterator[tuple[str, Asking]]:
    """(Cluster, how it was asked) of the clusters of flagged records, as far as conditions on `finding` hold."""
    joined = FINDING.join(INTERACTION, INTERACTION.c.id == FINDING.c.interaction_id)
    columns = (FINDING.c.cluster, func.count().label("asked"), func.avg(FINDING.c.vote).label("voice"))
    known = (FINDING.c.route.in_(QUEUED), FINDING.c.cluster.is_not(None), *where)
    people = select(*columns).select_from(joined).where(*known).group_by(FINDING.c.cluster, PERSON).subquery()
    voice = people.c.voice
    query = select(
        people.c.cluster,
        func.sum(people.c.asked),
        func.count(),
        func.count(voice),
        func.sum(case((voice < 0, 1), else_=0)),
        func.coalesce(func.sum(voice), 0.0),
        func.coalesce(func.sum(case((voice < 0, voice))), 0.0),
    )
    rows = connection.execute(query.group_by(people.c.cluster), execution_options=PAGED)
    for cluster, asked, number, voices, unhappy, said, complaints in rows:
        yield cluster, Asking(int(asked), number, voices, int(unhappy), float(said), float(complaints))


_FIRST = CONTEXT.alias("first")
_COLUMNS = (
    FINDING.c.interaction_id,
    FINDING.c.failure,
    FINDING.c.route,
    FINDING.c.confidence,
    FINDING.c.miner_version,
    FINDING.c.secondary,
    FINDING.c.cluster,
    INTERACTION.c.user_id,
    INTERACTION.c.session_id,
    func.coalesce(_FIRST.c.doc_id, _FIRST.c.passage_hash).label("document"),
)


def candidates(connection: Connection, *where: Any) -> Iterator[Candidate]:
    """Findings that fulfil conditions on `finding`, as candidates."""
    first = (_FIRST.c.interaction_id == FINDING.c.interaction_id) & (_FIRST.c.rank == 0)
    joined = FINDING.join(INTERACTION, INTERACTION.c.id == FINDING.c.interaction_id).outerjoin(_FIRST, first)
    query = select(*_COLUMNS).select_from(joined).where(*where)
    for row in connection.execute(query, execution_options=PAGED):
        ticket = row.route == Route.ticket.value
        yield Candidate(
            id=row.interaction_id,
            failure=QueueReason.ticket.value if ticket else row.failure,
            confidence=row.confidence,
            miner_version=row.miner_version,
            cluster=row.cluster or row.interaction_id,
            user=row.user_id,
            session=row.session_id,
            document=row.document,
            caused=any(cause in row.secondary for cause in CAUSES),
        )
