"""Records, spans and strategies that the tests of this folder share."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import Engine, select

from logs_schema.importers.run import import_files
from logs_schema.records import Context, Feedback, FeedbackKind, Message, PromptTemplate, RagRecord
from logs_schema.rows import INTERACTION, PASSAGE, PENDING, PROMPT
from logs_schema.store import iter_records

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SYSTEM = "Answer from the passages only."

text = st.text("aZ 9\n\t\x1b{}[]\"'\\%é✓\u202e\U0001f44d", max_size=12)
words = text.filter(bool)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2098, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
optional = st.none() | words
floats = st.none() | st.floats(-1e6, 1e6, allow_nan=False)

contexts = st.builds(
    Context,
    text=text,
    doc_id=optional,
    title=optional,
    url=optional,
    version=optional,
    updated_at=st.none() | moments,
    groups=st.none() | st.lists(words, max_size=2).map(tuple),
    score=floats,
)
events = st.builds(
    Feedback,
    identifier=words,
    kind=st.sampled_from(FeedbackKind),
    value=st.none() | st.floats(-1, 1),
    label=optional,
    comment=optional,
    correction=optional,
    by=optional,
    occurred_at=st.none() | moments,
    simulated=st.booleans(),
)
turns = st.builds(Message, role=st.sampled_from(["system", "user", "assistant", "tool"]), content=text)
counts = st.none() | st.integers(0, 2**31 - 1)
records = st.builds(
    RagRecord,
    source=words,
    source_id=words,
    occurred_at=moments,
    query=words,
    history=st.lists(turns, max_size=2).map(tuple),
    contexts=st.lists(contexts, max_size=3).map(tuple),
    response=text,
    prompt=st.none() | st.builds(PromptTemplate, system=optional, user=words),
    prompt_version=optional,
    truncated=st.none() | st.booleans(),
    model=optional,
    reference=optional,
    latency_ms=st.none() | st.floats(0, 1e9),
    prompt_tokens=counts,
    completion_tokens=counts,
    session_id=optional,
    user_id=optional,
    tags=st.lists(words, max_size=2).map(tuple),
    error=optional,
    feedback=st.lists(events, max_size=2, unique_by=lambda e: e.identifier).map(tuple),
)


def record(number: int = 1, **changes: Any) -> RagRecord:
    """A plain record; `changes` replace fields."""
    fields: dict[str, Any] = {
        "source": "desk",
        "source_id": f"trace-{number}",
        "occurred_at": NOON + timedelta(minutes=number),
        "query": f"How long is warranty {number}?",
        "contexts": (
            Context(text=f"Warranty {number} lasts two years.", doc_id=f"doc-{number}", score=2.5),
            Context(text="Shared notice about postage.", doc_id="doc-0"),
        ),
        "response": "Two years [1].",
    }
    return RagRecord(**{**fields, **changes})


def vote(identifier: str = "v1", value: float = -1.0, **fields: Any) -> Feedback:
    return Feedback(identifier=identifier, kind=FeedbackKind.vote, value=value, **fields)


def spans_of(
    number: int,
    *,
    documents: int = 2,
    keep: Sequence[int] | None = None,
    template: bool = True,
    thumbs: str | None = None,
    rewrite: bool = False,
    answered: bool = True,
) -> list[dict[str, Any]]:
    """OpenInference spans of one trace.

    Args:
        number: identifies the trace.
        documents: how many the retriever found.
        keep: indices that a reranker let through, in its order; None without a reranker.
        template: whether the logged messages follow the template.
        thumbs: a label on the root.
        rewrite: whether an earlier model call rewrote the query.
        answered: whether there is a model call that answers.
    """
    trace = f"{number:032x}"
    begin = NOON + timedelta(minutes=number)
    passages = [f"Passage {index} of trace {number} says {index * 7}." for index in range(documents)]

    def span(name: str, kind: str, offset: int, attributes: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": name,
            "context": {"trace_id": trace, "span_id": f"{number:012x}{offset:04x}"},
            "parent_id": None if offset == 0 else f"{number:012x}0000",
            "start_time": (begin + timedelta(milliseconds=offset)).isoformat(),
            "end_time": (begin + timedelta(milliseconds=1000 if offset == 0 else offset + 9)).isoformat(),
            "status_code": "OK",
            "attributes": {"openinference.span.kind": kind, **attributes},
        }

    query = f"What does passage one of {number} say?"
    answer = f"It says {number}."
    root = {"input.value": query, "output.value": answer, "session.id": f"s-{number % 3}", "user.id": "u-1"}
    if thumbs:
        root |= {
            "annotations.0.annotation.name": "user_feedback",
            "annotations.0.annotation.label": thumbs,
            "annotations.0.annotation.score": int(thumbs == "thumbs_up"),
            "annotations.0.annotation.annotator_kind": "HUMAN",
            "annotations.0.annotation.identifier": f"f-{number}",
        }
    found: dict[str, Any] = {"input.value": query}
    for index, passage in enumerate(passages):
        found[f"retrieval.documents.{index}.document.id"] = f"doc-{number}-{index}"
        found[f"retrieval.documents.{index}.document.content"] = passage
        found[f"retrieval.documents.{index}.document.score"] = 9.0 - index
        metadata = json.dumps({"title": f"Title {index}", "updated_at": "2026-01-01T00:00:00Z"})
        found[f"retrieval.documents.{index}.document.metadata"] = metadata
    spans = [span("ask", "CHAIN", 0, root), span("search", "RETRIEVER", 10, found)]
    shown = passages
    if keep is not None:
        shown = [passages[index] for index in keep]
        ranked = {f"reranker.output_documents.{n}.document.content": passage for n, passage in enumerate(shown)}
        spans.append(span("rerank", "RERANKER", 20, ranked))
    if rewrite:
        call = {
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.content": f"Rewrite: {query}",
        }
        spans.append(span("rewrite", "LLM", 5, {**call, "llm.output_messages.0.message.role": "assistant"}))
    if answered:
        numbered = "\n\n".join(f"[{n}] {passage}" for n, passage in enumerate(shown, start=1))
        user = f"Context:\n{numbered}\n\nQuestion: {query}" if template else f"{query} (see attachment)"
        call = {
            "llm.model_name": "tiny",
            "llm.input_messages.0.message.role": "system",
            "llm.input_messages.0.message.content": SYSTEM,
            "llm.input_messages.1.message.role": "user",
            "llm.input_messages.1.message.content": user,
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.content": answer,
            "llm.token_count.prompt": 40 + number,
            "llm.token_count.completion": 5,
        }
        spans.append(span("answer", "LLM", 30, call))
    return spans


def write_lines(path: Path, values: Sequence[Any]) -> str:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return str(path)


def snapshot(engine: Engine) -> dict[str, Any]:
    """Everything in the store that an import makes, without moments of importing."""
    with engine.connect() as connection:
        hashes = {row.id: row.content_hash for row in connection.execute(select(INTERACTION))}
        waiting = sorted((row.trace_id, row.span_id) for row in connection.execute(select(PENDING)))
        passages = sorted(connection.scalars(select(PASSAGE.c.hash)))
        prompts = sorted(connection.scalars(select(PROMPT.c.hash)))
    stored = [record for batch in iter_records(engine) for record in batch]
    assert hashes == {record.record_id: record.content_hash for record in stored}
    return {"records": stored, "waiting": waiting, "passages": passages, "prompts": prompts}


def stored(engine: Engine, folder: Path, lines: list[dict[str, Any]]) -> RagRecord:
    """The one record of an empty store that takes these lines."""
    report = import_files(engine, [write_lines(folder / "logs.jsonl", lines)])
    assert report.files[0].rejected == 0
    (only,) = snapshot(engine)["records"]
    assert isinstance(only, RagRecord)
    return only
