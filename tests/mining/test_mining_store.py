import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select

from factory.mining.findings import findings_frame, list_findings, load_finding
from factory.mining.lexical import lexical_scorer
from factory.mining.miner import mine, miner_version
from factory.mining.settings import MiningSettings
from logs_schema.errors import NotReadyError
from logs_schema.records import Context, Feedback, FeedbackKind, RagRecord
from logs_schema.rows import FINDING, INTERACTION
from logs_schema.scores import Scores
from logs_schema.settings import HouseSettings
from logs_schema.store import save_feedback, save_records
from logs_schema.taxonomy import Failure, Route

HOUSE = HouseSettings()
SETTINGS = MiningSettings()
LIE = "Riders pay 19 dollars to the Zurich office [1]."


def rows(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(FINDING).order_by(FINDING.c.interaction_id))]


def test_mining_is_incremental(engine: Engine, make: Any) -> None:
    save_records(engine, [make(n, response=LIE if n % 2 else make().response) for n in range(9)])
    first = mine(engine, SETTINGS, HOUSE, batch=2)
    assert (first.total, first.mined, first.already) == (9, 9, 0)
    assert first.failures == {"none": 5, "unfaithful": 4} and first.routes == {"no_action": 5, "behaviour": 4}
    assert "4 records show a failure" in first.text()
    before = rows(engine)
    second = mine(engine, SETTINGS, HOUSE, batch=2)
    assert (second.mined, second.already) == (0, 9)
    assert rows(engine) == before and second.failures == first.failures
    save_records(engine, [make(9), make(0, response=LIE)])
    third = mine(engine, SETTINGS, HOUSE)
    assert (third.total, third.mined, third.already) == (10, 2, 8)
    assert third.failures == {"none": 5, "unfaithful": 5}


def test_late_feedback_is_mined(engine: Engine, make: Any) -> None:
    save_records(engine, [make(1, response=LIE)])
    mine(engine, SETTINGS, HOUSE)
    record_id = make(1).record_id
    before = load_finding(engine, record_id).confidence
    save_feedback(engine, "desk", "trace-0001", [Feedback(identifier="v", kind=FeedbackKind.vote, value=-1)])
    assert mine(engine, SETTINGS, HOUSE).mined == 1
    assert load_finding(engine, record_id).confidence > before


def test_only_what_changes_verdicts_makes_another_version() -> None:
    version = miner_version(SETTINGS, HOUSE)
    for same in (MiningSettings(budget=7), MiningSettings(audit_share=0.5), MiningSettings(seed=3)):
        assert miner_version(same, HOUSE) == version
    formats = MiningSettings(format_regex="x"), MiningSettings(format_schema="{}")
    for other in (MiningSettings(faithful=0.6), MiningSettings(citations=False), *formats):
        assert miner_version(other, HOUSE) != version
    assert miner_version(SETTINGS, HouseSettings(abstention="No idea.")) != version


def test_new_thresholds_mine_again(engine: Engine, make: Any) -> None:
    save_records(engine, [make(n, response="The City plan costs 72 euros a month.") for n in range(3)])
    assert mine(engine, SETTINGS, HOUSE).failures == {"bad_citation": 3}
    again = mine(engine, MiningSettings(citations=False), HOUSE)
    assert (again.mined, again.failures) == (3, {"none": 3})


def test_order_and_batches_of_imports_change_no_verdict(fresh: Callable[[], Engine], make: Any) -> None:
    records = [make(n, response=LIE if n % 3 else make().response, user_id=f"u{n % 4}") for n in range(40)]
    found = []
    for parts in ([records], [records[::-1][:13], records]):
        engine = fresh()
        for part in parts:
            save_records(engine, part)
            mine(engine, SETTINGS, HOUSE, batch=7)
        found.append([(row[0], row[3:10]) for row in rows(engine)])
    assert found[0] == found[1]


def test_a_failing_scorer_keeps_the_batches_before_it(engine: Engine, make: Any) -> None:
    save_records(engine, [make(n) for n in range(6)])
    score = lexical_scorer(HOUSE)
    calls = 0

    def fails_second(records: Sequence[RagRecord]) -> Sequence[Scores]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("out of memory")
        return score(records)

    with pytest.raises(RuntimeError):
        mine(engine, SETTINGS, HOUSE, scorer=fails_second, batch=2)
    assert len(rows(engine)) == 2
    report = mine(engine, SETTINGS, HOUSE, batch=2)
    assert (report.mined, report.already) == (4, 2)


def test_a_killed_run_is_completed(engine: Engine, make: Any, store_url: str) -> None:
    save_records(engine, [make(n, response=LIE) for n in range(8)])
    program = textwrap.dedent(f"""
        import os, signal
        from factory.mining.miner import mine
        from factory.mining.settings import MiningSettings
        from logs_schema.settings import HouseSettings
        from logs_schema.store import open_store
        def track(batches, **_):
            for number, batch in enumerate(batches):
                if number == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield batch
        mine(open_store("{store_url}"), MiningSettings(), HouseSettings(), batch=3, track=track)
    """)
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(root)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(rows(engine)) == 6
    report = mine(engine, SETTINGS, HOUSE)
    assert (report.mined, report.already, report.failures) == (2, 6, {"unfaithful": 8})


def test_a_record_that_is_removed_while_it_is_mined_leaves_nothing(engine: Engine, make: Any) -> None:
    save_records(engine, [make(1), make(2)])
    score = lexical_scorer(HOUSE)

    def forgets(records: Sequence[RagRecord]) -> Sequence[Scores]:
        with engine.begin() as connection:
            connection.execute(delete(INTERACTION).where(INTERACTION.c.id == make(1).record_id))
        return score(records)

    report = mine(engine, SETTINGS, HOUSE, scorer=forgets)
    assert report.mined == 1 and len(rows(engine)) == 1


def test_findings_as_a_table_and_as_a_frame(engine: Engine, make: Any) -> None:
    asks_else = {"query": "who won the battle of waterloo"}
    answers = [
        {"response": LIE},
        {"response": "I don't know."},
        asks_else,
        {"response": "I don't know.", **asks_else},
        {},
    ]
    save_records(engine, [make(n, **given) for n, given in enumerate(answers)])
    mine(engine, SETTINGS, HOUSE)
    frame = findings_frame(engine)
    assert list(frame["failure"].value_counts().sort_index().index) == [
        "insufficient_context",
        "missing_abstention",
        "over_refusal",
        "unfaithful",
    ]
    assert list(frame["confidence"]) == sorted(frame["confidence"], reverse=True)
    assert frame["score_sufficiency"].between(0, 1).all()
    assert list(findings_frame(engine, route=Route.retrieval)["failure"]) == ["insufficient_context"]
    listed = list_findings(engine, failure=Failure.none, limit=1)
    assert listed.total == 1 and listed.findings[0].record_id == make(4).record_id
    assert "1 of 1 finding;" in listed.text()
    assert findings_frame(engine, failure=Failure.bad_format).empty
    with pytest.raises(NotReadyError, match="factory mine"):
        load_finding(engine, "0" * 16)


def test_stale_contexts_are_seen_across_records(engine: Engine, make: Any) -> None:
    def context(month: int, price: int) -> tuple[Context, ...]:
        text = f"The City plan costs {price} euros a month."
        return (Context(text=text, doc_id="plans", updated_at=f"2026-{month:02d}-01T00:00:00Z"),)  # type: ignore[arg-type]

    answers = [(2, 67), (6, 72)]
    save_records(
        engine,
        [
            make(n, contexts=context(month, price), response=f"The City plan costs {price} euros a month [1].")
            for n, (month, price) in enumerate(answers)
        ],
    )
    report = mine(engine, SETTINGS, HOUSE)
    assert report.failures == {"none": 1, "stale_context": 1} and report.routes["retrieval"] == 1
    assert load_finding(engine, make(0).record_id).failure is Failure.stale_context
