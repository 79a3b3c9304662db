"""Several writers and readers of one store at once, and a server that goes away."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text

import logs_schema.database as database
from logs_schema.errors import NotReadyError
from logs_schema.importers.batch import save_parsed
from logs_schema.importers.openinference import parse
from logs_schema.importers.parsed import Parsed, gathered
from logs_schema.records import Context, PromptTemplate
from logs_schema.rows import load
from logs_schema.store import open_store, save_records, writing
from tests.logs_schema.log_examples import record, snapshot, spans_of
from tests.stores import postgres_only

TRACES = 8


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with other things must not fail these tests."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 600)


def parts_of(number: int) -> list[Parsed]:
    """One trace's spans, each as a request of its own would bring it."""
    return [gathered([span], "desk", parse) for span in spans_of(number, thumbs="thumbs_down")]


def save_all(store: Engine, parts: list[Parsed]) -> None:
    for part in parts:
        save_parsed(store, part, "desk")


def at_once(*writers: Callable[[int], object], rounds: int) -> None:
    """Run the writers in threads, each round of all of them beginning at the same moment."""
    meet = threading.Barrier(len(writers), timeout=120)
    failed: list[BaseException] = []

    def run(write: Callable[[int], object]) -> None:
        try:
            for number in range(rounds):
                meet.wait()
                write(number)
        except BaseException as error:
            failed.append(error)
            meet.abort()
            raise

    threads = [threading.Thread(target=run, args=(write,)) for write in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_spans_of_one_trace_that_come_to_two_writers_at_once_join(
    engine: Engine, store_url: str, fresh: Callable[[], Engine]
) -> None:
    other, alone = open_store(store_url), fresh()
    parts = [parts_of(number) for number in range(1, TRACES + 1)]
    at_once(
        lambda number: save_all(engine, parts[number][:1]),
        lambda number: save_all(other, parts[number][1:]),
        rounds=TRACES,
    )
    other.dispose()
    for some in parts:
        save_all(alone, some)
    found = snapshot(engine)
    assert found == snapshot(alone)
    assert len(found["records"]) == TRACES and found["waiting"] == []


def test_two_writers_share_passages_that_come_and_go(engine: Engine, store_url: str) -> None:
    other = open_store(store_url)
    shared = (Context(text="A passage that both show.", doc_id="d"),)
    at_once(
        lambda number: save_records(engine, [record(1, contexts=shared if number % 2 else ())]),
        lambda number: save_records(other, [record(2, contexts=shared if number % 3 else ())]),
        rounds=12,
    )
    other.dispose()
    shown = [record.contexts for record in snapshot(engine)["records"]]
    assert shown == [shared, shared]


def test_a_reader_sees_one_moment_whatever_is_written_meanwhile(engine: Engine) -> None:
    save_records(engine, [record(1, prompt=PromptTemplate(system="Old."))])
    identifier = record(1).record_id
    with engine.connect() as connection:
        before = load(connection, [identifier])
        save_records(engine, [record(1, prompt=PromptTemplate(system="New."), query="Changed?")])
        assert load(connection, [identifier]) == before
    with engine.connect() as connection:
        assert load(connection, [identifier])[identifier].query == "Changed?"


def test_moments_at_the_ends_of_time_read_back(engine: Engine) -> None:
    ends = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)]
    contexts = tuple(Context(text=f"At {moment}.", doc_id=f"d{moment.year}", updated_at=moment) for moment in ends)
    save_records(engine, [record(1, contexts=contexts)])
    assert [context.updated_at for context in snapshot(engine)["records"][0].contexts] == ends


@postgres_only
def test_a_server_that_ends_the_connection_is_told_and_the_next_try_works(engine: Engine, store_url: str) -> None:
    other = open_store(store_url)
    with pytest.raises(NotReadyError, match="has ended the connection"), writing(engine) as connection:
        mine = connection.scalar(text("SELECT pg_backend_pid()"))
        with other.connect() as killer:
            killer.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": mine})
        connection.execute(text("SELECT 1"))
    assert save_records(engine, [record(1)]).new == 1
    other.dispose()
