"""OpenInference spans: attributes flattened, nested, or a mixture of both; and Phoenix' annotations."""

from collections.abc import Iterator
from typing import Any

from logs_schema.importers.attributes import Tree, at, identity, items, linked_to, span_id_of, trace_id_of, tree_of
from logs_schema.importers.documents import document, documents_of
from logs_schema.importers.fields import (
    answer_of,
    any_moment,
    content_text,
    json_value,
    messages_of,
    question_of,
    text_of,
)
from logs_schema.importers.parsed import Parsed, about
from logs_schema.importers.ratings import CORRECTIONS, feedback_event
from logs_schema.importers.spans import Span
from logs_schema.records import Feedback, Message, Trace, content_hash

MACHINES = {"LLM", "CODE"}
"""Annotators that are no people."""


def looks(value: Tree) -> bool:
    """Whether a line is a span (a trace id and attributes), or an annotation as Phoenix exports it."""
    if any(key.startswith(("attributes.", "context.trace_id")) for key in value):
        return True
    spans = isinstance(value.get("attributes"), dict) and trace_id_of(value) is not None and "event_name" not in value
    return spans or is_annotation(value)


def is_annotation(value: Tree) -> bool:
    """Whether a line is an annotation that names its span, as Phoenix exports them."""
    told = "result" in value or any(key.startswith("result.") for key in value)
    return told and span_id_of(value) is not None and "attributes" not in value


def parse(value: Tree, source: str) -> Parsed:
    """One span with its feedback, or feedback alone: a span that links to an earlier trace, or an annotation.

    Raises:
        ValueError: with the reason (pydantic's ValidationError is one).
    """
    if is_annotation(value):
        return _annotation(value, source)
    value, tree = tree_of(value)
    trace_id = trace_id_of(value)
    if trace_id is None:
        raise ValueError("the trace id is missing")
    feedback = list(_annotations(tree))
    linked = linked_to(value)
    if linked and feedback:
        given_at = {"occurred_at": any_moment(value.get("start_time"))}
        return Parsed(feedback=[(about(source, linked), event.model_copy(update=given_at)) for event in feedback])
    of_session = any(_annotations(at(tree, "session")))
    return Parsed(
        spans=[_span(value, tree)],
        feedback=[(Trace(source, trace_id), event) for event in feedback],
        problems=["annotations of whole sessions are not read"] if of_session else [],
    )


def _span(value: Tree, tree: Tree) -> Span:
    kind = str(at(tree, "openinference.span.kind") or value.get("span_kind") or "UNKNOWN").upper()
    asked, history = question_of(at(tree, "input.value"))
    reply = [message for item in items(at(tree, "llm.output_messages")) if (message := _message(item))]
    output = at(tree, "output.value")
    documents = [document(item) for item in items(at(tree, "retrieval.documents"))]
    if not documents and kind == "RETRIEVER":
        documents = documents_of(output, texts=False)
    given = {
        **identity(value),
        "kind": kind,
        "query": asked,
        "history": history,
        "output": reply[-1].content if kind == "LLM" and reply else answer_of(output),
        "documents": documents,
        "reranked": [document(item) for item in items(at(tree, "reranker.output_documents"))],
        "messages": [m for item in items(at(tree, "llm.input_messages")) if (m := _message(item))],
        "model": text_of(at(tree, "llm.model_name")),
        "prompt_version": text_of(at(tree, "llm.prompt_template.version")),
        "prompt_tokens": at(tree, "llm.token_count.prompt"),
        "completion_tokens": at(tree, "llm.token_count.completion"),
        "session_id": text_of(at(tree, "session.id")),
        "user_id": text_of(at(tree, "user.id")),
        "tags": _tags(at(tree, "tag.tags")),
    }
    return Span.model_validate(given)


def _message(item: Tree) -> Message | None:
    message = item["message"] if isinstance(item.get("message"), dict) else item
    content = message.get("content")
    if content is None:
        parts = [part.get("message_content", part) for part in items(message.get("contents"))]
        content = content_text(parts)
    turns = messages_of([{"role": message.get("role"), "content": content}])
    return turns[0] if turns else None


def _tags(value: Any) -> list[str]:
    value = json_value(value)
    return [tag for tag in value if isinstance(tag, str)] if isinstance(value, list) else []


def _annotations(tree: Any) -> Iterator[Feedback]:
    """What people said. Verdicts of models and code are not feedback; an evaluation that names nobody is a hint."""
    for place in (tree, at(tree, "trace")):
        for plural, one in (("annotations", "annotation"), ("evaluations", "evaluation")):
            for item in items(at(place, plural)):
                said = item.get(one, item)
                kind = text_of(said.get("annotator_kind")) if isinstance(said, dict) else None
                if isinstance(said, dict) and (kind or "").upper() not in MACHINES:
                    yield _feedback(said, person=True if kind or one == "annotation" else None)


def _feedback(said: Tree, person: bool | None) -> Feedback:
    name = text_of(said.get("name")) or "annotation"
    label, comment = text_of(said.get("label")), text_of(said.get("explanation"))
    return feedback_event(
        text_of(said.get("identifier")) or f"{name}-{content_hash(said)}",
        name,
        label=label,
        score=said.get("score"),
        comment=None if name.lower() in CORRECTIONS else comment,
        correction=(label or comment) if name.lower() in CORRECTIONS else None,
        person=person,
    )


def _annotation(value: Tree, source: str) -> Parsed:
    """An annotation of Phoenix: it names a span; `note` is the name of a free comment."""
    span_id = span_id_of(value)
    if str(value.get("annotator_kind") or "HUMAN").upper() in MACHINES or span_id is None:
        return Parsed()
    name = text_of(value.get("name")) or text_of(value.get("annotation_name")) or "annotation"
    result = value.get("result")
    told: Tree = result if isinstance(result, dict) else {}
    label, score, comment = (told.get(part, value.get(f"result.{part}")) for part in ("label", "score", "explanation"))
    named = text_of(value.get("identifier")) or ("" if name != "note" else text_of(value.get("id")) or "")
    event = feedback_event(
        f"{span_id}/{name}/{named}"[:500],
        name,
        label=label,
        score=score,
        comment=None if name.lower() in CORRECTIONS else comment,
        correction=text_of(label) or text_of(comment) if name.lower() in CORRECTIONS else None,
        by=text_of(value.get("user_id")),
        occurred_at=any_moment(value.get("updated_at") or value.get("created_at")),
    )
    return Parsed(feedback=[(about(source, trace_id_of(value) or span_id), event)])
