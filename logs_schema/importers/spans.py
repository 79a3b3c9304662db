"""Spans of a trace, from whatever tracing format, and the record that they make together."""

from collections.abc import Sequence
from itertools import chain

from pydantic import Field

from logs_schema.prompting import Inferred, infer
from logs_schema.records import Context, Message, RagRecord, UtcDatetime, Value


class Span(Value):
    """What one span tells of an answer; everything but its identity may be missing."""

    trace_id: str = Field(min_length=1, max_length=500)
    span_id: str = Field(min_length=1, max_length=500)
    parent_id: str | None = None
    kind: str
    """`CHAIN`, `RETRIEVER`, `RERANKER`, `LLM`, …"""
    started: UtcDatetime
    ended: UtcDatetime | None = None
    query: str | None = None
    history: tuple[Message, ...] = ()
    output: str | None = None
    documents: tuple[Context, ...] = ()
    """Retrieved, best first."""
    reranked: tuple[Context, ...] = ()
    """What a reranker let through, best first; often without text."""
    messages: tuple[Message, ...] = ()
    """What the model was sent."""
    model: str | None = None
    prompt_version: str | None = None
    prompt_tokens: int | None = Field(default=None, ge=0, lt=2**31)
    completion_tokens: int | None = Field(default=None, ge=0, lt=2**31)
    session_id: str | None = Field(default=None, max_length=500)
    user_id: str | None = Field(default=None, max_length=500)
    tags: tuple[str, ...] = ()
    error: str | None = None


def record_of(spans: Sequence[Span], source: str) -> tuple[RagRecord, bool] | None:
    """The record of one trace, and whether it is whole: no span that is still to come can change it.

    It is whole when the logged messages confirm what was retrieved: a prompt template renders them
    exactly. None as long as the root, the query or the answer is missing. The order of the spans
    does not matter.
    """
    spans = sorted(spans, key=lambda span: (span.started, span.span_id))
    root = next((span for span in spans if span.parent_id is None), None)
    if root is None:
        return None
    retrievers = [span for span in spans if span.documents]
    calls = sorted(
        (span for span in spans if span.messages or (span.kind == "LLM" and span.output is not None)),
        key=lambda span: (span.output is not None and span.output == root.output, span.ended or span.started),
        reverse=True,
    )
    query = _query(root, retrievers, calls)
    answer = root.output if root.output is not None else next((c.output for c in calls if c.output is not None), None)
    if query is None or (answer is None and root.error is None):
        return None
    contexts, call, inferred = _seen(query, retrievers, [span for span in spans if span.reranked], calls)
    chosen = [root, *([call] if call else []), *retrievers]
    latency = (root.ended - root.started).total_seconds() * 1000 if root.ended else None
    record = RagRecord(
        source=source,
        source_id=root.trace_id,
        occurred_at=root.started,
        query=query,
        history=(inferred.history if inferred else ()) or root.history,
        contexts=contexts,
        response=answer or "",
        prompt=inferred.template if inferred else None,
        prompt_version=call.prompt_version if call else None,
        truncated=inferred.truncated if inferred else None,
        model=call.model if call else None,
        latency_ms=latency if latency is not None and latency >= 0 else None,
        prompt_tokens=call.prompt_tokens if call else None,
        completion_tokens=call.completion_tokens if call else None,
        session_id=next((span.session_id for span in chosen if span.session_id), None),
        user_id=next((span.user_id for span in chosen if span.user_id), None),
        tags=root.tags,
        error=root.error,
    )
    return record, bool(inferred and not inferred.truncated and retrievers and answer is not None)


def _query(root: Span, retrievers: Sequence[Span], calls: Sequence[Span]) -> str | None:
    asked = root.query if root.kind != "LLM" else None
    searched = next((span.query for span in retrievers if span.query), None)
    said = (message.content for call in calls for message in reversed(call.messages) if message.role == "user")
    return asked or searched or next((text for text in said if text), None) or root.query


def _seen(
    query: str, retrievers: Sequence[Span], rerankers: Sequence[Span], calls: Sequence[Span]
) -> tuple[tuple[Context, ...], Span | None, Inferred | None]:
    """(contexts, model call, inferred prompt): those that the logged messages confirm, else the likeliest.

    Without confirmation the last reranker's choice is what the model saw, else all that was retrieved.
    """
    retrieved = _distinct(chain.from_iterable(span.documents for span in retrievers))
    reranked = [_completed(span.reranked, retrieved) for span in reversed(rerankers)]
    lists = [*(span.documents for span in retrievers), retrieved, *reranked]
    guesses = [
        (contexts, call, inferred)
        for call in calls
        for contexts in dict.fromkeys(lists)
        if (inferred := infer(call.messages, query, contexts))
    ]
    exact = next((guess for guess in guesses if not guess[2].truncated), None)
    if exact:
        return exact
    likeliest = reranked[0] if reranked else retrieved
    cut = next((guess for guess in guesses if guess[0] == likeliest), None)
    return cut or (likeliest, calls[0] if calls else None, None)


def _distinct(contexts: chain[Context]) -> tuple[Context, ...]:
    kept: dict[tuple[str | None, str], Context] = {}
    for context in contexts:
        kept.setdefault((context.doc_id, context.text), context)
    return tuple(kept.values())


def _completed(reranked: Sequence[Context], retrieved: Sequence[Context]) -> tuple[Context, ...]:
    """The reranker's order, with what the retriever said of each passage: score, title, and text."""
    by_text = {context.text: context for context in reversed(retrieved) if context.text}
    by_id = {context.doc_id: context for context in reversed(retrieved) if context.doc_id}
    return tuple(
        (by_text.get(context.text) if context.text else by_id.get(context.doc_id or "")) or context
        for context in reranked
    )
