"""LangSmith exports: runs (one a line, or rows of the bulk export) and feedback."""

from typing import Any

from logs_schema.importers.attributes import Tree, at
from logs_schema.importers.documents import documents_of
from logs_schema.importers.fields import (
    ANSWER_KEYS,
    answer_of,
    any_moment,
    first_text,
    json_object,
    json_value,
    messages_of,
    moment,
    question_of,
    text_of,
)
from logs_schema.importers.parsed import Parsed, about, gathered
from logs_schema.importers.ratings import feedback_event
from logs_schema.importers.spans import Span
from logs_schema.records import content_hash

CONVERSATION = ("session_id", "thread_id", "conversation_id")
"""Metadata that names the conversation. A run's own `session_id` is the project."""
MACHINES = {"model", "auto_eval"}
"""Feedback sources that are no people."""
WANTED = ("desired", "expected", "correct", "reference")
"""Where a correction that is an object holds the answer, before the usual names."""
DOCUMENT_KEYS = ("documents", "source_documents", "context", "contexts", "output")


def looks(value: Tree) -> bool:
    """Whether a line is a run or a feedback of LangSmith."""
    if isinstance(runs := value.get("runs"), list):
        return any(isinstance(run, dict) and looks(run) for run in runs[:3])
    return _is_run(value) or _is_feedback(value)


def parse(value: Tree, source: str) -> Parsed:
    """One run with the runs inside it, one feedback, or a page of runs.

    Raises:
        ValueError: with the reason (pydantic's ValidationError is one).
    """
    if isinstance(runs := value.get("runs"), list):
        return gathered((run for run in runs if isinstance(run, dict)), source, parse)
    if _is_feedback(value):
        return _feedback(value, source)
    if not _is_run(value):
        raise ValueError("neither a run nor a feedback")
    inside = value.get("child_runs")
    children = [child for child in (inside if isinstance(inside, list) else ()) if isinstance(child, dict)]
    span = _span(value)
    below = gathered(({"trace_id": span.trace_id, **child} for child in children), source, parse)
    return Parsed(spans=[span, *below.spans], problems=below.problems)


def _span(run: Tree) -> Span:
    run_type = str(run["run_type"]).upper()
    inputs, outputs = json_value(run.get("inputs")), json_value(run.get("outputs"))
    metadata = json_object(at(json_object(run.get("extra")), "metadata")) or {}
    asked, history = question_of(_unwrapped(inputs))
    order = text_of(run.get("dotted_order")) or ""
    above = order.split(".")[-2:-1]
    parent = text_of(run.get("parent_run_id")) or (above[0].partition("Z")[2] or None if above else None)
    documents = _documents(run_type, outputs)
    error = text_of(run.get("error"))
    given = {
        "trace_id": text_of(run.get("trace_id")) or order.partition(".")[0].partition("Z")[2] or run.get("id"),
        "span_id": text_of(run.get("id")),
        "parent_id": parent,
        "kind": {"PROMPT": "UNKNOWN", "PARSER": "UNKNOWN"}.get(run_type, run_type),
        "started": moment(run.get("start_time"), "start_time"),
        "ended": any_moment(run.get("end_time")),
        "query": asked,
        "history": history,
        "output": None if run_type == "RETRIEVER" else answer_of(_unwrapped(outputs)),
        "documents": documents,
        "messages": _messages(inputs) if run_type == "LLM" else [],
        "model": text_of(metadata.get("ls_model_name")),
        "prompt_version": text_of(metadata.get("lc_hub_commit_hash")) or text_of(metadata.get("prompt_version")),
        "prompt_tokens": _tokens(run, outputs, "prompt_tokens", "input_tokens"),
        "completion_tokens": _tokens(run, outputs, "completion_tokens", "output_tokens"),
        "session_id": next((found for key in CONVERSATION if (found := text_of(metadata.get(key)))), None),
        "user_id": text_of(metadata.get("user_id")),
        "tags": [tag for tag in _list(run.get("tags")) if isinstance(tag, str)],
        "error": error or ("failed" if str(run.get("status")).lower() == "error" else None),
    }
    return Span.model_validate(given)


def _documents(run_type: str, outputs: Any) -> list[Tree]:
    """A retriever's documents; those that another run gives back count where no retriever was logged."""
    if run_type == "RETRIEVER":
        return documents_of(outputs)
    if run_type != "CHAIN" or not isinstance(outputs, dict):
        return []
    held = (outputs[key] for key in DOCUMENT_KEYS if isinstance(outputs.get(key), list))
    return next((found for documents in held if (found := documents_of(documents, texts=False))), [])


def _messages(inputs: Any) -> Any:
    told = inputs if isinstance(inputs, dict) else {}
    if prompts := [prompt for prompt in _list(told.get("prompts")) if isinstance(prompt, str)]:
        return messages_of([{"role": "user", "content": prompts[0]}])
    inner = at(told, "input", "messages")
    return messages_of(_list(told.get("messages")) or (inner if isinstance(inner, list) else []))


def _tokens(run: Tree, outputs: Any, name: str, usage_name: str) -> int | None:
    """Tokens of a call; 0 stands for not counted in runs that call no model."""
    counts = run.get(name)
    found = counts if counts else at(outputs, f"usage_metadata.{usage_name}", f"llm_output.token_usage.{name}")
    return int(found) if isinstance(found, int | float) and not isinstance(found, bool) and found > 0 else None


def _feedback(value: Tree, source: str) -> Parsed:
    """A feedback on a run: what a person said; of what came by the API alone, only what is called a vote is."""
    given_by = json_object(value.get("feedback_source")) or {}
    origin = str(given_by.get("type") or "api").lower()
    named = text_of(value.get("trace_id")) or text_of(value.get("run_id"))
    if named is None:
        return Parsed(problems=["the feedback names neither a trace nor a run"])
    if origin in MACHINES:
        return Parsed()
    key, told = text_of(value.get("key")) or "feedback", json_value(value.get("value"))
    event = feedback_event(
        text_of(value.get("id")) or f"{key}-{content_hash(value)}",
        key,
        label=told if isinstance(told, str) else None,
        score=value.get("score") if value.get("score") is not None else told,
        comment=value.get("comment"),
        correction=_correction(value.get("correction")),
        by=text_of(given_by.get("user_id")) or text_of(at(given_by, "metadata.user_id")),
        occurred_at=any_moment(value.get("modified_at") or value.get("created_at")),
        person=True if origin == "app" else None,
    )
    return Parsed(feedback=[(about(source, named), event)])


def _correction(value: Any) -> str | None:
    value = json_value(value)
    if isinstance(value, dict):
        texts = [text for text in value.values() if isinstance(text, str) and text]
        return first_text(value, (*WANTED, *ANSWER_KEYS)) or (texts[0] if len(texts) == 1 else None)
    return text_of(value)


def _is_run(value: Tree) -> bool:
    placed = {"trace_id", "parent_run_id", "dotted_order", "session_id", "child_runs"} & value.keys()
    return "run_type" in value and text_of(value.get("id")) is not None and "start_time" in value and bool(placed)


def _is_feedback(value: Tree) -> bool:
    named = bool({"run_id", "trace_id"} & value.keys()) and "key" in value
    return named and bool({"score", "value", "correction", "comment"} & value.keys()) and "query" not in value


def _unwrapped(value: Any) -> Any:
    """Inputs and outputs whose only member is `input` or `output`, which LangSmith adds around a plain value."""
    if isinstance(value, dict) and len(value) == 1 and (inner := value.get("input", value.get("output"))) is not None:
        return inner
    return None if value == {"output": None} else value


def _list(value: Any) -> list[Any]:
    value = json_value(value)
    return value if isinstance(value, list) else []
