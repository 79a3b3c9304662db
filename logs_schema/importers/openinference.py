"""OpenInference spans as JSON lines: attributes flattened, nested, or a mixture of both."""

from collections.abc import Iterator
from typing import Any

from logs_schema.importers.fields import (
    ANSWER_KEYS,
    HISTORY_KEYS,
    QUERY_KEYS,
    any_moment,
    content_text,
    first_text,
    json_object,
    messages_of,
    moment,
    text_of,
)
from logs_schema.importers.parsed import Parsed
from logs_schema.importers.spans import Span
from logs_schema.records import Feedback, FeedbackKind, Message, Trace, content_hash

Tree = dict[str, Any]
KEY_PARTS = 24
"""Dots of one attribute name that mean nesting."""
GOOD = {"thumbs_up", "thumbs-up", "thumbs up", "up", "positive", "good", "like", "👍"}
BAD = {"thumbs_down", "thumbs-down", "thumbs down", "down", "negative", "bad", "dislike", "👎"}
VOTES = ("thumb", "vote", "user_feedback", "rating", "like")


def looks(value: Tree) -> bool:
    """Whether a line is a span: a trace id and attributes."""
    flat = any(key.startswith(("attributes.", "context.trace_id")) for key in value)
    return flat or (isinstance(value.get("attributes"), dict) and _trace_id(value) is not None)


def parse(value: Tree, source: str) -> Parsed:
    """One span line: a span with its feedback, or feedback alone when it links to an earlier trace.

    Raises:
        ValueError: with the reason (pydantic's ValidationError is one).
    """
    if any(key.startswith(("attributes.", "context.")) for key in value):
        value = nested(value)
    attributes = value.get("attributes")
    if not isinstance(attributes, dict):
        raise ValueError("attributes is missing")
    trace_id = _trace_id(value)
    if trace_id is None:
        raise ValueError("the trace id is missing")
    tree = nested(attributes)
    feedback = tuple(_annotations(tree))
    linked = _linked(value)
    if linked and feedback:
        given_at = {"occurred_at": any_moment(value.get("start_time"))}
        return Parsed(feedback=[(Trace(source, linked), event.model_copy(update=given_at)) for event in feedback])
    told = [(Trace(source, trace_id), event) for event in feedback]
    return Parsed(spans=[_span(value, trace_id, tree)], feedback=told)


def nested(value: Any) -> Any:
    """Dotted keys as nested dicts, at every level: {"a.b": 1} and {"a": {"b": 1}} come out alike."""
    if isinstance(value, list):
        return [nested(item) for item in value]
    if not isinstance(value, dict):
        return value
    tree: Tree = {}
    for key, item in value.items():
        _merge(tree, key.split(".", KEY_PARTS), nested(item))
    return tree


def _merge(tree: Tree, path: list[str], item: Any) -> None:
    *parents, last = path
    for part in parents:
        child = tree.get(part)
        if not isinstance(child, dict):
            child = tree[part] = {}
        tree = child
    known = tree.get(last)
    if isinstance(known, dict) and isinstance(item, dict):
        for key, inner in item.items():
            _merge(known, [key], inner)
    elif not isinstance(known, dict):
        tree[last] = item


def _span(value: Tree, trace_id: str, tree: Tree) -> Span:
    kind = str(_at(tree, "openinference.span.kind") or value.get("span_kind") or "UNKNOWN").upper()
    asked, history = _asked(_at(tree, "input.value"))
    output = _at(tree, "output.value")
    reply = [message for item in _items(_at(tree, "llm.output_messages")) if (message := _message(item))]
    failed = "ERROR" in str(value.get("status_code") or _at(value, "status.code") or _at(value, "status.status_code"))
    told = text_of(value.get("status_message")) or text_of(_at(value, "status.description")) or "failed"
    span_id = _hex(_at(value, "context.span_id") or value.get("span_id"))
    given = {
        "trace_id": trace_id,
        "span_id": span_id or content_hash(value),
        "parent_id": _hex(value.get("parent_id") or value.get("parent_span_id")),
        "kind": kind,
        "started": moment(value.get("start_time"), "start_time"),
        "ended": any_moment(value.get("end_time")),
        "query": asked,
        "history": history,
        "output": reply[-1].content if kind == "LLM" and reply else _answered(output),
        "documents": [_document(item) for item in _items(_at(tree, "retrieval.documents"))],
        "reranked": [_document(item) for item in _items(_at(tree, "reranker.output_documents"))],
        "messages": [m for item in _items(_at(tree, "llm.input_messages")) if (m := _message(item))],
        "model": text_of(_at(tree, "llm.model_name")),
        "prompt_version": text_of(_at(tree, "llm.prompt_template.version")),
        "prompt_tokens": _at(tree, "llm.token_count.prompt"),
        "completion_tokens": _at(tree, "llm.token_count.completion"),
        "session_id": text_of(_at(tree, "session.id")),
        "user_id": text_of(_at(tree, "user.id")),
        "tags": _tags(_at(tree, "tag.tags")),
        "error": told if failed else None,
    }
    return Span.model_validate(given)


def _at(tree: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(tree, dict):
            return None
        tree = tree.get(part)
    return tree


def _items(node: Any) -> Iterator[Tree]:
    """Members of a list, however it is written: [..], {"0": .., "1": ..}, or lists in a list."""
    if isinstance(node, dict):
        numbered = [key for key in node if key.isascii() and key.isdigit() and len(key) < 7]
        node = [node[key] for key in sorted(numbered, key=int)]
    for item in node if isinstance(node, list) else ():
        if isinstance(item, dict) and not (item and all(key.isdigit() for key in item)):
            yield item
        else:
            yield from _items(item)


def _hex(value: Any) -> str | None:
    text = text_of(value)
    return text.lower().removeprefix("0x") if text else None


def _trace_id(value: Tree) -> str | None:
    return _hex(_at(value, "context.trace_id") or value.get("trace_id"))


def _linked(value: Tree) -> str | None:
    """Trace that the span's first link names."""
    links = value.get("links")
    first = links[0] if isinstance(links, list) and links and isinstance(links[0], dict) else {}
    return _trace_id(first)


def _asked(value: Any) -> tuple[str | None, tuple[Message, ...]]:
    """(query, history) of an `input.value`: plain text, or JSON such as {"question", "history"}."""
    content = json_object(value)
    if content is None:
        return (value or None) if isinstance(value, str) else None, ()
    turns = messages_of(next((content[key] for key in HISTORY_KEYS if content.get(key)), None))
    query = first_text(content, QUERY_KEYS)
    if query is None and turns and turns[-1].role == "user":
        return turns[-1].content, turns[:-1]
    return query or (value if isinstance(value, str) else None), turns


def _answered(value: Any) -> str | None:
    content = json_object(value)
    if content is not None and (answer := first_text(content, ANSWER_KEYS)) is not None:
        return answer
    return value if isinstance(value, str) else None


def _message(item: Tree) -> Message | None:
    message = item["message"] if isinstance(item.get("message"), dict) else item
    content = message.get("content")
    if content is None:
        parts = [part.get("message_content", part) for part in _items(message.get("contents"))]
        content = content_text(parts)
    turns = messages_of([{"role": message.get("role"), "content": content}])
    return turns[0] if turns else None


def _document(item: Tree) -> Tree:
    """Fields of a `Context`."""
    document = item["document"] if isinstance(item.get("document"), dict) else item
    metadata = json_object(document.get("metadata")) or {}
    groups = metadata.get("groups")
    return {
        "text": first_text(document, ("content", "text", "page_content")) or "",
        "doc_id": text_of(document.get("id")) or _named(metadata, "doc_id", "document_id", "id", "source"),
        "title": _named(metadata, "title"),
        "url": _named(metadata, "url", "link"),
        "version": _named(metadata, "version"),
        "updated_at": any_moment(metadata.get("updated_at") or metadata.get("last_modified")),
        "groups": groups if isinstance(groups, list) and all(isinstance(group, str) for group in groups) else None,
        "score": document.get("score"),
    }


def _named(metadata: Tree, *keys: str) -> str | None:
    return next((found for key in keys if (found := text_of(metadata.get(key)))), None)


def _tags(value: Any) -> list[str]:
    return [tag for tag in value if isinstance(tag, str)] if isinstance(value, list) else []


def _annotations(tree: Tree) -> Iterator[Feedback]:
    """What people said; verdicts of models and code are not feedback."""
    for place in (tree, tree.get("trace")):
        for item in _items(_at(place, "annotations")):
            annotation = item.get("annotation", item)
            if isinstance(annotation, dict) and str(annotation.get("annotator_kind") or "HUMAN").upper() == "HUMAN":
                yield _feedback(annotation)


def _feedback(annotation: Tree) -> Feedback:
    name = text_of(annotation.get("name")) or "annotation"
    label, score = text_of(annotation.get("label")), annotation.get("score")
    comment = text_of(annotation.get("explanation"))
    corrects = name.lower() == "correction"
    voted = any(word in name.lower() for word in VOTES) or (label or "").lower() in GOOD | BAD
    kind = FeedbackKind.correction if corrects else FeedbackKind.vote if voted else FeedbackKind.annotation
    return Feedback.model_validate(
        {
            "identifier": text_of(annotation.get("identifier")) or f"{name}-{content_hash(annotation)}",
            "kind": kind,
            "value": None if corrects else _value(label, score),
            "label": None if corrects else label or name,
            "comment": None if corrects else comment,
            "correction": (label or comment) if corrects else None,
        }
    )


def _value(label: str | None, score: Any) -> float | None:
    """-1 to 1 from a thumb, else from a score of 0 to 1; other scales are not known."""
    word = (label or "").lower()
    if word in GOOD or word in BAD:
        return 1.0 if word in GOOD else -1.0
    if isinstance(score, bool) or not isinstance(score, int | float):
        return None
    return 2.0 * score - 1.0 if 0 <= score <= 1 else float(score) if -1 <= score < 0 else None
