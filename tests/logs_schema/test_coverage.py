"""What the logs lack, figures by week, and coverage that collapses."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from factory.cli.app import app
from factory.mining.sessions import read_sessions
from factory.mining.settings import SignalSettings
from factory.settings import ScheduleSettings
from factory.status import status
from logs_schema.collapse import collapsed
from logs_schema.coverage import FIELDS, Coverage, coverage_report, percent
from logs_schema.records import Context, Feedback, FeedbackKind, PromptTemplate
from logs_schema.store import save_feedback, save_records
from logs_schema.tables import now
from logs_schema.weeks import table_of, weeks, weeks_frame
from tests.logs_schema.log_examples import NOON, record, vote

runner = CliRunner()
FULL = Context(text="t", doc_id="d", updated_at=NOON, groups=("all",))


def full(number: int, **changes: Any) -> Any:
    fields = {
        "contexts": (FULL,),
        "prompt": PromptTemplate(),
        "session_id": "s",
        "model": "m",
        "latency_ms": 5.0,
        "feedback": (vote(), Feedback(identifier="c", kind=FeedbackKind.correction, correction="Three.")),
    }
    return record(number, **{**fields, **changes})


def test_a_log_that_holds_everything_lacks_nothing(engine: Engine) -> None:
    assert "no such records" in coverage_report(engine).text()
    save_records(engine, [full(1), full(2)])
    report = coverage_report(engine)
    assert report.lacks == () and all(report.coverage.share(field) == 1 for field in FIELDS)


def test_what_is_missing_is_told_with_its_share_and_the_remedy(engine: Engine) -> None:
    bare = Context(text="", doc_id="d")
    save_records(engine, [full(1), full(2, contexts=(FULL, bare), feedback=()), full(3, contexts=(), source="web")])
    save_feedback(engine, "desk", "trace-2", [Feedback(identifier="i", kind=FeedbackKind.implicit, value=-1)])
    held = coverage_report(engine).coverage
    assert (held.records, held.with_feedback, held.with_contexts, held.contexts, held.contexts_with_text) == (
        *(3, 2, 2),
        *(3, 2),
    )
    text = coverage_report(engine).text()
    assert "33 % of 3 contexts have no text: answers cannot be checked against them. Log the passages' `text`" in text
    assert "67 %  text                   2 of 3 contexts" in text
    assert coverage_report(engine, source="web").coverage.records == 1
    assert coverage_report(engine, since=NOON + timedelta(minutes=2)).coverage.records == 2
    assert coverage_report(engine, since=NOON + timedelta(minutes=2), source="desk").coverage.contexts == 2


@pytest.mark.parametrize(("part", "whole", "text"), [(0, 0, "none"), (0, 9, "0 %"), (1, 999, "<1 %"), (9, 9, "100 %")])
def test_shares_are_never_rounded_away(part: int, whole: int, text: str) -> None:
    assert percent(part, whole) == text
    assert percent(998, 999) == ">99 %"


def test_counts_add_up() -> None:
    assert Coverage(records=1, contexts=2) + Coverage(records=3) == Coverage(records=4, contexts=2)


def test_the_week_figures(engine: Engine) -> None:
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    save_records(
        engine,
        [
            record(1, session_id="a", latency_ms=100, tags=("escalated",), occurred_at=monday),
            record(2, session_id="a", latency_ms=300, occurred_at=monday + timedelta(minutes=1)),
            record(3, occurred_at=monday + timedelta(days=6, hours=23), feedback=(vote(),)),
            record(4, occurred_at=monday + timedelta(days=1), error="timeout", response="", contexts=()),
            record(5, occurred_at=monday + timedelta(days=2)),
            record(6, source="web", occurred_at=monday + timedelta(days=70)),
        ],
    )
    unread = weeks(engine)
    assert [(row.week, row.source, row.records) for row in unread] == [
        (monday + timedelta(days=70), "web", 1),
        (monday, "desk", 5),
    ]
    assert unread[0].resolved is None and "not run yet" in table_of(unread)[-1]
    read_sessions(engine, SignalSettings())
    (row,) = [row for row in weeks(engine) if row.source == "desk"]
    assert (row.with_feedback, row.contexts, row.errors, row.latency_ms) == (1, 8, 1, 200.0)
    assert (row.conversations, row.escalated, row.resolved) == (4, 1, 1)
    assert any("25% of 4" in line for line in table_of((row,)))
    assert len(weeks(engine, last=1)) == 1 and list(weeks_frame(engine)["records"]) == [1, 5]


def test_coverage_that_collapses_is_told_once_it_is_no_chance(engine: Engine) -> None:
    start = datetime(2026, 3, 2, tzinfo=UTC)

    def told(**given: Any) -> tuple[str, ...]:
        window = {"newest": timedelta(hours=24), "trailing": timedelta(days=7), "drop": 0.5}
        return collapsed(engine, **{**window, **given})

    assert told() == ()
    hours = range(8 * 24)
    new = [hour >= 7 * 24 for hour in hours]
    save_records(
        engine,
        [
            full(
                hour * 3 + n,
                occurred_at=start + timedelta(hours=hour, minutes=n),
                contexts=(FULL.model_copy(update={"text": "" if is_new and n else "t"}),),
                feedback=() if is_new else full(1).feedback,
                session_id=None if is_new and n == 0 else "s",
            )
            for hour, is_new in zip(hours, new, strict=True)
            for n in range(3)
        ],
    )
    (problem,) = told()
    assert "text in 33 % (24 of 72 contexts) of the newest 24 h, 100 % (504 of 504 contexts) in the 7 days" in problem
    assert told(drop=0.3) == () and told(at_least=100) == ()
    half = told(newest=timedelta(hours=12), at_least=30)
    named = [sentence.split()[2] for sentence in half]
    assert named == ["text", "feedback", "correction"], "feedback is missing for longer than it may be late"
    schedule = ScheduleSettings(silent_after_hours=1e6, coverage_drop=0.3)
    assert status(engine, schedule=schedule, miner_version="m").problems == ()
    schedule = ScheduleSettings(silent_after_hours=1e6)
    assert status(engine, schedule=schedule, miner_version="m").problems == (problem,)


def test_a_clock_in_the_future_hides_no_silence_and_no_collapse(engine: Engine) -> None:
    schedule = ScheduleSettings(silent_after_hours=24)
    begin = now() - timedelta(days=9)
    lost = (FULL.model_copy(update={"text": ""}),)
    save_records(
        engine,
        [
            full(n, occurred_at=begin + timedelta(hours=n), **({"contexts": lost} if n > 168 else {}))
            for n in range(192)
        ],
    )
    schedule = ScheduleSettings(silent_after_hours=20, coverage_newest_hours=23)
    at_least = {"newest": timedelta(hours=23), "trailing": timedelta(days=7), "drop": 0.5, "at_least": 20}
    before = status(engine, schedule=schedule, miner_version="m")
    (collapse,) = collapsed(engine, **at_least)
    assert any("logs stopped" in problem for problem in before.problems)
    save_records(engine, [full(500, occurred_at=now() + timedelta(days=4000))])
    after = status(engine, schedule=schedule, miner_version="m")
    assert after.newest_record == before.newest_record
    assert after.problems == (
        *before.problems,
        "1 record is dated in the future: look at the clock of the application",
    )
    assert collapsed(engine, **at_least) == (collapse,)


def test_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_url: str, engine: Engine) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACTORY_STORE__URL", store_url)
    save_records(engine, [record(1), full(2)])
    shown = runner.invoke(app, ["logs", "coverage", "--since", "2026-03-02", "--source", "desk"])
    assert shown.exit_code == 0 and "2 records of desk since 2026-03-02 00:00 UTC" in shown.stdout
    assert json.loads(runner.invoke(app, ["logs", "coverage", "--json"]).stdout)["coverage"]["records"] == 2
    assert "2026-03-02  desk" in runner.invoke(app, ["logs", "stats", "--weeks", "1"]).stdout
    assert runner.invoke(app, ["logs", "coverage", "--since", "soon"]).exit_code == 2
