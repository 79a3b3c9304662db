from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from factory.mining.cascade import Cascade, Stage, aligned, unsettled
from factory.mining.findings import load_finding
from factory.mining.miner import mine, miner_version
from factory.mining.render import render_finding
from factory.mining.settings import JudgeSettings, MiningSettings, ModelSettings
from logs_schema.records import RagRecord
from logs_schema.rows import FINDING
from logs_schema.scores import Evidence, Scorer, Scores, Span
from logs_schema.settings import HouseSettings
from logs_schema.store import iter_unmined, save_records
from logs_schema.taxonomy import TICKET, Failure

SETTINGS = MiningSettings()
SHARES = st.floats(0, 1, allow_nan=False)


def by_id(scores: dict[str, Scores], seen: list[str] | None = None) -> Scorer:
    def score(records: Sequence[RagRecord]) -> list[Scores]:
        if seen is not None:
            seen.extend(record.source_id for record in records)
        return [scores[record.source_id] for record in records]

    return score


def test_dearer_stages_see_only_what_is_unsettled_in_what_they_measure(make: Any) -> None:
    records = [make(n) for n in range(4)]
    near, far = 0.55, 0.9
    first = {
        "trace-0000": Scores(faithfulness=near, sufficiency=far),
        "trace-0001": Scores(faithfulness=far, sufficiency=near),
        "trace-0002": Scores(faithfulness=far, sufficiency=far),
        "trace-0003": Scores(sufficiency=far),
    }
    seen: list[str] = []
    asked: list[str] = []
    model = by_id({"trace-0000": Scores(faithfulness=0.52)}, seen)
    judge = by_id({"trace-0000": Scores(faithfulness=0.05), "trace-0001": Scores(sufficiency=0.05)}, asked)
    stages = [
        Stage("words", by_id(first)),
        Stage("model", model, frozenset({"faithfulness"})),
        Stage("judge", judge, spent=lambda: {"requests": len(asked)}),
    ]
    cascade = Cascade(stages, SETTINGS)
    scores = cascade(records)
    assert seen == ["trace-0000"] and asked == ["trace-0000", "trace-0001"]
    assert scores[0] == Scores(faithfulness=0.05, sufficiency=far, stages=("words", "model", "judge"))
    assert scores[1] == Scores(faithfulness=far, sufficiency=0.05, stages=("words", "judge"))
    assert scores[2] == first["trace-0002"].model_copy(update={"stages": ("words",)})
    words, model_report, judge_report = cascade.take()
    assert (words.saw, words.settled) == (4, 2)
    assert (model_report.saw, model_report.settled) == (1, 0)
    assert (judge_report.saw, judge_report.settled, judge_report.spent) == (2, 2, {"requests": 2})
    assert cascade.take() == []


def test_a_band_of_nought_settles_everything_and_one_of_one_nothing(make: Any) -> None:
    scores = {"trace-0000": Scores(faithfulness=0.5)}
    for band, calls in ((0.0, 0), (1.0, 1)):
        seen: list[str] = []
        stages = [Stage("words", by_id(scores)), Stage("model", by_id(scores, seen))]
        Cascade(stages, MiningSettings(unsettled=band))([make(0)])
        assert len(seen) == calls


def test_tickets_and_failed_calls_are_not_worth_a_dear_stage(make: Any) -> None:
    records = [make(0, tags=(TICKET,)), make(1, error="timeout"), make(2, response=" "), make(3, contexts=())]
    scores = {record.source_id: Scores(faithfulness=0.5) for record in records}
    seen: list[str] = []
    Cascade([Stage("words", by_id(scores)), Stage("judge", by_id(scores, seen))], SETTINGS)(records)
    assert seen == []


@given(SHARES, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_aligned_keeps_order_and_sides(value: float, own: float, onto: float) -> None:
    moved = aligned(value, own, onto)
    assert 0 <= moved <= 1 + 1e-9
    assert (moved >= onto - 1e-12) if value >= own else (moved <= onto)
    assert aligned(0, own, onto) == 0 and aligned(own, own, onto) == onto
    assert aligned(min(value + 0.1, 1), own, onto) >= moved


@given(SHARES, SHARES)
def test_what_was_not_measured_is_never_unsettled(faithful: float, band: float) -> None:
    settings = MiningSettings(unsettled=band)
    assert unsettled(Scores(), settings) == set()
    near = abs(faithful - settings.faithful) < band
    assert unsettled(Scores(faithfulness=faithful), settings) == ({"faithfulness"} if near else set())


def use_stages(monkeypatch: pytest.MonkeyPatch, *stages: Stage) -> None:
    monkeypatch.setattr("factory.mining.miner.dear_stages", lambda engine, rules: list(stages))


def test_a_stage_turns_the_verdict_and_its_evidence_is_what_people_read(
    engine: Engine, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make(1, response="The City plan costs 72 euros a month [1]. All plan prices include VAT [1].")
    save_records(engine, [record])
    start = record.response.index("All")
    spans = (Span(where="response", start=start, end=len(record.response)),)
    told = Evidence(kind="unsupported", note="the model says so", spans=spans, score=0.1)
    verdict = Scores(faithfulness=0.1, evidence=(told,))
    use_stages(monkeypatch, Stage("model", by_id({"trace-0001": verdict}), frozenset({"faithfulness"})))
    settings = MiningSettings(unsettled=1)
    report = mine(engine, settings, HouseSettings())
    finding = load_finding(engine, record.record_id)
    assert finding.failure is Failure.unfaithful and '"All plan prices include VAT' in finding.why
    assert finding.scores.stages == ("words", "model") and finding.scores.evidence == ()
    assert [one.note for one in finding.evidence if one.kind == "unsupported"] == ["the model says so"]
    assert "Measured by: words, then model" in render_finding(record, finding, settings).plain
    assert [(stage.name, stage.saw) for stage in report.stages] == [("words", 1), ("model", 1)]
    assert "model saw 1 record, settled 0" in report.text()


def test_what_a_stage_left_is_due_again_until_it_is_done(
    engine: Engine, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_records(engine, [make(n) for n in range(3)])
    left = Scores(pending="max_requests = 1 is reached")
    answers = {"trace-0000": Scores(faithfulness=0.9), "trace-0001": left, "trace-0002": left}
    use_stages(monkeypatch, Stage("judge", by_id(answers)))
    settings = MiningSettings(unsettled=1)
    report = mine(engine, settings, HouseSettings())
    assert report.mined == 3 and report.stages[1].pending == {"max_requests = 1 is reached": 2}
    assert "2 were left for the next run: max_requests = 1 is reached" in report.text()
    version = miner_version(settings, HouseSettings())
    due = [record_id for page in iter_unmined(engine, version) for record_id in page]
    assert due == [make(1).record_id, make(2).record_id]
    answers.update({"trace-0001": Scores(faithfulness=0.9), "trace-0002": Scores(faithfulness=0.9)})
    again = mine(engine, settings, HouseSettings())
    assert (again.mined, again.already) == (2, 1)
    assert mine(engine, settings, HouseSettings()).mined == 0
    with engine.connect() as connection:
        assert {row.scores["pending"] for row in connection.execute(select(FINDING))} == {None}


def test_the_optional_stages_are_part_of_the_version_only_when_they_are_asked_for() -> None:
    house = HouseSettings()
    version = miner_version(SETTINGS, house)
    assert miner_version(MiningSettings(workers=4), house) == version
    assert miner_version(MiningSettings(unsettled=0.3), house) != version, "complaints are believed as far"
    model = MiningSettings(model=ModelSettings(name="m"))
    assert miner_version(model, house) != version
    assert miner_version(MiningSettings(model=ModelSettings(name="m", batch=2)), house) == miner_version(model, house)
    judge = JudgeSettings(base_url="http://localhost/v1", model="j")
    assert miner_version(MiningSettings(judge=judge), house) != version
    cheaper = judge.model_copy(update={"max_requests": 5})
    assert miner_version(MiningSettings(judge=cheaper), house) == miner_version(MiningSettings(judge=judge), house)
