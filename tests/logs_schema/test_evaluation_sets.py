"""RAGAS, RAGChecker, TruLens rows and tickets, through the whole import."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from logs_schema.errors import ConfigurationError
from logs_schema.importers import rejects
from logs_schema.importers.fields import UNDATED
from logs_schema.importers.formats import FORMATS, load
from logs_schema.importers.parsed import Parsed
from logs_schema.importers.run import import_files
from logs_schema.records import FeedbackKind, RagRecord
from logs_schema.store import iter_records
from logs_schema.taxonomy import TICKET
from tests.logs_schema.log_examples import snapshot, write_lines

RAGAS = {
    "user_input": "Refund window?",
    "retrieved_contexts": ["Refunds within 30 days."],
    "retrieved_context_ids": ["kb-12"],
    "response": "60 days [1].",
    "reference": "30 days.",
}
RAGCHECKER = {
    "query_id": "q-1",
    "query": "Refund window?",
    "gt_answer": "30 days.",
    "response": "60 days [1].",
    "retrieved_context": [{"doc_id": "kb-12", "text": "Refunds within 30 days."}],
}
TICKET_ROW = {
    "ticket_id": "T-1",
    "question": "How long is the refund window?",
    "conversation": [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello, what can I do?"},
        {"role": "user", "content": "How long is the refund window?"},
        {"role": "assistant", "content": "60 days."},
        {"role": "user", "content": "A person please."},
    ],
    "resolution": "Refunds are made within 30 days.",
    "status": "Resolved",
    "escalated": True,
    "documents": [{"doc_id": "kb-12", "text": "Refunds are made within 30 days of delivery.", "title": "Refunds"}],
    "created_at": "2026-03-02T10:15:04Z",
    "resolved_at": "2026-03-03T08:00:00Z",
    "resolved_by": "ada",
}


def event(kind: str, span: str | int, parent: str, record: str = "rec-1", **attributes: Any) -> dict[str, Any]:
    """A row of the TruLens event table."""
    told = {f"ai.observability.{name.replace('__', '.')}": value for name, value in attributes.items()}
    return {
        "event_id": f"e-{span}",
        "record": {"name": "ask", "kind": "SPAN_KIND_TRULENS", "status": "STATUS_CODE_UNSET"},
        "record_attributes": {"ai.observability.record_id": record, "ai.observability.span_type": kind, **told},
        "record_type": "SPAN",
        "resource_attributes": {},
        "start_timestamp": "2026-03-02 10:15:04.130",
        "timestamp": "2026-03-02 10:15:05.130",
        "trace": {"trace_id": "154327809432158790342158901234567890123", "parent_id": parent, "span_id": span},
    }


EVENTS = [
    event("retrieval", 22, "11", retrieval__query_text="refunds", retrieval__retrieved_contexts=["Within 30 days."]),
    event("generation", 33, "11", call__return="60 days.", cost__model="m-7b", cost__num_prompt_tokens=10),
    event("record_root", 11, "", record_root__input="Refund window?", record_root__output="60 days."),
    event("eval_root", 44, "", eval__target_record_id="rec-1", eval_root__score=0.1),
]


def stored(engine: Engine) -> list[RagRecord]:
    return [record for batch in iter_records(engine) for record in batch]


def brought(engine: Engine, path: Path, values: list[Any], **given: Any) -> list[RagRecord]:
    report = import_files(engine, [write_lines(path, values)], **given)
    assert report.files[0].rejected == 0
    return stored(engine)


def test_ragas_samples_become_records(engine: Engine, tmp_path: Path) -> None:
    (record,) = brought(engine, tmp_path / "a", [RAGAS])
    assert (record.query, record.response, record.reference) == ("Refund window?", "60 days [1].", "30 days.")
    assert [(context.doc_id, context.text) for context in record.contexts] == [("kb-12", "Refunds within 30 days.")]
    assert record.occurred_at == UNDATED == datetime(2000, 1, 1, tzinfo=UTC)


def test_scores_added_to_a_sample_and_old_names_make_no_other_record(engine: Engine, tmp_path: Path) -> None:
    old = {"question": "q", "answer": "a", "contexts": ["c"], "ground_truth": "g"}
    new = {"user_input": "q", "response": "a", "retrieved_contexts": ["c"], "reference": "g"}
    assert brought(engine, tmp_path / "a", [old]) == brought(engine, tmp_path / "b", [{**new, "faithfulness": 0.5}])


def test_the_oldest_ragas_samples_have_a_list_of_references(engine: Engine, tmp_path: Path) -> None:
    (record,) = brought(engine, tmp_path / "a", [{"question": "q", "answer": "a", "ground_truths": ["g", "h"]}])
    assert (record.query, record.response, record.reference) == ("q", "a", "g")


def test_a_ragas_conversation_gives_its_last_answered_question(engine: Engine, tmp_path: Path) -> None:
    said = [
        {"content": "Hello", "type": "human"},
        {"content": "Hello.", "type": "ai"},
        {"content": "Refund window?", "type": "human"},
        {"content": "", "type": "ai", "tool_calls": [{"name": "search", "args": {}}]},
        {"content": "30 days", "type": "tool"},
        {"content": "30 days.", "type": "ai"},
        {"content": "Thanks", "type": "human"},
    ]
    (record,) = brought(engine, tmp_path / "a", [{"user_input": said, "reference": "30"}])
    assert (record.query, record.response, record.contexts) == ("Refund window?", "30 days.", ())
    assert [turn.content for turn in record.history] == ["Hello", "Hello."]


def test_ragchecker_results_become_records(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "checked.json"
    other = {**RAGCHECKER, "response": "30 days [1]."}
    path.write_text(json.dumps({"results": [RAGCHECKER, other], "metrics": {"overall_metrics": {"f1": 50.0}}}))
    report = import_files(engine, [str(path)], occurred_at=datetime(2026, 3, 2, tzinfo=UTC))
    assert (report.files[0].format, report.files[0].new) == ("ragchecker", 2), "one question, two answers"
    record = next(record for record in stored(engine) if record.response == "60 days [1].")
    assert (record.query, record.reference, record.contexts[0].doc_id) == ("Refund window?", "30 days.", "kb-12")
    assert record.occurred_at == datetime(2026, 3, 2, tzinfo=UTC)


def test_trulens_rows_join_by_record_in_any_order(fresh: Callable[[], Engine], tmp_path: Path) -> None:
    shots = []
    for seed in range(4):
        engine = fresh()
        rows = random.Random(seed).sample(EVENTS, len(EVENTS))
        for number, row in enumerate(rows):
            text = {"record_attributes": json.dumps(row["record_attributes"]), "trace": json.dumps(row["trace"])}
            upper = {key.upper(): value for key, value in {**row, **text}.items()}
            written = [row, {**row, **text}, upper][seed % 3]
            import_files(engine, [write_lines(tmp_path / f"{seed}-{number}", [written])])
        shots.append(snapshot(engine)["records"])
    assert shots[0] == shots[1] == shots[2] == shots[3]
    (record,) = shots[0]
    assert (record.source_id, record.query, record.response) == ("rec-1", "Refund window?", "60 days.")
    assert [context.text for context in record.contexts] == ["Within 30 days."]
    assert (record.model, record.prompt_tokens, record.latency_ms) == ("m-7b", 10, 1000)
    assert record.occurred_at == datetime(2026, 3, 2, 10, 15, 4, 130_000, tzinfo=UTC)
    assert record.feedback == (), "a model's verdict is no feedback"


def test_trulens_spans_come_by_opentelemetry_too(engine: Engine, fresh: Callable[[], Engine], tmp_path: Path) -> None:
    def typed(value: Any) -> dict[str, Any]:
        if isinstance(value, list):
            return {"arrayValue": {"values": [typed(item) for item in value]}}
        return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}

    spans = [
        {
            "traceId": "74" * 16,
            "spanId": f"{row['trace']['span_id']:016x}",
            **({"parentSpanId": f"{int(row['trace']['parent_id']):016x}"} if row["trace"]["parent_id"] else {}),
            "startTimeUnixNano": "1772446504130000000",
            "endTimeUnixNano": "1772446505130000000",
            "attributes": [{"key": name, "value": typed(value)} for name, value in row["record_attributes"].items()],
        }
        for row in EVENTS
    ]
    bodies = [{"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}]
    other = fresh()
    brought(other, tmp_path / "rows", EVENTS)
    assert brought(engine, tmp_path / "bodies", bodies) == stored(other) != []


def test_the_documented_examples_are_records(engine: Engine, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "log-format.md").read_text(encoding="utf-8")
    examples = [line for line in text.split("\n## RAGAS")[1].splitlines() if line.startswith("{")]
    found = []
    for number, example in enumerate(examples):
        path = tmp_path / f"{number}.json"
        path.write_text(example, encoding="utf-8")
        found.append(import_files(engine, [str(path)]).files[0])
    assert [(file.format, file.new) for file in found] == [("ragas", 1), ("ragchecker", 1), ("tickets", 1)]


def test_a_resolved_ticket_is_a_correction_and_never_shows_its_resolution(engine: Engine, tmp_path: Path) -> None:
    (record,) = brought(engine, tmp_path / "a", [TICKET_ROW], format="tickets")
    assert record.tags == (TICKET, "resolved", "escalated")
    assert (record.source_id, record.response, record.contexts[0].title) == ("T-1", "", "Refunds")
    assert [turn.content for turn in record.history] == ["Hello", "Hello, what can I do?"]
    (event,) = record.feedback
    assert (event.kind, event.correction, event.by) == (
        FeedbackKind.correction,
        "Refunds are made within 30 days.",
        "ada",
    )
    rendered = json.dumps([turn.content for turn in (*record.history,)]) + record.query
    assert "60 days" not in rendered and "30 days" not in rendered


@pytest.mark.parametrize(
    ("row", "question", "corrected"),
    [
        ({"question": "q", "status": "open", "resolution": "maybe", "escalated": "true"}, "q", False),
        ({"question": "q", "status": "escalated"}, "q", False),
        ({"question": "q", "status": "closed", "resolution": ""}, "q", False),
        ({"question": "q", "resolution": "r"}, "q", True),
        ({"question": "summary", "conversation": [["q", "r"]], "resolution": "r"}, "summary", True),
        ({"conversation": [{"role": "user", "content": "q"}], "resolution": "r"}, "q", True),
    ],
)
def test_only_what_was_resolved_is_a_correction(
    engine: Engine, tmp_path: Path, row: dict[str, Any], question: str, corrected: bool
) -> None:
    (record,) = brought(engine, tmp_path / "a", [row])
    assert (record.query, record.history, bool(record.feedback)) == (question, (), corrected)


@pytest.mark.parametrize(
    "rows", [[RAGAS, RAGAS], [RAGCHECKER], EVENTS, [TICKET_ROW, {"question": "q", "resolution": "r"}]]
)
def test_importing_twice_equals_once(engine: Engine, tmp_path: Path, rows: list[Any]) -> None:
    brought(engine, tmp_path / "a", rows)
    once = snapshot(engine)
    report = import_files(engine, [write_lines(tmp_path / "copy", rows)])
    assert snapshot(engine) == once and (report.files[0].new, report.files[0].updated) == (0, 0)


@pytest.mark.parametrize("year", [1970, 1999, 2099])
def test_a_clock_that_was_not_set_is_refused(engine: Engine, tmp_path: Path, year: int) -> None:
    at = f"{year}-06-01T00:00:00Z"
    rows = [
        {"query": "q", "response": "r", "timestamp": at},
        {"query": "q", "response": "r", "timestamp": 1e18 if year == 2099 else 7.5},
    ]
    others = [{**RAGAS, "timestamp": at}], [{**TICKET_ROW, "created_at": at}], [{**EVENTS[2], "start_timestamp": at}]
    for number, some in enumerate((rows, *others)):
        report = import_files(engine, [write_lines(tmp_path / str(number), some)], rejects=tmp_path / "rejects")
        kept = Path(report.files[0].rejects or "").read_text()
        if number:
            assert report.files[0].rejected == 1 and "outside of 2000 to 2098" in kept
        else:
            assert report.files[0].rejected >= 1 and "outside of 2000 to 2098" in kept
    with pytest.raises(ConfigurationError, match="years 2000 to 2098"):
        import_files(engine, [str(tmp_path / "1")], occurred_at=datetime(year, 6, 1, tzinfo=UTC))


def test_hostile_ids_are_kept_as_they_are_and_touch_nothing(engine: Engine, tmp_path: Path) -> None:
    ids = ["../../etc/passwd", "'; DROP TABLE interaction; --", '"', "\x1b[2J", "a/b\\c", "{query}", "\u202eabc", "%s"]
    rows = [{"trace_id": i, "query": "q", "response": "r", "timestamp": "2026-03-02", "user_id": i} for i in ids]
    found = brought(engine, tmp_path / "a", rows)
    assert {record.source_id for record in found} == {record.user_id for record in found} == set(ids)
    nul = [{**rows[0], "trace_id": "a\0b"}]
    report = import_files(engine, [write_lines(tmp_path / "b", nul + rows)])
    assert (report.files[0].rejected, report.files[0].unchanged) == (1, len(ids))


def test_rejects_stay_small(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejects, "KEPT", 5)
    good = {"query": "q", "response": "r", "timestamp": "2026-03-02"}
    path = tmp_path / "a"
    path.write_text(json.dumps(good) + ("\n" + '{"query": ' + "9" * 100_000) * 20)
    report = import_files(engine, [str(path)], rejects=tmp_path / "rejects")
    kept = Path(report.files[0].rejects or "").read_text().splitlines()
    assert (report.files[0].new, report.files[0].rejected, len(kept)) == (1, 20, 6)
    assert "only counted" in kept[-1] and max(map(len, kept)) < 3000


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text("aZ0[{\"'\x1b\x7f😀", max_size=8)
names = st.sampled_from(
    sorted(
        {*RAGAS, *RAGCHECKER, *TICKET_ROW, *EVENTS[0], *EVENTS[0]["record_attributes"], *EVENTS[0]["trace"]}
        | {"query", "response", "contexts", "role", "content", "type", "text", "trace_id", "timestamp", "attributes"}
        | {f"ai.observability.{name}" for name in ("record_root.input", "record_root.error", "call.return")}
        | {"feedback", "messages", "prompt", "thumbs", "history", "question", "answer", "ground_truth", "id"}
    )
)
hostile = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(FORMATS)), st.sampled_from([{}, RAGAS, RAGCHECKER, TICKET_ROW, *EVENTS]), st.data())
def test_any_object_is_parsed_or_refused_with_a_reason(name: str, base: dict[str, Any], data: st.DataObject) -> None:
    value = {**base, **data.draw(st.dictionaries(names, hostile, max_size=5))}
    format = load(name)
    assert format.looks(value) in (True, False)
    try:
        assert isinstance(format.parse(value, "desk"), Parsed)
    except ValueError as error:
        assert str(error)


BASES: dict[str, list[dict[str, Any]]] = {
    "trulens": EVENTS,
    "ragas": [RAGAS],
    "ragchecker": [RAGCHECKER],
    "tickets": [TICKET_ROW],
    "native": [{"query": "q", "response": "r", "timestamp": "2026-03-02"}],
}


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(BASES)), st.data())
def test_any_objects_are_imported_or_set_aside(
    fresh: Callable[[], Engine], tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    changes = data.draw(st.lists(st.dictionaries(names, hostile, max_size=4), max_size=20))
    rows = [*BASES[name], *({**base, **change} for change in changes for base in BASES[name][:1])]
    path = tmp_path_factory.mktemp("hostile") / "logs"
    engine = fresh()
    report = import_files(engine, [write_lines(path, rows)], format=name)
    once = snapshot(engine)
    assert report.files[0].read == len(rows) and len(once["records"]) >= 1
    again = import_files(engine, [str(path)], format=name)
    assert (again.files[0].new, again.files[0].rejected) == (0, report.files[0].rejected)
    assert len(snapshot(engine)["records"]) == len(once["records"])
    engine.dispose()
