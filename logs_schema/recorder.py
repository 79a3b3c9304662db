"""A recorder for applications without tracing: writes the native log format, and never gets in the way.

    from logs_schema import rag_log

    with rag_log("logs", query=question, source="help desk") as log:
        log.contexts([{"text": passage.text, "doc_id": passage.id} for passage in retrieve(question)])
        log.response(generate(question), model="assistant-7b")

The application's thread only makes a line of JSON; a background thread writes it. Whatever values it is given, nothing
here raises into the application. What cannot be written is dropped and counted: the next line that is written says so
in `dropped_before`, and the `logging` module warns. Standard library only.
"""

import json
import math
import reprlib
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from enum import Enum
from numbers import Integral, Real
from pathlib import PurePath
from types import TracebackType
from typing import Any

from logs_schema.recording import drop, put

DEPTH = 20
"""Containers within containers that are kept."""
DEEPEST = tuple(range(DEPTH))
_SHORT = reprlib.Repr()  # also survives exceptions that cannot be printed
_SHORT.maxother = 2000


class RagLog:
    """What one answer is made of, collected until its `with` block ends. Made by `rag_log`."""

    def __init__(self, path: str | PurePath, record: dict[str, Any]) -> None:
        self.trace_id: str = record["trace_id"]
        """Names this answer: keep it to give feedback later (`rag_feedback`)."""
        self._path = path
        self._record = record
        self._began = time.monotonic()
        self._written = False

    def contexts(self, passages: Sequence[str | Mapping[str, Any]]) -> None:
        """The retrieved passages in the order in which the model sees them; replaces earlier ones.

        Args:
            passages: a list of texts, or of dicts with `text` and, when known, `doc_id`, `title`, `url`, `version`,
                `updated_at`, `groups` and `score`.
        """
        self._record["contexts"] = plain(passages)

    def response(
        self,
        text: str,
        *,
        messages: Sequence[Mapping[str, Any]] | None = None,
        model: str | None = None,
        prompt_version: str | None = None,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
    ) -> None:
        """What was answered; with what the model was sent (`role`, `content`), and what is known of the call."""
        given = {
            "response": text,
            "messages": messages,
            "model": model,
            "prompt_version": prompt_version,
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
        }
        self._record |= {name: plain(value) for name, value in given.items() if value is not None}

    def feedback(
        self,
        *,
        thumbs: str | None = None,
        value: float | None = None,
        correction: str | None = None,
        comment: str | None = None,
        by: str | None = None,
        identifier: str | None = None,
    ) -> None:
        """What somebody says of this answer, in the block or after it; the arguments are those of `rag_feedback`."""
        rag_feedback(
            self._path,
            self.trace_id,
            source=self._record.get("source"),
            thumbs=thumbs,
            value=value,
            correction=correction,
            comment=comment,
            by=by,
            identifier=identifier,
        )

    def __enter__(self) -> "RagLog":
        """Begin; the time until the block ends is the latency."""
        self._began = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Hand the record to the background thread; an exception is recorded and goes on its way."""
        if self._written:
            return
        self._written = True
        record = self._record
        record.setdefault("latency_ms", round((time.monotonic() - self._began) * 1000, 3))
        if kind is not None:
            record["error"] = plain(_SHORT.repr(error))
        elif record.get("response") is None:
            record["error"] = "the application recorded no response"
        if record.get("response") is None:
            record["response"] = ""
        _write(self._path, record)


def rag_log(
    path: str | PurePath,
    *,
    query: str,
    source: str | None = None,
    trace_id: str | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
    session_id: str | None = None,
    user_id: str | None = None,
    tags: Sequence[str] | None = None,
) -> RagLog:
    """A context manager that records one answer: what its block says of it, how long it took, and how it failed.

    Args:
        path: a folder, which gets files by day and size (`rag-2026-03-02.jsonl`); or a file that ends in `.jsonl`.
            Several threads and processes may share it.
        query: what the user asked.
        source: name of the application; without it, the import says it.
        trace_id: id of this answer; without one, it is made up.
        history: earlier turns, oldest first, each with `role` and `content`.
        session_id: the conversation.
        user_id: the user; a pseudonym is best.
        tags: anything to find the record by.
    """
    given = {
        "trace_id": uuid.uuid4().hex if trace_id is None else trace_id,
        "occurred_at": datetime.now(UTC).isoformat(),
        "source": source,
        "query": query,
        "history": history,
        "session_id": session_id,
        "user_id": user_id,
        "tags": tags,
    }
    return RagLog(path, {name: plain(value) for name, value in given.items() if value is not None})


def rag_feedback(
    path: str | PurePath,
    trace_id: str,
    *,
    source: str | None = None,
    thumbs: str | None = None,
    value: float | None = None,
    correction: str | None = None,
    comment: str | None = None,
    by: str | None = None,
    identifier: str | None = None,
) -> None:
    """Record feedback on an answer, at any time and from any process.

    Args:
        path: as for `rag_log`.
        trace_id: `trace_id` of the answer's log.
        source: as it was given to `rag_log`.
        thumbs: "up" or "down".
        value: -1 (bad) to 1 (good), where it is no thumb.
        correction: the answer that a person says should have been given.
        comment: what the person wrote.
        by: who; a pseudonym is best.
        identifier: names the event; the same one again replaces it. Without one, every event is a new one.
    """
    thumb = plain(thumbs)
    voted = thumb is not None or value is not None
    event = {
        "identifier": uuid.uuid4().hex if identifier is None else identifier,
        "kind": "correction" if correction is not None else "vote" if voted else "annotation",
        "value": 1.0 if thumb == "up" else -1.0 if thumb == "down" else value,
        "label": None if thumb is None else f"thumbs_{thumb}",
        "correction": correction,
        "comment": comment,
        "by": by,
        "occurred_at": datetime.now(UTC).isoformat(),
    }
    told = {name: plain(content) for name, content in event.items() if content is not None}
    origin = {} if source is None else {"source": plain(source)}
    _write(path, {"trace_id": plain(trace_id), **origin, "feedback": [told]})


def _write(path: str | PurePath, record: dict[str, Any]) -> None:
    try:
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    except (RecursionError, MemoryError):
        drop()
    else:
        put(str.__str__(path) if issubclass(type(path), str) else str(path), line)


def plain(value: Any, above: tuple[int, ...] = ()) -> Any:
    """The value as JSON can hold it and the import takes it, without running any code of its class.

    NaN, infinity and numbers beyond 64 bits become null, NUL characters go away, and of an object that is none of
    the known kinds, or is nested too deep or in itself, only the name of its class is kept.
    """
    kind = type(value)
    if value is None or kind is bool:
        return value
    if issubclass(kind, str):
        return str.replace(value, "\0", "")
    if issubclass(kind, float):
        number = float.__add__(value, 0.0)
        return number if math.isfinite(number) else None
    if issubclass(kind, int):
        whole = int.__add__(value, 0)
        return whole if -(2**63) <= whole < 2**63 else None
    if len(above) == DEPTH or id(value) in above:
        return f"<{kind.__name__}>"
    within = (*above, id(value))
    if issubclass(kind, dict):
        return {str(plain(key, DEEPEST)): plain(inner, within) for key, inner in list(dict.items(value))}
    if issubclass(kind, list | tuple | set | frozenset):
        return [plain(inner, within) for inner in _members(value, kind)]
    return _known(value, kind)


def _members(value: Any, kind: type[Any]) -> list[Any]:
    base = next(base for base in (list, tuple, set, frozenset) if issubclass(kind, base))
    return list(base.__iter__(value))


def _known(value: Any, kind: type[Any]) -> Any:
    """Values of the standard library, and numbers of others (numpy's scores)."""
    if issubclass(kind, datetime):
        return datetime.isoformat(value)
    if issubclass(kind, date):
        return date.isoformat(value)
    if issubclass(kind, uuid.UUID | PurePath):
        return str(value)
    if issubclass(kind, Enum):
        return plain(value._value_)
    if issubclass(kind, Real):
        try:
            return int(value) if issubclass(kind, Integral) else plain(float(value))
        except (TypeError, ValueError, ArithmeticError):
            pass
    return f"<{kind.__name__}>"
