import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from logs_schema.importers.formats import load
from logs_schema.importers.run import import_files
from logs_schema.records import FeedbackKind
from tests.logs_schema import trace_examples as traces
from tests.logs_schema.log_examples import SYSTEM, snapshot, stored, write_lines

WITHOUT_SESSION = {"GenAI with log events"}
SCORES = {"GenAI", "GenAI with log events", "LlamaIndex"}


@pytest.mark.parametrize("name", traces.EVERY)
def test_every_tool_tells_the_same_of_the_same_answer(engine: Engine, tmp_path: Path, name: str) -> None:
    format, lines_of = traces.EVERY[name]
    file = write_lines(tmp_path / "logs.jsonl", lines_of(5))
    report = import_files(engine, [file])
    assert [(one.format, one.new, one.rejected) for one in report.files] == [(format, 1, 0)]
    (record,) = snapshot(engine)["records"]
    assert (record.query, record.response) == (traces.query_of(5), traces.answer_of(5))
    assert [context.text for context in record.contexts] == traces.passages_of(5)
    assert [context.doc_id for context in record.contexts] == ["doc-5-0", "doc-5-1"]
    assert record.prompt and (record.prompt.system, record.prompt.passage) == (SYSTEM, "[{n}] {text}")
    assert record.model and record.model.startswith("small") and record.truncated is False
    assert record.occurred_at == traces.begin(5)
    if name not in {"Langfuse export"}:
        assert record.latency_ms == 1000
    if name not in WITHOUT_SESSION:
        assert record.session_id == "s-5"
    if name in SCORES:
        assert [context.score for context in record.contexts] == [0.9, 0.8]
    if name != "Traceloop":
        assert (record.prompt_tokens, record.completion_tokens) == (40, 6)


@pytest.mark.parametrize("name", traces.EVERY)
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_order_any_files_and_twice_give_the_same_store(
    fresh: Callable[[], Engine], tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("traces")
    lines = [line for number in (1, 2) for line in traces.EVERY[name][1](number)]
    at_once, in_parts = fresh(), fresh()
    import_files(at_once, [write_lines(folder / "all.jsonl", lines)])
    expected = snapshot(at_once)
    assert len(expected["records"]) == 2
    shuffled = data.draw(st.permutations(lines))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(lines)), max_size=3)))
    parts = [part for a, b in zip([0, *cuts], [*cuts, len(lines)], strict=True) if (part := shuffled[a:b])]
    files = [write_lines(folder / f"{n}.jsonl", part) for n, part in enumerate(parts)]
    for file in files:
        import_files(in_parts, [file])
    assert snapshot(in_parts) == expected
    again = import_files(in_parts, files)
    assert all((file.new, file.updated) == (0, 0) for file in again.files)
    assert snapshot(in_parts) == expected
    at_once.dispose()
    in_parts.dispose()


def test_feedback_of_each_tool(fresh: Callable[[], Engine], tmp_path: Path) -> None:
    told = {}
    for name in ("GenAI", "Langfuse in parts", "LangSmith", "Phoenix"):
        engine = fresh()
        told[name] = [
            (event.kind, event.value, event.label, event.comment, event.correction, event.by)
            for event in stored(engine, tmp_path, traces.EVERY[name][1](5)).feedback
        ]
        engine.dispose()
    vote, annotation, correction = FeedbackKind.vote, FeedbackKind.annotation, FeedbackKind.correction
    assert told == {
        "GenAI": [(vote, -1, "user_feedback", None, None, None)],
        "Langfuse in parts": [(correction, None, None, None, "6 days [1].", None)],
        "LangSmith": [(correction, None, None, "Wrong number of days.", "6 days [1].", "curator-1")],
        "Phoenix": [
            (vote, -1, "thumbs_down", None, None, None),
            (annotation, None, "note", "Look it up.", None, None),
        ],
    }


def test_feedback_may_come_long_before_or_after_its_trace(fresh: Callable[[], Engine], tmp_path: Path) -> None:
    for name in ("GenAI", "Langfuse in parts", "LangSmith"):
        *spans, feedback = traces.EVERY[name][1](5)
        late = write_lines(tmp_path / "feedback.jsonl", [feedback])
        logs = write_lines(tmp_path / "logs.jsonl", spans)
        stores = []
        for order in ((late, logs), (logs, late)):
            engine = fresh()
            for file in order:
                import_files(engine, [file])
            stores.append(snapshot(engine))
            assert len(stores[-1]["records"][0].feedback) == 1
            engine.dispose()
        assert stores[0] == stores[1]


def test_feedback_that_names_a_span_finds_its_trace_at_any_time(fresh: Callable[[], Engine], tmp_path: Path) -> None:
    *spans, thumb, note, _ = traces.phoenix(5)
    logs = write_lines(tmp_path / "logs.jsonl", spans)
    some = write_lines(tmp_path / "some.jsonl", spans[:2])
    said = write_lines(tmp_path / "annotations.jsonl", [thumb, note])
    stores = []
    for order in ((logs, said), (said, logs), (some, said, logs), (logs, said, said, logs)):
        engine = fresh()
        reports = [import_files(engine, [file]) for file in order]
        assert reports[-1].coverage.with_feedback == 1
        stores.append(snapshot(engine))
        engine.dispose()
    assert all(store == stores[0] for store in stores)
    assert [event.label for event in stores[0]["records"][0].feedback] == ["thumbs_down", "note"]


def test_verdicts_of_models_are_no_feedback() -> None:
    score = {"id": "1", "traceId": "t", "name": "faithfulness", "value": 0.1, "dataType": "NUMERIC", "source": "EVAL"}
    assert load("langfuse").parse(score, "desk").feedback == ()
    judged = {"id": "1", "run_id": "r", "key": "correctness", "score": 0, "feedback_source": {"type": "model"}}
    assert load("langsmith").parse(judged, "desk").feedback == ()
    by_api = {**score, "source": "API"}
    ((_, event),) = load("langfuse").parse(by_api, "desk").feedback
    assert (event.kind, event.value) == (FeedbackKind.implicit, -0.8)
    ((_, event),) = load("langfuse").parse({**by_api, "name": "hallucination"}, "desk").feedback
    assert event.value is None


def test_one_bad_span_of_a_body_does_not_lose_the_others(engine: Engine, tmp_path: Path) -> None:
    good = [line["resourceSpans"][0]["scopeSpans"][0]["spans"][0] for line in traces.genai(5)[:3]]
    bad = {**good[1], "startTimeUnixNano": "0", "spanId": "ffff"}
    file = write_lines(tmp_path / "logs.jsonl", [traces.body(good[2], bad, good[0], good[1])])
    report = import_files(engine, [file], rejects=tmp_path / "rejects")
    assert (report.files[0].new, report.files[0].rejected) == (1, 1)
    (kept,) = (tmp_path / "rejects").iterdir()
    assert "start_time 1970" in json.loads(kept.read_text())["reason"]


def test_a_failed_run_is_a_record_with_its_error(engine: Engine, tmp_path: Path) -> None:
    failed = {"outputs": {"output": None}, "error": "TimeoutError()", "status": "error"}
    root, search, *_ = traces.langsmith(5)
    record = stored(engine, tmp_path, [{**root, **failed}, search])
    assert (record.response, record.error, len(record.contexts)) == ("", "TimeoutError()", 2)
    assert record.session_id == "s-5"


def test_observations_without_their_trace_are_a_record(engine: Engine, tmp_path: Path) -> None:
    _, search, chat, _ = traces.langfuse_parts(5)
    same = {"sessionId": "s-5", "userId": "u-1", "traceName": "ask"}
    record = stored(engine, tmp_path, [{**search, **same}, {**chat, **same}])
    assert (record.query, record.response, record.session_id) == (traces.query_of(5), traces.answer_of(5), "s-5")
    assert record.prompt and record.prompt_version == "desk:3" and record.latency_ms is None


def test_a_root_that_never_comes_is_done_without(engine: Engine, tmp_path: Path) -> None:
    record = stored(engine, tmp_path, traces.langchain(5)[1:])
    assert (record.query, record.response) == (traces.query_of(5), traces.answer_of(5))
    assert record.prompt and record.latency_ms is None and len(record.contexts) == 2
    again = stored(engine, tmp_path, traces.langchain(5)[:1])
    assert again.latency_ms == 1000 and again.session_id == "s-5" and len(again.contexts) == 2


def test_a_page_of_an_api_is_read_like_its_members(fresh: Callable[[], Engine], tmp_path: Path) -> None:
    for name, wrap in (
        ("Langfuse in parts", lambda lines: {"data": lines, "meta": {"page": 1}}),
        ("LangSmith", lambda lines: {"runs": lines, "cursors": {}}),
    ):
        engine = fresh()
        lines = traces.EVERY[name][1](5)
        assert stored(engine, tmp_path, [wrap(lines)]).query == traces.query_of(5)
        engine.dispose()


def test_several_retrievers_are_all_seen(engine: Engine, tmp_path: Path) -> None:
    root, search, chat = traces.langchain(5)
    first, second = json.loads(json.dumps(search)), json.loads(json.dumps(search))
    second["context"]["span_id"] = "ee"
    second["start_time"] = traces.iso(5, 12)
    for key in [key for key in first["attributes"] if ".1." in key]:
        moved = key.replace(".1.", ".0.")
        second["attributes"][moved] = first["attributes"].pop(key)
        del second["attributes"][key]
    for file, part in enumerate(([root, first, chat], [second])):
        import_files(engine, [write_lines(tmp_path / f"{file}.jsonl", part)])
    (record,) = snapshot(engine)["records"]
    assert [context.text for context in record.contexts] == traces.passages_of(5)
    assert record.prompt and record.prompt.user == "Context:\n{contexts}\n\nQuestion: {query}"


def test_an_observation_inside_its_trace_needs_no_time(engine: Engine, tmp_path: Path) -> None:
    (nested,) = traces.langfuse_nested(5)
    bare = [{name: seen[name] for name in ("id", "traceId", "type", "output")} for seen in nested["observations"][:1]]
    record = stored(engine, tmp_path, [{**nested, "observations": bare}])
    assert [context.text for context in record.contexts] == traces.passages_of(5)
    assert len(record.feedback) == 1 and record.session_id == "s-5"


DOCUMENTS = [{"page_content": "Within 30 days.", "metadata": {"doc_id": "kb-12"}}]


@pytest.mark.parametrize(
    ("name", "output", "found"),
    [
        ("VectorStore", DOCUMENTS, ["Within 30 days."]),
        ("VectorStore", [{"pageContent": "Within 30 days.", "metadata": {}}], ["Within 30 days."]),
        ("vector-search", ["Within 30 days.", "Free."], ["Within 30 days.", "Free."]),
        ("Retrieval", json.dumps({"documents": DOCUMENTS}), ["Within 30 days."]),
        ("retrieve", {"results": [{"id": "kb-12", "text": "Within 30 days."}]}, ["Within 30 days."]),
        ("retrieval-qa", {"answer": "30 days.", "documents": DOCUMENTS}, []),
        ("retrieve", [{"role": "assistant", "content": "30 days."}], []),
        ("retrieve", "30 days.", []),
        ("rank", [{"text": "Within 30 days."}], []),
        ("rank", None, []),
    ],
)
def test_a_span_of_langfuse_may_be_a_retriever(name: str, output: Any, found: list[str]) -> None:
    _, search, *_ = traces.langfuse_parts(5)
    (span,) = load("langfuse").parse({**search, "type": "SPAN", "name": name, "output": output}, "desk").spans
    assert (span.kind, [context.text for context in span.documents]) == ("RETRIEVER" if found else "CHAIN", found)


def test_annotations_of_whole_sessions_are_named_as_left_out() -> None:
    root, *_ = traces.langchain(5)
    said = {"session.annotations.0.annotation.name": "mood", "session.annotations.0.annotation.score": 0.1}
    parsed = load("openinference").parse({**root, "attributes": {**root["attributes"], **said}}, "desk")
    assert (len(parsed.spans), parsed.feedback) == (1, [])
    assert parsed.problems == ["annotations of whole sessions are not read"]
