"""Spans of a trace, from whatever tracing format, and the record that they make together."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import TypeVar

from pydantic import Field

from logs_schema.prompting import ANCHORS, Inferred, infer
from logs_schema.records import Context, Identifier, Message, RagRecord, UtcDatetime, Value

TRACE = "TRACE"
"""Kind of what a tool says of a whole trace: the root, whatever else has no parent."""
EVENT = "EVENT"
"""Kind of a part of another span that came apart from it, such as a log event: its parent is that span."""
STEPS = {"LLM", "RETRIEVER", "RERANKER", "EMBEDDING", "TOOL", "GUARDRAIL", "EVALUATOR", "UNKNOWN"}
"""Kinds that are a step of answering, not the whole of it."""
FIXED_TEXT = 300
"""Characters of a prompt's own words beside the passages: more may be passages of a retriever still to come."""
SHORTEST = 12
"""Characters of a passage that is looked for in a prompt: a shorter one may stand in the prompt's own words."""
T = TypeVar("T")


class Span(Value):
    """What one span tells of an answer; everything but its identity may be missing."""

    trace_id: Identifier = Field(min_length=1)
    span_id: Identifier = Field(min_length=1)
    parent_id: str | None = None
    kind: str
    """`CHAIN`, `RETRIEVER`, `RERANKER`, `LLM`, …; or `TRACE` or `EVENT`."""
    detached: bool = False
    """True when it has no parent although something about the whole trace may still come."""
    started: UtcDatetime
    ended: UtcDatetime | None = None
    query: str | None = None
    history: tuple[Message, ...] = ()
    output: str | None = None
    documents: tuple[Context, ...] = ()
    """Retrieved, best first; of a model call, in the results of tools that it was sent."""
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

    It is whole when its root is there and the logged messages confirm what was retrieved: a prompt
    template renders them exactly. None as long as the query or the answer is missing. A root that
    never comes (it may lie in another system) is stood in for by the topmost span that knows both query
    and answer, or by the call whose messages hold what was retrieved (in a tool's result, too, or a part of it); where
    that cannot be seen, for only ids of documents were logged, by the last call since the retrieval; at last by any
    span that knows both, for it was the topmost before the one above it came. The order of the spans does not matter,
    and a record that some spans make is not taken away by more of them.
    """
    in_parts = {span.parent_id for span in spans if span.kind == EVENT}
    spans = _put_together(spans)
    told = (_told(spans, root, certain, in_parts, source) for root, certain in _roots(spans))
    return next(filter(None, told), None)


def _told(
    spans: Sequence[Span], root: Span | None, certain: bool, in_parts: Collection[str | None], source: str
) -> tuple[RagRecord, bool] | None:
    """As `record_of`, with this root."""
    retrievers = [span for span in spans if span.documents and span.kind not in {"CHAIN", "AGENT", TRACE}]
    found = retrievers or [span for span in spans if span.documents]
    calls = sorted(
        (span for span in spans if span.messages or (span.kind == "LLM" and span.output is not None)),
        key=lambda span: (
            root is not None and span.output is not None and span.output == root.output,
            span.ended or span.started,
        ),
        reverse=True,
    )
    told = root is not None and root.query is not None and root.output is not None
    below = (s for s in spans if root and not told and s.parent_id == root.span_id and s.kind not in STEPS)
    around = [*([root] if root else []), *below]
    query = _query(around, found, calls)
    if query is None:
        return None
    answering = [call for call in calls if root or call.output is not None]
    contexts, call, inferred = _seen(query, found, [span for span in spans if span.reranked], answering)
    if root is None and inferred is None:
        call, inferred = _unseen(spans, calls), None
        if call is None:
            return None
    told_by = [*around, *calls] if root or call is None else [call]
    answer = next((span.output for span in told_by if span.output is not None), None)
    first = root or (call and call.model_copy(update={"ended": None}))
    if first is None or (answer is None and first.error is None):
        return None
    timed = root if root and (certain or root.kind not in STEPS) else None
    chosen = [first, *([call] if call else []), *found, *(around if not certain else ())]
    latency = (timed.ended - timed.started).total_seconds() * 1000 if timed and timed.ended else None
    record = RagRecord(
        source=source,
        source_id=first.trace_id,
        occurred_at=first.started if root else min(span.started for span in spans),
        query=query,
        history=(inferred.history if inferred else ()) or next((s.history for s in around if s.history), ()),
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
        tags=first.tags,
        error=first.error,
    )
    complete = call is not None and call.span_id not in in_parts and call.output == answer
    confirmed = complete and inferred is not None and _final(inferred, contexts)
    named = all(context.doc_id for context in contexts) or any(span.kind == "RETRIEVER" for span in retrievers)
    return record, certain and told and confirmed and named and bool(retrievers)


def merged(one: Span, other: Span) -> Span:
    """Of two reports of one span the better: the one that ended, and later, and says more; in any order the same."""
    return max(one, other, key=_better) if one != other else one


def _better(span: Span) -> tuple[bool, datetime, int, str]:
    told = span.model_dump_json()
    return span.ended is not None, span.ended or span.started, len(told), told


def _put_together(spans: Sequence[Span]) -> list[Span]:
    """The spans by time, each with what came apart from it."""
    parts: dict[str, list[Span]] = defaultdict(list)
    for part in sorted((span for span in spans if span.kind == EVENT), key=lambda span: span.span_id):
        parts[part.parent_id or ""].append(part)
    whole = []
    for span in sorted((s for s in spans if s.kind != EVENT), key=lambda span: (span.started, span.span_id)):
        if mine := parts.get(span.span_id):
            messages = tuple(chain.from_iterable(part.messages for part in mine))
            outputs = [part.output for part in mine if part.output is not None]
            output = span.output if span.output is not None or not outputs else outputs[0]
            handed: Sequence[Context] = ()
            for part in mine:
                handed = since_asked(handed, part.messages, part.documents)
            told = {"messages": span.messages or messages, "output": output, "documents": span.documents or handed}
            span = span.model_copy(update=told)
        whole.append(span)
    return whole


def since_asked(before: Sequence[T], messages: Sequence[Message], documents: Sequence[T]) -> Sequence[T]:
    """Documents that tools gave back, with those that came with more messages; those before a question are over."""
    asked = any(message.role == "user" for message in messages)
    return (*(() if asked else before), *documents)


def _roots(spans: Sequence[Span]) -> Iterator[tuple[Span | None, bool]]:
    """(root, whether it is the real one), the best guess first; what one more span adds takes none away."""
    tops = [span for span in spans if span.parent_id is None]
    tops.sort(key=lambda span: (span.kind != TRACE, span.detached, span.kind in STEPS))
    yield from ((span, number == 0 and not span.detached) for number, span in enumerate(tops))
    here = {span.span_id for span in spans}
    knowing = {s.span_id: s for s in spans if s.kind not in STEPS and s.query and s.output is not None}
    if not tops:
        orphans = next((span for span in knowing.values() if span.parent_id not in here), None)
        yield orphans, False
    above = (span for span in knowing.values() if span.parent_id not in knowing)
    if topmost := next(chain(above, knowing.values()), None):  # spans may name each other as parents
        yield topmost, False


def _unseen(spans: Sequence[Span], calls: Sequence[Span]) -> Span | None:
    """The last call that answered and was sent what was retrieved, or (when ids alone show it) may have been.

    Once there is one, more spans never take it away: a record that was made of some spans stays one.
    """
    bare = [span.started for span in spans if any(not context.text for context in span.documents)]
    beginnings = {c.text[: ANCHORS[-1]] for span in spans for c in span.documents + span.reranked if c.text}

    def sent(call: Span) -> bool:
        asked = call.messages[-1].content if call.messages and call.messages[-1].role == "user" else ""
        return bool(call.documents) or any(beginning in asked for beginning in beginnings)

    answered = (call for call in calls if call.output is not None)
    return next((call for call in answered if sent(call) or (bare and call.started >= min(bare))), None)


def _final(inferred: Inferred, contexts: Sequence[Context]) -> bool:
    """Whether the prompt's own words cannot hide passages of a retriever that is still to come."""
    words = inferred.template.user
    numbered = "{n}" in inferred.template.passage
    following = inferred.template.passage.partition("{text}")[0].replace("{n}", str(len(contexts) + 1)).strip()
    line = words.partition("{contexts}")[0].rpartition("\n")[2]
    more = following in words if numbered else any(letter.isdigit() for letter in line)  # "[2] {contexts}"
    return not inferred.truncated and not more and len(words) <= FIXED_TEXT


def _query(around: Sequence[Span], retrievers: Sequence[Span], calls: Sequence[Span]) -> str | None:
    asked = next((span.query for span in around if span.query and span.kind != "LLM"), None)
    searched = next((span.query for span in retrievers if span.query), None)
    said = (message.content for call in calls for message in reversed(call.messages) if message.role == "user")
    return asked or searched or next((text for text in said if text), None) or next((s.query for s in around), None)


def _seen(
    query: str, retrievers: Sequence[Span], rerankers: Sequence[Span], calls: Sequence[Span]
) -> tuple[tuple[Context, ...], Span | None, Inferred | None]:
    """(contexts, model call, inferred prompt): those that the logged messages confirm, else the likeliest.

    Without confirmation the last reranker's choice is what the model saw, else what the call was sent as results of
    tools when nothing but tools retrieved, else all that was retrieved.
    """
    texts: dict[str, Context] = {}
    for context in chain.from_iterable(span.documents + span.reranked for span in (*retrievers, *rerankers)):
        if context.text and context.doc_id:
            texts.setdefault(context.doc_id, context)
    found = [tuple(with_text(context, texts) for context in span.documents) for span in retrievers]
    retrieved = _distinct(chain.from_iterable(found))
    reranked = [
        tuple(with_text(context, texts) for context in _completed(span.reranked, retrieved))
        for span in reversed(rerankers)
    ]
    lists = sorted([*found, retrieved, *reranked], key=lambda some: (-len(some), sum(not c.doc_id for c in some)))
    known = _distinct(chain(retrieved, *reranked))
    guesses = []
    for call in calls:
        sent = _sent(known, call.messages)
        fused = [sent] if len(found) + len(reranked) > 1 else []  # the application chose among several lists
        for contexts in dict.fromkeys([*lists, *(_as_sent(some, call.messages) for some in lists), *fused]):
            inferred = infer(call.messages, query, contexts)
            if inferred and not inferred.truncated and {c.text for c in sent} <= {c.text for c in contexts}:
                return contexts, call, inferred
            if inferred:
                guesses.append((contexts, call, inferred))
    sent = calls[0].documents if calls and {span.kind for span in retrievers} <= {"LLM", "TOOL"} else ()
    likeliest = reranked[0] if reranked else _completed(sent, retrieved) or retrieved
    cut = next((guess for guess in guesses if guess[0] == likeliest), None)
    return cut or (likeliest, calls[0] if calls else None, None)


def _sent(known: Sequence[Context], messages: Sequence[Message]) -> tuple[Context, ...]:
    """Those that the last message holds whole, in its order; of overlapping ones the longest."""
    said = messages[-1].content if messages else ""
    placed: list[tuple[int, int, Context]] = []
    for context in sorted(known, key=lambda context: -len(context.text)):
        start = said.find(context.text) if len(context.text) >= SHORTEST else -1
        end = start + len(context.text)
        if start >= 0 and all(end <= first or last <= start for first, last, _ in placed):
            placed.append((start, end, context))
    return tuple(context for _, _, context in sorted(placed, key=lambda place: place[:2]))


def _as_sent(contexts: tuple[Context, ...], messages: Sequence[Message]) -> tuple[Context, ...]:
    """The contexts in the order in which the last message holds them, when it holds them all."""
    places = [messages[-1].content.find(context.text) if messages and context.text else -1 for context in contexts]
    if -1 in places:
        return contexts
    return tuple(contexts[number] for number in sorted(range(len(contexts)), key=places.__getitem__))


def with_text(context: Context, known: Mapping[str, Context]) -> Context:
    """A context that came by id alone, with text and the like from that document; others stay as they are."""
    same = known.get(context.doc_id or "")
    if context.text or same is None:
        return context
    told = {name: getattr(context, name) or getattr(same, name) for name in ("title", "url", "version", "updated_at")}
    return context.model_copy(update={"text": same.text, **told})


def _distinct(contexts: chain[Context]) -> tuple[Context, ...]:
    kept: dict[tuple[str | None, str], Context] = {}
    for context in contexts:
        kept.setdefault((context.doc_id, context.text), context)
    named = {text for doc_id, text in kept if doc_id}
    return tuple(context for context in kept.values() if context.doc_id or context.text not in named)


def _completed(reranked: Sequence[Context], retrieved: Sequence[Context]) -> tuple[Context, ...]:
    """The reranker's order, with what the retriever said of each passage: score, title, and text."""
    by_text = {context.text: context for context in reversed(retrieved) if context.text}
    by_id = {context.doc_id: context for context in reversed(retrieved) if context.doc_id}
    return tuple(
        (by_text.get(context.text) if context.text else by_id.get(context.doc_id or "")) or context
        for context in reranked
    )
