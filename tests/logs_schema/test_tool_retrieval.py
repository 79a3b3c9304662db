"""Retrieval that an application logs as the call of a tool."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from logs_schema.importers.run import import_files
from logs_schema.importers.tools import result_documents, retrieves, sent_documents
from tests.logs_schema import trace_examples as traces
from tests.logs_schema.log_examples import snapshot, stored, write_lines

Line = dict[str, Any]
TEXTS = ["Orders may be returned for 30 days.", "Postage is free."]
ROWS = [{"id": f"kb-{n}", "content": text, "score": 0.9 - n / 10} for n, text in enumerate(TEXTS)]
QUESTION, ANSWER = "How long may I return shoes?", "30 days [1]."
EARLIER = [
    traces.said("user", "Where is my order?"),
    {"role": "assistant", "parts": [{"type": "tool_call", "id": "c0", "name": "kb_search"}]},
    {
        "role": "tool",
        "parts": [
            {"type": "tool_call_response", "id": "c0", "response": [{"id": "kb-9", "text": "Orders take a day."}]}
        ],
    },
    traces.said("assistant", "On its way."),
]


def handed(result: Any, **names: str) -> list[Line]:
    """Messages of the call that answers: the question, the call of the tool, and what it gave back."""
    call = {"type": "tool_call", "id": "c1", "name": "kb_search", "arguments": {"query": "return"}, **names}
    response = {"type": "tool_call_response", "id": "c1", "response": result}
    return [
        *EARLIER,
        traces.said("user", QUESTION),
        {"role": "assistant", "parts": [call]},
        {"role": "tool", "parts": [response]},
    ]


def agent(
    *, tool: Any = None, sent: Any = None, root: bool = True, name: str = "kb_search", kind: str = "function"
) -> list[Line]:
    """An agent that calls the model, a tool, and the model again."""
    asked = json.dumps([*EARLIER, traces.said("user", QUESTION)])
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "small", "gen_ai.conversation.id": "s-1"}
    wish = {
        "role": "assistant",
        "parts": [{"type": "tool_call", "id": "c1", "name": name}],
        "finish_reason": "tool_call",
    }
    run = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.type": kind,
        "gen_ai.tool.call.id": "c1",
        "gen_ai.tool.call.arguments": json.dumps({"query": "return"}),
        **({"gen_ai.tool.call.result": tool} if tool is not None else {}),
    }
    messages = handed("no list" if sent is None else sent, name=name)
    said = json.dumps([{**traces.said("assistant", ANSWER), "finish_reason": "stop"}])
    last = {**chat, "gen_ai.input.messages": json.dumps(messages), "gen_ai.output.messages": said}
    whole = {"gen_ai.operation.name": "invoke_agent", "gen_ai.input.messages": asked, "gen_ai.output.messages": said}
    first = {**chat, "gen_ai.input.messages": asked, "gen_ai.output.messages": json.dumps([wish])}
    spans = [
        traces.otlp_span(1, 0, None, "invoke_agent desk", whole),
        traces.otlp_span(1, 1, 0, "chat small", first),
        traces.otlp_span(1, 2, 0, f"execute_tool {name}", run),
        traces.otlp_span(1, 3, 0, "chat small", last),
    ]
    return [traces.body(span) for span in (spans if root else spans[1:])]


@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize(
    "told",
    [
        {"tool": json.dumps(ROWS)},
        {"tool": ROWS},
        {"tool": json.dumps({"results": ROWS})},
        {"sent": ROWS},
        {"sent": json.dumps(ROWS)},
        {"tool": json.dumps(ROWS), "sent": json.dumps(ROWS)},
        {"tool": {"content": [{"type": "text", "text": json.dumps(ROWS)}], "isError": False}, "sent": ROWS},
        {"tool": {"structuredContent": {"result": ROWS}, "content": []}, "sent": ROWS},
    ],
    ids=["text", "structure", "wrapped", "message", "message text", "both", "MCP text", "MCP structure"],
)
def test_documents_that_a_tool_gave_back_are_contexts(
    engine: Engine, tmp_path: Path, root: bool, told: dict[str, Any]
) -> None:
    lines = agent(root=root, **told)
    if not root and "sent" not in told:
        import_files(engine, [write_lines(tmp_path / "logs.jsonl", lines)])
        assert snapshot(engine)["records"] == []  # nothing shows which call answered with them
        return
    record = stored(engine, tmp_path, lines)
    assert (record.query, record.response, record.model, record.session_id) == (QUESTION, ANSWER, "small", "s-1")
    assert [(c.doc_id, c.text, c.score) for c in record.contexts] == [(r["id"], r["content"], r["score"]) for r in ROWS]


def test_what_the_call_was_sent_goes_before_what_the_tool_found(engine: Engine, tmp_path: Path) -> None:
    record = stored(engine, tmp_path, agent(tool=json.dumps(ROWS), sent=[{"id": "kb-1", "content": TEXTS[1]}]))
    assert [(context.doc_id, context.score) for context in record.contexts] == [("kb-1", 0.8)]


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(root=st.booleans(), order=st.permutations(range(4)), cut=st.integers(0, 4))
def test_the_order_of_the_spans_does_not_matter(
    fresh: Callable[[], Engine], tmp_path_factory: pytest.TempPathFactory, root: bool, order: list[int], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("spans")
    lines = agent(tool=json.dumps(ROWS), sent=ROWS[:1], root=root)
    shuffled = [lines[n] for n in order if n < len(lines)]
    found = []
    for parts in ([lines], [part for part in (shuffled[:cut], shuffled[cut:]) if part]):
        store = fresh()
        for number, part in enumerate(parts):
            import_files(store, [write_lines(folder / f"{number}.jsonl", part)])
        found.append(snapshot(store))
        store.dispose()
    assert found[0] == found[1] and len(found[0]["records"]) == 1


def test_log_events_bring_what_tools_gave_back(engine: Engine, tmp_path: Path) -> None:
    lines = agent()
    told = [
        ("gen_ai.tool.message", {"id": "c0", "content": json.dumps([{"id": "kb-9", "text": "Old."}])}),
        ("gen_ai.user.message", {"content": QUESTION}),
        ("gen_ai.tool.message", {"id": "c1", "content": json.dumps(ROWS)}),
    ]
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "small"}
    events = [traces.log_record(1, 4, name, body, place) for place, (name, body) in enumerate(told)]
    lines += [traces.body(traces.otlp_span(1, 4, 0, "chat small", chat)), *map(traces.logs_body, events)]
    assert [context.doc_id for context in stored(engine, tmp_path, lines).contexts] == ["kb-0", "kb-1"]


@pytest.mark.parametrize(
    ("result", "known", "expected"),
    [
        (ROWS, False, 2),
        ([{"text": "A."}], True, 1),
        ([{"text": "A."}], False, 0),
        ([{"url": "https://x.example", "content": "A."}], False, 1),
        ([{"page_content": "A.", "metadata": {"source": "a.md"}}], False, 1),
        ([*ROWS, {"id": "kb-3"}], True, 0),
        ([*ROWS, "A."], True, 0),
        ({"status": "sent", "id": "m1"}, True, 0),
        ({"temperature": 21}, True, 0),
        ("30 days.", True, 0),
        (["30 days."], True, 0),
        ([{"type": "text", "text": "30 days."}], True, 0),
        ([], True, 0),
        (None, True, 0),
    ],
)
def test_only_a_list_of_documents_is_one(result: Any, known: bool, expected: int) -> None:
    assert len(result_documents(result, known=known)) == expected
    assert len(result_documents(json.dumps(result), known=known)) == expected


def test_a_tool_that_does_something_else_gives_no_contexts(engine: Engine, tmp_path: Path) -> None:
    mail = [{"status": "sent", "text": "Your mail was sent."}]
    record = stored(engine, tmp_path, agent(tool=json.dumps(mail), sent=mail, name="send_mail"))
    assert (record.query, record.response, record.contexts) == (QUESTION, ANSWER, ())


def test_a_tool_says_that_it_retrieves() -> None:
    assert retrieves("kb_search") and retrieves("retrieve_docs") and retrieves("x", "datastore")
    assert not retrieves("send_mail", "function") and not retrieves(None)
    turns = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "function": {"name": "kb_search"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": json.dumps([{"text": "A."}])},
        {"role": "tool", "tool_call_id": "c2", "content": json.dumps([{"text": "B."}])},
    ]
    assert [found["text"] for found in sent_documents(turns)] == ["A."]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("a1.{[", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "parts", "content", "type", "id", "tool_calls", "function", "name", "response", "text"]
            ),
            inner | st.sampled_from(["tool", "user", "text", "tool_call_response"]),
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(anything)
def test_messages_of_any_shape_are_read(value: Any) -> None:
    for turns in (value, [value], {"content": value}):
        assert isinstance(sent_documents(turns), list) and isinstance(result_documents(turns, known=True), list)
