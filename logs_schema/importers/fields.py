"""Small conversions that every log format needs; each raises ValueError with a reason."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from logs_schema.records import Message, UtcDatetime

FIRST_YEAR, LAST_YEAR = 2000, 2098
"""A log outside of these years comes from a clock that was not set, or from a wrong unit."""
LONGEST_MOMENT = 40
"""Characters."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNDATED = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
"""Moment of a record whose format tells none (evaluation sets): fixed, so that importing it again changes nothing."""
DEPTH_LIMIT = 64
"""Brackets within brackets at the most."""
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
INPUT_KEYS = ("input", "inputs", "kwargs", "query", "question")
"""Where a framework wraps the real input."""
OUTPUT_KEYS = (
    "output",
    "outputs",
    "response",
    "generations",
    "choices",
    "message",
    "result",
    "return_values",
    "messages",
)
"""Where a framework wraps the real output."""
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


def known_moment(value: Any) -> Any:
    """A moment, when the value is its text as validation takes it: those of documents come again and again."""
    if not isinstance(value, str) or len(value) > LONGEST_MOMENT:
        return value
    try:
        return _moment_of(value)
    except (ValidationError, OverflowError):
        return value


@lru_cache(8192)
def _moment_of(text: str) -> datetime:
    return _MOMENT.validate_python(text)


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
    found = json_value(value)
    return found if isinstance(found, dict) else None


def first_text(values: dict[str, Any], keys: Sequence[str]) -> str | None:
    """The first of the keys that holds text."""
    return next((values[key] for key in keys if isinstance(values.get(key), str) and values[key]), None)


def messages_of(values: Any) -> tuple[Message, ...]:
    """Conversation turns: {role, content}, {role, parts}, {type, content}, a serialised LangChain message, or
    (question, answer) pairs; in lists of lists too. Others are left out.
    """
    turns: list[Message] = []
    for value in values if isinstance(values, list) else ():
        if isinstance(value, dict):
            turns += _turn(value)
        elif isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value):
            turns += [Message(role="user", content=value[0]), Message(role="assistant", content=value[1])]
        elif isinstance(value, list):
            turns += messages_of(value)
    return tuple(turns)


def _turn(value: dict[str, Any]) -> list[Message]:
    inner = value.get("kwargs") or value.get("data")
    if isinstance(inner, dict):
        names = value.get("id")
        said = names[-1] if isinstance(names, list) and names else value.get("type")
        value = {"type": str(said).removesuffix("Chunk").removesuffix("Message"), **inner}
    role = ROLES.get(str(value.get("role") or value.get("type") or "").lower())
    content = content_text(value["content"] if value.get("content") is not None else value.get("parts"))
    return [Message.model_validate({"role": role, "content": content})] if role and content is not None else []


def content_text(content: Any) -> str | None:
    """Text of a message: plain, or the text parts of a list."""
    if isinstance(content, str):
        return content
    texts = []
    for part in content if isinstance(content, list) else ():
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type") not in {"reasoning", "thinking"}:
            texts += [part[key] for key in ("text", "content") if isinstance(part.get(key), str)][:1]
    return "\n".join(texts) if texts else None


def question_of(value: Any) -> tuple[str | None, tuple[Message, ...]]:
    """(query, history) of a call's input: plain text, messages, or JSON such as {"question", "history"}."""
    if isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("[{")):
        return _last_question(messages_of(json_value(value)))
    content = json_object(value)
    if content is None:
        return (value or None) if isinstance(value, str) else None, ()
    turns = messages_of(next((content[key] for key in HISTORY_KEYS if content.get(key)), None))
    query = first_text(content, QUERY_KEYS)
    if query is not None:
        return query, turns
    if turns:
        asked, history = _last_question(turns)
        if asked:
            return asked, history
    for key in INPUT_KEYS:
        if isinstance(content.get(key), dict | list):
            asked, history = question_of(content[key])
            if asked is not None:
                return asked, history or turns
    arguments = content.get("args")
    if isinstance(arguments, list):
        texts = [argument for argument in arguments if isinstance(argument, str) and argument]
        return texts[0] if texts else None, turns
    return (value if isinstance(value, str) else None), turns


def _last_question(turns: tuple[Message, ...]) -> tuple[str | None, tuple[Message, ...]]:
    return (turns[-1].content, turns[:-1]) if turns and turns[-1].role == "user" else (None, turns)


def answer_of(value: Any, depth: int = 6) -> str | None:
    """The answer in a call's output: plain text, a message, a list of them, or JSON such as {"answer"}."""
    if depth == 0:
        return None
    if isinstance(value, list):
        said = [turn.content for turn in messages_of(value) if turn.role == "assistant"]
        return said[-1] if said else answer_of(value[0], depth - 1) if len(value) == 1 else None
    content = json_object(value)
    if content is None:
        return value if isinstance(value, str) else None
    if (answer := first_text(content, ANSWER_KEYS)) is not None:
        return answer
    if turn := _turn(content):
        return turn[0].content
    for key in OUTPUT_KEYS:
        if isinstance(content.get(key), dict | list) and (inner := answer_of(content[key], depth - 1)) is not None:
            return inner
    return value if isinstance(value, str) else None


def json_value(value: Any) -> Any:
    """The value of JSON text that `check` passes; anything else, and broken JSON, as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{", '"')):
        return value
    try:
        found = json.loads(value, parse_constant=no_constant)
        check(found)
    except (ValueError, RecursionError):
        return value
    return found


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
