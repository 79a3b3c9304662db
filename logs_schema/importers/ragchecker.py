"""RAGChecker results: an evaluation set without times, as a list named `results`."""

from typing import Any

from logs_schema.importers.fields import UNDATED, moment, text_of
from logs_schema.importers.parsed import Parsed
from logs_schema.records import RagRecord, content_hash

IDENTITY = ("query_id", "query", "gt_answer", "response", "retrieved_context")


def looks(value: dict[str, Any]) -> bool:
    """Whether an object is one of the results."""
    return "query" in value and bool({"gt_answer", "retrieved_context"} & value.keys())


def parse(value: dict[str, Any], source: str) -> Parsed:
    """One result; `query_id` names the question and not the answer, so the id is a hash of both.

    Raises:
        ValueError: with the reason (pydantic's ValidationError is one).
    """
    given = value.get("occurred_at") or value.get("timestamp")
    passages = value.get("retrieved_context") or []
    if not isinstance(passages, list) or not all(isinstance(passage, dict) for passage in passages):
        raise ValueError("retrieved_context is not a list of objects")
    record = RagRecord.model_validate(
        {
            "source": source,
            "source_id": content_hash([value.get(name) for name in IDENTITY]),
            "occurred_at": moment(given, "timestamp") if given else UNDATED,
            "query": value.get("query"),
            "contexts": [
                {"text": passage.get("text") or "", "doc_id": text_of(passage.get("doc_id"))} for passage in passages
            ],
            "response": value.get("response"),
            "reference": value.get("gt_answer"),
        }
    )
    return Parsed(records=[record])
