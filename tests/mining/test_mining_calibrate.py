from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sqlalchemy import Engine, func, insert, select

from factory.mining.calibrate import CALIBRATION, calibrate, fit_in_force
from factory.mining.combination import shipped
from factory.mining.miner import mine
from factory.mining.settings import MiningSettings
from factory.mining.verdicts import reviewed
from logs_schema.database import writing
from logs_schema.errors import NotReadyError
from logs_schema.records import RagRecord
from logs_schema.settings import HouseSettings
from logs_schema.store import save_records
from logs_schema.tables import Review
from tests.mining.conftest import MONDAY

if TYPE_CHECKING:
    from factory.mining.encoder import Vectors

HOUSE = HouseSettings()
WATERLOO = "who won the battle of waterloo"


def review(
    engine: Engine, record: RagRecord, decision: str, *, audit: bool = True, by: str = "ann", **more: Any
) -> None:
    values = {
        "id": f"{record.record_id[:12]}-{by}",
        "interaction_id": record.record_id,
        "reviewer": by,
        "decision": decision,
        "audit": audit,
        "draft_source": "none",
        "guidelines_version": HOUSE.guidelines_version,
        "record_hash": record.exchange_hash,
        "reviewed_at": MONDAY + timedelta(days=1),
        "pulled_at": MONDAY + timedelta(days=1),
    }
    with writing(engine) as connection:
        connection.execute(insert(Review.__table__), [values | more])  # type: ignore[attr-defined]


def fill(engine: Engine, make: Any, *, each: int = 40) -> None:
    """Good answers that say it in other words, and made-up ones: the scores in force trust neither enough."""
    for number in range(each):
        good = make(number, query=f"city plan price {number}", response=f"Seventy-two euros a month, {number} plans.")
        bad = make(number + 1000, query=f"{WATERLOO} {number}", response=f"Napoleon beat Wellington {number} times.")
        save_records(engine, [good, bad])
        review(engine, good, "good_as_is")
        review(engine, bad, "abstain")


def test_too_few_reviews_say_what_is_needed(engine: Engine, make: Any) -> None:
    with pytest.raises(NotReadyError, match=r"0 records of the audit slice.*40 are needed, 8 of each kind"):
        calibrate(engine, MiningSettings(), HOUSE)
    save_records(engine, [make(n) for n in range(60)])
    for n in range(60):
        review(engine, make(n), "good_as_is")
    with pytest.raises(NotReadyError, match="60 records"):
        calibrate(engine, MiningSettings(), HOUSE)
    assert fit_in_force(engine, "lexical") == shipped("lexical")


def test_what_is_better_is_kept_and_mined_with(engine: Engine, make: Any) -> None:
    fill(engine, make)
    before = mine(engine, MiningSettings(), HOUSE)
    assert mine(engine, MiningSettings(), HOUSE).mined == 0
    (report,) = calibrate(engine, MiningSettings(), HOUSE).fits
    assert report.changed and report.faithfulness and report.sufficiency
    assert report.faithfulness.kept == "calibrated" and report.faithfulness.audited == 80
    before_, after_, gain = report.faithfulness.before, report.faithfulness.after, report.faithfulness.gain
    assert after_.value < before_.value and gain.value == pytest.approx(before_.value - after_.value) and gain.low > 0
    assert report.faithfulness.calibration.skill.low > 0.5
    assert "Of the audit records people found 0.50 [0.39, 0.61] (of 80) supported; 80 reviews in all." in report.text()
    assert "better by" in report.text() and "cross-validated" in report.text()
    after = mine(engine, MiningSettings(), HOUSE)
    assert after.mined == 80 and after.miner_version != before.miner_version
    again = calibrate(engine, MiningSettings(), HOUSE)
    assert not again.fits[0].changed and "Nothing changed." in again.text()
    assert mine(engine, MiningSettings(), HOUSE).mined == 0
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(CALIBRATION)) == 1


def test_reviews_of_the_queue_teach_weights_and_do_not_decide(engine: Engine, make: Any) -> None:
    fill(engine, make, each=80)
    queued = make(5000, query="cargo plan trial", response="The Cargo plan has a trial of 90 days.")
    save_records(engine, [queued])
    review(engine, queued, "answer", audit=False, failure="unfaithful")
    (report,) = calibrate(engine, MiningSettings(), HOUSE).fits
    assert report.faithfulness and (report.faithfulness.audited, report.faithfulness.reviewed) == (160, 161)


def test_each_fit_is_calibrated_for_what_its_stage_measures(
    engine: Engine, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(texts: Sequence[str]) -> "Vectors":
        return np.ones((len(texts), 2), np.float32)

    monkeypatch.setattr("factory.mining.calibrate.sentence_encoder", lambda name: encode)
    fill(engine, make)
    words, meanings = calibrate(engine, MiningSettings(encoder="ones"), HOUSE).fits
    assert (words.name, meanings.name) == ("lexical", "semantic")
    assert words.faithfulness and words.sufficiency and meanings.sufficiency and meanings.faithfulness is None
    assert "faithfulness" in words.text() and "faithfulness" not in meanings.text()
    assert fit_in_force(engine, "semantic").faithfulness == shipped("semantic").faithfulness


def test_what_people_said(engine: Engine, make: Any) -> None:
    def said(number: int, *decisions: str, **given: Any) -> tuple[bool | None, bool | None] | None:
        record = make(number, **given)
        save_records(engine, [record])
        for at, decision in enumerate(decisions):
            decision, _, failure = decision.partition(":")
            review(engine, record, decision, by=f"r{at}", failure=failure or None)
        found = {verdict.record.record_id: verdict for verdict in reviewed(engine, HOUSE)}.get(record.record_id)
        return (found.faithfulness, found.sufficiency) if found else None

    assert said(1, "good_as_is") == (True, True)
    assert said(2, "answer:unfaithful") == (False, True)
    assert said(3, "answer:incomplete") == (None, True)
    assert said(4, "abstain") == (False, False)
    assert said(5, "good_as_is", response="I don't know.") == (None, False)
    assert said(6, "answer", response="I don't know.") == (None, True)
    assert said(7, "not_usable") is None
    assert said(8, "good_as_is", "good_as_is") == (True, True)
    assert said(9, "good_as_is", "answer:unfaithful") == (None, True)
    assert said(10, "good_as_is", tags=("kind:ticket",)) is None
    changed = make(1, response="Something else.")
    save_records(engine, [changed])
    assert changed.record_id not in {verdict.record.record_id for verdict in reviewed(engine, HOUSE)}
