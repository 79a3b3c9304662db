"""Small conversions that every log format needs; each raises ValueError with a reason."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from logs_schema.records import Message, UtcDatetime

FIRST_YEAR, LAST_YEAR = 2000, 2098
"""A log outside of these years comes from a clock that was not set, or from a wrong unit."""
DEPTH_LIMIT = 64
"""Brackets within brackets at the most."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
}
QUERY_KEYS = ("query", "question", "input", "message", "user_input", "user_message", "prompt", "text")
ANSWER_KEYS = ("answer", "response", "output", "result", "text", "content", "message")
HISTORY_KEYS = ("history", "chat_history", "messages", "conversation")
_MOMENT: TypeAdapter[datetime] = TypeAdapter(UtcDatetime)


def moment(value: Any, name: str) -> datetime:
    """A moment from ISO 8601 text or a Unix time in s, ms, µs or ns; plausible for a log."""
    if value is None or value == "":
        raise ValueError(f"{name} is missing")
    parsed = any_moment(value)
    if parsed is None:
        raise ValueError(f"{name} is not a time")
    if not FIRST_YEAR <= parsed.year <= LAST_YEAR:
        raise ValueError(f"{name} {parsed.isoformat()} is outside of {FIRST_YEAR} to {LAST_YEAR}")
    return parsed


def any_moment(value: Any) -> datetime | None:
    """A moment as in `moment`, of any year; None when it is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 25:
        value = int(value)
    if isinstance(value, bool) or value is None:
        return None
    try:
        if isinstance(value, int | float):
            size = abs(value)
            unit = 1e9 if size >= 1e17 else 1e6 if size >= 1e14 else 1e3 if size >= 1e11 else 1
            return EPOCH + timedelta(microseconds=round(value / unit * 1e6))
        return _MOMENT.validate_python(value)
    except (ValidationError, OverflowError):
        return None


def text_of(value: Any) -> str | None:
    """An id or a name: text as it is, a whole number as text; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def json_object(value: Any) -> dict[str, Any] | None:
    """A dict, also when it comes as JSON text that `check` passes; None otherwise."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value, parse_constant=no_constant)
            check(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def first_text(values: dict[str, Any], keys: Sequence[str]) -> str | None:
    """The first of the keys that holds text."""
    return next((values[key] for key in keys if isinstance(values.get(key), str) and values[key]), None)


def messages_of(values: Any) -> tuple[Message, ...]:
    """Conversation turns: {role, content}, {type, content} or (question, answer) pairs; others are left out."""
    turns: list[Message] = []
    for value in values if isinstance(values, list) else ():
        if isinstance(value, dict):
            role = ROLES.get(str(value.get("role") or value.get("type") or "").lower())
            content = content_text(value.get("content"))
            if role and content is not None:
                turns.append(Message.model_validate({"role": role, "content": content}))
        elif isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value):
            turns += [Message(role="user", content=value[0]), Message(role="assistant", content=value[1])]
    return tuple(turns)


def content_text(content: Any) -> str | None:
    """Text of a message: plain, or the text parts of a list."""
    if isinstance(content, str):
        return content
    parts = [part.get("text") for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    texts = [part for part in parts if isinstance(part, str)]
    return "\n".join(texts) if texts else None


def reason_of(error: ValidationError) -> str:
    """The first mistakes of a validation, without the values."""
    mistakes = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()[:3]]
    return "; ".join(mistakes)


def no_constant(name: str) -> float:
    """For `json.loads`: NaN and Infinity are refused, by ValueError."""
    raise ValueError(f"{name} is not a number")


def check(value: object, depth: int = DEPTH_LIMIT) -> None:
    """Refuse what no database stores, by ValueError: NUL, half a surrogate pair, endless nesting."""
    if depth < 0:
        raise ValueError(f"nested deeper than {DEPTH_LIMIT}")
    if isinstance(value, dict):
        for key, inner in value.items():
            check(key, depth)
            check(inner, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            check(inner, depth - 1)
    elif isinstance(value, str):
        if "\0" in value:
            raise ValueError("holds a NUL character")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("holds half of a surrogate pair")
