"""Retrieved documents in the shapes that frameworks log them in, as fields of `Context`."""

from typing import Any

from logs_schema.importers.attributes import Tree, at, items, nested
from logs_schema.importers.fields import any_moment, first_text, json_object, json_value, text_of

TEXT_KEYS = ("content", "text", "page_content", "pageContent", "chunk", "body", "snippet", "document")
ID_KEYS = ("doc_id", "document_id", "id", "chunk_id", "source")
LIST_KEYS = (
    *("documents", "source_documents", "output", "outputs", "results", "result"),
    *("matches", "nodes", "context", "contexts"),
)
"""Where an object holds its documents."""
RETRIEVES = ("retriev", "search")
"""In the name of a span or of a tool that retrieves."""


def documents_of(value: Any, *, texts: bool = True) -> list[Tree]:
    """Fields of the `Context`s in a retriever's output: a list, JSON text of one, or an object that holds one.

    Args:
        value: what was logged.
        texts: whether plain texts in a list are documents too.
    """
    return [found for item in listed(value) if (found := _document(item, texts)) is not None]


def listed(value: Any) -> list[Any]:
    """Members of the list that a value is, as JSON text too, or holds."""
    if isinstance(value, str):
        value = json_value(value)
    for _ in range(4):
        if not isinstance(value, dict):
            break
        if (columns := _columns(value)) is not None:
            return columns
        held = [value[key] for key in LIST_KEYS if isinstance(value.get(key), list | dict)]
        value = list(items(value)) or (held[0] if held else None)
    return _flat(value)


def document(item: Tree) -> Tree:
    """Fields of the `Context` that one logged document is."""
    inner = item.get("document")
    written = inner if isinstance(inner, dict) else item
    node = written.get("node") if isinstance(written.get("node"), dict) else None
    kwargs = written.get("kwargs") if isinstance(written.get("kwargs"), dict) else None
    body: Tree = node or kwargs or written
    metadata = _metadata(body)
    groups = metadata.get("groups")
    told = (body.get("id"), body.get("id_"), body.get("node_id"), body.get("doc_id"), body.get("document_id"))
    return {
        "text": first_text(body, TEXT_KEYS) or first_text(metadata, TEXT_KEYS[:4]) or "",
        "doc_id": _first(*told) or _first(*(metadata.get(key) for key in ID_KEYS)),
        "title": _first(metadata.get("title"), body.get("title")),
        "url": _first(metadata.get("url"), metadata.get("link"), body.get("url")),
        "version": _first(metadata.get("version"), body.get("version")),
        "updated_at": any_moment(metadata.get("updated_at") or metadata.get("last_modified") or body.get("updated_at")),
        "groups": groups if isinstance(groups, list) and all(isinstance(group, str) for group in groups) else None,
        "score": _score(written, metadata),
    }


def _document(item: Any, texts: bool) -> Tree | None:
    if isinstance(item, str):
        return {"text": item} if texts and item else None
    found = document(nested(item)) if isinstance(item, dict) else None
    return found if found and (found["text"] or found["doc_id"]) else None


def _flat(value: Any) -> list[Any]:
    """Members of lists in lists; a pair of a document and its score becomes the document with the score."""
    if not isinstance(value, list):
        return []
    if len(value) == 2 and isinstance(value[0], dict) and isinstance(value[1], int | float):
        return [{**value[0], "score": value[1]}]
    return [inner for item in value for inner in (_flat(item) if isinstance(item, list) else [item])]


def _columns(value: Tree) -> list[Tree] | None:
    """Rows of a result that a vector database gives as columns: ids, documents, metadatas, distances."""
    ids, texts = _flat(value.get("ids")), _flat(value.get("documents"))
    if not ids or len(texts) not in {0, len(ids)} or any(isinstance(text, dict) for text in texts):
        return None
    metadatas = _flat(value.get("metadatas"))
    rows = []
    for number, identifier in enumerate(ids):
        text = texts[number] if texts else None
        metadata = metadatas[number] if len(metadatas) == len(ids) else None
        rows.append({"id": identifier, "text": text, "metadata": metadata})
    return rows


def _metadata(body: Tree) -> Tree:
    return next((found for key in ("metadata", "payload", "extra_info") if (found := json_object(body.get(key)))), {})


def _score(written: Tree, metadata: Tree) -> Any:
    if written.get("score") is not None:
        return written["score"]
    found = at(metadata, "score", "relevance_score", "_score", "similarity")
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def _first(*values: Any) -> str | None:
    return next((found for value in values if (found := text_of(value))), None)
