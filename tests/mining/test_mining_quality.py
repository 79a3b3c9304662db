import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, select
from typer.testing import CliRunner

from factory.cli.app import app
from factory.mining.calibration import calibration
from factory.mining.intervals import share, told, weighted
from factory.mining.miner import mine
from factory.mining.quality import quality
from factory.mining.settings import MiningSettings
from logs_schema.errors import NotReadyError
from logs_schema.records import RagRecord, content_hash
from logs_schema.rows import QUEUE, REVIEW, put
from logs_schema.settings import HouseSettings
from logs_schema.store import open_store, save_records
from logs_schema.tables import now

HOUSE = HouseSettings()
LIE = "Riders pay 19 dollars to the Zurich office [1]."
DAY = datetime(2026, 11, 3, tzinfo=UTC)


def record(make: Any, number: int, **given: Any) -> RagRecord:
    """A record with a question of its own."""
    query = f"what does the city plan with the everyday step-through bike cost in euros ({number})"
    made: RagRecord = make(number, **{"query": query, **given})
    return made


def review(engine: Engine, record_id: str, decision: str, *, by: str = "ada", at: datetime = DAY, **given: Any) -> None:
    with engine.begin() as connection:
        reason = connection.scalar(select(QUEUE.c.reason).where(QUEUE.c.interaction_id == record_id))
        values = {
            "id": content_hash([record_id, by]), "interaction_id": record_id, "reviewer": by, "decision": decision,
            "draft_source": "none", "audit": reason == "audit", "guidelines_version": "1", "record_hash": "0",
            "reviewed_at": at, "pulled_at": at, **given,
        }  # fmt: skip
        connection.execute(insert(REVIEW).values(**values))


def mined(engine: Engine, records: list[RagRecord], **given: Any) -> dict[str, Any]:
    save_records(engine, records)
    mine(engine, MiningSettings(**{"budget": 400, "audit_share": 0, "per_user": 400, **given}), HOUSE)
    with engine.connect() as connection:
        return {row.interaction_id: row for row in connection.execute(select(QUEUE))}


def audited(engine: Engine, ids: list[str]) -> None:
    """Make audit records of them."""
    rows = [
        {"interaction_id": i, "reason": "audit", "failure": None, "priority": 0.5, "queued_at": now(),
         "confidence": None, "miner_version": None, "factors": None}
        for i in ids
    ]  # fmt: skip
    with engine.begin() as connection:
        put(connection, QUEUE, rows, replace=True)


def test_without_reviews_it_says_what_to_do(engine: Engine, make: Any) -> None:
    mined(engine, [record(make, 0, response=LIE)])
    with pytest.raises(NotReadyError, match="factory label pull"):
        quality(engine)


def test_precision_by_kind_from_the_reviewed_findings(engine: Engine, make: Any) -> None:
    lies = [record(make, n, response=LIE) for n in range(30)]
    refusals = [record(make, n, response="I don't know.") for n in range(30, 40)]
    items = mined(engine, [*lies, *refusals])
    assert {row.failure for row in items.values()} == {"unfaithful", "over_refusal"}
    for n, one in enumerate(lies):
        review(engine, one.record_id, "answer" if n < 24 else "good_as_is", failure="unfaithful" if n < 12 else None)
    review(engine, refusals[0].record_id, "abstain")
    review(engine, refusals[1].record_id, "not_usable")
    found = quality(engine)
    kinds = {kind.failure: kind for kind in found.kinds}
    assert kinds["unfaithful"].precision == share(24, 30) and kinds["unfaithful"].named == share(12, 12)
    assert kinds["over_refusal"].precision.value == 0 and kinds["over_refusal"].precision.n == 1
    assert (found.reviewed, found.audits, found.not_usable) == (31, 0, 1)
    assert found.calibration.n == 31 and found.calibration.error is not None
    assert "precision of over_refusal" in found.too_few and "precision of unfaithful" not in found.too_few
    (version,) = found.versions
    assert version.name == items[lies[0].record_id].miner_version and version.precision.n == 31
    text = found.text()
    assert "0.80 [0.63, 0.90] (of 30)" in text and "Too few reviews (under 20)" in text


def test_recall_comes_from_the_audit_slice_weighted_by_time(engine: Engine, make: Any) -> None:
    november = [record(make, n, response=LIE if n < 6 else make().response) for n in range(12)]
    later = make().occurred_at + timedelta(35)
    december = [record(make, n, occurred_at=later) for n in range(100, 220)]
    mined(engine, [*november, *december])
    drawn = [*november, *december[:12]]
    audited(engine, [one.record_id for one in drawn])
    for n, one in enumerate(drawn):
        # people find every lie of November bad, and six answers of December that the miner thinks good
        bad = n < 6 or 12 <= n < 18
        review(engine, one.record_id, "answer" if bad else "good_as_is")
    found = quality(engine)
    recall = found.recall[0]
    assert found.audits == 24 and recall.recall.n == 12
    assert recall.recall.value == pytest.approx(6 / (6 + 60)), "a December audit stands for ten records"
    assert recall.base_rate.value == pytest.approx((6 + 60) / 132)
    assert recall.recall.low is not None and recall.recall.low < recall.recall.value


def test_next_to_abstentions_stands_what_always_refusing_scores(engine: Engine, make: Any) -> None:
    nothing = make().contexts[:0] + tuple(c.model_copy(update={"text": "Bananas are yellow."}) for c in make().contexts)
    answered = [record(make, n, contexts=nothing, response="The plan costs 99 francs.") for n in range(3)]
    refused = [record(make, n, contexts=nothing, response="I don't know.") for n in range(3, 5)]
    good = [record(make, n) for n in range(5, 10)]
    everyone = [*answered, *refused, *good]
    mined(engine, everyone)
    audited(engine, [one.record_id for one in everyone])
    for one in answered:
        review(engine, one.record_id, "abstain")
    review(engine, refused[0].record_id, "good_as_is")
    review(engine, refused[1].record_id, "abstain")
    for one in good:
        review(engine, one.record_id, "good_as_is")
    found = quality(engine)
    assert found.always_refusing.value == 0.5 and found.always_refusing.n == 10
    missing = found.recall[1]
    assert missing.base_rate.value == pytest.approx(0.3), "a refusal that a curator confirms is no failure"
    assert missing.recall.value == 1 and "always refusing would be right on 0.50" in found.text()


def test_reviewers_who_disagree_and_the_course_over_time(engine: Engine, make: Any) -> None:
    lies = [record(make, n, response=LIE) for n in range(4)]
    mined(engine, lies)
    first = lies[0].record_id
    review(engine, first, "answer", by="ada")
    review(engine, first, "good_as_is", by="bob", at=DAY + timedelta(1))
    review(engine, first, "answer", by="cleo", at=DAY - timedelta(1))
    second = lies[1].record_id
    review(engine, second, "answer", by="ada", at=DAY + timedelta(40))
    review(engine, second, "good_as_is", by="bob", at=DAY + timedelta(41))
    found = quality(engine)
    assert found.reviewed == 2 and found.disputed == 2
    assert [(period.name, period.precision.value) for period in found.periods] == [("2026-11", 1.0), ("2026-12", 0.0)]
    assert [period.name for period in quality(engine, by="week").periods] == ["2026 week 45", "2026 week 51"]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    monkeypatch.chdir(tmp_path)
    engine = open_store(f"sqlite:///{tmp_path}/groundmill.db")
    lie = record(make, 0, response=LIE)
    mined(engine, [lie])
    result = CliRunner().invoke(app, ["mine", "report"])
    assert result.exit_code == 4 and "factory label push" in result.stderr
    review(engine, lie.record_id, "answer")
    assert "Precision" in CliRunner().invoke(app, ["mine", "report", "--by", "week"]).stdout
    assert json.loads(CliRunner().invoke(app, ["mine", "report", "--json"]).stdout)["reviewed"] == 1


def test_a_finding_says_how_many_of_its_kind_were_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = open_store(f"sqlite:///{tmp_path}/groundmill.db")
    lies = [record(make, n, response=LIE) for n in range(21)]
    mined(engine, lies)
    show = ["findings", "show", lies[20].record_id]
    for lie in lies[:19]:
        review(engine, lie.record_id, "answer")
    assert "curators confirmed" not in CliRunner().invoke(app, show).stdout, "too few reviews tell nothing"
    review(engine, lies[19].record_id, "good_as_is")
    assert "curators confirmed a share of 0.95 [0.76, 0.99] (of 20)" in CliRunner().invoke(app, show).stdout


@given(hits=st.integers(0, 50), more=st.integers(0, 50))
def test_intervals_hold_their_share(hits: int, more: int) -> None:
    figure = share(hits, hits + more)
    if hits + more == 0:
        assert figure.value is None and told(figure) == "- (of 0)"
    else:
        assert figure.low is not None and figure.high is not None and figure.value is not None
        assert 0 <= figure.low <= figure.value <= figure.high <= 1
        wider = share(hits / 2, (hits + more) / 2)
        assert wider.low is not None and wider.low <= figure.low + 1e-9
        assert weighted([(3.0, True)] * hits + [(3.0, False)] * more) == pytest.approx(figure)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60))
def test_calibration_is_bounded_and_counts_everything(cases: list[tuple[float, bool]]) -> None:
    found = calibration(cases)
    assert sum(one.confirmed.n for one in found.bins) == found.n == len(cases)
    assert all(one.low - 1e-9 <= one.mean <= one.high + 1e-9 for one in found.bins)
    if cases:
        for figure in (found.error, found.brier):
            assert figure.value is not None and 0 <= figure.value <= 1 and figure.n == len(cases)
            assert figure.low is None or figure.high is None or 0 <= figure.low <= figure.value <= figure.high <= 1
        base = sum(held for _, held in cases) / len(cases)
        assert found.brier.value == pytest.approx(sum((said - held) ** 2 for said, held in cases) / len(cases))
        assert found.skill.value is None or found.skill.value == pytest.approx(
            1 - found.brier.value / (base * (1 - base))
        )


def test_a_perfect_and_a_useless_confidence() -> None:
    perfect = calibration([(1.0, True), (0.0, False)] * 10)
    assert (perfect.error.value, perfect.brier.value, perfect.skill.value) == (0, 0, 1)
    useless = calibration([(0.5, True), (0.5, False)] * 10)
    assert (useless.error.value, useless.skill.value) == (0, 0)
    assert calibration([(0.9, True)] * 100).skill.value is None
    boastful = calibration([(0.9, n % 2 == 0) for n in range(100)])
    assert boastful.error.value == pytest.approx(0.4) and boastful.skill.high is not None and boastful.skill.high < 0


def test_intervals_of_a_calibration_go_by_groups() -> None:
    cases = [(0.8, n % 5 > 0) for n in range(100)]
    alone, together = calibration(cases), calibration(cases, [str(n // 20) for n in range(100)])
    assert alone.brier.value == together.brier.value and together.brier.low == together.brier.high
    assert alone.brier.low is not None and alone.brier.low < together.brier.low
    few = calibration(cases, ["one"] * 50 + ["other"] * 50)
    assert few.brier.low is None and "too few for an interval" in "\n".join(few.lines())
