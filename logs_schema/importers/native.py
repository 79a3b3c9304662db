"""The native format: one JSON line a record, as docs/log-format.md describes it."""

from typing import Any

from logs_schema.importers.fields import known_moment, messages_of, moment, text_of
from logs_schema.importers.parsed import Parsed, about
from logs_schema.importers.ratings import thumb_of
from logs_schema.prompting import with_prompt
from logs_schema.records import Context, Feedback, FeedbackKind, RagRecord, content_hash

AS_THEY_ARE = (
    *("query", "prompt_version", "truncated", "model", "reference", "latency_ms", "prompt_tokens"),
    *("completion_tokens", "error"),
)

OF_CONTEXTS = Context.model_fields.keys()
OF_ANSWERS = {"query", "question", "response", "answer", "contexts"}
"""A line with one of these is no feedback on another: taken for that, its question and answer would be lost."""


def looks(value: dict[str, Any]) -> bool:
    """Whether a line is of this format: a query with a response, or feedback on a trace."""
    named = "trace_id" in value or "source_id" in value
    told = bool({"feedback", "thumbs", "correction"} & value.keys())
    return {"query", "response"} <= value.keys() or (named and told and not OF_ANSWERS & value.keys())


def parse(value: dict[str, Any], source: str) -> Parsed:
    """One line: a record, or feedback that names a trace (`source` when the line gives none).

    Raises:
        ValueError: with the reason (pydantic's ValidationError is one).
    """
    named = text_of(value.get("trace_id")) or text_of(value.get("source_id"))
    origin = text_of(value.get("source")) or source
    feedback = _feedback(value)
    if "query" not in value:
        if named is None or OF_ANSWERS & value.keys():
            raise ValueError("query is missing")
        if not feedback:
            raise ValueError("neither a query nor feedback")
        return Parsed(feedback=[(about(origin, named), event) for event in feedback])
    occurred_at = moment(value.get("occurred_at", value.get("timestamp")), "occurred_at")
    identity = [value.get("query"), value.get("response"), occurred_at.isoformat()]
    record = RagRecord.model_validate(
        {
            **{name: value[name] for name in AS_THEY_ARE if name in value},
            "source": origin,
            "source_id": named or content_hash(identity),
            "occurred_at": occurred_at,
            "history": _list(value, "history"),
            "contexts": [context_of(context) for context in _list(value, "contexts")],
            "response": value.get("response") or ("" if value.get("error") else value.get("response")),
            "prompt": _prompt(value.get("prompt")),
            "session_id": text_of(value.get("session_id")),
            "user_id": text_of(value.get("user_id")),
            "tags": _list(value, "tags"),
            "feedback": feedback,
        }
    )
    messages = messages_of(value.get("messages"))
    return Parsed(records=[record if record.prompt or not messages else with_prompt(record, messages)])


def _list(value: dict[str, Any], name: str) -> list[Any]:
    found = value.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise ValueError(f"{name} is not a list")
    return found


def context_of(value: Any) -> Any:
    """Fields of a `Context`, from text or an object that names them; anything else is left to validation."""
    if isinstance(value, str):
        return {"text": value}
    if not isinstance(value, dict):
        return value
    known = dict(value) if value.keys() <= OF_CONTEXTS else {name: value[name] for name in OF_CONTEXTS & value.keys()}
    known.setdefault("text", "")
    for name in ("doc_id", "version"):
        if not isinstance(known.get(name, ""), str) or not known.get(name, "."):
            known[name] = text_of(known[name])
    if "updated_at" in known:
        known["updated_at"] = known_moment(known["updated_at"])
    return known


def _prompt(value: Any) -> Any:
    names = ("system", "passage", "joiner", "user")
    return {name: value[name] for name in names if name in value} if isinstance(value, dict) else value


def _feedback(value: dict[str, Any]) -> tuple[Feedback, ...]:
    events = [_event(event) for event in _list(value, "feedback")]
    if (thumbs := value.get("thumbs")) is not None:
        vote = thumb_of(thumbs)
        label = "thumbs_up" if vote > 0 else "thumbs_down"
        events.append(Feedback(identifier="thumbs", kind=FeedbackKind.vote, value=vote, label=label))
    if (correction := value.get("correction")) is not None:
        given = {"identifier": "correction", "kind": FeedbackKind.correction, "correction": correction}
        events.append(Feedback.model_validate(given))
    return tuple(events)


def _event(value: Any) -> Feedback:
    if not isinstance(value, dict):
        raise ValueError("feedback is not a list of objects")
    known = {name: value[name] for name in Feedback.model_fields if name in value}
    known.setdefault("kind", "correction" if known.get("correction") else "vote" if "value" in known else "annotation")
    known["identifier"] = text_of(known.get("identifier")) or content_hash(known)
    return Feedback.model_validate(known)
