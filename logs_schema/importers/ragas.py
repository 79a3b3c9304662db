"""RAGAS samples: evaluation sets without ids and times, single questions or conversations."""

from typing import Any

from logs_schema.importers.fields import UNDATED, messages_of, moment, text_of
from logs_schema.importers.parsed import Parsed
from logs_schema.records import Message, RagRecord, content_hash

OLD_NAMES = {
    "question": "user_input",
    "answer": "response",
    "contexts": "retrieved_contexts",
    "ground_truth": "reference",
    "ground_truths": "reference",
}
"""Names of the columns before RAGAS 0.2."""
OF_APPLICATIONS = {"trace_id", "source_id", "session_id", "user_id", "thumbs", "feedback", "messages"}
"""With the old names, which many applications use too, these tell a log from samples: it would be read in part only."""
IDENTITY = ("user_input", "retrieved_contexts", "retrieved_context_ids", "response", "reference")


def looks(value: dict[str, Any]) -> bool:
    """Whether an object is a sample: what the user said, with contexts or a reference."""
    if "user_input" not in value and OF_APPLICATIONS & value.keys():
        return False
    old = {"question", "answer"} <= value.keys() and bool({"contexts", "ground_truth", "ground_truths"} & value.keys())
    return old or ("user_input" in value and bool({"retrieved_contexts", "reference", "response"} & value.keys()))


def parse(value: dict[str, Any], source: str) -> Parsed:
    """One sample; its id is a hash of what it holds, so that scores added to it later do not make another record.

    Raises:
        ValueError: with the reason (pydantic's ValidationError is one).
    """
    if "user_input" not in value:
        value = {OLD_NAMES.get(name, name): inner for name, inner in value.items()}
    query, history, said = _conversation(value.get("user_input"))
    response = value.get("response") or said
    if response is None:
        raise ValueError("response is missing: the sample holds no answer to judge")
    given = value.get("occurred_at") or value.get("timestamp")
    reference = value.get("reference")  # before RAGAS 0.1, a list of them
    record = RagRecord.model_validate(
        {
            "source": source,
            "source_id": content_hash([value.get(name) for name in IDENTITY]),
            "occurred_at": moment(given, "timestamp") if given else UNDATED,
            "query": query,
            "history": history,
            "contexts": _contexts(value.get("retrieved_contexts"), value.get("retrieved_context_ids")),
            "response": response,
            "reference": reference[0] if isinstance(reference, list) and reference else reference or None,
        }
    )
    return Parsed(records=[record])


def _conversation(said: Any) -> tuple[Any, tuple[Message, ...], str | None]:
    """(query, turns before it, answer) of a sample: the last question that was answered."""
    if not isinstance(said, list):
        return said, (), None
    turns = [turn for turn in messages_of(said) if turn.content]
    answers = [at for at, turn in enumerate(turns) if turn.role == "assistant"]
    end = answers[-1] if answers else len(turns)
    asked = [at for at, turn in enumerate(turns[:end]) if turn.role == "user"]
    if not asked:
        raise ValueError("user_input holds no question")
    answer = turns[end].content if answers else None
    return turns[asked[-1]].content, tuple(turns[: asked[-1]]), answer


def _contexts(texts: Any, ids: Any) -> list[dict[str, Any]]:
    if texts is None and ids is None:
        return []
    texts, ids = texts or [], ids or []
    if not isinstance(texts, list) or not isinstance(ids, list):
        raise ValueError("retrieved_contexts is not a list")
    if texts and ids and len(texts) != len(ids):
        raise ValueError("retrieved_context_ids and retrieved_contexts differ in length")
    count = max(len(texts), len(ids))
    texts, ids = texts or [""] * count, ids or [None] * count
    return [{"text": text, "doc_id": text_of(identifier)} for text, identifier in zip(texts, ids, strict=True)]
