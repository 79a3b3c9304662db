import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logs_schema.importers import genai, langfuse, langsmith, otel
from logs_schema.importers.attributes import hex_id
from logs_schema.importers.documents import documents_of
from logs_schema.importers.fields import answer_of, question_of
from logs_schema.importers.otlp import is_body, plain, unpack
from logs_schema.records import Message
from tests.logs_schema import trace_examples as traces


def test_every_typed_value_becomes_plain() -> None:
    value = {"a": [1, 2.5, True, "x"], "b": {"c": -(2**40)}}
    assert plain(traces.typed(value)) == value
    assert plain({"bytesValue": "AAEC"}) is None and plain({}) is None
    assert plain({"intValue": 7}) == 7 and plain({"int_value": "9" * 30}) == "9" * 30


def test_both_spellings_of_a_body_unpack_alike() -> None:
    def snake(value: Any) -> Any:
        if isinstance(value, list):
            return [snake(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {"".join(f"_{c.lower()}" if c.isupper() else c for c in key): snake(v) for key, v in value.items()}

    for line in [*traces.genai(1), *traces.genai_events(1)]:
        assert is_body(line) and is_body(snake(line))
        assert list(unpack(snake(line))) == list(unpack(line))


def test_ids_come_out_alike_however_they_are_written() -> None:
    trace = traces.trace_of(7)
    for written in (trace, trace.upper(), f"0x{trace}", base64.b64encode(bytes.fromhex(trace)).decode()):
        assert hex_id(written) == trace
    assert hex_id("not=base64==") == "not=base64==" and hex_id("") is None and hex_id(12) == "12"


def test_what_a_span_carries_is_unpacked() -> None:
    event = {"timeUnixNano": "5", "name": "e", "attributes": traces.pairs({"k": 1})}
    link = {"traceId": traces.trace_of(2), "spanId": traces.span_of(2, 0)}
    failed = {"code": "STATUS_CODE_ERROR", "message": "timeout"}
    (span,) = unpack(traces.body(traces.otlp_span(1, 0, None, "x", {}, events=[event], links=[link], status=failed)))
    assert span["events"] == [{"name": "e", "timestamp": "5", "attributes": {"k": 1}}]
    assert span["links"][0]["context"]["trace_id"] == traces.trace_of(2)
    assert (span["status_code"], span["status_message"], span["parent_id"]) == ("ERROR", "timeout", None)
    assert span["resource"] == {"service.name": "desk"}


def test_one_body_may_hold_spans_of_every_convention() -> None:
    chain = traces.otlp_span(1, 0, None, "ask", {"openinference.span.kind": "CHAIN", "input.value": "Q?"})
    spans = [line["resourceSpans"][0]["scopeSpans"][0]["spans"][0] for line in traces.genai(1)[1:3]]
    observed = {"langfuse.observation.type": "span", "langfuse.observation.input": "Q?"}
    last = traces.otlp_span(1, 3, 0, "x", observed)
    parsed = otel.parse(traces.body(chain, *spans, last), "desk")
    assert [span.kind for span in parsed.spans] == ["CHAIN", "RETRIEVER", "LLM", "CHAIN"]
    assert parsed.spans[3].query == "Q?" and not parsed.problems


def test_span_events_carry_messages_and_documents() -> None:
    events = [
        {"name": "gen_ai.user.message", "attributes": {"gen_ai.event.content": '{"content": "Q?"}'}},
        {"name": "gen_ai.choice", "attributes": {"message": '{"role": "assistant", "content": "A."}'}},
    ]
    span = {
        "context": {"trace_id": "t", "span_id": "s"},
        "start_time": traces.iso(1, 0),
        "attributes": {"gen_ai.operation.name": "chat"},
        "events": events,
    }
    (one,) = genai.parse(span, "desk").spans
    assert (one.messages, one.output) == ((Message(role="user", content="Q?"),), "A.")
    row = {"db.query.result.id": "d1", "db.query.result.document": "Text.", "db.query.result.score": 0.5}
    found = {**span, "attributes": {"db.system": "chroma", "db.query.result": 1}}
    (two,) = genai.parse({**found, "events": [{"name": "db.query.result", "attributes": row}]}, "desk").spans
    assert [(context.doc_id, context.text, context.score) for context in two.documents] == [("d1", "Text.", 0.5)]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ([{"page_content": "T", "metadata": {"doc_id": "d"}}], [("d", "T", None)]),
        ({"documents": [{"text": "T", "id": "d", "score": 0.5}]}, [("d", "T", 0.5)]),
        ('{"outputs": [{"content": "T"}]}', [(None, "T", None)]),
        (["T", "U"], [(None, "T", None), (None, "U", None)]),
        ([[{"page_content": "T", "metadata": {"score": 2}}, 0.25]], [(None, "T", 0.25)]),
        ([{"node": {"id_": "d", "text": "T", "metadata": {}}, "score": 0.5}], [("d", "T", 0.5)]),
        (
            [{"lc": 1, "type": "constructor", "kwargs": {"page_content": "T", "metadata": {"id": "d"}}}],
            [("d", "T", None)],
        ),
        ({"ids": [["d"]], "documents": [["T"]], "metadatas": [[{"title": "x"}]]}, [("d", "T", None)]),
        ({"matches": [{"id": "d", "score": 0.5, "metadata": {"text": "T"}}]}, [("d", "T", 0.5)]),
        ("no JSON", []),
        ({"answer": "x"}, []),
        (None, []),
        (7, []),
    ],
)
def test_documents_of_any_shape(output: Any, expected: list[tuple[Any, ...]]) -> None:
    assert [(found.get("doc_id"), found["text"], found.get("score")) for found in documents_of(output)] == expected


@pytest.mark.parametrize(
    "value",
    [
        "Q?",
        {"input": {"question": "Q?"}},
        {"inputs": {"query": "Q?"}, "kwargs": {}},
        {"args": ["Q?"], "kwargs": {}},
        {"args": [], "kwargs": {"question": "Q?"}},
        {"messages": [{"role": "user", "content": "Q?"}]},
        {"messages": [[traces.constructed("HumanMessage", "Q?")]]},
        [{"role": "user", "content": [{"type": "text", "text": "Q?"}]}],
    ],
)
def test_questions_of_any_shape(value: Any) -> None:
    assert question_of(value)[0] == "Q?"


@pytest.mark.parametrize(
    "value",
    [
        "A.",
        {"answer": "A."},
        {"output": {"content": "A."}},
        {"role": "assistant", "content": "A."},
        {"choices": [{"message": {"role": "assistant", "content": "A."}}]},
        {"generations": [[{"text": "A."}]]},
        {"messages": [{"type": "human", "content": "Q?"}, {"type": "ai", "content": "A."}]},
        [{"role": "assistant", "parts": [{"type": "reasoning", "content": "Hm."}, {"type": "text", "content": "A."}]}],
        traces.constructed("AIMessage", "A."),
    ],
)
def test_answers_of_any_shape(value: Any) -> None:
    assert answer_of(value) == "A."


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text('a1.{["', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a.0", max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(traces.EVERY)), st.integers(0, 20), st.integers(0, 20), anything)
def test_any_value_in_any_place_is_read_or_has_a_reason(name: str, line: int, place: int, value: Any) -> None:
    format, lines_of = traces.EVERY[name]
    lines = lines_of(1)
    spoilt = lines[line % len(lines)]
    while isinstance(spoilt, dict | list) and spoilt:
        key = list(spoilt)[place % len(spoilt)] if isinstance(spoilt, dict) else place % len(spoilt)
        inner = spoilt[key]  # type: ignore[index]
        if not isinstance(inner, dict | list) or not inner or place % 5 == 0:
            spoilt[key] = value  # type: ignore[index]
            break
        spoilt = inner
    module = {"otel": otel, "langfuse": langfuse, "langsmith": langsmith}.get(format, otel)
    for one in lines:
        try:
            module.looks(one)
            module.parse(one, "desk")
        except ValueError as error:
            assert str(error)
