"""Marks of what was forgotten, at the door of the store; and pruning."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select

from logs_schema.database import pack, writing
from logs_schema.errors import NotReadyError
from logs_schema.forgetting import (
    DATASET_ROW,
    QUEUE,
    REVIEW,
    forget_feedback_by,
    forget_traces,
)
from logs_schema.importers.run import import_files
from logs_schema.keys import store_key, store_key_in
from logs_schema.marks import FORGOTTEN, Kind, mark
from logs_schema.pruning import prune
from logs_schema.records import Context, PromptTemplate, Trace, record_id
from logs_schema.rows import FEEDBACK, JOINED, PENDING, put
from logs_schema.store import save_feedback, save_records
from logs_schema.tables import DatasetVersion, SplitPlacement, now
from tests.logs_schema.log_examples import NOON, record, snapshot, spans_of, vote, write_lines
from tests.stores import sqlite_only


def forget(engine: Engine, *traces: Trace) -> tuple[int, ...]:
    with writing(engine) as connection:
        return forget_traces(connection, store_key_in(connection), traces)


def forget_named(engine: Engine, kind: Kind, name: str) -> None:
    with writing(engine) as connection:
        values = {"record_id": None, "left_to_do": None, "forgotten_at": NOON}
        put(connection, FORGOTTEN, [{**mark(store_key_in(connection), kind, name)._asdict(), **values}], replace=True)


def test_a_forgotten_trace_leaves_nothing_and_does_not_come_back(
    engine: Engine, fresh: Callable[[], Engine], tmp_path: Path
) -> None:
    own = record(1, prompt=PromptTemplate(system="only here"), feedback=(vote(),))
    save_records(engine, [own, record(2)])
    gone = forget(engine, Trace("desk", "trace-1"))
    assert gone[:4] == (1, 2, 1, 1)  # the notice about postage is in the other record too
    other = fresh()
    save_records(other, [record(2)])
    assert snapshot(engine) == snapshot(other)
    assert (save_records(engine, [own]).new, save_feedback(engine, "desk", "trace-1", [vote("late")])) == (0, 0)
    save_feedback(engine, "desk", "trace-1", [vote("late")])
    assert snapshot(engine) == snapshot(other)
    with engine.connect() as connection:
        assert connection.execute(select(FEEDBACK)).all() == []
        assert "trace-1" not in str(connection.execute(select(FORGOTTEN)).all())
    other.dispose()


def test_an_import_tells_what_it_leaves_out(engine: Engine, tmp_path: Path) -> None:
    files = [write_lines(tmp_path / f"{n}.jsonl", spans_of(n)) for n in (1, 2)]
    import_files(engine, files, source="desk")
    forget(engine, Trace("desk", f"{1:032x}"))
    report = import_files(engine, files, source="desk")
    assert [(file.forgotten, file.unchanged, file.new) for file in report.files] == [(1, 0, 0), (0, 1, 0)]
    lines = [{"trace_id": "n1", "query": "q", "response": "r", "timestamp": "2026-03-02", "user_id": "u"}]
    forget_named(engine, Kind.user, "u")
    (native,) = import_files(engine, [write_lines(tmp_path / "n.jsonl", lines)], source="desk").files
    assert (native.forgotten, native.new) == (1, 0) and len(snapshot(engine)["records"]) == 1


def test_spans_of_a_forgotten_trace_do_not_wait(engine: Engine, tmp_path: Path) -> None:
    spans = spans_of(1)
    import_files(engine, [write_lines(tmp_path / "a.jsonl", spans[1:2])], source="desk")
    forget(engine, Trace("desk", f"{1:032x}"))
    import_files(engine, [write_lines(tmp_path / "b.jsonl", spans)], source="desk")
    with engine.connect() as connection:
        assert connection.execute(select(PENDING)).all() == []
    assert snapshot(engine)["records"] == []


def test_feedback_on_a_span_of_a_forgotten_trace_stays_out(engine: Engine, tmp_path: Path) -> None:
    whole, waiting = spans_of(1), spans_of(2)[1:2]
    import_files(engine, [write_lines(tmp_path / "a.jsonl", [*whole, *waiting])], source="desk")
    named = [each["context"]["span_id"] for each in (whole[2], waiting[0])]
    with engine.connect() as connection:
        assert connection.execute(select(JOINED)).all() and connection.execute(select(PENDING)).all()
    forget(engine, *(Trace("desk", f"{n:032x}") for n in (1, 2)))
    rated = [{"span_id": each, "name": "note", "result": {"score": 0.0, "explanation": "private"}} for each in named]
    import_files(engine, [write_lines(tmp_path / "b.jsonl", rated)], source="desk")
    with engine.connect() as connection:
        assert [connection.execute(select(table)).all() for table in (JOINED, PENDING, FEEDBACK)] == [[], [], []]
        assert not any(each in str(connection.execute(select(FORGOTTEN)).all()) for each in named)


def test_a_forgotten_user_may_come_back_later_but_the_past_may_not(engine: Engine) -> None:
    forget_named(engine, Kind.user, "u-1")  # at noon
    before = record(1, user_id="u-1", occurred_at=NOON - timedelta(hours=1))
    after = record(2, user_id="u-1", occurred_at=NOON + timedelta(hours=1))
    save_feedback(engine, "desk", "trace-1", [vote("by somebody else")])
    assert save_records(engine, [before, after, record(3)]).new == 2
    assert {each.source_id for each in snapshot(engine)["records"]} == {"trace-2", "trace-3"}
    with engine.connect() as connection:  # what had come for the refused trace goes too
        assert connection.execute(select(FEEDBACK)).all() == []
    events = [vote("old", by="u-1", occurred_at=NOON), vote("undated", by="u-1"), vote("other", by="u-2")]
    events.append(vote("new", by="u-1", occurred_at=NOON + timedelta(seconds=1)))
    assert save_feedback(engine, "desk", "trace-3", events) == 2


def test_a_forgotten_document_keeps_its_records_out_for_good(engine: Engine) -> None:
    forget_named(engine, Kind.document, "doc-0")
    shown = record(1, occurred_at=NOON + timedelta(days=9))
    free = record(2, contexts=(Context(text="Other.", doc_id="doc-9"),))
    assert save_records(engine, [shown, free]).new == 1
    assert [each.source_id for each in snapshot(engine)["records"]] == ["trace-2"]


def test_feedback_by_a_person_goes_and_the_record_knows(engine: Engine) -> None:
    save_records(engine, [record(1, feedback=(vote("a", by="u-1"), vote("b", by="u-2")))])
    with writing(engine) as connection:
        assert forget_feedback_by(connection, ["u-1"]) == 1
    assert [event.by for event in snapshot(engine)["records"][0].feedback] == ["u-2"]  # checks the content hash too


@sqlite_only
def test_packing_leaves_no_byte(engine: Engine, store_url: str, tmp_path: Path) -> None:
    save_records(engine, [record(n, query=f"unmistakable-{n} " * 50, response="wordless " * 300) for n in range(40)])
    files = [tmp_path / "store.db", tmp_path / "store.db-wal"]
    assert any(b"unmistakable-7 " in file.read_bytes() for file in files)
    forget(engine, *(Trace("desk", f"trace-{n}") for n in range(40)))
    assert any(b"unmistakable-7 " in file.read_bytes() for file in files)  # deleted, and still in the bytes
    pack(tmp_path / "store.db")
    assert not any(b"unmistakable-" in file.read_bytes() or b"wordless" in file.read_bytes() for file in files)
    assert snapshot(engine)["records"] == [] and store_key(engine)


@sqlite_only
def test_packing_under_a_reader_says_so(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logs_schema.database.BUSY_SECONDS", 0.1)
    save_records(engine, [record(1)])
    with engine.connect() as connection:
        connection.execute(select(FEEDBACK)).all()
        with pytest.raises(NotReadyError, match="still in its bytes"):
            pack(tmp_path / "store.db")


def test_pruning_keeps_what_people_and_datasets_rest_on(engine: Engine, tmp_path: Path) -> None:
    save_records(engine, [record(n, occurred_at=NOON - timedelta(days=n), feedback=(vote(),)) for n in range(8)])
    save_feedback(engine, "desk", "never came", [vote(occurred_at=NOON - timedelta(days=9)), vote("undated")])
    save_feedback(engine, "desk", "came yesterday", [vote(occurred_at=NOON)])
    import_files(engine, [write_lines(tmp_path / "a.jsonl", spans_of(1)[1:2])], source="desk")  # 2 March, noon
    ids = [record_id("desk", f"trace-{n}") for n in range(8)]
    moment = now()
    with engine.begin() as connection:
        for n in (2, 3):
            review = {"id": f"r{n}", "interaction_id": ids[n], "reviewer": "ann", "decision": "answer", "audit": False}
            review |= {"guidelines_version": "1", "record_hash": "0", "reviewed_at": moment, "pulled_at": moment}
            connection.execute(REVIEW.insert().values(draft_source="none", **review))
        version = {"id": "d", "path": "d", "manifest": {}, "created_at": moment}
        connection.execute(insert(DatasetVersion).values(version))
        taken = {"dataset_id": "d", "example_id": "e", "kind": "answer", "split": "train", "interaction_id": ids[2]}
        connection.execute(DATASET_ROW.insert().values(taken))
        place = {"interaction_id": ids[4], "split": "test", "leak_group": "g", "placed_at": moment}
        connection.execute(SplitPlacement.__table__.insert().values(place))  # type: ignore[attr-defined]
        for n, pushed in ((5, moment), (6, None)):
            item = {"interaction_id": ids[n], "reason": "finding", "priority": 1.0, "queued_at": moment}
            connection.execute(QUEUE.insert().values(pushed_at=pushed, **item))
    before = NOON - timedelta(hours=36)
    plan = prune(engine, before, dry_run=True)
    assert len(snapshot(engine)["records"]) == 8
    assert (plan.records, plan.feedback, plan.waiting) == (2, 3, 0)
    done = prune(engine, before)
    assert (done.records, done.passages, done.waiting) == (2, 2, 0) and done.kept == plan.kept == {
        "a dataset has rows of them": 1,
        "people reviewed them": 1,
        "they are placed on a side of the split": 1,
        "they wait for curators": 1,
    }
    assert {each.source_id for each in snapshot(engine)["records"]} == {f"trace-{n}" for n in (0, 1, 2, 3, 4, 5)}
    with engine.connect() as connection:
        lonely = set(connection.scalars(select(FEEDBACK.c.identifier).where(FEEDBACK.c.source_id == "never came")))
    assert lonely == set()  # one dated event shows how old the trace is
    assert prune(engine, before).records == 0
    assert prune(engine, NOON + timedelta(days=1), dry_run=True).waiting == 1
    assert "Kept 1 older one: people reviewed them." in done.text()
