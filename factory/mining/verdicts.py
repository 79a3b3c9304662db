"""What people said of records, as labels for the scores: was the response supported, did passages hold the answer?"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Engine, select

from factory.mining.abstention import read_abstention
from logs_schema.records import RagRecord
from logs_schema.rows import REVIEW
from logs_schema.settings import HouseSettings
from logs_schema.store import load_records
from logs_schema.taxonomy import TICKET, Decision, Failure


class Verdict(NamedTuple):
    """What people said of one record."""

    record: RagRecord
    faithfulness: bool | None
    sufficiency: bool | None
    audit: bool


def reviewed(engine: Engine, house: HouseSettings) -> list[Verdict]:
    """What people said of each reviewed record that is still what they saw; where they disagree, nothing."""
    with engine.connect() as connection:
        rows = connection.execute(select(REVIEW).order_by(REVIEW.c.interaction_id, REVIEW.c.id)).all()
    by_record: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_record[row.interaction_id].append(row)
    records = load_records(engine, list(by_record))
    verdicts = []
    for name, record in records.items():
        said = [row for row in by_record[name] if row.record_hash == record.exchange_hash]
        if not said or TICKET in record.tags:
            continue
        refuses = read_abstention(record.response, house.abstention, record.query).abstains
        verdict = Verdict(
            record,
            _agreed([_supported(row, refuses) for row in said]),
            _agreed([_answerable(row, refuses) for row in said]),
            all(row.audit for row in said),
        )
        if not (verdict.faithfulness is None and verdict.sufficiency is None):
            verdicts.append(verdict)
    return verdicts


def _supported(row: Any, refuses: bool) -> bool | None:
    """Whether the response was supported: good as it is, or unfaithful, or an answer where there was none."""
    if refuses:
        return None
    if row.decision == Decision.good_as_is:
        return True
    if row.decision == Decision.abstain or row.failure in (Failure.unfaithful, Failure.missing_abstention):
        return False
    return None


def _answerable(row: Any, refuses: bool) -> bool | None:
    if row.decision == Decision.answer:
        return True
    if row.decision == Decision.abstain:
        return False
    return not refuses if row.decision == Decision.good_as_is else None


def _agreed(said: Sequence[bool | None]) -> bool | None:
    votes = {vote for vote in said if vote is not None}
    return votes.pop() if len(votes) == 1 else None
