"""All that a verdict on one record rests on, read once."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from factory.mining.abstention import read_abstention
from factory.mining.feedback import Opinion, read_feedback
from factory.mining.lexical import Answer, Passage, Support, answer_in, passages, supports
from factory.mining.settings import MiningSettings
from logs_schema.records import RagRecord
from logs_schema.scores import Scores
from logs_schema.settings import HouseSettings

Newest = Mapping[str, tuple[datetime, str | None]]
"""Document id → (updated_at, version) of its newest known version."""


class Case(NamedTuple):
    """A record, its scores, and what was read off its texts."""

    record: RagRecord
    scores: Scores
    settings: MiningSettings
    found: list[Passage]
    answer: Answer
    judged: list[Support]
    refuses: bool
    """The response says "I don't know" and claims nothing beside it."""
    opinion: Opinion
    stale: list[int]
    """Ranks of passages of which a newer version existed when the question was asked."""

    @property
    def sufficient(self) -> float:
        """-1 to 1: how far sufficiency is from its threshold; 0 and more means sufficient."""
        return _margin(self.scores.sufficiency or 0.0, self.settings.sufficient)

    @property
    def faithful(self) -> float:
        """-1 to 1, likewise; 1 when the response claims nothing."""
        faithfulness = self.scores.faithfulness
        return 1.0 if faithfulness is None else _margin(faithfulness, self.settings.faithful)


def read_case(
    record: RagRecord, scores: Scores, *, settings: MiningSettings, house: HouseSettings, newest: Newest
) -> Case:
    """Read the texts and the feedback of a record."""
    found = passages(record.contexts)
    abstention = read_abstention(record.response, house.abstention)
    return Case(
        record=record,
        scores=scores,
        settings=settings,
        found=found,
        answer=answer_in(record, found),
        judged=supports(record.response, found, abstention.claims if abstention.abstains else None),
        refuses=bool(scores.abstained) and not abstention.claims,
        opinion=read_feedback(record, house.abstention),
        stale=_stale(record, newest),
    )


def _stale(record: RagRecord, newest: Newest) -> list[int]:
    stale = []
    for rank, context in enumerate(record.contexts):
        known = newest.get(context.doc_id) if context.doc_id is not None else None
        if known and context.updated_at and context.updated_at < known[0] <= record.occurred_at:
            stale.append(rank)
    return stale


def _margin(value: float, threshold: float) -> float:
    room = 1 - threshold if value >= threshold else threshold
    return (value - threshold) / room if room else 0.0
