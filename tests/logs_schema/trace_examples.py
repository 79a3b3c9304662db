"""Log lines of one question and answer as each tracing tool's client writes them, made up for the tests."""

import base64
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from tests.logs_schema.log_examples import NOON, SYSTEM

Line = dict[str, Any]


def trace_of(number: int) -> str:
    return f"{number:031x}a"


def span_of(number: int, place: int) -> str:
    return f"{number:012x}{place:03x}b"


def query_of(number: int) -> str:
    return f"How long may order {number} be returned?"


def answer_of(number: int) -> str:
    return f"{number} days [1]."


def passages_of(number: int) -> list[str]:
    return [f"Order {number} may be returned for {number} days.", f"Postage of order {number} is free."]


def prompt_of(number: int) -> str:
    numbered = "\n\n".join(f"[{n}] {text}" for n, text in enumerate(passages_of(number), start=1))
    return f"Context:\n{numbered}\n\nQuestion: {query_of(number)}"


def begin(number: int) -> datetime:
    return NOON + timedelta(minutes=number)


def nanoseconds(number: int, milliseconds: int) -> str:
    return str(int((begin(number) + timedelta(milliseconds=milliseconds)).timestamp() * 1000) * 10**6)


def iso(number: int, milliseconds: int) -> str:
    return (begin(number) + timedelta(milliseconds=milliseconds)).isoformat().replace("+00:00", "Z")


# --- OpenTelemetry ------------------------------------------------------------------------------------


def typed(value: Any) -> Line:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [typed(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [{"key": key, "value": typed(item)} for key, item in value.items()]}}
    return {"stringValue": value}


def pairs(attributes: Line) -> list[Line]:
    return [{"key": key, "value": typed(value)} for key, value in attributes.items()]


def otlp_span(number: int, place: int, parent: int | None, name: str, attributes: Line, **more: Any) -> Line:
    return {
        "traceId": trace_of(number),
        "spanId": span_of(number, place),
        "parentSpanId": "" if parent is None else span_of(number, parent),
        "name": name,
        "kind": 1,
        "startTimeUnixNano": nanoseconds(number, place * 10),
        "endTimeUnixNano": nanoseconds(number, 1000 if parent is None else place * 10 + 5),
        "attributes": pairs(attributes),
        "status": {"code": 1},
        **more,
    }


def body(*spans: Line) -> Line:
    resource = {"attributes": pairs({"service.name": "desk"})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "x"}, "spans": list(spans)}]}]}


def logs_body(*records: Line) -> Line:
    return {"resourceLogs": [{"resource": {}, "scopeLogs": [{"scope": {}, "logRecords": list(records)}]}]}


def log_record(number: int, place: int, name: str, content: Any, offset: int, **attributes: Any) -> Line:
    return {
        "timeUnixNano": str(int(nanoseconds(number, place * 10)) + offset),
        "traceId": trace_of(number),
        "spanId": span_of(number, place),
        "eventName": name,
        "attributes": pairs({"gen_ai.system": "openai", **attributes}),
        **({"body": typed(content)} if content is not None else {}),
    }


def said(role: str, text: str) -> Line:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def found(number: int, *, texts: bool) -> list[Line]:
    rows = [{"id": f"doc-{number}-{n}", "score": 0.9 - n / 10} for n in range(2)]
    return [{**row, "content": text} if texts else row for row, text in zip(rows, passages_of(number), strict=True)]


def genai(number: int, *, texts: bool = True) -> list[Line]:
    """The present GenAI conventions: the root is a web request that knows nothing of the question."""
    web = otlp_span(number, 0, None, "POST /ask", {"http.request.method": "POST"})
    search = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.retrieval.query.text": query_of(number),
        "gen_ai.retrieval.documents": found(number, texts=texts)
        if number % 2
        else json.dumps(found(number, texts=texts)),
    }
    chat = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "small",
        "gen_ai.response.model": "small-2026",
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": SYSTEM}]),
        "gen_ai.input.messages": json.dumps([said("user", prompt_of(number))]),
        "gen_ai.output.messages": json.dumps([{**said("assistant", answer_of(number)), "finish_reason": "stop"}]),
        "gen_ai.usage.input_tokens": 40,
        "gen_ai.usage.output_tokens": 6,
        "gen_ai.conversation.id": f"s-{number}",
    }
    rated = {"gen_ai.evaluation.name": "user_feedback", "gen_ai.evaluation.score.value": 0.0}
    return [
        body(web),
        body(otlp_span(number, 1, 0, "retrieval kb", search)),
        body(otlp_span(number, 2, 0, "chat small", chat)),
        logs_body(log_record(number, 2, "gen_ai.evaluation.result", None, 9, **rated)),
    ]


def genai_events(number: int) -> list[Line]:
    """Older GenAI instrumentors: the texts only in log events; ids in base64, as protobuf's JSON writes them."""

    def in_base64(record: Line) -> Line:
        names = ("traceId", "spanId", "parentSpanId")
        return {
            **record,
            **{name: base64.b64encode(bytes.fromhex(record[name])).decode() for name in names if record.get(name)},
        }

    chain = {"gen_ai.operation.name": "invoke_agent", "traceloop.entity.input": query_of(number)}
    search = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": json.dumps(found(number, texts=True))}
    chat = {"gen_ai.system": "openai", "gen_ai.operation.name": "chat", "gen_ai.request.model": "small"}
    tokens = {"gen_ai.usage.prompt_tokens": 40, "gen_ai.usage.completion_tokens": 6}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer_of(number)}}
    spans = [
        otlp_span(number, 0, None, "ask", chain),
        otlp_span(number, 1, 0, "search", search),
        otlp_span(number, 2, 0, "chat small", {**chat, **tokens}),
    ]
    records = [
        log_record(number, 2, "gen_ai.system.message", {"content": SYSTEM}, 1),
        log_record(number, 2, "gen_ai.user.message", {"content": prompt_of(number)}, 2),
        log_record(number, 2, "gen_ai.choice", choice, 3),
    ]
    return [*(body(in_base64(span)) for span in spans), *(logs_body(in_base64(record)) for record in records)]


def traceloop(number: int) -> list[Line]:
    """Traceloop's spans as the SDK's console exporter prints them: numbered prompts, documents in the output."""
    same = {"traceloop.association.properties.session_id": f"s-{number}"}
    documents = [
        {"page_content": text, "metadata": {"doc_id": f"doc-{number}-{n}"}, "type": "Document"}
        for n, text in enumerate(passages_of(number))
    ]
    ask = {
        "traceloop.span.kind": "workflow",
        "traceloop.entity.name": "ask",
        "traceloop.entity.input": json.dumps({"inputs": {"question": query_of(number)}, "kwargs": {}}),
        "traceloop.entity.output": json.dumps({"outputs": {"answer": answer_of(number)}, "kwargs": {}}),
    }
    search = {
        "gen_ai.operation.name": "vector_db_retrieve",
        "traceloop.entity.input": json.dumps({"query": query_of(number)}),
        "traceloop.entity.output": json.dumps({"documents": documents}),
    }
    chat = {
        "llm.request.type": "chat",
        "gen_ai.request.model": "small",
        "gen_ai.prompt.0.role": "system",
        "gen_ai.prompt.0.content": SYSTEM,
        "gen_ai.prompt.1.role": "user",
        "gen_ai.prompt.1.content": prompt_of(number),
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": answer_of(number),
    }
    return [
        {
            "name": attributes.get("traceloop.entity.name", "step"),
            "context": {
                "trace_id": f"0x{trace_of(number)}",
                "span_id": f"0x{span_of(number, place)}",
                "trace_state": "[]",
            },
            "kind": "SpanKind.INTERNAL",
            "parent_id": None if place == 0 else f"0x{span_of(number, 0)}",
            "start_time": iso(number, place * 10),
            "end_time": iso(number, 1000 if place == 0 else place * 10 + 5),
            "status": {"status_code": "UNSET"},
            "attributes": {**same, **attributes},
            "events": [],
            "links": [],
        }
        for place, attributes in enumerate((ask, search, chat))
    ]


def langfuse_otel(number: int) -> list[Line]:
    """The Langfuse SDK by OTLP: the root's parent lies in another system."""
    ask = {
        "langfuse.observation.type": "span",
        "langfuse.internal.as_root": True,
        "langfuse.trace.name": "ask",
        "langfuse.trace.tags": ["web"],
        "langfuse.observation.input": json.dumps({"query": query_of(number)}),
        "langfuse.observation.output": json.dumps({"answer": answer_of(number)}),
        "session.id": f"s-{number}",
        "user.id": "u-1",
    }
    documents = [{"text": text, "id": f"doc-{number}-{n}"} for n, text in enumerate(passages_of(number))]
    search = {
        "langfuse.observation.type": "retriever",
        "langfuse.observation.input": query_of(number),
        "langfuse.observation.output": json.dumps(documents),
    }
    chat = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.input": json.dumps(
            [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt_of(number)}]
        ),
        "langfuse.observation.output": json.dumps({"role": "assistant", "content": answer_of(number)}),
        "langfuse.observation.model.name": "small",
        "langfuse.observation.usage_details": json.dumps({"input": 40, "output": 6}),
        "langfuse.observation.prompt.name": "desk",
        "langfuse.observation.prompt.version": 3,
    }
    return [
        body(otlp_span(number, 0, 99, "ask", ask, endTimeUnixNano=nanoseconds(number, 1000))),
        body(otlp_span(number, 1, 0, "search", search)),
        body(otlp_span(number, 2, 0, "generate", chat)),
    ]


# --- Langfuse -----------------------------------------------------------------------------------------


def langfuse_parts(number: int) -> list[Line]:
    """Separate traces, observations and scores, as the API lists them."""
    trace = trace_of(number)
    documents = [
        {"page_content": text, "metadata": {"doc_id": f"doc-{number}-{n}"}}
        for n, text in enumerate(passages_of(number))
    ]
    return [
        {
            "id": trace,
            "timestamp": iso(number, 0),
            "name": "ask",
            "input": {"query": query_of(number)},
            "output": {"answer": answer_of(number)},
            "sessionId": f"s-{number}",
            "userId": "u-1",
            "tags": ["web"],
            "latency": 1.0,
            "observations": [span_of(number, 1), span_of(number, 2)],
            "scores": [f"score-{number}"],
        },
        {
            "id": span_of(number, 1),
            "traceId": trace,
            "parentObservationId": None,
            "type": "RETRIEVER",
            "startTime": iso(number, 10),
            "endTime": iso(number, 15),
            "input": query_of(number),
            "output": documents,
        },
        {
            "id": span_of(number, 2),
            "traceId": trace,
            "parentObservationId": None,
            "type": "GENERATION",
            "startTime": iso(number, 20),
            "endTime": iso(number, 25),
            "model": "small",
            "input": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt_of(number)}],
            "output": {"role": "assistant", "content": answer_of(number)},
            "usageDetails": {"input": 40, "output": 6, "total": 46},
            "promptName": "desk",
            "promptVersion": 3,
        },
        {
            "id": f"score-{number}",
            "traceId": trace,
            "observationId": None,
            "name": "output",
            "value": 0,
            "stringValue": f"{number + 1} days [1].",
            "dataType": "CORRECTION",
            "source": "ANNOTATION",
            "timestamp": iso(number + 60, 0),
        },
    ]


def langfuse_nested(number: int) -> list[Line]:
    """One line a trace, as the API gives a single one."""
    trace, *observations, score = langfuse_parts(number)
    return [{**trace, "observations": observations, "scores": [score]}]


def langfuse_version_2(number: int) -> list[Line]:
    """Clients before version 3 know spans, generations and events only: LangChain's retriever is a span."""
    trace, search, chat, score = langfuse_parts(number)
    below = {"parentObservationId": span_of(number, 0)}
    ask = {
        **search,
        "id": span_of(number, 0),
        "type": "SPAN",
        "name": "RunnableSequence",
        "startTime": trace["timestamp"],
        "output": answer_of(number),
    }
    usage = {"usage": {"input": 40, "output": 6, "total": 46, "unit": "TOKENS"}, "usageDetails": None}
    return [trace, ask, {**search, **below, "type": "SPAN", "name": "Store"}, {**chat, **below, **usage}, score]


def langfuse_export(number: int) -> list[Line]:
    """The scheduled export: names with underscores, times without zone, inputs and outputs as JSON text."""

    def snake(name: str) -> str:
        return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)

    def row(part: Line) -> Line:
        return {
            snake(name): value.replace("T", " ").removesuffix("Z")
            if name in {"timestamp", "startTime", "endTime"}
            else json.dumps(value)
            if name in {"input", "output"} and not isinstance(value, str)
            else value
            for name, value in part.items()
            if name not in {"observations", "scores", "latency"}
        }

    rows = [row(part) for part in langfuse_parts(number)]
    rows[2]["provided_model_name"] = rows[2].pop("model")
    return rows


# --- LangSmith ----------------------------------------------------------------------------------------


def run(number: int, place: int, run_type: str, inputs: Line, outputs: Line | None, **more: Any) -> Line:
    return {
        "id": f"{trace_of(number)}-{place}",
        "trace_id": f"{trace_of(number)}-0",
        "parent_run_id": None if place == 0 else f"{trace_of(number)}-0",
        "name": run_type,
        "run_type": run_type,
        "session_id": "11111111-the-project",
        "session_name": "desk-production",
        "start_time": iso(number, place * 10).removesuffix("Z"),
        "end_time": iso(number, 1000 if place == 0 else place * 10 + 5).removesuffix("Z"),
        "inputs": inputs,
        "outputs": outputs,
        "error": None,
        "status": "success",
        "extra": {"metadata": {"thread_id": f"s-{number}", "ls_model_name": "small"}},
        "tags": ["web"],
        "feedback_stats": {"user_score": {"n": 1, "avg": 0.0}},
        **more,
    }


def constructed(name: str, content: str, **more: Any) -> Line:
    return {
        "lc": 1,
        "type": "constructor",
        "id": ["langchain", "schema", "messages", name],
        "kwargs": {"content": content, **more},
    }


def langsmith(number: int) -> list[Line]:
    """Runs and feedback as the client lists them; the feedback hangs on the call inside."""
    documents = [
        {"page_content": text, "type": "Document", "metadata": {"id": f"doc-{number}-{n}"}}
        for n, text in enumerate(passages_of(number))
    ]
    usage = {"input_tokens": 40, "output_tokens": 6, "total_tokens": 46}
    message = constructed("AIMessage", answer_of(number), usage_metadata=usage)
    return [
        run(number, 0, "chain", {"question": query_of(number)}, {"answer": answer_of(number), "context": documents}),
        run(number, 1, "retriever", {"query": query_of(number)}, {"documents": documents}),
        run(
            number,
            2,
            "llm",
            {"messages": [[constructed("SystemMessage", SYSTEM), constructed("HumanMessage", prompt_of(number))]]},
            {"generations": [[{"text": answer_of(number), "type": "ChatGeneration", "message": message}]]},
            prompt_tokens=40,
            completion_tokens=6,
        ),
        {
            "id": f"feedback-{number}",
            "run_id": f"{trace_of(number)}-2",
            "trace_id": f"{trace_of(number)}-0",
            "session_id": "11111111-the-project",
            "key": "user_score",
            "score": 0,
            "value": None,
            "comment": "Wrong number of days.",
            "correction": {"desired": f"{number + 1} days [1]."},
            "feedback_source": {"type": "app", "user_id": "curator-1"},
            "created_at": iso(number + 60, 0),
        },
    ]


def langsmith_rows(number: int) -> list[Line]:
    """Rows of the bulk export: inputs, outputs and extra as JSON text."""
    *runs, _ = langsmith(number)
    return [
        {**row, **{name: json.dumps(row[name]) for name in ("inputs", "outputs", "extra")}, "is_root": place == 0}
        for place, row in enumerate(runs)
    ]


def langsmith_ordered(number: int) -> list[Line]:
    """Runs whose parents only the dotted order tells."""
    *runs, _ = langsmith(number)
    first = f"20260302T120000000000Z{runs[0]['id']}"
    orders = [first, *(f"{first}.20260302T12000000000{n}Z{run['id']}" for n, run in enumerate(runs[1:], start=1))]
    return [
        {name: value for name, value in {**run, "dotted_order": order}.items() if name != "parent_run_id"}
        for run, order in zip(runs, orders, strict=True)
    ]


# --- OpenInference ------------------------------------------------------------------------------------


def openinference(number: int, ask: Line, search: Line, *more: Line) -> list[Line]:
    chat = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "small",
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.content": SYSTEM,
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.content": prompt_of(number),
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": answer_of(number),
        "llm.token_count.prompt": 40,
        "llm.token_count.completion": 6,
    }
    return [
        {
            "name": "step",
            "context": {"trace_id": trace_of(number), "span_id": span_of(number, place)},
            "parent_id": None if place == 0 else span_of(number, 0),
            "start_time": iso(number, place * 10),
            "end_time": iso(number, 1000 if place == 0 else place * 10 + 5),
            "status_code": "OK",
            "attributes": attributes,
        }
        for place, attributes in enumerate((ask, search, chat, *more))
    ]


def langchain(number: int) -> list[Line]:
    """OpenInference's LangChain instrumentor: JSON in and out, document ids in the metadata only."""
    ask = {
        "openinference.span.kind": "CHAIN",
        "input.value": json.dumps({"question": query_of(number), "history": [["Hi", "Hello"]]}),
        "output.value": json.dumps({"answer": answer_of(number), "sources": []}),
        "session.id": f"s-{number}",
    }
    search = {"openinference.span.kind": "RETRIEVER", "input.value": query_of(number)}
    for n, text in enumerate(passages_of(number)):
        search[f"retrieval.documents.{n}.document.content"] = text
        search[f"retrieval.documents.{n}.document.metadata"] = json.dumps({"doc_id": f"doc-{number}-{n}"})
    return openinference(number, ask, search)


def llamaindex(number: int) -> list[Line]:
    """OpenInference's LlamaIndex instrumentor: two retrievers a query, one without documents."""
    ask = {
        "openinference.span.kind": "CHAIN",
        "input.value": json.dumps({"message": query_of(number)}),
        "output.value": json.dumps({"response": answer_of(number)}),
        "session.id": f"s-{number}",
    }
    outer = {"openinference.span.kind": "RETRIEVER", "input.value": query_of(number)}
    inner: Line = dict(outer)
    for n, text in enumerate(passages_of(number)):
        inner[f"retrieval.documents.{n}.document.id"] = f"doc-{number}-{n}"
        inner[f"retrieval.documents.{n}.document.content"] = text
        inner[f"retrieval.documents.{n}.document.score"] = 0.9 - n / 10
    return openinference(number, ask, inner, outer)


def phoenix(number: int) -> list[Line]:
    """A Phoenix data frame: flattened columns, documents as lists, annotations that name a span and a note."""
    rows = []
    for span in langchain(number):
        attributes = span.pop("attributes")
        documents = [
            {"document.content": text, "document.metadata.doc_id": f"doc-{number}-{n}"}
            for n, text in enumerate(passages_of(number))
        ]
        kept = {key: value for key, value in attributes.items() if not key.startswith("retrieval.")}
        if attributes["openinference.span.kind"] == "RETRIEVER":
            kept["retrieval.documents"] = documents
        context = span.pop("context")
        flat = {f"attributes.{key}": value for key, value in kept.items()}
        rows.append({**span, **{f"context.{key}": value for key, value in context.items()}, **flat})
    said = {"annotator_kind": "HUMAN", "created_at": iso(number + 60, 0), "identifier": ""}
    return [
        *rows,
        {
            "span_id": span_of(number, 0),
            "annotation_name": "thumb",
            "result.label": "thumbs_down",
            "result.score": 0,
            **said,
        },
        {"span_id": span_of(number, 2), "id": "QW5u", "name": "note", "result": {"explanation": "Look it up."}, **said},
        {"span_id": span_of(number, 2), "name": "qa", "annotator_kind": "LLM", "result": {"label": "correct"}},
    ]


def in_text(number: int) -> list[Line]:
    """Lists of attributes as JSON text, as tables without nested columns hold them."""

    def documents(attributes: Line) -> list[Line]:
        named = [{key: value for key, value in attributes.items() if f".documents.{n}." in key} for n in range(2)]
        return [{key.split(f"{n}.", 1)[1]: value for key, value in one.items()} for n, one in enumerate(named)]

    rows = langchain(number)
    ask, search, chat = (row["attributes"] for row in rows)
    rows[0]["attributes"] = {**ask, "tag.tags": json.dumps(["web"])}
    kept = {key: value for key, value in search.items() if not key.startswith("retrieval.")}
    rows[1]["attributes"] = {**kept, "retrieval.documents": json.dumps(documents(search))}
    kept = {key: value for key, value in chat.items() if "_messages." not in key}
    sent = [{"message.role": "system", "message.content": SYSTEM}]
    sent += [{"message.role": "user", "message.content": prompt_of(number)}]
    replied = [{"message": {"role": "assistant", "content": answer_of(number)}}]
    rows[2]["attributes"] = {
        **kept,
        "llm.input_messages": json.dumps(sent),
        "llm.output_messages": json.dumps(replied),
    }
    return rows


EVERY: dict[str, tuple[str, Callable[[int], list[Line]]]] = {
    "GenAI": ("otel", genai),
    "GenAI with log events": ("otel", genai_events),
    "Traceloop": ("otel", traceloop),
    "Langfuse by OTLP": ("otel", langfuse_otel),
    "Langfuse in parts": ("langfuse", langfuse_parts),
    "Langfuse nested": ("langfuse", langfuse_nested),
    "Langfuse of version 2": ("langfuse", langfuse_version_2),
    "Langfuse export": ("langfuse", langfuse_export),
    "LangSmith": ("langsmith", langsmith),
    "LangSmith rows": ("langsmith", langsmith_rows),
    "LangSmith by dotted order": ("langsmith", langsmith_ordered),
    "LangChain": ("openinference", langchain),
    "LlamaIndex": ("openinference", llamaindex),
    "Phoenix": ("openinference", phoenix),
    "OpenInference in text": ("openinference", in_text),
}
"""What the test calls it → (format, its lines for one trace)."""
