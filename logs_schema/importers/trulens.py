"""TruLens spans, from its event table or by OpenTelemetry; a record's spans share its record id."""

from typing import Any

from logs_schema.importers.documents import documents_of
from logs_schema.importers.fields import answer_of, any_moment, json_object, moment, question_of, text_of
from logs_schema.importers.parsed import Parsed
from logs_schema.importers.spans import Span

SCOPE = "ai.observability."
KINDS = {"record_root": "CHAIN", "retrieval": "RETRIEVER", "generation": "LLM"}


def looks(value: dict[str, Any]) -> bool:
    """Whether a row or a span is of TruLens."""
    return f"{SCOPE}record_id" in _attributes(value) or f"{SCOPE}span_type" in _attributes(value)


def parse(value: dict[str, Any], source: str) -> Parsed:
    """One span. What a metric says of a record is no feedback: it is a model's verdict, and left out.

    Raises:
        ValueError: with the reason (pydantic's ValidationError is one).
    """
    attributes = _attributes(value)
    kind = str(attributes.get(f"{SCOPE}span_type") or "unknown").lower()
    if kind.startswith("eval"):
        return Parsed()
    record_id = text_of(attributes.get(f"{SCOPE}record_id"))
    if record_id is None:
        raise ValueError("the record id is missing")
    row = {key.lower(): inner for key, inner in value.items()}
    trace = json_object(row.get("trace")) or {**row, **(json_object(row.get("context")) or {})}
    is_root = kind == "record_root"
    asked, said = ("record_root.input", "record_root.output") if is_root else ("retrieval.query_text", "call.return")
    query, history = question_of(attributes.get(f"{SCOPE}{asked}"))
    failed = attributes.get(f"{SCOPE}record_root.error")
    return Parsed(
        spans=[
            Span.model_validate(
                {
                    "trace_id": record_id,
                    "span_id": text_of(trace.get("span_id")) or text_of(row.get("event_id")),
                    # only the root of a record is one here: TruLens has spans around records
                    "parent_id": None if is_root else text_of(trace.get("parent_id")) or record_id,
                    "kind": KINDS.get(kind, kind.upper()),
                    "started": moment(row.get("start_timestamp") or row.get("start_time"), "start_timestamp"),
                    "ended": any_moment(row.get("timestamp") or row.get("end_time")),
                    "query": query,
                    "history": history,
                    "output": answer_of(attributes.get(f"{SCOPE}{said}")),
                    "documents": documents_of(attributes.get(f"{SCOPE}retrieval.retrieved_contexts")),
                    "model": text_of(attributes.get(f"{SCOPE}cost.model")),
                    "prompt_tokens": attributes.get(f"{SCOPE}cost.num_prompt_tokens"),
                    "completion_tokens": attributes.get(f"{SCOPE}cost.num_completion_tokens"),
                    "error": None if failed is None else text_of(failed) or "failed",
                }
            )
        ]
    )


def _attributes(value: dict[str, Any]) -> dict[str, Any]:
    """The row's attributes: a column of their own (an object, or its JSON text), else columns of the row."""
    columns = (value.get(name) for name in ("record_attributes", "RECORD_ATTRIBUTES", "attributes"))
    return next((found for column in columns if (found := json_object(column))), value)
