"""Documents in what tools gave back: retrieval that an application logs as the call of a tool."""

from typing import Any

from logs_schema.importers.attributes import Tree, nested
from logs_schema.importers.documents import RETRIEVES, document, listed
from logs_schema.importers.fields import ROLES, content_text, json_value, text_of

RESULT_KEYS = ("response", "result", "content")
"""Where a part of a message holds what a tool gave back: the present name first."""


def retrieves(name: Any, kind: Any = None) -> bool:
    """Whether a tool says of itself that it retrieves: by its type, or by its name."""
    return kind == "datastore" or any(word in (text_of(name) or "").lower() for word in RETRIEVES)


def result_documents(result: Any, *, known: bool) -> list[Tree]:
    """Fields of the `Context`s in a tool's result; none, unless it is a list of nothing but documents.

    Args:
        result: what the tool gave back; a result of the Model Context Protocol too.
        known: whether the tool is known to retrieve. Then a document needs a text only, else an id or address as well.
    """
    items = listed(_unwrapped(json_value(result)))
    found = [document(nested(item)) for item in items if isinstance(item, dict) and item.get("type") != "text"]
    fit = len(found) == len(items) and all(each["text"] and (known or each["doc_id"] or each["url"]) for each in found)
    return found if fit else []


def sent_documents(turns: Any) -> list[Tree]:
    """Documents in the tool results that a model call was sent since the user's last words."""
    names: dict[str, str] = {}
    found: list[Tree] = []
    for turn in turns if isinstance(turns, list) else ():
        if not isinstance(turn, dict):
            continue
        said = turn["content"] if turn.get("content") is not None else turn.get("parts")
        parts = [part for part in said if isinstance(part, dict)] if isinstance(said, list) else []
        calls = [*parts, *(turn["tool_calls"] if isinstance(turn.get("tool_calls"), list) else ())]
        names |= dict(filter(None, map(_named, calls)))
        role = ROLES.get(str(turn.get("role") or "").lower())
        answers = [part for part in parts if part.get("type") == "tool_call_response"]
        if role == "user" and content_text(said) is not None and not answers:
            found = []
        for part in answers or ([turn] if role == "tool" else ()):
            name = part.get("name") or names.get(str(part.get("id") or part.get("tool_call_id")))
            result = next((part[key] for key in RESULT_KEYS if part.get(key) is not None), None)
            found += result_documents(result, known=retrieves(name))
    return found


def _named(call: Any) -> tuple[str, str] | None:
    """(id, name) of a tool call in an assistant's turn."""
    if not isinstance(call, dict):
        return None
    told = call["function"] if isinstance(call.get("function"), dict) else call
    name = text_of(told.get("name"))
    return (str(call.get("id")), name) if name else None


def _unwrapped(result: Any) -> Any:
    """What a result of the Model Context Protocol holds; anything else as it is."""
    if isinstance(result, dict) and isinstance(result.get("structuredContent"), dict):
        return result["structuredContent"]
    blocks = result.get("content") if isinstance(result, dict) else result
    if isinstance(blocks, list) and blocks and all(isinstance(b, dict) and b.get("type") == "text" for b in blocks):
        told = [json_value(block.get("text")) for block in blocks]
        return told[0] if len(told) == 1 else told
    return result
