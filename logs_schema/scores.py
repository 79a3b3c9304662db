"""What scorers say about an answer, and the callables that packages hand to each other."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from logs_schema.records import RagRecord, Value


class Span(Value):
    """A stretch of text, by character offsets into the text named."""

    where: str
    """`response`, `query`, or `context:N` with N the rank from 0."""
    start: int
    end: int


class Evidence(Value):
    """One reason that a person can check: a sentence of the response against its best passage."""

    kind: str
    """`unsupported`, `refusal`, `claim`, `holds_answer`, `citation`, `feedback`, `newer_version`, `multi_hop`, …"""
    note: str
    """One clause in plain words."""
    spans: tuple[Span, ...] = ()
    score: float | None = None
    document: str | None = None
    """Document of the corpus that the note quotes, though it was not retrieved."""


class Scores(Value):
    """Measurements of one record; None means not measured."""

    faithfulness: float | None = None
    """0 to 1: how far the response is supported by the contexts."""
    sufficiency: float | None = None
    """0 to 1: how likely the contexts hold the answer to the query."""
    abstained: bool | None = None
    """True when the response opens with "I don't know" in some wording."""
    citations: tuple[int, ...] = ()
    """Passage numbers that the response cites, in order of appearance (numbers start at 1)."""
    citation_validity: float | None = None
    """Share of citations that are in range and support their sentence; None without citations."""
    query_coverage: float | None = None
    """0 to 1: weighted share of the query's content words found in the best passage."""
    completeness: float | None = None
    """0 to 1: how much of what the best evidence sentence holds the response repeats."""
    stages: tuple[str, ...] = ()
    """Stages of the miner that measured something, in order; the last one decided."""
    pending: str | None = None
    """Why a stage that should have looked at it did not, such as a cost cap: it is due for mining again."""
    evidence: tuple[Evidence, ...] = ()
    """What a stage says of single sentences of the response: `supported` or `unsupported`, and how far."""


Scorer = Callable[[Sequence[RagRecord]], Sequence[Scores]]
"""A configured function that scores a batch of records, in order."""

GroundednessScorer = Callable[[Sequence[tuple[str, Sequence[str]]]], Sequence[float]]
"""(answer, context texts) pairs in; support from 0 to 1 out, in order."""

AbstentionDetector = Callable[[str], bool]
"""True when a text opens by saying that the answer is not known."""

Track = Callable[..., Any]
"""Wraps an iterable to show progress: `track(iterable, total=…, description=…)` yields its items."""


def untracked(items: Iterable[Any], **_: object) -> Iterable[Any]:
    """The items, without showing any progress: the default of every `track`."""
    return items
