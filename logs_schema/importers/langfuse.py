"""Langfuse exports: traces with or without their observations, observations, and scores; camelCase or snake_case."""

import re
from datetime import timedelta
from typing import Any

from logs_schema.importers.attributes import Tree
from logs_schema.importers.documents import RETRIEVES, documents_of
from logs_schema.importers.fields import (
    answer_of,
    any_moment,
    json_object,
    json_value,
    messages_of,
    moment,
    question_of,
    text_of,
)
from logs_schema.importers.parsed import Parsed, about, gathered
from logs_schema.importers.ratings import CORRECTIONS, feedback_event
from logs_schema.importers.spans import TRACE, Span, record_of
from logs_schema.records import Feedback, Trace

KINDS = {"GENERATION": "LLM", "SPAN": "CHAIN", "EVENT": "UNKNOWN"}
PASSAGE_KEYS = {"page_content", "pageContent"}
"""Where LangChain's documents hold their text: a span that gives back a list of them is a retriever too."""
SOURCES = {"ANNOTATION", "API", "EVAL"}
HUMP = re.compile(r"_([a-z])")


def looks(value: Tree) -> bool:
    """Whether a line is a trace, an observation or a score of Langfuse, or a page of its API that holds some."""
    inside = value.get("data")
    if isinstance(inside, list) and "meta" in value:
        return any(looks(item) for item in inside[:3] if isinstance(item, dict))
    return _is_score(_camel(value)) or _is_observation(_camel(value)) or _is_trace(_camel(value))


def parse(value: Tree, source: str) -> Parsed:
    """One trace (a record, when its observations are with it), observation, score, or page of them.

    Raises:
        ValueError: with the reason (pydantic's ValidationError is one).
    """
    inside = value.get("data")
    if isinstance(inside, list) and "meta" in value:
        return gathered(_dicts(inside), source, parse)
    value = _camel(value)
    if _is_score(value):
        return _score(value, source)
    if _is_observation(value):
        return Parsed(spans=[observation_span(value)])
    if _is_trace(value):
        return _trace(value, source)
    raise ValueError("neither a trace nor an observation nor a score")


def observation_span(value: Tree, **known: Any) -> Span:
    """One observation as a span; `known` replaces fields that the caller knows better.

    Raises:
        ValueError: with the reason (pydantic's ValidationError is one).
    """
    written = str(value.get("type") or "SPAN").upper()
    documents = _documents(written, value)
    kind = "RETRIEVER" if documents else KINDS.get(written, written)
    asked, history = question_of(json_value(value.get("input")))
    usage = json_object(value.get("usageDetails")) or json_object(value.get("usage")) or {}
    failed = str(value.get("level") or "").upper() == "ERROR"
    parent = text_of(value.get("parentObservationId"))
    given = {
        "trace_id": text_of(value.get("traceId")),
        "span_id": text_of(value.get("id")),
        "parent_id": parent,
        "detached": parent is None,
        "kind": kind,
        "started": moment(value.get("startTime"), "startTime"),
        "ended": any_moment(value.get("endTime")),
        "query": asked,
        "history": history,
        "output": None if kind in {"RETRIEVER", "EMBEDDING"} else answer_of(json_value(value.get("output"))),
        "documents": documents,
        "messages": _messages(json_value(value.get("input"))) if kind == "LLM" else [],
        "model": text_of(value.get("model")) or text_of(value.get("providedModelName")),
        "prompt_version": _version(value.get("promptName"), value.get("promptVersion")),
        "prompt_tokens": _tokens(usage, "input", "prompt_tokens", "promptTokens", "input_tokens"),
        "completion_tokens": _tokens(usage, "output", "completion_tokens", "completionTokens", "output_tokens"),
        "session_id": text_of(value.get("sessionId")),
        "user_id": text_of(value.get("userId")),
        "tags": _tags(value.get("tags")),
        "error": (text_of(value.get("statusMessage")) or "failed") if failed else None,
        **known,
    }
    return Span.model_validate(given)


def _documents(written: str, value: Tree) -> list[Tree]:
    output = json_value(value.get("output"))
    if written == "RETRIEVER":
        return documents_of(output)
    answers = isinstance(output, dict) and answer_of(output) is not None
    if written != "SPAN" or isinstance(output, str) or answers or messages_of(output):
        return []
    if any(part in str(value.get("name")).lower() for part in RETRIEVES):
        return documents_of(output)
    passages = _dicts(output)
    return documents_of(passages) if passages and all(PASSAGE_KEYS & passage.keys() for passage in passages) else []


def _trace(value: Tree, source: str) -> Parsed:
    """A trace: with its observations a record, for then nothing of it is still to come; else its root span."""
    trace = Trace(source, str(value["id"]))
    inside = _dicts(value.get("observations"))
    scores = [{"traceId": trace.source_id, **item} for item in _dicts(value.get("scores"))]
    root = _root(value)
    known = {"startTime": value["timestamp"]}  # where an observation does not say when it began
    told = gathered(({**known, **_camel(item), "traceId": trace.source_id} for item in inside), source, parse)
    rated = gathered((_camel(item) for item in scores), source, _score)
    problems = [*told.problems, *rated.problems]
    made = record_of([root, *told.spans], source) if inside else None
    if made is None:
        return Parsed(spans=[root, *told.spans], feedback=rated.feedback, problems=problems)
    events = tuple({event.identifier: event for _, event in rated.feedback}.values())
    return Parsed(records=[made[0].model_copy(update={"feedback": events})], problems=problems)


def _root(value: Tree) -> Span:
    asked, history = question_of(json_value(value.get("input")))
    started = moment(value.get("timestamp"), "timestamp")
    latency = value.get("latency")
    took = timedelta(seconds=latency) if isinstance(latency, int | float) and 0 <= latency < 1e6 else None
    given = {
        "trace_id": value["id"],
        "span_id": value["id"],
        "kind": TRACE,
        "started": started,
        "ended": started + took if took is not None else None,
        "query": asked,
        "history": history,
        "output": answer_of(json_value(value.get("output"))),
        "session_id": text_of(value.get("sessionId")),
        "user_id": text_of(value.get("userId")),
        "tags": _tags(value.get("tags")),
    }
    return Span.model_validate(given)


def _score(value: Tree, source: str) -> Parsed:
    """A score: a person's, unless an evaluator gave it (that is no feedback) or nobody knows (by the API)."""
    trace_id, given_by = text_of(value.get("traceId")), str(value.get("source") or "").upper()
    if trace_id is None:
        return Parsed(problems=["the score names no trace: scores of whole sessions are not read"])
    if given_by == "EVAL":
        return Parsed()
    return Parsed(feedback=[(about(source, trace_id), _event(value, given_by))])


def _event(value: Tree, given_by: str) -> Feedback:
    kind = str(value.get("dataType") or "").upper()
    name = text_of(value.get("name")) or "score"
    label, number = text_of(value.get("stringValue")), value.get("value")
    if isinstance(number, str):
        label, number = label or number, None
    corrects = kind == "CORRECTION" or (name.lower() in CORRECTIONS and label is not None)
    if kind == "BOOLEAN" and not isinstance(number, bool) and number in (0, 1):
        label, number = None, bool(number)
    return feedback_event(
        text_of(value.get("id")) or f"{name}-{value.get('timestamp')}",
        name,
        label=label,
        score=number if kind != "CATEGORICAL" else None,
        comment=value.get("comment"),
        correction=label if corrects else None,
        by=text_of(value.get("authorUserId")),
        occurred_at=any_moment(value.get("timestamp") or value.get("updatedAt") or value.get("createdAt")),
        person=True if given_by == "ANNOTATION" or corrects else None,
    )


def _is_trace(value: Tree) -> bool:
    told = {"input", "output", "sessionId", "userId", "observations", "scores", "tags", "release"} & value.keys()
    others = {"traceId", "contexts"} & value.keys()
    return text_of(value.get("id")) is not None and "timestamp" in value and len(told) >= 2 and not others


def _is_observation(value: Tree) -> bool:
    return "traceId" in value and "startTime" in value and "type" in value and text_of(value.get("id")) is not None


def _is_score(value: Tree) -> bool:
    rated = "value" in value or "stringValue" in value
    told = "dataType" in value or str(value.get("source") or "").upper() in SOURCES
    return rated and told and "name" in value and bool({"traceId", "sessionId"} & value.keys())


def _camel(value: Tree) -> Tree:
    """Names as the API writes them; the scheduled exports write them with underscores."""
    return {HUMP.sub(lambda found: found[1].upper(), key) if "_" in key else key: item for key, item in value.items()}


def _dicts(value: Any) -> list[Tree]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _messages(value: Any) -> Any:
    if isinstance(value, dict):
        value = value.get("messages", [value])
    return messages_of([{"role": "user", "content": value}] if isinstance(value, str) else value)


def _version(name: Any, version: Any) -> str | None:
    return ":".join(part for part in (text_of(name), text_of(version)) if part) or None


def _tokens(usage: Tree, *names: str) -> int | None:
    found = (usage.get(name) for name in names)
    return next((int(number) for number in found if isinstance(number, int | float) and number >= 0), None)


def _tags(value: Any) -> list[str]:
    value = json_value(value)
    return [tag for tag in value if isinstance(tag, str)] if isinstance(value, list) else []
