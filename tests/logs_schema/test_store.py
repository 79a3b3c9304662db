import multiprocessing
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, event, select

from logs_schema.documents import Version, latest_documents
from logs_schema.errors import InputError
from logs_schema.passages import Texts
from logs_schema.records import Context, PromptTemplate, RagRecord, content_hash, record_id
from logs_schema.rows import FINDING, INTERACTION, in_order
from logs_schema.store import (
    SaveCounts,
    iter_records,
    iter_unmined,
    load_records,
    open_store,
    resolve_id,
    save_feedback,
    save_records,
    writing,
)
from logs_schema.tables import now
from tests.logs_schema.log_examples import NOON, record, records, snapshot, vote


def mark_mined(engine: Engine, found: list[RagRecord], version: str) -> None:
    with writing(engine) as connection:
        for one in found:
            connection.execute(delete(FINDING).where(FINDING.c.interaction_id == one.record_id))
            connection.execute(
                FINDING.insert().values(
                    interaction_id=one.record_id,
                    miner_version=version,
                    record_hash=one.content_hash,
                    failure="none",
                    secondary=[],
                    route="no_action",
                    confidence=0.0,
                    scores={},
                    evidence=[],
                    why="",
                    mined_at=now(),
                )
            )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(records, max_size=5, unique_by=lambda r: (r.source, r.source_id)))
def test_records_read_back_as_they_were_saved(fresh: Callable[[], Engine], some: list[RagRecord]) -> None:
    engine = fresh()
    counts = save_records(engine, some)
    assert counts == SaveCounts(new=len(some))
    before = snapshot(engine)
    expected = [one.model_copy(update={"feedback": in_order(one.feedback)}) for one in some]
    assert before["records"] == sorted(expected, key=lambda one: (one.occurred_at, one.record_id))
    assert save_records(engine, list(reversed(some))) == SaveCounts(unchanged=len(some))
    assert snapshot(engine) == before
    engine.dispose()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(records, min_size=1, max_size=5, unique_by=lambda r: (r.source, r.source_id)))
def test_what_is_read_back_is_what_validating_it_again_gives(
    fresh: Callable[[], Engine], some: list[RagRecord]
) -> None:
    engine = fresh()
    save_records(engine, some)
    for one in load_records(engine, [each.record_id for each in some]).values():
        again = RagRecord.model_validate_json(one.model_dump_json(warnings="error"))
        assert (one, repr(one), one.content_hash) == (again, repr(again), again.content_hash)
        assert one.model_copy(update={"tags": ("x",)}).model_fields_set == set(RagRecord.model_fields)
    engine.dispose()


def test_texts_stay_in_memory_up_to_a_size() -> None:
    texts, read = Texts(40_000), []

    def fetch(missing: list[str]) -> list[tuple[str, str]]:
        read.extend(missing)
        return [(name, name * 1000) for name in missing]

    for _ in range(2):
        assert texts.of("ab", fetch) == {"a": "a" * 1000, "b": "b" * 1000}
    assert read == ["a", "b"]
    for number in range(1000):
        assert texts.of(["a", str(number)], fetch)["a"] == "a" * 1000
    assert read.count("a") == 1  # asked for all the time
    read.clear()
    texts.of(["b", "0"], fetch)
    assert read == ["0", "b"]


@given(records)
@example(record(latency_ms=1e-5, feedback=(vote(value=1e-7),)))
@example(record(latency_ms=1e16))
@example(record(latency_ms=123456789012345.6, contexts=(Context(text="x", score=-0.0001),)))
def test_the_content_hash_is_that_of_the_json(one: RagRecord) -> None:
    told = one.model_dump(mode="json")
    shown = {name: told[name] for name in ("query", "history", "contexts", "response", "prompt")}
    assert (one.content_hash, one.exchange_hash) == (content_hash(told), content_hash(shown))


def test_a_shared_passage_is_stored_once(engine: Engine) -> None:
    save_records(engine, [record(1), record(2)])
    assert len(snapshot(engine)["passages"]) == 3


def test_other_content_replaces_a_record_and_leaves_nothing_behind(engine: Engine) -> None:
    save_records(engine, [record(1, prompt=PromptTemplate()), record(2)])
    changed = record(1, contexts=(Context(text="Only this."),), tags=("vip",))
    assert save_records(engine, [changed, record(2)]) == SaveCounts(updated=1, unchanged=1)
    assert load_records(engine, [changed.record_id])[changed.record_id] == changed
    assert len(snapshot(engine)["passages"]) == 3  # the text of record 1 alone has gone


def test_feedback_is_merged_by_identifier_whenever_it_comes(engine: Engine) -> None:
    assert save_feedback(engine, "desk", "trace-1", [vote("early")]) == 1
    save_records(engine, [record(1, feedback=(vote("own", 1.0),))])
    assert save_feedback(engine, "desk", "trace-1", [vote("late"), vote("own", -1.0), vote("early")]) == 2
    stored = load_records(engine, [record(1).record_id])[record(1).record_id]
    assert {event.identifier: event.value for event in stored.feedback} == {"early": -1, "own": -1, "late": -1}
    save_records(engine, [record(1)])
    assert len(snapshot(engine)["records"][0].feedback) == 3


def test_older_feedback_does_not_replace_newer(engine: Engine) -> None:
    newer, older = vote("v", 1.0, occurred_at=NOON), vote("v", -1.0, occurred_at=NOON - timedelta(hours=1))
    save_feedback(engine, "desk", "trace-1", [newer])
    assert save_feedback(engine, "desk", "trace-1", [older]) == 0
    save_records(engine, [record(1)])
    assert snapshot(engine)["records"][0].feedback == (newer,)


def test_batches_are_ordered_and_complete(engine: Engine) -> None:
    save_records(engine, [record(n, occurred_at=NOON + timedelta(minutes=n % 4)) for n in range(23)])
    batches = list(iter_records(engine, batch=5))
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3]
    keys = [(one.occurred_at, one.record_id) for batch in batches for one in batch]
    assert keys == sorted(keys)
    wanted = [key for _, key in keys[::3]]
    assert [one.record_id for batch in iter_records(engine, ids=[*wanted, "gone"], batch=4) for one in batch] == wanted
    assert list(load_records(engine, wanted[::-1])) == wanted


def test_unmined_batches_stay_right_while_findings_are_written(engine: Engine) -> None:
    save_records(engine, [record(n) for n in range(12)])
    seen = []
    for batch in iter_unmined(engine, "m1", batch=5):
        mark_mined(engine, list(load_records(engine, batch).values()), "m1")
        seen += batch
    assert len(seen) == len(set(seen)) == 12
    assert list(iter_unmined(engine, "m1")) == []
    save_feedback(engine, "desk", "trace-3", [vote()])
    assert list(iter_unmined(engine, "m1")) == [[record(3).record_id]]
    assert sum(len(batch) for batch in iter_unmined(engine, "m2")) == 12


def test_a_record_is_found_by_id_prefix_or_trace(engine: Engine) -> None:
    save_records(engine, [record(n) for n in range(300)])
    one = record(7).record_id
    assert resolve_id(engine, one) == resolve_id(engine, one[:10].upper()) == resolve_id(engine, " trace-7 ") == one
    for wrong in ("trace-999", one[:3], "%%%%", "____", ""):
        with pytest.raises(InputError, match="tried it as a trace id"):
            resolve_id(engine, wrong)
    save_records(engine, [record(7, source="other")])
    with pytest.raises(InputError, match="several records"):
        resolve_id(engine, "trace-7")


def test_the_newest_version_of_each_document(engine: Engine) -> None:
    old, new = NOON - timedelta(days=2), NOON
    dated = [("a", old, "1"), ("a", new, "2"), ("b", new, None), ("c", None, "9")]
    made = [Context(text="t", doc_id=doc, updated_at=at, version=version) for doc, at, version in dated]
    save_records(engine, [record(1, contexts=tuple(made[:1])), record(2, contexts=tuple(made[1:]))])
    assert latest_documents(engine) == {"a": Version(new, "2"), "b": Version(new, None)}


def test_a_batch_that_fails_leaves_nothing(engine: Engine) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    event.listen(engine, "commit", fail)
    with pytest.raises(KeyboardInterrupt):
        save_records(engine, [record(1)])
    event.remove(engine, "commit", fail)
    assert snapshot(engine) == {"records": [], "waiting": [], "passages": [], "prompts": []}


def _save_many(url: str, first: int) -> None:
    engine = open_store(url)
    for number in range(first, first + 20):
        save_records(engine, [record(number)])
        save_feedback(engine, "desk", "shared", [vote(f"v{number}")])


def test_several_processes_may_write_and_read_at_once(store_url: str, engine: Engine) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_save_many, args=(store_url, first)) for first in (100, 200)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        sum(len(batch) for batch in iter_records(engine, batch=7))
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert len(snapshot(engine)["records"]) == 40


def test_reading_does_not_wait_for_a_writer(engine: Engine) -> None:
    save_records(engine, [record(1)])
    with writing(engine) as connection:
        connection.execute(INTERACTION.delete())
        assert len(load_records(engine, [record_id("desk", "trace-1")])) == 1
    with engine.connect() as connection:
        assert connection.execute(select(INTERACTION.c.id)).all() == []
