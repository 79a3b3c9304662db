"""What people said about an answer. A hint each: a vote moves confidence, a correction can be checked."""

from typing import NamedTuple

from factory.mining.abstention import is_abstention
from factory.mining.lexical import groundedness
from factory.mining.text import content_words
from logs_schema.records import Feedback, FeedbackKind, RagRecord

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
    """-1 (bad) to 1 (good); the mean of the weightiest kind of vote."""
    correction: Correction | None

    @property
    def bad(self) -> bool:
        """Somebody was not content."""
        return self.vote is not None and self.vote < 0

    @property
    def good(self) -> bool:
        """Somebody was content, and nobody who counts as much was not."""
        return self.vote is not None and self.vote > 0


def read_feedback(record: RagRecord, house_wording: str) -> Opinion:
    """Votes and the newest correction of a record; a correction that repeats the response counts as a good vote."""
    votes = [event for event in record.feedback if event.value is not None]
    top = max((_RANK[event.kind] for event in votes), default=0)
    values = [event.value for event in votes if event.value is not None and _RANK[event.kind] == top]
    vote = sum(values) / len(values) if values else None
    written = [event for event in record.feedback if event.correction and event.correction.strip()]
    if not written:
        return Opinion(vote, None)
    correction = _correction(record, max(written, key=_when), house_wording)
    if correction.given >= SAME and correction.agreed >= SAME:
        return Opinion(1.0, None)
    return Opinion(vote, correction)


def _when(event: Feedback) -> tuple[bool, str, str]:
    moment = event.occurred_at
    return (moment is not None, moment.isoformat() if moment else "", event.identifier)


def _correction(record: RagRecord, event: Feedback, house_wording: str) -> Correction:
    text = event.correction or ""
    abstains = is_abstention(text, house_wording)
    texts = [context.text for context in record.contexts]
    said = {word.norm for word in content_words(record.response)}
    wanted = {word.norm for word in content_words(text)}
    same = is_abstention(record.response, house_wording) if abstains else False
    return Correction(
        text=text,
        abstains=abstains,
        supported=not abstains and groundedness([(text, texts)])[0] >= GROUNDED,
        given=1.0 if same else len(said & wanted) / len(wanted) if wanted else 0.0,
        agreed=1.0 if same else len(said & wanted) / len(said) if said else 0.0,
    )
