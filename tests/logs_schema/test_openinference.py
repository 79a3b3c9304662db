import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from logs_schema.importers.attributes import nested
from logs_schema.importers.openinference import parse
from logs_schema.importers.run import import_files
from logs_schema.importers.spans import record_of
from logs_schema.records import FeedbackKind, Message, RagRecord
from tests.logs_schema.log_examples import SYSTEM, snapshot, spans_of, write_lines

SAID = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def joined(spans: list[dict[str, Any]]) -> tuple[RagRecord, bool]:
    found = record_of([span for value in spans for span in parse(value, "desk").spans], "desk")
    assert found is not None
    return found


traces = st.builds(
    lambda documents, pick, template, thumbs, rewrite, answered: {
        "documents": documents,
        "keep": [n for n in pick if n < documents] if pick is not None else None,
        "template": template,
        "thumbs": thumbs,
        "rewrite": rewrite,
        "answered": answered,
    },
    st.integers(0, 3),
    st.none() | st.permutations([0, 1, 2]).flatmap(lambda order: st.integers(1, 3).map(lambda n: order[:n])),
    st.booleans(),
    st.sampled_from([None, "thumbs_up", "thumbs_down"]),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(traces, min_size=1, max_size=3), st.data())
def test_any_order_any_files_and_twice_give_the_same_store(
    fresh: Callable[[], Engine],
    tmp_path_factory: pytest.TempPathFactory,
    some: list[dict[str, Any]],
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("spans")
    spans = [span for number, options in enumerate(some, start=1) for span in spans_of(number, **options)]
    at_once, in_parts = fresh(), fresh()
    import_files(at_once, [write_lines(folder / "all.jsonl", spans)])
    expected = snapshot(at_once)
    shuffled = data.draw(st.permutations(spans))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(spans)), max_size=3)))
    parts = [part for a, b in zip([0, *cuts], [*cuts, len(spans)], strict=True) if (part := shuffled[a:b])]
    files = [write_lines(folder / f"{n}.jsonl", part) for n, part in enumerate(parts)]
    for file in files:
        import_files(in_parts, [file])
    assert snapshot(in_parts) == expected
    for file in files:
        again = import_files(in_parts, [file]).files[0]
        assert (again.new, again.updated) == (0, 0)
    assert snapshot(in_parts) == expected
    at_once.dispose()
    in_parts.dispose()


def test_a_whole_trace() -> None:
    one, whole = joined(spans_of(3, thumbs="thumbs_down")[::-1])
    assert whole
    assert one.query == "What does passage one of 3 say?" and one.response == "It says 3."
    assert [(context.doc_id, context.title, context.score) for context in one.contexts] == [
        ("doc-3-0", "Title 0", 9.0),
        ("doc-3-1", "Title 1", 8.0),
    ]
    assert one.contexts[0].updated_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert one.prompt and one.prompt.system == SYSTEM and one.prompt.passage == "[{n}] {text}"
    assert (one.model, one.latency_ms, one.prompt_tokens, one.truncated) == ("tiny", 1000.0, 43, False)
    assert (one.session_id, one.user_id) == ("s-0", "u-1")


def test_the_reranked_order_is_what_the_model_saw() -> None:
    one, whole = joined(spans_of(1, documents=3, keep=[2, 0]))
    assert whole and [context.doc_id for context in one.contexts] == ["doc-1-2", "doc-1-0"]
    assert [context.score for context in one.contexts] == [7.0, 9.0]
    assert one.contexts[0].title == "Title 2"
    unconfirmed, whole = joined(spans_of(1, documents=3, keep=[2, 0], template=False))
    assert not whole and [context.doc_id for context in unconfirmed.contexts] == ["doc-1-2", "doc-1-0"]


def test_an_earlier_model_call_does_not_matter() -> None:
    one, _ = joined(spans_of(1, rewrite=True))
    assert one.model == "tiny" and one.prompt


def test_messages_may_be_nested_lists_or_nested_attributes() -> None:
    plain = joined(spans_of(1))[0]
    for shape in ("list", "lists", "tree"):
        spans = spans_of(1)
        attributes = spans[-1]["attributes"]
        messages = [
            {
                "message.role": attributes.pop(f"llm.input_messages.{n}.message.role"),
                "message.content": attributes.pop(f"llm.input_messages.{n}.message.content"),
            }
            for n in range(2)
        ]
        attributes["llm.input_messages"] = [messages] if shape == "lists" else messages
        if shape == "tree":
            spans = [{**span, "attributes": nested(span["attributes"])} for span in spans]
        assert joined(spans)[0] == plain


def test_ids_may_carry_a_prefix_and_stand_at_the_top() -> None:
    spans = spans_of(1)
    for number, span in enumerate(spans):
        context = span.pop("context")
        span |= {"context.trace_id": f"0x{context['trace_id'].upper()}", "context.span_id": f"0X{number}"}
        span["parent_id"] = f"0x{span['parent_id']}" if span["parent_id"] else ""
        span |= {f"attributes.{key}": value for key, value in span.pop("attributes").items()}
    assert joined(spans)[0] == joined(spans_of(1))[0]


def test_the_document_id_may_stand_in_the_metadata_only() -> None:
    spans = spans_of(1)
    found = spans[1]["attributes"]
    for n in range(2):
        del found[f"retrieval.documents.{n}.document.id"], found[f"retrieval.documents.{n}.document.score"]
        found[f"retrieval.documents.{n}.document.metadata"] = json.dumps({"doc_id": f"m-{n}"})
    assert [(context.doc_id, context.score) for context in joined(spans)[0].contexts] == [("m-0", None), ("m-1", None)]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ({"question": "Q?", "history": [["Hi", "Hello"]]}, {"answer": "A."}),
        (
            {"message": "Q?", "chat_history": [{"type": "human", "content": "Hi"}, {"type": "ai", "content": "Hello"}]},
            1,
        ),
        ({"messages": [*SAID, {"role": "user", "content": "Q?"}]}, {"response": "A."}),
    ],
)
def test_question_and_answer_may_be_json(asked: dict[str, Any], answered: Any) -> None:
    spans = spans_of(1, template=False)[:2]
    spans[0]["attributes"]["input.value"] = json.dumps(asked)
    spans[0]["attributes"]["output.value"] = "A." if answered == 1 else json.dumps(answered)
    one, _ = joined(spans)
    assert (one.query, one.response) == ("Q?", "A.")
    assert one.history == (Message(role="user", content="Hi"), Message(role="assistant", content="Hello"))


def test_broken_json_in_an_attribute_is_text() -> None:
    spans = spans_of(1)[:2]
    spans[0]["attributes"]["input.value"] = '{"question": '
    spans[1]["attributes"]["retrieval.documents.0.document.metadata"] = "{not json"
    one, _ = joined(spans)
    assert one.query == '{"question": ' and one.contexts[0].title is None


def test_a_failed_call_keeps_its_error() -> None:
    spans = spans_of(1, answered=False)
    del spans[0]["attributes"]["output.value"]
    spans[0] |= {"status_code": "ERROR", "status_message": "timeout"}
    one, whole = joined(spans)
    assert (one.response, one.error, whole) == ("", "timeout", False)


def test_feedback_may_hang_on_a_later_span_that_links_to_the_trace(engine: Engine, tmp_path: Any) -> None:
    later = {
        "context": {"trace_id": "f" * 32, "span_id": "1"},
        "parent_id": None,
        "start_time": "2026-03-03T08:00:00Z",
        "links": [{"context": {"trace_id": f"0x{1:032x}", "span_id": "1"}}],
        "attributes": {
            "annotations.0.annotation.name": "correction",
            "annotations.0.annotation.explanation": "It says 7.",
            "annotations.1.annotation.name": "judge",
            "annotations.1.annotation.annotator_kind": "LLM",
            "annotations.1.annotation.score": 0.2,
        },
    }
    report = import_files(
        engine, [write_lines(tmp_path / "a.jsonl", [later]), write_lines(tmp_path / "b.jsonl", spans_of(1))]
    )
    assert report.pending == 0
    (event,) = snapshot(engine)["records"][0].feedback
    assert (event.kind, event.correction, event.occurred_at) == (
        FeedbackKind.correction,
        "It says 7.",
        datetime(2026, 3, 3, 8, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("label", "score", "value"),
    [
        ("thumbs_down", 0, -1),
        ("thumbs_up", 1, 1),
        (None, 0.25, -0.5),
        (None, -0.5, -0.5),
        ("stars", 4, None),
        (None, None, None),
    ],
)
def test_scales_of_feedback(label: str | None, score: Any, value: float | None) -> None:
    span = spans_of(1)[0]
    span["attributes"] |= {"annotations": [{"annotation": {"name": "x", "label": label, "score": score}}]}
    assert parse(span, "desk").feedback[0][1].value == value


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"context": {}}, "trace id is missing"),
        ({"context": {"trace_id": "t" * 501, "span_id": "1"}}, "trace_id"),
        ({"attributes": None}, "attributes is missing"),
        ({"start_time": "1970-01-01T00:00:00Z"}, "outside of 2000 to 2098"),
        ({"start_time": None}, "start_time is missing"),
        ({"attributes": {"llm.token_count.prompt": 10**12}}, "prompt_tokens"),
        ({"attributes": {"retrieval.documents.0.document.score": "high"}}, "documents.0.score"),
    ],
)
def test_wrong_spans_have_a_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse({**spans_of(1)[0], **changes}, "desk")


def test_times_in_any_unit() -> None:
    for value in (
        1772452860,
        1772452860.0,
        1772452860000,
        1772452860000000,
        "1772452860000000000",
        "2026-03-02T12:01:00",
    ):
        (span,) = parse({**spans_of(1)[0], "start_time": value}, "desk").spans
        assert span.started == datetime(2026, 3, 2, 12, 1, tzinfo=UTC)


@settings(max_examples=80, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("a1.{[", max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["0", "1", "document", "message", "role", "content", "contents", "metadata", "x.y", "user"]
                ),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    ),
    st.sampled_from(
        [
            *("retrieval.documents", "reranker.output_documents", "llm.input_messages", "llm.output_messages"),
            *("annotations", "tag.tags", "input.value", "trace"),
        ]
    ),
)
def test_any_attribute_is_a_span_or_a_reason(value: Any, name: str) -> None:
    spans = spans_of(1)
    for span in spans:
        span["attributes"][name] = value
    try:
        made = [made for span in spans for made in parse(span, "desk").spans]
    except ValueError as error:
        assert str(error)
    else:
        record_of(made, "desk")
