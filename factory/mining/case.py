"""All that a verdict on one record rests on, read once."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from factory.mining.answers import Answer
from factory.mining.claims import Claim
from factory.mining.corpus import Searched
from factory.mining.feedback import Opinion, read_feedback
from factory.mining.lexical import read
from factory.mining.passage import Passage, passages
from factory.mining.settings import MiningSettings
from logs_schema.documents import History, Version
from logs_schema.records import Context, RagRecord
from logs_schema.scores import Scores
from logs_schema.settings import HouseSettings

Search = Callable[[RagRecord, str | None], Searched | None]
"""Looks for an answer in the corpus: see `corpus.Corpus.search`."""


class Case(NamedTuple):
    """A record, its scores, and what was read off its texts."""

    record: RagRecord
    scores: Scores
    settings: MiningSettings
    found: list[Passage]
    answer: Answer
    judged: list[Claim]
    refuses: bool
    """The response says "I don't know" and claims nothing beside it."""
    opinion: Opinion
    stale: dict[int, Version]
    """Rank of a passage → the newer version (or the withdrawal) of its document when the question was asked."""
    searched: Searched | None = None
    """What the corpus holds, when the contexts do not hold the answer; None when it was not searched."""

    @property
    def sufficient(self) -> float:
        """-1 to 1: how far sufficiency is from its threshold; 0 and more means sufficient."""
        return _margin(self.scores.sufficiency or 0.0, self.settings.sufficient)

    @property
    def held(self) -> bool:
        """The contexts hold the answer: a person's correction decides, else the score."""
        correction = self.opinion.correction
        return correction.supported if correction else self.sufficient >= 0

    @property
    def faithful(self) -> float:
        """-1 to 1, likewise; 1 when the response claims nothing."""
        faithfulness = self.scores.faithfulness
        return 1.0 if faithfulness is None else _margin(faithfulness, self.settings.faithful)


def read_case(
    record: RagRecord, scores: Scores, *, settings: MiningSettings, house: HouseSettings, versions: History
) -> Case:
    """Read the texts and the feedback of a record."""
    reading = read(record, house)
    return Case(
        record=record,
        scores=scores,
        settings=settings,
        found=passages(record.contexts),
        answer=reading.answer,
        judged=reading.judged,
        refuses=bool(scores.abstained) and not reading.abstention.claims,
        opinion=read_feedback(record, house.abstention),
        stale=_stale(record, versions),
    )


def _stale(record: RagRecord, versions: History) -> dict[int, Version]:
    stale = {}
    for rank, context in enumerate(record.contexts):
        known = versions.get(context.doc_id, ()) if context.doc_id is not None else ()
        there = [version for version in known if version.updated_at and version.updated_at <= record.occurred_at]
        if there and _outdated(context, there):
            stale[rank] = there[-1]
    return stale


def _outdated(context: Context, there: list[Version]) -> bool:
    """Whether a newer version was there, or the document was withdrawn (which an undated context may be, too)."""
    newest = there[-1]
    named = (version.updated_at for version in there if context.version and version.version == context.version)
    made: datetime | None = context.updated_at or next(named, None)
    if newest.updated_at is None:
        return False
    return made < newest.updated_at if made else newest.withdrawn


def _margin(value: float, threshold: float) -> float:
    room = 1 - threshold if value >= threshold else threshold
    return (value - threshold) / room if room else 0.0
