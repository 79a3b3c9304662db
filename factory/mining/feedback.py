"""What people said about an answer. A hint each: a vote moves confidence, a correction can be checked.

Kinds outrank each other (correction > annotation > vote > implicit); inside a kind the newest event counts.
"""

from datetime import datetime
from typing import NamedTuple

from factory.mining.abstention import read_abstention
from factory.mining.lexical import groundedness
from factory.mining.text import content_words
from logs_schema.records import Feedback, FeedbackKind, RagRecord
from logs_schema.rows import EARLIEST

GROUNDED = 0.5
"""A correction supported at least this much is held by the contexts (97 % of human reference answers are)."""
SAME = 0.8
"""A correction that shares this much with the response both ways changes nothing."""
_RANK = {kind: rank for rank, kind in enumerate(FeedbackKind)}


class Correction(NamedTuple):
    """The answer that a person says should have been given."""

    text: str
    abstains: bool
    """It says "I don't know"."""
    supported: bool
    """The contexts hold it."""
    given: float
    """0 to 1: how much of it the response says."""
    agreed: float
    """0 to 1: how much of the response it says."""


class Opinion(NamedTuple):
    """What people said of one answer, taken together."""

    vote: float | None
    """-1 (bad) to 1 (good)."""
    correction: Correction | None
    event: Feedback | None = None
    """The event that the vote is from."""

    @property
    def bad(self) -> bool:
        """Somebody was not content."""
        return self.vote is not None and self.vote < 0

    @property
    def complaint(self) -> bool:
        """Somebody said so; it was not read off behaviour."""
        return self.bad and self.event is not None and self.event.kind is not FeedbackKind.implicit

    @property
    def good(self) -> bool:
        """Somebody was content."""
        return self.vote is not None and self.vote > 0


def read_feedback(record: RagRecord, house_wording: str) -> Opinion:
    """The vote and the correction of a record that count.

    A correction that repeats the response counts as a good vote. One that does not contradicts every good vote that
    it outranks, or that is no newer.
    """
    voted = max((event for event in record.feedback if event.value is not None), key=_weight, default=None)
    vote = voted.value if voted else None
    written = [event for event in record.feedback if event.correction and event.correction.strip()]
    if not written:
        return Opinion(vote, None, voted)
    decisive = max(written, key=_weight)
    correction = _correction(record, decisive, house_wording)
    if correction.given >= SAME and correction.agreed >= SAME:
        return Opinion(1.0, None, decisive)
    if voted and (vote or 0) > 0 and _weight(voted) <= _weight(decisive):
        return Opinion(None, correction)
    return Opinion(vote, correction, voted)


def _weight(event: Feedback) -> tuple[int, bool, datetime, str]:
    """Kinds in their order, then the newest; an event without a moment is taken to be the oldest."""
    moment = event.occurred_at
    return _RANK[event.kind], moment is not None, moment or EARLIEST, event.identifier


def _correction(record: RagRecord, event: Feedback, house_wording: str) -> Correction:
    text = event.correction or ""
    abstains = read_abstention(text, house_wording, record.query).abstains
    texts = [context.text for context in record.contexts]
    said = {word.norm for word in content_words(record.response)}
    wanted = {word.norm for word in content_words(text)}
    same = abstains and read_abstention(record.response, house_wording, record.query).abstains
    return Correction(
        text=text,
        abstains=abstains,
        supported=not abstains and groundedness([(text, texts)])[0] >= GROUNDED,
        given=1.0 if same else len(said & wanted) / len(wanted) if wanted else 0.0,
        agreed=1.0 if same else len(said & wanted) / len(said) if said else 0.0,
    )
