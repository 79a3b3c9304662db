"""Support tickets: a question that a person answered is a candidate for curators, never a judged answer."""

from typing import Any

from logs_schema.importers.fields import UNDATED, any_moment, messages_of, moment, text_of
from logs_schema.importers.native import context_of
from logs_schema.importers.parsed import Parsed
from logs_schema.records import Feedback, FeedbackKind, Message, RagRecord, content_hash
from logs_schema.taxonomy import ESCALATED, TICKET

UNRESOLVED = {"open", "new", "unresolved", "pending", "waiting", "in progress", "in_progress", "on hold", "reopened"}
YES = {"true", "yes", "1"}
IDENTITY = ("question", "conversation", "resolution", "documents")


def looks(value: dict[str, Any]) -> bool:
    """Whether an object is a ticket: a question or a conversation, with a resolution or a status."""
    answers = {"answer", "response", "contexts"} & value.keys()  # of an assistant: no ticket has a place for them
    asked = bool({"question", "conversation"} & value.keys()) and not answers
    return asked and bool({"resolution", "status", "escalated", "ticket_id"} & value.keys())


def parse(value: dict[str, Any], source: str) -> Parsed:
    """One ticket. The resolution of a resolved one becomes a correction; there is no response to judge.

    Raises:
        ValueError: with the reason (pydantic's ValidationError is one).
    """
    query, history = _asked(value.get("question"), value.get("conversation"))
    status = str(value.get("status") or "").strip().lower()
    given = next((value[name] for name in ("occurred_at", "timestamp", "created_at") if value.get(name)), None)
    documents = value.get("documents") or []
    if not isinstance(documents, list):
        raise ValueError("documents is not a list")
    escalated = [ESCALATED] if str(value.get("escalated")).lower() in YES else []
    record = RagRecord.model_validate(
        {
            "source": text_of(value.get("source")) or source,
            "source_id": text_of(value.get("ticket_id"))
            or text_of(value.get("id"))
            or content_hash([value.get(name) for name in IDENTITY]),
            "occurred_at": moment(given, "occurred_at") if given else UNDATED,
            "query": query,
            "history": history,
            "contexts": [context_of(document) for document in documents],
            "response": "",
            "session_id": text_of(value.get("session_id")),
            "user_id": text_of(value.get("user_id")),
            "tags": list(dict.fromkeys([TICKET, *([status] if status else []), *escalated])),
            "feedback": _resolution(value, status),
        }
    )
    return Parsed(records=[record])


def _asked(question: Any, conversation: Any) -> tuple[Any, tuple[Message, ...]]:
    """(query, turns before it): what was said after the question holds the resolution, which no prompt may show."""
    turns = messages_of(conversation)
    if question is None:
        at = next((at for at, turn in enumerate(turns) if turn.role == "user" and turn.content.strip()), None)
        if at is None:
            raise ValueError("question is missing, and the conversation has no turn of the user")
        return turns[at].content, turns[:at]
    if not isinstance(question, str):
        raise ValueError("question is not text")
    same = [at for at, turn in enumerate(turns) if turn.role == "user" and turn.content.strip() == question.strip()]
    return question, turns[: same[0]] if same else ()


def _resolution(value: dict[str, Any], status: str) -> tuple[Feedback, ...]:
    text = value.get("resolution")
    if text is None or text == "" or status in UNRESOLVED:
        return ()
    if not isinstance(text, str):
        raise ValueError("resolution is not text")
    return (
        Feedback(
            identifier="resolution",
            kind=FeedbackKind.correction,
            label="ticket",
            correction=text,
            by=text_of(value.get("resolved_by")),
            occurred_at=any_moment(value.get("resolved_at")),
        ),
    )
