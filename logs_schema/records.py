"""One RAG interaction as production logged it: frozen values, validated here and nowhere else.

`None` means *not measured* or *not logged*; never NaN, never 0.
"""

import hashlib
import json
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _as_utc(moment: datetime) -> datetime:
    try:
        if moment.tzinfo is UTC:
            return moment
        # most have an offset of nothing, of another class
        here = moment.tzinfo is None or not moment.utcoffset()
        return moment.replace(tzinfo=UTC) if here else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time is out of range") from error


UtcDatetime = Annotated[datetime, AfterValidator(_as_utc)]
"""A moment in UTC; a naive one is taken to be UTC."""

Number = Annotated[float, AfterValidator(lambda value: value + 0.0)]
"""A float whose zero has no sign: databases do not keep it."""


ID_BYTES = 1000
"""Bytes of an id in UTF-8 at the most: two ids and a source fit into one index entry of every database."""


def _indexable(text: str) -> str:
    if not text.isascii() and len(text.encode()) > ID_BYTES:
        raise ValueError(f"longer than {ID_BYTES:,} bytes in UTF-8")
    return text


SourceName = Annotated[str, Field(min_length=1, max_length=100)]
"""Application or log stream that something comes from."""
Identifier = Annotated[str, Field(max_length=500), AfterValidator(_indexable)]
"""Name of a trace, a span or a feedback event, as another system gave it."""
DocumentId = Annotated[str, Field(max_length=600), AfterValidator(_indexable)]
"""Name of a document, as the logs give it."""


class Value(BaseModel):
    """A frozen value that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Message(Value):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


class Context(Value):
    """One retrieved passage, as the model saw it."""

    text: str
    """The passage; empty when the log carries only an id."""
    doc_id: DocumentId | None = None
    """Document that the passage comes from; several passages may share one."""
    title: str | None = None
    url: str | None = None
    version: str | None = None
    """Version of the document, as the corpus names it."""
    updated_at: UtcDatetime | None = None
    """When that version of the document was last changed."""
    groups: tuple[str, ...] | None = None
    """Who may read it; None when the log does not say."""
    score: Number | None = None
    """Retrieval score, in the retriever's own unit."""


class FeedbackKind(StrEnum):
    """How the feedback came about; later members outrank earlier ones."""

    implicit = "implicit"
    vote = "vote"
    annotation = "annotation"
    correction = "correction"


class Feedback(Value):
    """One feedback event about one answer."""

    identifier: Identifier
    """Identifies the event within its trace: the same one again replaces it."""
    kind: FeedbackKind
    value: Number | None = Field(default=None, ge=-1, le=1)
    """-1 (bad) to 1 (good)."""
    label: str | None = None
    """What the log called it, such as `thumbs_down`."""
    comment: str | None = None
    correction: str | None = None
    """The answer that a person says should have been given."""
    by: str | None = None
    occurred_at: UtcDatetime | None = None
    simulated: bool = False
    """True when a script made it up (demo data says so)."""


class PromptTemplate(Value):
    """How production turned query and contexts into messages, so that training renders the same.

    `passage` may use {n}, {title} and {text}; `user` may use {contexts} and {query}. The two
    are filled by plain replacement, never by a template engine: logs are untrusted text.
    """

    system: str | None = None
    passage: str = "[{n}] {text}"
    joiner: str = "\n\n"
    user: str = "Context:\n{contexts}\n\nQuestion: {query}"

    @property
    def hash(self) -> str:
        """Content hash, 16 hexadecimal digits."""
        return content_hash(self.model_dump(mode="json"))

    def render(
        self, query: str, contexts: tuple[Context, ...], history: tuple[Message, ...] = ()
    ) -> tuple[Message, ...]:
        """Messages for the model: system, history, then one user message; contexts are numbered from 1."""
        passages = self.joiner.join(
            _fill(self.passage, {"n": str(n), "title": context.title or "", "text": context.text})
            for n, context in enumerate(contexts, start=1)
        )
        head = (Message(role="system", content=self.system),) if self.system else ()
        user = Message(role="user", content=_fill(self.user, {"contexts": passages, "query": query}))
        return (*head, *history, user)


class Trace(NamedTuple):
    """Names a trace, whether or not its log line has come yet."""

    source: SourceName
    source_id: Identifier


class RagRecord(Value):
    """One question, what was retrieved for it, what production answered, and what people said of it."""

    source: SourceName
    """Application or log stream that it comes from."""
    source_id: Identifier = Field(min_length=1)
    """Trace id within the source."""
    occurred_at: UtcDatetime
    query: str = Field(min_length=1)
    history: tuple[Message, ...] = ()
    """Earlier turns of the conversation, oldest first."""
    contexts: tuple[Context, ...] = ()
    """Retrieved passages in the order in which the model saw them; citation [n] is index n-1."""
    response: str
    """What production answered; empty when the call failed."""
    prompt: PromptTemplate | None = None
    """None when it was not logged or could not be read off the logged messages."""
    prompt_version: str | None = None
    truncated: bool | None = None
    """True when the logged prompt held less of the contexts than was retrieved."""
    model: str | None = None
    reference: str | None = None
    """A reference answer that came with the log (evaluation sets); never made up."""
    latency_ms: Number | None = Field(default=None, ge=0)
    prompt_tokens: int | None = Field(default=None, ge=0, lt=2**31)
    completion_tokens: int | None = Field(default=None, ge=0, lt=2**31)
    session_id: str | None = Field(default=None, max_length=500)
    user_id: str | None = Field(default=None, max_length=500)
    tags: tuple[str, ...] = ()
    error: str | None = None
    """What the application logged when it failed."""
    feedback: tuple[Feedback, ...] = ()

    @property
    def record_id(self) -> str:
        """Stable id in the store, from source and trace id: 16 hexadecimal digits."""
        return record_id(self.source, self.source_id)

    @property
    def content_hash(self) -> str:
        """Hash of all its content, feedback included; mining again is due when it changes."""
        return self._hash_of(None)

    @property
    def exchange_hash(self) -> str:
        """Hash of what was asked, retrieved and answered: it stays when feedback comes in, so a review stays valid."""
        return self._hash_of({"query", "history", "contexts", "response", "prompt"})

    def _hash_of(self, fields: set[str] | None) -> str:
        """`content_hash` of these fields, the quick way where it is sure to give the same."""
        numbers = (self.latency_ms, *(c.score for c in self.contexts), *(e.value for e in self.feedback))
        if not all(map(_written_alike, numbers)):
            return content_hash(self.model_dump(mode="json", include=fields))
        told = {name: self.__dict__[name] for name in fields or self.__dict__}
        if "contexts" in told:
            told["contexts"] = [context.__dict__ for context in self.contexts]
        written = orjson.dumps(told, default=attrgetter("__dict__"), option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z)
        return hashlib.sha256(written).hexdigest()[:16]


@lru_cache(10_000)
def record_id(source: str, source_id: str) -> str:
    """Id of the record of one trace: 16 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(f"{source}\0{source_id}".encode()).hexdigest()[:16]


def content_hash(value: Any) -> str:
    """Hash of a JSON-ready value that does not depend on the order of keys: 16 hexadecimal digits."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _written_alike(number: float | None) -> bool:
    """Whether orjson and the standard library write a number with the same characters: without an exponent."""
    return not number or 1e-4 <= abs(number) < 1e15


def passage_hash(text: str) -> str:
    """Identity of a passage in the store: 32 hexadecimal digits of the SHA-256 of its text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _fill(template: str, values: dict[str, str]) -> str:
    """Replace {name} in one pass, so that a value which itself holds "{query}" stays as it is."""
    parts: list[str] = []
    rest = template
    while rest:
        found = [(rest.find("{" + name + "}"), name) for name in values if "{" + name + "}" in rest]
        if not found:
            break
        at, name = min(found)
        parts += [rest[:at], values[name]]
        rest = rest[at + len(name) + 2 :]
    return "".join([*parts, rest])
