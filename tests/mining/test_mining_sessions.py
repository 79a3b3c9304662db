"""What is read off sessions: signals, whatever the order in which logs come."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from factory.mining import sessions
from factory.mining.findings import load_finding
from factory.mining.miner import mine
from factory.mining.sessions import CROWD, read_sessions
from factory.mining.settings import MiningSettings, SignalSettings
from logs_schema.records import Feedback, FeedbackKind, RagRecord
from logs_schema.settings import HouseSettings
from logs_schema.store import iter_records, save_feedback, save_records

SIGNALS = SignalSettings()
NOON = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
CITY = "how much is the city plan per month"
AGAIN = "what does the city plan cost per month"
TRIAL = "when does the free trial start"


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def signals(engine: Engine) -> dict[str, list[str]]:
    return {
        record.source_id: [event.label or "" for event in record.feedback if event.kind is FeedbackKind.implicit]
        for batch in iter_records(engine)
        for record in batch
    }


def read(engine: Engine, records: list[RagRecord]) -> dict[str, list[str]]:
    save_records(engine, records)
    read_sessions(engine, SIGNALS)
    return {name: found for name, found in signals(engine).items() if found}


def test_a_question_asked_again_is_a_complaint(engine: Engine, make: Any) -> None:
    asked = [
        make(1, query=CITY, occurred_at=at(0), session_id="s"),
        make(2, query=AGAIN, occurred_at=at(60), session_id="s"),
        make(3, query=TRIAL, occurred_at=at(90), session_id="s"),
        make(4, query=AGAIN, occurred_at=at(60), session_id="t"),
        make(5, query=CITY, occurred_at=at(900), session_id="t"),
    ]
    assert read(engine, asked) == {"trace-0001": ["rephrased"]}
    (record,) = next(iter_records(engine, ids=[asked[0].record_id]))
    (event,) = record.feedback
    assert event.value == -0.5 and event.occurred_at == at(60) and "60 s later" in (event.comment or "")


@pytest.mark.parametrize(
    ("first", "second", "seconds", "expected"),
    [
        (CITY, CITY, 60, True),
        (CITY, CITY, 2, False),
        (CITY, AGAIN, 599, True),
        (CITY, AGAIN, 601, False),
        (CITY, TRIAL, 60, False),
        ("status of order 123", "status of order 456", 60, False),
        ("refunds", "Refund?", 60, True),
        ("???", "!!!", 60, False),
    ],
)
def test_what_counts_as_asking_again(
    engine: Engine, make: Any, first: str, second: str, seconds: int, expected: bool
) -> None:
    asked = [
        make(1, query=first, occurred_at=at(0), user_id="u"),
        make(2, query=second, occurred_at=at(seconds), user_id="u"),
    ]
    assert read(engine, asked) == ({"trace-0001": ["rephrased"]} if expected else {})


def test_people_are_told_apart_and_crowds_are_not_read(engine: Engine, make: Any) -> None:
    strangers = [make(n, query=CITY, occurred_at=at(60 * n)) for n in range(3)]
    others = [make(10 + n, query=CITY, occurred_at=at(60 * n), user_id="u", session_id=f"s{n}") for n in range(3)]
    sources = [make(20 + n, query=CITY, occurred_at=at(60 * n), session_id="s", source=f"app{n}") for n in range(3)]
    shared = [make(100 + n, query=CITY, occurred_at=at(5 * n), user_id="anonymous") for n in range(CROWD + 5)]
    assert read(engine, [*strangers, *others, *sources, *shared]) == {}


def test_escalation_and_giving_up(engine: Engine, make: Any) -> None:
    asked = [
        make(1, tags=("web", "Escalated")),
        make(2, query=CITY, occurred_at=at(0), session_id="s"),
        make(3, query=AGAIN, occurred_at=at(60), session_id="s"),
        make(4, error="timeout", response="", session_id="t"),
        make(5, session_id="fine"),
    ]
    assert read(engine, asked) == {
        "trace-0001": ["escalated"],
        "trace-0002": ["rephrased"],
        "trace-0003": ["abandoned"],
        "trace-0004": ["abandoned"],
    }


def test_a_late_neighbour_changes_the_signal_and_its_records_are_mined_again(engine: Engine, make: Any) -> None:
    house = HouseSettings()
    lie = "Riders pay 19 dollars to the Zurich office [1]."
    first = make(1, query=CITY, occurred_at=at(0), session_id="s", response=lie)
    last = make(3, query=AGAIN, occurred_at=at(500), session_id="s")
    save_records(engine, [first])
    mine(engine, MiningSettings(), house, signals=SIGNALS)
    before = load_finding(engine, first.record_id)
    save_records(engine, [last])
    report = mine(engine, MiningSettings(), house, signals=SIGNALS)
    assert report.sessions and (report.sessions.changed, report.sessions.rephrased, report.mined) == (2, 1, 2)
    after = load_finding(engine, first.record_id)
    assert after.confidence > before.confidence
    assert any("asked nearly the same again 500 s later" in item.note for item in after.evidence)
    assert signals(engine)["trace-0003"] == ["abandoned"]
    save_records(engine, [make(2, query=AGAIN, occurred_at=at(300), session_id="s")])
    save_records(engine, [make(4, query=TRIAL, occurred_at=at(700), session_id="s")])
    assert mine(engine, MiningSettings(), house, signals=SIGNALS).mined == 4
    assert signals(engine) == {
        "trace-0001": ["rephrased"],
        "trace-0002": ["rephrased"],
        "trace-0003": [],
        "trace-0004": [],
    }
    again = mine(engine, MiningSettings(), house, signals=SIGNALS)
    assert again.sessions and (again.sessions.changed, again.mined) == (0, 0)


def test_signals_leave_other_feedback_alone_and_survive_a_second_import(engine: Engine, make: Any) -> None:
    vote = Feedback(identifier="v", kind=FeedbackKind.vote, value=1)
    asked = [make(n, query=CITY, occurred_at=at(60 * n), session_id="s", feedback=(vote,)) for n in range(3)]
    read(engine, asked)
    kept = [record.content_hash for batch in iter_records(engine) for record in batch]
    assert save_records(engine, asked).unchanged == 3
    assert [record.content_hash for batch in iter_records(engine) for record in batch] == kept
    save_feedback(engine, "desk", "trace-0000", [Feedback(identifier="w", kind=FeedbackKind.vote, value=-1)])
    assert read_sessions(engine, SIGNALS).changed == 0
    (record,) = next(iter_records(engine, ids=[asked[0].record_id]))
    assert {event.identifier for event in record.feedback} == {"v", "w", "session:rephrased"}


def test_other_settings_look_at_everything_again(engine: Engine, make: Any) -> None:
    read(engine, [make(n, query=CITY, occurred_at=at(60 * n), session_id="s") for n in range(2)])
    assert read_sessions(engine, SignalSettings(window_minutes=0.5)).changed == 2
    assert not any(signals(engine).values())


TURNS = st.lists(
    st.tuples(
        st.sampled_from([CITY, AGAIN, TRIAL]),
        st.integers(0, 40),
        st.sampled_from(["s", "t", None]),
        st.sampled_from(["u", None]),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@given(turns=TURNS, data=st.data())
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_order_and_batches_of_imports_change_no_signal(
    fresh: Callable[[], Engine], make: Any, turns: list[Any], data: st.DataObject
) -> None:
    records = [
        make(
            n,
            query=query,
            occurred_at=at(90 * minute),
            session_id=session,
            user_id=user,
            error="timeout" if failed else None,
        )
        for n, (query, minute, session, user, failed) in enumerate(turns)
    ]
    whole, parts = fresh(), fresh()
    expected = (read(whole, records), snapshot(whole))
    for record in data.draw(st.permutations(records)):
        read(parts, [record])
    assert ({name: found for name, found in signals(parts).items() if found}, snapshot(parts)) == expected


@given(turns=TURNS, known=st.integers(0, 12))
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_what_is_told_does_not_depend_on_pages(
    fresh: Callable[[], Engine], make: Any, turns: list[Any], known: int
) -> None:
    records = [
        make(n, query=query, occurred_at=at(20 * minute), session_id=session, user_id=user)
        for n, (query, minute, session, user, _) in enumerate(turns)
    ]
    told = []
    for page in (500, 2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sessions, "PAGE", page)
            patch.setattr(sessions, "OVERLAP", timedelta(0))
            engine = fresh()
            save_records(engine, records[:known])
            first = read_sessions(engine, SIGNALS)
            save_records(engine, records[known:])
            told.append((first, read_sessions(engine, SIGNALS)))
    assert told[0] == told[1] and told[0][0].seen == min(known, len(turns))


def snapshot(engine: Engine) -> list[RagRecord]:
    return [record for batch in iter_records(engine) for record in batch]


def test_a_killed_run_is_completed(engine: Engine, make: Any, store_url: str) -> None:
    asked = [make(n, query=CITY, occurred_at=at(20_000 * (n // 2) + 60 * (n % 2)), user_id="u") for n in range(1200)]
    save_records(engine, asked)
    program = textwrap.dedent(f"""
        import os, signal
        from factory.mining.sessions import read_sessions
        from factory.mining.settings import SignalSettings
        from logs_schema.store import open_store
        def track(pages, **_):
            for number, page in enumerate(pages):
                if number == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield page
        read_sessions(open_store("{store_url}"), SignalSettings(), track=track)
    """)
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(root)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert 0 < sum(map(len, signals(engine).values())) < 600
    assert read_sessions(engine, SIGNALS).rephrased == 600
    assert sum(map(len, signals(engine).values())) == 600
