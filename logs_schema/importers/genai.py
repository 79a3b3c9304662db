"""Spans and log events of OpenTelemetry's GenAI conventions, older ones and Traceloop's included."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from logs_schema.importers.attributes import Tree, at, identity, items, nested, span_id_of, trace_id_of, tree_of
from logs_schema.importers.documents import documents_of
from logs_schema.importers.fields import (
    answer_of,
    any_moment,
    content_text,
    json_value,
    messages_of,
    moment,
    question_of,
    text_of,
)
from logs_schema.importers.parsed import Parsed, about
from logs_schema.importers.ratings import feedback_event
from logs_schema.importers.spans import EVENT, Span, since_asked
from logs_schema.importers.tools import result_documents, retrieves, sent_documents
from logs_schema.records import Feedback, Message, Trace, content_hash

PREFIXES = ("gen_ai.", "traceloop.", "llm.request.type", "db.query.result")
KINDS = {
    **dict.fromkeys(("retrieval", "retrieve", "vector_db_retrieve", "query"), "RETRIEVER"),
    **dict.fromkeys(("chat", "completion", "text_completion", "generate_content"), "LLM"),
    **dict.fromkeys(("rerank", "reranking"), "RERANKER"),
    **dict.fromkeys(("embeddings", "embedding"), "EMBEDDING"),
    **dict.fromkeys(("execute_tool", "tool"), "TOOL"),
    **dict.fromkeys(("invoke_agent", "agent"), "AGENT"),
    **dict.fromkeys(("workflow", "task", "invoke_workflow"), "CHAIN"),
}
SPOKEN = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
"""Events that each carry one message → its role, where the event does not say."""
WHOLE = ("gen_ai.client.inference.operation.details", "gen_ai.content.prompt", "gen_ai.content.completion")
"""Events whose attributes are those of the span."""
EVALUATION = "gen_ai.evaluation.result"
PROPERTIES = "traceloop.association.properties"


class Said(NamedTuple):
    """What a model call was sent and gave back."""

    messages: tuple[Message, ...] = ()
    output: str | None = None
    documents: Sequence[Tree] = ()
    """Those in the results of tools that it was sent."""


def reads(attributes: Tree) -> bool:
    """Whether a span's attributes are of these conventions."""
    return any(key.startswith(PREFIXES) for key in attributes) or bool({"gen_ai", "traceloop"} & attributes.keys())


def looks(value: Tree) -> bool:
    """Whether a line is such a span, or such a log event."""
    if str(value.get("event_name") or "").startswith("gen_ai."):
        return True
    attributes = value.get("attributes")
    if not isinstance(attributes, dict):
        return any(key.startswith(tuple(f"attributes.{prefix}" for prefix in PREFIXES)) for key in value)
    return reads(attributes) and trace_id_of(value) is not None


def parse(value: Tree, source: str) -> Parsed:
    """One span with the events that it carries, or one log event.

    Raises:
        ValueError: with the reason (pydantic's ValidationError is one).
    """
    if "event_name" in value:
        return _log_event(value, source)
    value, tree = tree_of(value)
    span = _span(value, tree)
    trace = Trace(source, span.trace_id)
    told = [
        (trace, _evaluation(attributes, event.get("timestamp"), span.span_id))
        for event, attributes in _events(value)
        if event.get("name") == EVALUATION
    ]
    return Parsed(spans=[span], feedback=told)


def _span(value: Tree, tree: Tree) -> Span:
    operation = text_of(at(tree, "gen_ai.operation.name", "traceloop.span.kind", "llm.request.type")) or ""
    known = KINDS.get(operation.lower())
    documents = _documents(value, tree, known)
    kind = known or ("RETRIEVER" if documents else "CHAIN")
    asked, history = question_of(at(tree, "traceloop.entity.input", "input.value"))
    said = _said(tree)
    spoken: list[Message] = []
    handed: Sequence[Tree] = ()
    for event, attributes in _events(value):
        more = _said_in(str(event.get("name")), attributes, event.get("body"))
        output = said.output if said.output is not None else more.output
        said = Said(said.messages or more.messages, output, said.documents)
        handed = since_asked(handed, more.messages, more.documents)
        spoken += more.messages if event.get("name") in SPOKEN else ()
    messages = tuple(spoken) or said.messages
    if kind == "LLM":
        documents = documents or list(said.documents or handed)
    if kind != "LLM" and messages and asked is None:
        asked = next((message.content for message in reversed(messages) if message.role == "user"), None)
    replied = said.output if said.output is not None else answer_of(json_value(at(tree, "traceloop.entity.output")))
    given = {
        **identity(value),
        "kind": kind,
        "query": text_of(at(tree, "gen_ai.retrieval.query.text", "gen_ai.retrieval.query")) or asked,
        "history": history,
        "output": None if kind == "RETRIEVER" else replied,
        "documents": documents if kind != "RERANKER" else [],
        "reranked": documents if kind == "RERANKER" else [],
        "messages": messages if kind == "LLM" else [],
        "model": text_of(at(tree, "gen_ai.response.model", "gen_ai.request.model")),
        "prompt_version": text_of(at(tree, "gen_ai.prompt.version", "traceloop.prompt.version")),
        "prompt_tokens": _count(at(tree, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")),
        "completion_tokens": _count(at(tree, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")),
        "session_id": _named(tree, "gen_ai.conversation.id", "session.id", "session_id", "thread_id", "chat_id"),
        "user_id": _named(tree, "user.id", "enduser.id", "user_id"),
    }
    return Span.model_validate(given)


def _documents(value: Tree, tree: Tree, kind: str | None) -> list[Tree]:
    """Documents of a retrieval: the conventions' attribute, the database's events, or what task or tool gave back."""
    written = at(tree, "gen_ai.retrieval.documents")
    found = documents_of(list(items(written)) if isinstance(written, dict) else written)
    if found:
        return found
    rows = [
        at(attributes, "db.query.result") or attributes
        for event, attributes in _events(value)
        if event.get("name") == "db.query.result"
    ]
    if rows:
        return documents_of([{**row, "text": row.get("document")} for row in rows if isinstance(row, dict)])
    named = text_of(at(tree, "traceloop.entity.name")) or ""
    given = at(tree, "traceloop.entity.output")
    if kind == "RETRIEVER" or "retriev" in named.lower():
        return documents_of(given)
    if kind == "TOOL":
        result = at(tree, "gen_ai.tool.call.result")
        retrieving = retrieves(at(tree, "gen_ai.tool.name") or named, at(tree, "gen_ai.tool.type"))
        return result_documents(given if result is None else result, known=retrieving)
    return []


def _said(tree: Tree) -> Said:
    """Messages in attributes: the present names, and the older ones with and without numbers."""
    written = _listed(at(tree, "gen_ai.input.messages", "gen_ai.prompt"))
    sent = _turns(written)
    system = content_text(json_value(at(tree, "gen_ai.system_instructions")))
    if system and not any(message.role == "system" for message in sent):
        sent = (Message(role="system", content=system), *sent)
    replies = _turns(_listed(at(tree, "gen_ai.output.messages", "gen_ai.completion")), "assistant")
    texts = [turn.content for turn in replies if turn.role == "assistant"]
    return Said(sent, texts[-1] if texts else None, sent_documents(written))


def _listed(written: Any) -> Any:
    """Messages as a list, when they come as JSON text of one, or numbered."""
    written = json_value(written)
    return list(items(written)) if isinstance(written, dict) else written


def _turns(listed: Any, role: str = "user") -> tuple[Message, ...]:
    if isinstance(listed, str):
        return messages_of([{"role": role, "content": listed}])
    if not isinstance(listed, list):
        return ()
    return messages_of([{"role": role, **turn} if isinstance(turn, dict) else turn for turn in listed])


def _events(value: Tree) -> Iterator[tuple[Tree, Tree]]:
    """(event, its attributes as a tree) of a span."""
    events = json_value(value.get("events"))
    for event in events if isinstance(events, list) else ():
        if isinstance(event, dict):
            attributes = event.get("attributes")
            yield event, nested(attributes) if isinstance(attributes, dict) else {}


def _said_in(name: str, attributes: Tree, body: Any) -> Said:
    """What one event tells of a model call."""
    if name in WHOLE:
        return _said(attributes)
    content = at(attributes, "gen_ai.event.content")
    told = json_value(body if body is not None else content if content is not None else attributes)
    if not isinstance(told, dict):
        told = {"content": told}
    if name in SPOKEN:
        turns = [{"role": SPOKEN[name], **told}]
        return Said(messages_of(turns), documents=sent_documents(turns))
    if name == "gen_ai.choice":
        message = json_value(told.get("message", told))
        return Said(output=answer_of(message if isinstance(message, dict | str) else None))
    return Said()


def _log_event(value: Tree, source: str) -> Parsed:
    """A log event: a part of the span that it names, or a verdict on it. Events about other things hold nothing."""
    trace_id, span_id, name = trace_id_of(value), span_id_of(value), str(value.get("event_name"))
    attributes = nested(value["attributes"]) if isinstance(value.get("attributes"), dict) else {}
    if name == EVALUATION and trace_id:
        body = value.get("body")
        told = {**nested(body), **attributes} if isinstance(body, dict) else attributes
        return Parsed(feedback=[(about(source, trace_id), _evaluation(told, value.get("start_time"), span_id))])
    said = _said_in(name, attributes, value.get("body"))
    if not name.startswith("gen_ai.") or said == Said():
        return Parsed()
    if trace_id is None or span_id is None:
        raise ValueError(f"the event {name[:60]} names no span")
    started = value.get("start_time")
    # the event's own nanoseconds keep the order of messages that were logged within one microsecond
    order = f"{started:0>20}" if isinstance(started, str | int) else ""
    part = {
        "trace_id": trace_id,
        "span_id": f"{span_id}/{order}-{content_hash([name, value.get('attributes'), value.get('body')])}",
        "parent_id": span_id,
        "kind": EVENT,
        "started": moment(started, "the time of the event"),
        **said._asdict(),
    }
    return Parsed(spans=[Span.model_validate(part)])


def _evaluation(attributes: Tree, occurred_at: Any, about: str | None) -> Feedback:
    """A verdict of which nobody knows whether a person gave it."""
    told = at(attributes, "gen_ai.evaluation")
    name = text_of(at(told, "name")) or "evaluation"
    return feedback_event(
        f"{about or 'trace'}/{name}-{content_hash(told)}"[:500],
        name,
        label=at(told, "score.label"),
        score=at(told, "score.value"),
        comment=at(told, "explanation"),
        occurred_at=any_moment(occurred_at),
        person=None,
    )


def _named(tree: Tree, *names: str) -> str | None:
    """The first of the names that is set, as an attribute or as one of Traceloop's association properties."""
    paths = [path for name in names for path in (name, f"{PROPERTIES}.{name}")]
    return next((found for path in paths if (found := text_of(at(tree, path)))), None)


def _count(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 12 else value
